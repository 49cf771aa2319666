"""A step that hangs in an engine that lives: streams that stall tell of it, no heartbeat does."""

from pathlib import Path

from streamgate.session.remote import RemoteGateway
from tests.durable.house import Client
from tests.durable.models import HANG, HANG_ONCE, hashes, marks_of, write_objects
from tests.link.engine_process import engine_process
from tests.link.test_engine_loss import front_end

MODEL = "hash_objects"


def stalls(gateway: RemoteGateway) -> tuple[int, int]:
    found = gateway.durability()[MODEL, "1"]
    return found.stalls, found.quarantined


async def test_a_stream_that_hangs_goes_on_at_another_engine(tmp_path: Path) -> None:
    repository = tmp_path / "models"
    write_objects(repository, parameters={"streamgate.stall_ms": "300"})
    with (
        engine_process(repository, tmp_path / "sockets" / "a") as a,
        engine_process(repository, tmp_path / "sockets" / "b") as b,
    ):
        async with front_end(a, b) as (gateway, links):
            client = Client.of(gateway)
            values = [3, 1, HANG_ONCE, 4, 1]
            answers = await client.sequence(MODEL, 1, values)
            assert [each for (each,) in answers] == hashes(values)
            assert (marks_of(repository, MODEL) / "hangs").exists()
            assert stalls(gateway) == (1, 0)
            # The other sequences of the engine that is stuck don't wait for it either.
            keys = range(2, 8)
            for key in keys:
                answers = await client.sequence(MODEL, key, [3, 1, 4])
                assert [each for (each,) in answers] == hashes([3, 1, 4])
            assert [link.counts.losses for link in links] == [0, 0]
            (marks_of(repository, MODEL) / "wake").touch()


async def test_a_step_that_hangs_wherever_it_runs_ends_its_sequence(tmp_path: Path) -> None:
    repository = tmp_path / "models"
    write_objects(repository, parameters={"streamgate.stall_ms": "300"})
    with (
        engine_process(repository, tmp_path / "sockets" / "a") as a,
        engine_process(repository, tmp_path / "sockets" / "b") as b,
    ):
        async with front_end(a, b) as (gateway, _):
            client = Client.of(gateway)
            await client.step(MODEL, 1, 3, start=True)
            (answer,) = await client.ask(MODEL, 1, HANG)
            assert answer.failure is not None
            assert "stuck 2 times with the request at position 1" in answer.failure.message
            assert stalls(gateway) == (2, 1)
            (marks_of(repository, MODEL) / "wake").touch()
