"""Ensembles whose models have far fewer slots than there are sequences."""

import asyncio
import random
from pathlib import Path

from tests.durable.house import DurableHouse, durable_house
from tests.durable.models import ensemble_hashes, write_ensemble, write_graph, write_objects

SLOTS = 2
SEQUENCES = 12
STEPS = 8
IDLE = {"streamgate.hibernate_after_ms": "10"}


async def run(house: DurableHouse, key: int) -> list[int]:
    """What a sequence is answered that rests between its steps."""
    client = house.client()
    rests = random.Random(key)
    answers: list[int] = []
    for value in range(STEPS):
        start, end = value == 0, value == STEPS - 1
        answers += await client.step("hash_ensemble", key, value, start=start, end=end)
        await asyncio.sleep(rests.uniform(0, 0.1))
    return answers


async def test_sequences_of_ensembles_share_slots_by_turns(tmp_path: Path) -> None:
    write_graph(tmp_path, slots=SLOTS, parameters=IDLE)
    write_objects(tmp_path, slots=SLOTS, parameters=IDLE)
    write_ensemble(tmp_path)
    async with durable_house(tmp_path) as house:
        async with asyncio.timeout(30):
            answers = await asyncio.gather(*(run(house, key) for key in range(1, SEQUENCES + 1)))
        assert answers == [ensemble_hashes(range(STEPS))] * SEQUENCES
        for model in ("hash", "hash_objects"):
            (statistics,) = await house.server.gateway.statistics(model, "")
            assert statistics.sequences is not None
            assert statistics.sequences.restored >= SEQUENCES - SLOTS
