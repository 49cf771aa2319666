"""Everything that a front end asks of a model comes to the engine's link, and all answers back."""

from pathlib import Path

import numpy as np
import pytest

from streamgate.core.ids import NO_OWNER, RequestNumber
from streamgate.errors import Code, EndReason, EndWarning, Failure, WarningCause
from streamgate.link.contract import UNSTARTED
from streamgate.link.lanes import WINDOW_BYTES, WINDOW_STEPS
from streamgate.model.config import DirectStrategy, SequenceBatching
from streamgate.model.request import Request, Response
from streamgate.model.snapshot import Snapshot
from streamgate.session.routing import READY, Route, VersionState
from tests.link.pair import engine
from tests.session.fake_link import FakeMovableLink, sequence_config
from tests.session.plain_models import zeros
from tests.waiting import until

SNAPSHOT = Snapshot(4, "schema", {"s": np.arange(6, dtype=np.float32).reshape(2, 3)}, b"kept")


async def test_steps_and_their_answers(tmp_path: Path) -> None:
    async with engine(tmp_path) as there:
        here = await there.connect()
        here.send(7, start=True)
        here.send(7)
        here.send(7, end=True)
        assert here.responses == []
        await until(lambda: len(there.fake.submitted) == 3)
        assert there.fake.positions == [0, 1, 2]
        requests = [request for request, *_ in there.fake.submitted]
        assert [(each.sequence, each.start, each.end) for each in requests] == [
            (7, True, False),
            (7, False, False),
            (7, False, True),
        ]
        there.fake.answer(0, final=False)
        there.fake.answer(0)
        there.fake.answer(1)
        await until(lambda: len(here.responses) == 3)
        assert [(each.position, each.final) for each in here.responses] == [
            (0, False),
            (0, True),
            (1, True),
        ]
        there.fake.on_end(7, EndReason.ERROR, 0)
        await until(lambda: here.ends)
        assert here.ends == [(7, EndReason.ERROR, 0)]
        assert there.server.sequences == 0


async def test_a_request_keeps_all_that_it_has(tmp_path: Path) -> None:
    async with engine(tmp_path) as there:
        here = await there.connect()
        sent = Request(
            *("m", "1", "an id"),
            inputs=[zeros("I", 2, 3), zeros("J", 0)],
            requested_outputs=["O"],
            parameters={"a": 1, "b": "x", "c": 2.5, "d": True, "big": 2**80},
            priority=2,
            timeout_us=2**64 - 1,
            rows=2,
            signature=(("I", (3,)), ("J", ())),
        )
        here.model.submit(sent, here.responses.append, NO_OWNER, -1)
        await until(lambda: there.fake.submitted)
        request, _, owner, position = there.fake.submitted[0]
        for name in (
            *("model", "version", "id", "parameters", "sequence", "start", "end", "priority"),
            *("timeout_us", "rows", "signature"),
        ):
            assert getattr(request, name) == getattr(sent, name), name
        assert list(request.requested_outputs) == ["O"]
        assert [(each.name, each.shape, bytes(each.raw)) for each in request.inputs] == [
            (each.name, each.shape, each.raw) for each in sent.inputs
        ]
        assert (owner, position) == (NO_OWNER, -1)
        response = Response(
            *(request, "m", "1", [zeros("O", 2)], Failure(Code.INTERNAL, "why")),
            empty=True,
            parameters={"p": 1},
            index=3,
            lost=True,
            ran=False,
        )
        there.fake.submitted[0][1](response)
        await until(lambda: here.responses)
        (found,) = here.responses
        assert found.request is sent
        for name in ("failure", "final", "empty", "admitted", "parameters", "index", "lost", "ran"):
            assert getattr(found, name) == getattr(response, name), name
        assert [bytes(each.raw) for each in found.outputs] == [bytes(8)]


async def test_reservations(tmp_path: Path) -> None:
    async with engine(tmp_path) as there:
        here = await there.connect()
        answers: list[Failure | None] = []
        here.model.reserve(5, 1, answers.append)  # type: ignore[arg-type]
        here.model.reserve("x", 1, answers.append)  # type: ignore[arg-type]
        await until(lambda: len(there.fake.reserved) == 2)
        refusal = Failure(Code.UNAVAILABLE, "all slots are taken")
        there.fake.reserved[0][2](None)
        there.fake.reserved[1][2](refusal)
        await until(lambda: len(answers) == 2)
        assert answers == [None, refusal]
        assert there.server.sequences == 1
        here.send(5, start=True)
        await until(lambda: there.fake.submitted)
        there.fake.on_warning(5, EndWarning(WarningCause.RELOAD, 1.5))
        there.fake.on_end(5, EndReason.IDLE, 0)
        await until(lambda: here.ends)
        assert here.warnings == [(5, EndWarning(WarningCause.RELOAD, 1.5))]
        assert here.ends == [(5, EndReason.IDLE, 0)]


