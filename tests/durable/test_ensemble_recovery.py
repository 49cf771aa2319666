"""Ensembles whose engine dies or freezes: sequences go on at another as if nothing had been."""

import asyncio
from pathlib import Path

import pytest

from streamgate.errors import EndReason
from streamgate.session.remote import RemoteGateway
from tests.durable.house import Client, durable_house
from tests.durable.models import (
    KILL,
    KILL_ONCE,
    decoupled_hashes,
    ensemble_hashes,
    hashes,
    write_decoupled,
    write_ensemble,
    write_graph,
    write_objects,
)
from tests.link.engine_process import engine_process
from tests.link.test_engine_loss import front_end

SEQUENCES = 6
STEPS = 40
OFTEN = {"streamgate.snapshot_steps": "8"}


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    folder = tmp_path / "models"
    write_graph(folder, slots=16)
    write_objects(folder, slots=16)
    write_decoupled(folder, slots=16)
    write_ensemble(folder, parameters=OFTEN)
    chain = ("hash", "hash_decoupled")
    write_ensemble(folder, "hash_stream", chain, batches=False, parameters=OFTEN)
    return folder


EXPECTED = {
    "hash_ensemble": [[each] for each in ensemble_hashes(range(STEPS))],
    "hash_stream": decoupled_hashes(hashes(range(STEPS))),
}


async def run(gateway: RemoteGateway, model: str, key: int, *, pause: float) -> list[list[int]]:
    """What a sequence is answered. With a pause, each step waits for the one before; without, all
    of a burst are under way at once."""
    client = Client.of(gateway)
    answers = []
    for at in range(0, STEPS, 1 if pause else 10):
        burst = range(at, min(at + (1 if pause else 10), STEPS))
        calls = [
            client.send(model, key, value, start=value == 0, end=value == STEPS - 1)
            for value in burst
        ]
        for call in calls:
            responses = await call
            assert responses[-1].failure is None, responses[-1].failure
            answers.append(
                [int(each.outputs[0].array.item()) for each in responses if each.outputs]
            )
        await asyncio.sleep(pause or 0.2)
    client.connection.close(abort=True)
    return answers


@pytest.mark.parametrize("harm", ["kill", pytest.param("freeze", marks=pytest.mark.slow)])
async def test_sequences_of_ensembles_go_on_at_another_engine(
    repository: Path, tmp_path: Path, harm: str
) -> None:
    with (
        engine_process(repository, tmp_path / "sockets" / "a") as a,
        engine_process(repository, tmp_path / "sockets" / "b") as b,
    ):
        async with front_end(a, b) as (gateway, links):
            runs = {
                (model, key): asyncio.create_task(run(gateway, model, key, pause=0.03 * (key % 2)))
                # They share a model, so each has IDs of its own.
                for first, model in enumerate(EXPECTED)
                for key in range(1 + 100 * first, 1 + 100 * first + SEQUENCES)
            }
            await asyncio.sleep(0.5)
            lost = {
                model: sum(
                    each.sequences for each in links[0].models.values() if each.config.name == model
                )
                for model in EXPECTED
            }
            assert all(lost.values()), lost
            getattr(a, harm)()
            for (model, _), running in runs.items():
                assert await running == EXPECTED[model]
            for model, count in lost.items():
                durability = gateway.durability()[model, "1"]
                assert durability.recovered == count
                assert durability.snapshots > 0


@pytest.mark.parametrize("place", [0, 11])
async def test_a_worker_that_is_killed_inside_an_ensemble_costs_no_result(
    tmp_path: Path, place: int
) -> None:
    write_objects(tmp_path, execution="process")
    write_graph(tmp_path)
    write_ensemble(tmp_path, models=("hash_objects", "hash"))
    values = [*range(place), KILL_ONCE, *range(place, 11)]
    async with durable_house(tmp_path) as house:
        client = house.client()
        killer, other = await asyncio.gather(
            client.sequence("hash_ensemble", 1, values),
            client.sequence("hash_ensemble", 2, range(11)),
        )
        assert [found for (found,) in killer] == ensemble_hashes(values)
        assert [found for (found,) in other] == ensemble_hashes(range(11))
        assert {reason for _, _, reason in client.ends} == {EndReason.CLIENT_END}


async def test_a_worker_that_is_killed_each_time_ends_one_sequence_of_the_ensemble(
    tmp_path: Path,
) -> None:
    write_objects(tmp_path, execution="process")
    write_graph(tmp_path)
    write_ensemble(tmp_path, models=("hash_objects", "hash"))
    async with durable_house(tmp_path) as house:
        client = house.client()
        await client.step("hash_ensemble", 1, 5, start=True)
        other = asyncio.create_task(client.sequence("hash_ensemble", 2, range(40)))
        (response,) = await client.ask("hash_ensemble", 1, KILL)
        assert response.failure is not None
        assert "it is not run again" in response.failure.message
        assert not response.lost
        assert [found for (found,) in await other] == ensemble_hashes(range(40))
        async with asyncio.timeout(20):
            while len(client.ends) < 2:  # noqa: ASYNC110 - it has no event
                await asyncio.sleep(0.01)
        ends = {key: reason for _, key, reason in client.ends}
        assert ends == {1: EndReason.ERROR, 2: EndReason.CLIENT_END}
