"""Unary calls that reach whichever front end, while their only engine is killed: whoever gets one
waits until the front end that holds the sequence has it back."""

import asyncio
from pathlib import Path

import aiohttp
import pytest

from tests.durable.faults.ground import Ground, ground
from tests.durable.faults.tongues import ANSWER_SECONDS, HttpUnary
from tests.durable.models import hashes, write_graph
from tests.model.settings import ONLY_LONG

pytestmark = [ONLY_LONG, pytest.mark.slow, pytest.mark.timeout(300)]

SEQUENCES = 24
STEPS = 100
KILLS = 5
PAUSE_SECONDS = 0.1


async def test_calls_wait_at_either_front_end(tmp_path: Path) -> None:
    write_graph(tmp_path, slots=64)
    async with (
        ground(tmp_path, "--front-ends", "2") as house,
        # Each call over a connection of its own.
        aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0, force_close=True),
            timeout=aiohttp.ClientTimeout(total=ANSWER_SECONDS),
        ) as session,
    ):

        async def run(key: int) -> None:
            talk = HttpUnary(session, house.addresses["http"], "hash", key)
            values = range(key, key + STEPS)
            answers = []
            for value in values:
                first, last = value == values[0], value == values[-1]
                answers.append(await talk.step(value, start=first, end=last))
                await asyncio.sleep(PAUSE_SECONDS)
            assert answers == hashes(values), key

        async with asyncio.TaskGroup() as group:
            for key in range(1, SEQUENCES + 1):
                group.create_task(run(key))
            group.create_task(kill_some(house))
        assert (await house.metrics()).sum("streamgate_sequences_recovered_total") >= SEQUENCES


async def kill_some(house: Ground) -> None:
    for _ in range(KILLS):
        await asyncio.sleep(1.0)
        pid = await house.strike("engine-0")
        await house.until_accepting(pid)
        await house.until_recovered()