async def test_a_reservation_that_ends_unstarted(tmp_path: Path) -> None:
    async with engine(tmp_path) as there:
        here = await there.connect()
        here.model.reserve(5, 1, lambda _: None)  # type: ignore[arg-type]
        await until(lambda: there.fake.reserved)
        there.fake.reserved[0][2](None)
        there.fake.on_end(5, EndReason.IDLE, UNSTARTED)
        await until(lambda: here.ends)
        assert here.ends == [(5, EndReason.IDLE, UNSTARTED)]
        assert here.model.sequences == there.server.sequences == 0


async def test_sequences_come_and_leave(tmp_path: Path) -> None:
    async with engine(tmp_path) as there:
        here = await there.connect()
        answers: list[object] = []
        here.model.restore(5, 1, SNAPSHOT, answers.append)  # type: ignore[arg-type]
        here.positions[5] = SNAPSHOT.position
        here.send(5)
        await until(lambda: there.fake.submitted)
        ((key, _, snapshot, answered),) = there.fake.restored
        assert key == 5
        assert (snapshot.position, snapshot.schema, snapshot.objects) == (4, "schema", b"kept")
        assert np.array_equal(snapshot.states["s"], SNAPSHOT.states["s"])
        assert there.fake.positions == [5]
        answered(None)
        there.fake.answer(0)
        here.model.take_snapshot(5, answers.append)
        here.model.hand_over(5, answers.append)
        await until(lambda: there.fake.handed_over)
        there.fake.asked[0][1](SNAPSHOT)
        there.fake.handed_over[0][1](SNAPSHOT)
        await until(lambda: len(answers) == 3)
        assert answers[0] is None
        assert [each.position for each in answers[1:]] == [4, 4]  # type: ignore[attr-defined]
        assert here.model.sequences == there.server.sequences == 0
        assert 5 not in there.route.positions
        assert here.ends == []
        here.model.hand_over(5, answers.append)
        await until(lambda: len(answers) == 4)
        assert isinstance(answers[3], Failure)
        assert answers[3].code is Code.NOT_FOUND


async def test_what_can_not_be_restored_has_no_end(tmp_path: Path) -> None:
    async with engine(tmp_path) as there:
        here = await there.connect()
        answers: list[Failure | None] = []
        here.model.restore(5, 1, SNAPSHOT, answers.append)  # type: ignore[arg-type]
        await until(lambda: there.fake.restored)
        refusal = Failure(Code.INVALID_ARG, "another schema")
        there.fake.restored[0][3](refusal)
        await until(lambda: answers)
        assert answers == [refusal]
        assert here.ends == []
        assert here.model.sequences == there.server.sequences == len(there.route.positions) == 0


async def test_snapshots_that_are_taken_unasked(tmp_path: Path) -> None:
    async with engine(tmp_path) as there:
        here = await there.connect()
        other = await there.connect()
        for front in (here, other):
            front.model.watch_snapshots(lambda *news, to=front.snapshots: to.append(news))
        here.send(5, start=True)
        other.send("o", start=True)
        await until(lambda: len(there.fake.submitted) == 2)
        there.fake.on_snapshot(5, SNAPSHOT, False)
        there.fake.on_snapshot("o", SNAPSHOT, True)
        there.fake.on_snapshot("nobody's", SNAPSHOT, False)
        await until(lambda: here.snapshots and other.snapshots)
        assert [(key, has_left) for key, _, has_left in here.snapshots] == [(5, False)]
        assert [(key, has_left) for key, _, has_left in other.snapshots] == [("o", True)]
        assert (here.model.sequences, there.server.sequences) == (1, 1)
        assert "o" not in there.route.positions


async def test_all_else_comes_through(tmp_path: Path) -> None:
    async with engine(tmp_path) as there:
        here = await there.connect()
        first = RequestNumber(here.send(5, start=True, owner=3))
        here.model.pause([first])
        here.model.touch(5)
        here.model.touch("unknown")
        here.model.cancel(first)
        here.model.end_sequence(5, EndReason.CLIENT_END, drain=True)
        here.model.end_sequence("unknown", EndReason.CLIENT_END, drain=True)
        here.model.hang_up(3)  # type: ignore[arg-type]
        await until(lambda: there.fake.hung_up)
        assert there.fake.paused == [1]
        assert there.fake.touched == [5]
        assert there.fake.cancelled == [1]
        assert there.fake.ended == [(5, EndReason.CLIENT_END, True)]
        assert there.fake.hung_up == [there.fake.submitted[0][2]]
        here.model.resume([first])
        await until(lambda: not there.fake.paused)
        assert await here.model.is_ready()
        there.fake.says_ready = False
        assert not await here.model.is_ready()


