"""The log of a sequence, by itself and against a model of what may happen to it."""

from collections.abc import Iterable

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from streamgate.errors import EndReason
from streamgate.model.request import Request, Response
from streamgate.model.snapshot import Snapshot
from streamgate.session.durable.log import Entry, SequenceLog, Verdict
from tests.durable.models import mix

SIZE = 10


class Watched:
    """Implements `LogObserver`."""

    def __init__(self) -> None:
        self.told: list[tuple[object, ...]] = []

    def appended(self, position: int, request: Request) -> None:
        self.told.append(("appended", position))

    def dropped(self, position: int) -> None:
        self.told.append(("dropped", position))

    def delivered(self, position: int, response: Response) -> None:
        self.told.append(("delivered", position, response.index, response.final))

    def cut(self, snapshot: Snapshot) -> None:
        self.told.append(("cut", snapshot.position))

    def outgrown(self, position: int, why: str) -> None:
        self.told.append(("outgrown", position))

    def epoch_raised(self, epoch: int) -> None:
        self.told.append(("epoch", epoch))

    def ended(self, reason: EndReason) -> None:
        self.told.append(("ended", reason))


def step(position: int, at_ns: int = 0) -> Entry:
    return Entry(position, Request("m"), SIZE, at_ns)


def filled(log: SequenceLog[Entry], positions: Iterable[int]) -> list[Entry]:
    """Steps that came in and were answered."""
    entries = [step(position) for position in positions]
    for entry in entries:
        log.append(entry)
        assert log.deliver(entry, log.epoch, 0, final=True) is Verdict.HAND_ON
    return entries


def positions(log: SequenceLog[Entry]) -> list[int]:
    return [entry.position for entry in log.replay()]


def test_a_result_is_handed_on_once() -> None:
    log: SequenceLog[Entry] = SequenceLog(0, 0)
    (entry,) = filled(log, [0])
    assert log.deliver(entry, log.epoch, 0, final=True) is Verdict.SUPPRESS
    log.raise_epoch()
    assert log.deliver(entry, 1, 0, final=True) is Verdict.STALE
    assert log.deliver(entry, 2, 0, final=True) is Verdict.SUPPRESS


def test_a_step_that_was_half_answered_has_the_rest_handed_on() -> None:
    log: SequenceLog[Entry] = SequenceLog(0, 0)
    entry = step(0)
    log.append(entry)
    assert log.deliver(entry, 1, 0, final=False) is Verdict.HAND_ON
    log.raise_epoch()
    assert log.deliver(entry, 2, 0, final=False) is Verdict.SUPPRESS
    assert log.deliver(entry, 2, 2, final=True) is Verdict.GAP
    assert log.deliver(entry, 2, 1, final=True) is Verdict.HAND_ON


def test_a_result_that_turns_out_to_be_the_last_closes_its_step() -> None:
    log: SequenceLog[Entry] = SequenceLog(0, 0)
    entry = step(0)
    log.append(entry)
    log.deliver(entry, 1, 0, final=False)
    log.raise_epoch()
    assert log.deliver(entry, 2, 0, final=True) is Verdict.CLOSE
    assert log.deliver(entry, 2, 0, final=True) is Verdict.SUPPRESS


def test_other_results_than_before_are_noticed() -> None:
    log: SequenceLog[Entry] = SequenceLog(0, 0)
    entry = step(0)
    log.append(entry)
    log.deliver(entry, 1, 0, final=True, digest=b"one")
    assert log.deliver(entry, 1, 0, final=True, digest=b"one") is Verdict.SUPPRESS
    assert log.deliver(entry, 1, 0, final=True, digest=b"two") is Verdict.MISMATCH
    assert log.deliver(entry, 1, 1, final=True, digest=b"one") is Verdict.MISMATCH
    assert log.deliver(entry, 1, 0, final=True, failed=True, digest=b"one") is Verdict.MISMATCH


def test_what_failed_may_come_out_otherwise() -> None:
    log: SequenceLog[Entry] = SequenceLog(0, 0)
    entry = step(0)
    log.append(entry)
    log.deliver(entry, 1, 0, final=True, failed=True, digest=b"one")
    assert log.deliver(entry, 1, 0, final=True, digest=b"two") is Verdict.SUPPRESS


