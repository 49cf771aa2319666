"""The running hashes are what they are said to be, on an undisturbed server."""

import asyncio
from pathlib import Path

import pytest

from streamgate.engine.runtime import ModelRuntime
from streamgate.errors import Code, StreamGateError
from streamgate.model.snapshot import Snapshot
from tests.durable.house import DurableHouse, durable_house
from tests.durable.models import (
    ALLOCATE,
    HANG_ONCE,
    KILL_BETWEEN_ONCE,
    KILL_ONCE,
    RAISE,
    decoupled_hashes,
    ensemble_hashes,
    hashes,
    marks_of,
    write_decoupled,
    write_ensemble,
    write_graph,
    write_objects,
    write_pinned,
)

VALUES = [3, 1, 4, 1, 5, -9, 2**40 - 1, -(2**62), 6, 0]
WAIT_SECONDS = 20.0


def singles(values: list[int]) -> list[list[int]]:
    return [[value] for value in hashes(values)]


async def run_two(house: DurableHouse, model: str) -> tuple[list[list[int]], list[list[int]]]:
    """What two sequences that run beside each other answer; the second one's inputs backwards."""
    client = house.client()
    one, other = await asyncio.gather(
        client.sequence(model, 1, VALUES), client.sequence(model, 2, VALUES[::-1])
    )
    return one, other


async def test_all_answer_their_hashes(tmp_path: Path) -> None:
    write_graph(tmp_path)
    write_objects(tmp_path)
    write_pinned(tmp_path, instances=2, slots=1)
    write_decoupled(tmp_path)
    write_ensemble(tmp_path)
    async with durable_house(tmp_path) as house:
        for model in ("hash", "hash_objects", "hash_pinned"):
            assert await run_two(house, model) == (singles(VALUES), singles(VALUES[::-1]))
        answers = [decoupled_hashes(VALUES), decoupled_hashes(VALUES[::-1])]
        assert list(await run_two(house, "hash_decoupled")) == answers
        assert {len(each) for each in answers[0] + answers[1]} == {0, 1, 2, 3}
        expected = [[value] for value in ensemble_hashes(VALUES)]
        assert (await run_two(house, "hash_ensemble"))[0] == expected


def test_every_disturbance_shows_in_all_later_hashes() -> None:
    undisturbed = hashes(range(20))
    for at in range(19):
        lost = hashes([*range(at), *range(at + 1, 20)])
        twice = hashes([*range(at + 1), at, *range(at + 1, 20)])
        swapped = hashes([*range(at), at + 1, at, *range(at + 2, 20)])
        for changed in (lost[at:], twice[at + 1 :], swapped[at + 1 :]):
            assert not set(changed) & set(undisturbed)


async def snapshot_of(house: DurableHouse, model: str) -> Snapshot:
    """Of a sequence that has had the input 7."""
    await house.client().step(model, 1, 7, start=True)
    runtime = house.server._models.table.route(model, "").link
    assert isinstance(runtime, ModelRuntime)
    return await runtime.places.snapshot(1, 0)


async def test_what_is_kept_can_be_moved_unless_it_is_pinned(tmp_path: Path) -> None:
    write_graph(tmp_path)
    write_objects(tmp_path)
    write_pinned(tmp_path)
    (kept,) = hashes([7])
    async with durable_house(tmp_path, durable=False) as house:
        graph = await snapshot_of(house, "hash")
        assert graph.objects is None
        assert graph.states["hash"].tolist() == [kept]
        assert (await snapshot_of(house, "hash_objects")).objects == b"%d" % kept
        with pytest.raises(StreamGateError) as raised:
            await snapshot_of(house, "hash_pinned")
        assert raised.value.code is Code.UNSUPPORTED


async def test_what_kills_kills_a_process_once(tmp_path: Path) -> None:
    write_objects(tmp_path, execution="process")
    async with durable_house(tmp_path, durable=False) as house:
        client = house.client()
        await client.step("hash_objects", 1, 7, start=True)
        (response,) = await client.ask("hash_objects", 2, KILL_ONCE, start=True)
        assert response.failure is not None
        # The first sequence was in the process, too.
        (response,) = await client.ask("hash_objects", 1, 7)
        assert response.failure is not None
        values = [KILL_ONCE, 5]
        assert await client.sequence("hash_objects", 3, values) == singles(values)


async def test_a_decoupled_one_is_killed_between_two_responses(tmp_path: Path) -> None:
    write_decoupled(tmp_path, execution="process")
    # The first input after which the one that kills has two responses or more.
    first = next(value for value in range(100) if hashes([value, KILL_BETWEEN_ONCE])[1] % 4 >= 2)
    values = [first, KILL_BETWEEN_ONCE]
    expected = decoupled_hashes(values)
    async with durable_house(tmp_path, durable=False) as house:
        client = house.client()
        assert await client.step("hash_decoupled", 1, first, start=True) == expected[0]
        responses = await client.ask("hash_decoupled", 1, KILL_BETWEEN_ONCE)
        sent = [int(each.outputs[0].array.item()) for each in responses if each.outputs]
        assert sent == expected[1][:1]
        assert responses[-1].failure is not None
        assert await client.sequence("hash_decoupled", 2, values) == expected


async def test_what_hangs_hangs_until_it_is_woken(tmp_path: Path) -> None:
    write_objects(tmp_path)
    marks = marks_of(tmp_path, "hash_objects")
    async with durable_house(tmp_path) as house:
        client = house.client()
        hanging = client.send("hash_objects", 1, HANG_ONCE, start=True)
        async with asyncio.timeout(WAIT_SECONDS):
            while not (marks / "hangs").exists():  # noqa: ASYNC110 - it has no event
                await asyncio.sleep(0.005)
        assert not hanging.done()
        (marks / "wake").touch()
        (response,) = await hanging
        assert response.outputs[0].array.item() == hashes([HANG_ONCE])[0]


async def test_what_takes_memory_keeps_it_and_what_fails_answers(tmp_path: Path) -> None:
    limit = {"streamgate.worker_memory_limit_mb": "400"}
    write_objects(tmp_path, execution="process", allocate_mb=500, parameters=limit)
    async with durable_house(tmp_path) as house:
        client = house.client()
        await client.step("hash_objects", 1, 1, start=True)
        (response,) = await client.ask("hash_objects", 1, RAISE)
        assert response.failure is not None
        assert "asked to fail" in response.failure.message
        assert await client.step("hash_objects", 1, 2) == [hashes([1, 2])[1]]
        # Beyond its limit a process is killed once the step is answered.
        assert await client.step("hash_objects", 1, ALLOCATE) == [hashes([1, 2, ALLOCATE])[2]]
        (response,) = await client.ask("hash_objects", 1, 3)
        assert response.failure is not None
