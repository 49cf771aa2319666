"""Tenants of a server with two front-end processes: each grants its part, all are counted."""

import asyncio
import json
from pathlib import Path

import aiohttp
import pytest

from tests.system.server_process import serving, write_fake_model

LIMIT = 4
KEYS = range(1, 13)
HEADERS = {"X-Api-Key": "the-key"}


async def step(base: str, key: int, *, start: bool, end: bool) -> int:
    """The status, over a connection of its own: any of the processes may have it."""
    tensor = {"name": "INPUT", "datatype": "INT16", "shape": [1, 2], "data": [1, 2]}
    parameters = {"sequence_id": key, "sequence_start": start, "sequence_end": end}
    url = f"{base}/v2/models/fake/infer"
    body = {"inputs": [tensor], "parameters": parameters}
    async with (
        aiohttp.ClientSession(headers=HEADERS) as session,
        session.post(url, json=body) as answer,
    ):
        if answer.status == 429:
            assert answer.headers["Retry-After"] == "1"
        return answer.status


async def streams(metrics: str) -> float:
    async with aiohttp.ClientSession() as session, session.get(metrics) as answer:
        lines = (await answer.text()).splitlines()
    (line,) = (each for each in lines if each.startswith('streamgate_tenant_streams{tenant="t"}'))
    return float(line.rpartition(" ")[2])


@pytest.mark.slow
async def test_each_front_end_grants_its_part(tmp_path: Path) -> None:
    write_fake_model(tmp_path / "models")
    file = tmp_path / "tenants.json"
    tenant = {"name": "t", "keys": ["the-key"], "streams_max": LIMIT}
    file.write_text(json.dumps({"tenants": [tenant]}))
    async with serving(tmp_path / "models", "--front-ends=2", f"--tenants={file}") as server:
        base = f"http://{server.addresses['http']}"
        metrics = f"http://{server.addresses['metrics']}/metrics"
        statuses = [await step(base, key, start=True, end=False) for key in KEYS]
        granted = [key for key, status in zip(KEYS, statuses, strict=True) if status == 200]
        assert set(statuses) == {200, 429}
        # Chance decides which process has a client; with one of them alone, half is granted.
        assert LIMIT // 2 <= len(granted) <= LIMIT
        assert await streams(metrics) == len(granted)
        assert [await step(base, key, start=False, end=True) for key in granted] == [
            200 for _ in granted
        ]
        for _ in range(200):
            if not await streams(metrics):
                break
            await asyncio.sleep(0.05)
        assert await streams(metrics) == 0
        server.terminate()
        assert await server.exit_status() == 0