def test_a_snapshot_cuts_what_it_covers() -> None:
    log: SequenceLog[Entry] = SequenceLog(0, 0)
    filled(log, [0, 1, 2])
    assert log.cut(1, Snapshot(1, "s"))
    assert positions(log) == [2]
    assert log.size_bytes == SIZE
    assert not log.cut(1, Snapshot(0, "s")), "older than the last"
    log.raise_epoch()
    assert not log.cut(1, Snapshot(2, "s")), "of an older incarnation"
    log.append(step(3))
    assert not log.cut(2, Snapshot(3, "s")), "of a step that is not answered"
    assert log.snapshot == Snapshot(1, "s")
    assert log.cut(2, Snapshot(2, "s"))
    assert positions(log) == [3]


def test_a_refused_step_stays_a_gap() -> None:
    log: SequenceLog[Entry] = SequenceLog(0, 0)
    filled(log, [0])
    refused = step(1)
    log.append(refused)
    log.drop(refused)
    filled(log, [2])
    assert positions(log) == [0, 2]
    assert log.cut(1, Snapshot(2, "s"))
    assert positions(log) == []


@pytest.mark.parametrize("limit", ["bytes", "time"])
def test_a_log_that_outgrows_its_bounds_is_freed_until_a_snapshot_comes(limit: str) -> None:
    by_bytes = limit == "bytes"
    log: SequenceLog[Entry] = SequenceLog(3 * SIZE if by_bytes else 0, 0 if by_bytes else 5)
    filled(log, [0, 1, 2])
    waiting = step(3, at_ns=6)
    log.append(waiting)
    assert (len(log), log.size_bytes, log.is_recoverable) == (0, 0, False)
    assert "outgrew" in log.why_lost
    assert log.open_entries() == [waiting]
    filled(log, [4])
    assert log.cut(1, Snapshot(2, "s"))
    assert "outgrew" in log.why_lost, "of no use: what came behind it is gone"
    log.deliver(waiting, 1, 0, final=True)
    assert log.cut(1, Snapshot(3, "s"))
    assert (log.why_lost, [*positions(log)]) == ("", [4])
    assert log.open_entries() == []


def test_without_a_log_only_what_is_open_is_kept() -> None:
    log: SequenceLog[Entry] = SequenceLog(0, 0, keeps_done=False)
    filled(log, [0, 1, 2])
    log.append(step(3))
    assert positions(log) == [3]
    assert not log.is_recoverable
    assert log.cut(1, Snapshot(2, "s"))
    assert positions(log) == [3]


def test_an_observer_is_told_of_everything() -> None:
    watched = Watched()
    log: SequenceLog[Entry] = SequenceLog(2 * SIZE, 0, observer=watched)
    filled(log, [0])
    refused = step(1)
    log.append(refused)
    log.drop(refused)
    log.cut(1, Snapshot(1, "s"))
    log.raise_epoch()
    filled(log, [2, 3, 4])
    assert watched.told == [
        ("appended", 0),
        ("appended", 1),
        ("dropped", 1),
        ("cut", 1),
        ("epoch", 2),
        ("appended", 2),
        ("appended", 3),
        ("appended", 4),
        ("outgrown", 4),
    ]


Message = tuple[int, Entry, int, bool, int]
"""A result on its way: epoch, step, index, whether it is the last, and what it says."""


