"""Snapshots in a running server: short replays, more sequences than slots."""

import asyncio
from pathlib import Path

import pytest

from streamgate.errors import EndReason
from tests.durable.house import Client, DurableHouse, durable_house
from tests.durable.models import (
    KILL_ONCE,
    ensemble_hashes,
    hashes,
    write_ensemble,
    write_graph,
    write_objects,
)
from tests.durable.test_worker_loss import durability

WAIT_SECONDS = 20.0


async def until_snapshots(house: DurableHouse, model: str, count: int) -> None:
    async with asyncio.timeout(WAIT_SECONDS):
        while (await durability(house, model)).snapshots < count:  # noqa: ASYNC110 - no event
            await asyncio.sleep(0.01)


async def test_what_a_snapshot_covers_is_not_replayed(tmp_path: Path) -> None:
    write_objects(tmp_path, execution="process", parameters={"streamgate.snapshot_steps": "4"})
    values = [*range(8), KILL_ONCE, 3, 1]
    async with durable_house(tmp_path) as house:
        client = house.client()
        answers = []
        for index, value in enumerate(values):
            if value == KILL_ONCE:
                await until_snapshots(house, "hash_objects", 2)
            answers += await client.step("hash_objects", 1, value, start=index == 0)
        assert answers == hashes(values)
        counted = await durability(house, "hash_objects")
        assert counted.recovered == 1
        assert counted.replayed_steps < 4
        assert 0 < counted.snapshot_bytes_kept <= counted.snapshot_bytes


@pytest.mark.parametrize("model", ["hash", "hash_objects"])
async def test_more_sequences_than_slots(tmp_path: Path, model: str) -> None:
    parameters = {"streamgate.hibernate_after_ms": "1"}
    write_graph(tmp_path, slots=2, parameters=parameters)
    write_objects(tmp_path, slots=2, parameters=parameters)
    values = {key: [key * 10 + index for index in range(5)] for key in range(1, 11)}
    async with durable_house(tmp_path) as house:
        client = house.client()
        answers: dict[int, list[int]] = {key: [] for key in values}
        for turn in range(5):
            for key, wanted in values.items():
                answers[key] += await client.step(
                    model, key, wanted[turn], start=turn == 0, end=turn == 4
                )
        assert answers == {key: hashes(wanted) for key, wanted in values.items()}
        counted = await durability(house, model)
        assert counted.hibernations >= 30
        assert (counted.hibernated, counted.hibernated_bytes) == (0, 0)
        assert [reason for *_, reason in client.ends] == [EndReason.CLIENT_END] * 10


async def test_sleepers_end_with_their_connection_and_as_idle(tmp_path: Path) -> None:
    parameters = {"streamgate.hibernate_after_ms": "1"}
    write_graph(tmp_path, slots=1, idle_seconds=0.5, parameters=parameters)
    async with durable_house(tmp_path) as house:
        gone, stays = house.client(), house.client()
        await gone.step("hash", 1, 1, start=True)
        await stays.step("hash", 2, 1, start=True)
        await stays.step("hash", 3, 1, start=True)
        assert (await durability(house, "hash")).hibernated == 2
        gone.connection.close(abort=True)
        assert (await durability(house, "hash")).hibernated == 1
        async with asyncio.timeout(WAIT_SECONDS):
            while len(stays.ends) < 2:  # noqa: ASYNC110 - it has no event
                await asyncio.sleep(0.01)
        assert sorted(stays.ends, key=str) == [
            ("hash", 2, EndReason.IDLE),
            ("hash", 3, EndReason.IDLE),
        ]


async def test_sleepers_are_drained_with_their_model(tmp_path: Path) -> None:
    write_graph(tmp_path, slots=1, parameters={"streamgate.hibernate_after_ms": "1"})
    async with durable_house(tmp_path, exit_timeout_seconds=0.2) as house:
        client = house.client()
        await client.step("hash", 1, 1, start=True)
        await client.step("hash", 2, 1, start=True)
        assert (await durability(house, "hash")).hibernated == 1
        await house.server.stop()
        assert {key: reason for _, key, reason in client.ends} == {
            1: EndReason.DRAINED,
            2: EndReason.DRAINED,
        }


async def test_a_model_inside_an_ensemble_is_recovered(tmp_path: Path) -> None:
    write_graph(tmp_path)
    write_objects(tmp_path, execution="process")
    write_ensemble(tmp_path)
    values = [3, 1, 4, 1, 5]
    async with durable_house(tmp_path) as house:
        client = house.client()
        answers = await client.step("hash_ensemble", 1, values[0], start=True)
        killer: Client = house.client()
        for value in values[1:4]:
            answers += await client.step("hash_ensemble", 1, value)
        # Another sequence of the inner model costs it its process.
        assert await killer.step("hash_objects", 9, KILL_ONCE, start=True, end=True)
        answers += await client.step("hash_ensemble", 1, values[4], end=True)
        assert answers == ensemble_hashes(values)
        assert (await durability(house, "hash_objects")).recovered == 2