async def test_owners_of_front_ends_are_told_apart(tmp_path: Path) -> None:
    async with engine(tmp_path) as there:
        here, other = await there.connect(), await there.connect()
        here.send(1, start=True)
        other.send(2, start=True)
        await until(lambda: len(there.fake.submitted) == 2)
        owners = [owner for _, _, owner, _ in there.fake.submitted]
        assert len({*owners, NO_OWNER}) == 3


async def test_a_sequence_has_so_much_under_way_and_the_rest_waits(tmp_path: Path) -> None:
    async with engine(tmp_path) as there:
        here = await there.connect()
        size = WINDOW_BYTES // 2
        here.send(5, start=True, size=size)
        for _ in range(4):
            here.send(5, size=size)
        here.send(6, start=True, size=3 * WINDOW_BYTES)
        await until(lambda: len(there.fake.submitted) == 3)
        assert [request.sequence for request, *_ in there.fake.submitted] == [5, 5, 6]
        there.fake.answer(0)
        await until(lambda: len(there.fake.submitted) == 4)
        there.fake.answer(1)
        there.fake.answer(3)
        await until(lambda: len(there.fake.submitted) == 6)
        there.fake.answer(4)
        there.fake.answer(5)
        await until(lambda: len(here.responses) == 5)
        assert [each.position for each in here.responses] == [0, 1, 2, 3, 4]


async def test_small_steps_are_counted_too(tmp_path: Path) -> None:
    async with engine(tmp_path) as there:
        here = await there.connect()
        here.send(5, start=True)
        for _ in range(2 * WINDOW_STEPS):
            here.send(5)
        await until(lambda: len(there.fake.submitted) == WINDOW_STEPS)
        last = RequestNumber(here.send(5))
        here.model.pause([last])
        here.model.cancel(last)
        # What waits goes before it: positions have no gaps.
        await until(lambda: there.fake.cancelled)
        assert there.fake.positions == list(range(2 * WINDOW_STEPS + 2))
        assert there.fake.cancelled == there.fake.paused == [2 * WINDOW_STEPS + 2]


async def test_no_more_waits_here_than_might_there(tmp_path: Path) -> None:
    scheduling = SequenceBatching(DirectStrategy(), 4, max_pending=10)
    fake = FakeMovableLink(sequence_config(scheduling=scheduling))
    async with engine(tmp_path, fake) as there:
        here = await there.connect()
        here.send(5, start=True)
        for _ in range(WINDOW_STEPS + 11):
            here.send(5)
        await until(lambda: len(here.responses) == 2)
        refused = here.responses[0]
        assert refused.failure is not None
        assert "Exceeds maximum queue size" in refused.failure.message
        assert (refused.admitted, refused.ran, refused.lost) == (False, False, False)
        for place in range(WINDOW_STEPS + 10):
            await until(lambda: len(there.fake.submitted) > place)  # noqa: B023
            there.fake.answer(place)
        # Positions of what was refused stay empty; the sequence goes on behind them.
        here.send(5)
        await until(lambda: len(there.fake.submitted) == WINDOW_STEPS + 11)
        assert there.fake.positions[-1] == WINDOW_STEPS + 12


async def test_a_version_that_goes_is_announced_and_then_withdrawn(tmp_path: Path) -> None:
    async with engine(tmp_path) as there:
        here = await there.connect()
        here.send(5, start=True)
        await until(lambda: there.fake.submitted)
        changes: list[tuple[bool, bool]] = []
        here.link.on_change = lambda: changes.append(
            (here.model.is_ready_there, here.model.is_open)
        )
        newer = Route(FakeMovableLink(sequence_config(parameters={"new": "1"})))
        there.table.set("m", 1, VersionState(READY, route=newer))
        await until(lambda: changes)
        assert changes == [(False, True)]
        assert [model.config.parameters for model in here.link.models.values()] == [
            {},
            {"new": "1"},
        ]
        here.send(5)
        await until(lambda: len(there.fake.submitted) == 2)
        there.fake.answer(0)
        there.fake.answer(1)
        there.fake.on_end(5, EndReason.DRAINED, 0)
        there.route.retired = True
        there.table.note_change()
        await until(lambda: not here.model.is_open)
        assert here.ends == [(5, EndReason.DRAINED, 0)]
        assert len(here.responses) == 2
        here.positions[6] = -1
        here.send(6, start=True)
        await until(lambda: len(here.responses) == 3)
        assert here.responses[2].lost
        assert not here.responses[2].admitted


@pytest.mark.parametrize("key", [2**64 - 1, "é\ud800"])
async def test_ids_of_all_kinds(tmp_path: Path, key: int | str) -> None:
    async with engine(tmp_path) as there:
        here = await there.connect()
        here.send(key, start=True)
        await until(lambda: there.fake.submitted)
        assert there.fake.submitted[0][0].sequence == key
        there.fake.on_end(key, EndReason.IDLE, 0)
        await until(lambda: here.ends)
        assert here.ends == [(key, EndReason.IDLE, 0)]
