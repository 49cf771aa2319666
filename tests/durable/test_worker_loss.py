"""Workers that are killed under sequences: their clients see a pause and nothing else."""

import asyncio
from pathlib import Path

import pytest

from streamgate.errors import Code, EndReason
from streamgate.model.statistics import DurabilityStatistics
from tests.durable.house import DurableHouse, durable_house
from tests.durable.models import (
    ALLOCATE,
    KILL,
    KILL_BETWEEN_ONCE,
    KILL_ONCE,
    decoupled_hashes,
    hashes,
    write_decoupled,
    write_objects,
)

VALUES = [3, 1, 4, 1, 5, 9, 2, 6]


async def durability(house: DurableHouse, model: str) -> DurabilityStatistics:
    statistics = await house.server.gateway.statistics(model, "")
    found = statistics[0].durability
    assert found is not None
    return found


@pytest.mark.parametrize("place", [0, 4, len(VALUES) - 1])
async def test_a_worker_killed_at_any_step_costs_no_result(tmp_path: Path, place: int) -> None:
    write_objects(tmp_path, execution="process")
    values = [*VALUES[:place], KILL_ONCE, *VALUES[place + 1 :]]
    async with durable_house(tmp_path) as house:
        client = house.client()
        # The other's step may be in the batch that is lost, or not.
        killer, other = await asyncio.gather(
            client.sequence("hash_objects", 1, values),
            client.sequence("hash_objects", 2, VALUES),
        )
        assert [found for (found,) in killer] == hashes(values)
        assert [found for (found,) in other] == hashes(VALUES)
        assert {reason for _, _, reason in client.ends} == {EndReason.CLIENT_END}
        counted = await durability(house, "hash_objects")
        assert counted.recovered >= 1
        assert counted.suppressed_results >= place
        assert (counted.lost, counted.recovering, counted.mismatches) == (0, 0, 0)


async def test_queued_steps_keep_their_order(tmp_path: Path) -> None:
    write_objects(tmp_path, execution="process", step_ms=5)
    values = [*VALUES, KILL_ONCE, *VALUES]
    async with durable_house(tmp_path) as house:
        client = house.client()
        last = len(values) - 1
        answers = await asyncio.gather(
            *(
                client.send("hash_objects", 1, value, start=index == 0, end=index == last)
                for index, value in enumerate(values)
            )
        )
        assert [response.outputs[0].array.item() for (response,) in answers] == hashes(values)
        assert [response.position for (response,) in answers] == list(range(len(values)))


async def test_of_a_step_that_is_half_answered_only_the_other_half_comes_again(
    tmp_path: Path,
) -> None:
    write_decoupled(tmp_path, execution="process")
    values = [3, 1, KILL_BETWEEN_ONCE, 4, 1]
    async with durable_house(tmp_path) as house:
        client = house.client()
        assert await client.sequence("hash_decoupled", 1, values) == decoupled_hashes(values)
        counted = await durability(house, "hash_decoupled")
        assert (counted.recovered, counted.mismatches) == (1, 0)


async def test_a_step_that_always_kills_ends_its_sequence_and_no_other(tmp_path: Path) -> None:
    write_objects(tmp_path, execution="process")
    async with durable_house(tmp_path) as house:
        client = house.client()
        other = house.client()
        assert await client.step("hash_objects", 1, 3, start=True) == [hashes([3])[-1]]
        assert await other.step("hash_objects", 2, 1, start=True) == [hashes([1])[-1]]
        (answer,) = await client.ask("hash_objects", 1, KILL)
        assert answer.failure is not None
        assert answer.failure.code is Code.INTERNAL
        assert "position 1" in answer.failure.message
        assert client.ends == [("hash_objects", 1, EndReason.ERROR)]
        assert await other.step("hash_objects", 2, 4, end=True) == [hashes([1, 4])[-1]]
        assert (await durability(house, "hash_objects")).quarantined == 1


async def test_what_outgrew_its_log_ends_at_once(tmp_path: Path) -> None:
    # Not even one step fits.
    parameters = {"streamgate.log_mb": "0.0001", "streamgate.snapshot_steps": "1000"}
    write_objects(tmp_path, execution="process", parameters=parameters)
    async with durable_house(tmp_path) as house:
        client = house.client()
        await client.step("hash_objects", 1, 3, start=True)
        (answer,) = await client.ask("hash_objects", 1, KILL_ONCE)
        assert answer.failure is not None
        assert answer.lost
        assert client.ends == [("hash_objects", 1, EndReason.ENGINE_LOST)]
        assert (await durability(house, "hash_objects")).lost == 1


async def test_what_takes_all_memory_each_time_ends_its_sequence_and_no_other(
    tmp_path: Path,
) -> None:
    limit = {"streamgate.worker_memory_limit_mb": "400"}
    write_objects(tmp_path, execution="process", allocate_mb=500, parameters=limit)
    async with durable_house(tmp_path) as house:
        client, other = house.client(), house.client()
        await client.step("hash_objects", 1, 3, start=True)
        await other.step("hash_objects", 2, 1, start=True)
        # It is answered, and only then its process is killed; so it is when it is replayed.
        taken = await client.step("hash_objects", 1, ALLOCATE)
        assert taken == [hashes([3, ALLOCATE])[-1]]
        (answer,) = await client.ask("hash_objects", 1, 5)
        assert answer.failure is not None
        assert answer.failure.code is Code.INTERNAL
        assert "2 times" in answer.failure.message
        assert client.ends == [("hash_objects", 1, EndReason.ERROR)]
        assert await other.step("hash_objects", 2, 4, end=True) == [hashes([1, 4])[-1]]
        counted = await durability(house, "hash_objects")
        assert (counted.quarantined, counted.lost, counted.mismatches) == (1, 0, 0)
