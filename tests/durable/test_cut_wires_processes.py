"""Wires that are cut in front of two front-end processes on one port: the client comes back to
either of them, and hears what it would have heard."""

import random
import re
from pathlib import Path

import aiohttp
import pytest

from tests.durable.models import hashes, write_graph
from tests.durable.test_cut_wires import STEPS, all_through_cuts, outputs_of, sequence_of
from tests.system.server_process import serving

pytestmark = pytest.mark.slow


async def test_a_client_comes_back_to_whichever_process(tmp_path: Path) -> None:
    write_graph(tmp_path)
    values = random.Random(11).choices(range(1000), k=STEPS)
    async with serving(tmp_path, "--front-ends", "2") as server:
        port = int(server.addresses["websocket"].rpartition(":")[2])
        clients = await all_through_cuts(
            port, "/v1/sequence", sequence_of("hash", values), (3_000, 16_000)
        )
        text = await scraped(server.addresses["metrics"])
    expected = {place: [each] for place, each in enumerate(hashes(values))}
    for client in clients:
        assert outputs_of(client.heard) == expected
    assert count(text, "relayed") > 0
    assert count(text, "resumed") >= sum(client.resumes for client in clients)


async def scraped(address: str) -> str:
    async with (
        aiohttp.ClientSession() as session,
        session.get(f"http://{address}/metrics") as answer,
    ):
        return await answer.text()


def count(text: str, what: str) -> float:
    """Of all processes together."""
    (value,) = re.findall(rf"^streamgate_sessions_{what}_total ([\d.]+)$", text, re.MULTILINE)
    return float(value)
