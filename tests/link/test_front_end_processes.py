"""Unary calls of one sequence over connections of their own: whichever front end gets them."""

import asyncio
from pathlib import Path

import aiohttp

from tests.durable.models import hashes, write_graph
from tests.system.server_process import serving


async def test_a_sequence_of_unary_calls_over_two_front_ends(tmp_path: Path) -> None:
    write_graph(tmp_path)
    async with (
        serving(tmp_path, "--front-ends", "2", "--engines", "2") as server,
        aiohttp.ClientSession() as session,
    ):
        url = f"http://{server.addresses['http']}/v2/models/hash/infer"

        async def step(key: int, value: int, *, last: int) -> int:
            flags = {
                "sequence_id": key,
                "sequence_start": value == 0,
                "sequence_end": value == last,
            }
            tensor = {"name": "IN", "datatype": "INT64", "shape": [1, 1], "data": [value]}
            body = {"inputs": [tensor], "parameters": flags}
            async with session.post(url, json=body, headers={"Connection": "close"}) as answer:
                document = await answer.json()
                assert answer.status == 200, document
                return int(document["outputs"][0]["data"][0])

        async def sequence(key: int) -> list[int]:
            return [await step(key, value, last=15) for value in range(16)]

        answers = await asyncio.gather(*(sequence(key) for key in range(1, 7)))
        assert answers == [hashes(range(16))] * 6