class LogHistory(RuleBasedStateMachine):
    """A sequence whose engine crashes, whose messages come twice, late and from the dead, and whose
    log is cut and outgrown. What the client has must be what an undisturbed engine gives."""

    LIMIT = 6 * SIZE

    def __init__(self) -> None:
        super().__init__()
        self.begin()

    def begin(self) -> None:
        self.log: SequenceLog[Entry] = SequenceLog(self.LIMIT, 0)
        self.values: dict[int, int] = {}
        self.got: list[tuple[int, int, int]] = []
        self.position = 0
        self.is_over = False
        self.dead: list[Message] = []
        self.settle(0, [])

    def settle(self, kept: int, entries: list[Entry]) -> None:
        """An engine with this state, and the steps to replay there."""
        self.kept = kept
        self.kept_at: dict[int, int] = {}
        self.queue = entries
        self.wire: list[Message] = []

    def reference(self) -> list[tuple[int, int, int]]:
        kept, results = 0, []
        for position, value in sorted(self.values.items()):
            kept = mix(kept, value)
            results += [(position, index, mix(kept, index)) for index in range(value % 3 + 1)]
        return results

    @precondition(lambda self: not self.is_over)
    @rule(value=st.integers(0, 5), refused=st.booleans())
    def send(self, value: int, refused: bool) -> None:
        entry = step(self.position)
        self.position += 1
        self.log.append(entry)
        if refused:
            self.log.drop(entry)
        else:
            self.values[entry.position] = value
            self.queue.append(entry)

    @precondition(lambda self: self.queue)
    @rule()
    def run(self) -> None:
        entry = self.queue.pop(0)
        value = self.values[entry.position]
        self.kept = mix(self.kept, value)
        self.kept_at[entry.position] = self.kept
        last = value % 3
        for index in range(last + 1):
            result = mix(self.kept, index)
            self.wire.append((self.log.epoch, entry, index, index == last, result))

    @precondition(lambda self: self.wire)
    @rule(twice=st.booleans())
    def receive(self, twice: bool) -> None:
        message = self.wire.pop(0)
        self.take(message)
        if twice:
            assert self.take(message) is not Verdict.HAND_ON
            self.dead.append(message)

    @precondition(lambda self: self.dead)
    @rule(place=st.integers(0))
    def receive_from_the_dead(self, place: int) -> None:
        verdict = self.take(self.dead.pop(place % len(self.dead)))
        assert verdict in {Verdict.STALE, Verdict.SUPPRESS}

    @precondition(lambda self: len(self.wire) > 1 and self.wire[0][1] is self.wire[1][1])
    @rule()
    def receive_what_overtakes_another(self) -> None:
        _, entry, index, *_ = self.wire[0]
        if not entry.is_done and entry.delivered <= index:
            assert self.take(self.wire[1]) is Verdict.GAP

    def take(self, message: Message) -> Verdict:
        epoch, entry, index, final, result = message
        digest = b"%d" % result
        verdict = self.log.deliver(entry, epoch, index, final=final, digest=digest)
        if verdict is Verdict.HAND_ON:
            self.got.append((entry.position, index, result))
        assert verdict is not Verdict.MISMATCH
        return verdict

    @precondition(lambda self: not self.is_over)
    @rule()
    def crash(self) -> None:
        self.dead += self.wire
        self.log.raise_epoch()
        if not self.log.is_recoverable:
            self.is_over = True
            self.settle(0, [])
            return
        snapshot = self.log.snapshot
        kept = 0 if snapshot is None else int(snapshot.objects or b"")
        self.settle(kept, self.log.replay())

    @precondition(lambda self: self.is_over)
    @rule()
    def begin_another(self) -> None:
        self.begin()

    @precondition(lambda self: self.kept_at and not self.wire)
    @rule(place=st.integers(0))
    def snapshot(self, place: int) -> None:
        taken = sorted(self.kept_at)[place % len(self.kept_at)]
        newest = self.log.snapshot
        snapshot = Snapshot(taken, "s", objects=b"%d" % self.kept_at[taken])
        is_newer = newest is None or newest.position <= taken
        assert self.log.cut(self.log.epoch, snapshot) == is_newer

    @precondition(lambda self: self.kept_at)
    @rule()
    def snapshot_of_the_dead(self) -> None:
        before = (self.log.snapshot, self.log.size_bytes)
        snapshot = Snapshot(max(self.kept_at), "s", objects=b"0")
        assert not self.log.cut(self.log.epoch - 1, snapshot)
        assert (self.log.snapshot, self.log.size_bytes) == before

    @invariant()
    def every_result_came_once_and_in_order(self) -> None:
        assert self.got == self.reference()[: len(self.got)]

    @invariant()
    def the_log_is_bounded(self) -> None:
        assert self.log.size_bytes == sum(entry.size_bytes for entry in self.log)
        assert self.log.size_bytes <= self.LIMIT

    def teardown(self) -> None:
        if self.is_over:
            return
        while self.queue:
            self.run()
        while self.wire:
            self.take(self.wire.pop(0))
        assert self.got == self.reference()


def test_whatever_happens_each_result_comes_once() -> None:
    run_state_machine_as_test(
        LogHistory, settings=settings(max_examples=60, stateful_step_count=40, deadline=None)
    )
