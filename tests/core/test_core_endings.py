"""Timeouts, ends from outside and shutdown of sequences, rule by rule."""

from typing import Any

import pytest

from streamgate.core.commands import Rejection, SequenceEnded, SlotTaken
from streamgate.core.events import Close, Drain, EndSequence
from streamgate.core.ids import NO_SLOT, OwnerNumber
from streamgate.errors import EndReason
from streamgate.model.config import SequenceBatching
from tests.core.listening import (
    ended,
    heard,
    refusals,
    rejects,
    requests,
)
from tests.core.play import Play, direct, oldest

A = OwnerNumber(1)
B = OwnerNumber(2)


class TestBacklogTimeout:
    """Facts 4.6."""

    def test_least_timeout_of_a_sequence_rejects_all_its_requests(self) -> None:
        play = Play(direct(1), 1)
        play.submit(1, "S")
        play.submit(2, "S", timeout_ns=900)
        play.submit(2, timeout_ns=300)
        play.submit(2)
        play.submit(3, "S")
        play.wait(1_000)
        times = [now for now, _ in heard(play, SequenceEnded)]
        assert times == [300]
        said = [command for _, command in play.heard]
        assert rejects(said) == [
            (2, Rejection.SEQUENCE_TIMEOUT),
            (3, Rejection.SEQUENCE_TIMEOUT),
            (4, Rejection.SEQUENCE_TIMEOUT),
        ]
        assert ended(said) == [(2, NO_SLOT, EndReason.CLIENT_ABORT)]
        play.submit(2)
        assert refusals(play.poll()) == [Rejection.MISSING_START]

    def test_timeout_means_nothing_in_a_slot(self) -> None:
        play = Play(direct(1), 1)
        play.submit(1, "S", timeout_ns=300)
        play.submit(1, timeout_ns=300)
        play.wait(1_000)
        assert requests(play.complete()) == [[2]]

    def test_timeout_stops_counting_when_the_slot_comes(self) -> None:
        play = Play(direct(1), 1)
        play.submit(1, "SE")
        play.submit(2, "S", timeout_ns=300)
        play.wait(200)
        assert requests(play.complete()) == [[2]]
        play.wait(1_000)
        assert rejects([command for _, command in play.heard]) == []

    def test_it_counts_while_an_older_sequence_of_the_id_is_in_the_way(self) -> None:
        play = Play(direct(2), 2)
        play.submit(1, "SE")
        play.submit(1, "S", timeout_ns=300)
        play.wait(300)
        assert rejects([command for _, command in play.heard]) == [(2, Rejection.SEQUENCE_TIMEOUT)]


class TestEndSequence:
    def test_draining_runs_what_is_queued(self) -> None:
        play = Play(oldest(1), 1)
        play.submit(1, "S")
        play.submit(1)
        play.poll()
        play.tell(EndSequence(1, EndReason.LIFETIME))
        play.submit(1)
        assert refusals(play.poll()) == [Rejection.MISSING_START]
        assert requests(play.complete()) == [[2]]
        assert ended(play.complete()) == [(1, 0, EndReason.LIFETIME)]

    def test_draining_an_idle_sequence_ends_it_at_once(self) -> None:
        play = Play(oldest(1), 1)
        play.submit(1, "S")
        play.run(0)
        play.tell(EndSequence(1, EndReason.LIFETIME))
        assert ended(play.poll()) == [(1, 0, EndReason.LIFETIME)]
        assert play.scheduler.wake_at() is None

    def test_draining_in_the_backlog_waits_for_the_slot(self) -> None:
        play = Play(oldest(1), 1)
        play.submit(1, "SE")
        play.submit(2, "S")
        play.poll()
        play.tell(EndSequence(2, EndReason.PREEMPTED))
        assert ended(play.poll()) == []
        assert requests(play.complete()) == [[2]]
        assert ended(play.complete()) == [(2, 0, EndReason.PREEMPTED)]

    def test_draining_a_sequence_that_ends_by_itself_changes_nothing(self) -> None:
        play = Play(oldest(1), 1)
        play.submit(1, "S")
        play.submit(1, "E")
        play.poll()
        play.tell(EndSequence(1, EndReason.LIFETIME))
        play.poll()
        play.complete()
        assert ended(play.complete()) == [(1, 0, EndReason.CLIENT_END)]

    def test_at_once_rejects_what_is_queued_and_waits_for_what_runs(self) -> None:
        play = Play(oldest(1), 1)
        for flags in ("S", "", "S", ""):
            play.submit(1, flags)
        play.poll()
        play.tell(EndSequence(1, EndReason.ERROR, drain=False))
        said = play.poll()
        assert rejects(said) == [(number, Rejection.SEQUENCE_ENDED) for number in (2, 3, 4)]
        assert ended(said) == [(1, NO_SLOT, EndReason.ERROR)]
        assert ended(play.complete()) == [(1, 0, EndReason.ERROR)]

    def test_it_means_the_older_of_two_sequences_of_an_id(self) -> None:
        play = Play(oldest(1), 1)
        play.submit(1, "S")
        play.submit(1, "E")
        play.submit(1, "S")
        play.poll()
        play.tell(EndSequence(1, EndReason.LIFETIME, drain=False))
        assert rejects(play.poll()) == [(2, Rejection.SEQUENCE_ENDED)]
        said = play.complete()
        assert ended(said) == [(1, 0, EndReason.LIFETIME)]
        assert requests(said) == [[3]]

    def test_at_once_leaves_a_start_that_waits_behind_it(self) -> None:
        play = Play(oldest(2), 0)
        play.submit(1, "S")
        play.run()
        play.submit(2, "SE")
        play.poll()
        step, start = play.submit(1), play.submit(1, "SE")
        play.tell(EndSequence(1, EndReason.ERROR, drain=False))
        said = play.poll()
        assert rejects(said) == [(step, Rejection.SEQUENCE_ENDED)]
        assert ended(said) == [(1, 0, EndReason.ERROR)]
        assert requests(play.complete()) == [[start]]

    def test_unknown_sequence_is_ignored(self) -> None:
        play = Play(oldest(1), 1)
        play.tell(EndSequence(1, EndReason.LIFETIME, drain=False))
        assert play.poll() == []

    def test_iterative_request_that_comes_back_is_rejected(self) -> None:
        play = Play(oldest(1, iterative=True), 1)
        play.submit(7, "S")
        play.poll()
        play.tell(EndSequence(7, EndReason.PREEMPTED, drain=False))
        play.poll()
        said = play.complete(again=True)
        assert rejects(said) == [(1, Rejection.SEQUENCE_ENDED)]
        assert ended(said) == [(7, 0, EndReason.PREEMPTED)]


class TestShutdown:
    def test_draining_gives_slots_to_the_backlog(self) -> None:
        play = Play(oldest(1), 1)
        play.submit(1, "SE")
        play.submit(2, "SE")
        play.tell(Drain())
        play.poll()
        assert requests(play.complete()) == [[2]]

    def test_closing_rejects_the_queues_and_ends_every_sequence_once(self) -> None:
        play = Play(oldest(2), 2)
        for sequence in (1, 2, 3):
            play.submit(sequence, "S")
            play.submit(sequence)
        play.submit(3, "S")
        play.poll()
        play.tell(Close(EndReason.ENGINE_LOST))
        play.submit(1)
        play.submit(9, "S")
        said = play.poll()
        assert rejects(said) == [(number, Rejection.STOPPING) for number in (2, 4, 5, 6, 7)]
        assert refusals(said) == [Rejection.STOPPING, Rejection.STOPPING]
        assert ended(said) == [(3, NO_SLOT, EndReason.ENGINE_LOST)] * 2
        said = play.complete()
        assert ended(said) == [(1, 0, EndReason.ENGINE_LOST), (2, 1, EndReason.ENGINE_LOST)]
        assert len(heard(play, SlotTaken)) == 2

    def test_closing_lets_a_running_end_be_the_end(self) -> None:
        play = Play(oldest(1), 1)
        play.submit(1, "SE")
        play.poll()
        play.tell(Close())
        play.poll()
        assert ended(play.complete()) == [(1, 0, EndReason.CLIENT_END)]

    def test_closing_stops_what_runs_again_and_again(self) -> None:
        play = Play(oldest(1, iterative=True), 1)
        play.submit()
        play.poll()
        play.tell(Close())
        play.poll()
        said = play.complete(again=True)
        assert rejects(said) == [(1, Rejection.STOPPING)]
        assert ended(said) == [(2**63 + 1, 0, EndReason.DRAINED)]


@pytest.mark.parametrize("batching", [direct(2), oldest(2)], ids=["direct", "oldest"])
def test_nothing_is_left_of_a_sequence_that_is_over(batching: SequenceBatching) -> None:
    play = Play(batching, 2)
    for owner in (A, B):
        play.submit(owner, "S", owner=owner, timeout_ns=500)
        play.submit(owner, owner=A + B - owner)
        play.submit(owner, "E", owner=owner)
        play.submit(owner, "SE", owner=owner, timeout_ns=500)
    play.run(10)
    assert len(heard(play, SequenceEnded)) == 4
    scheduler: Any = play.scheduler._scheduler
    roster = scheduler._roster
    for left in (scheduler._requests, scheduler._running, roster._newest, roster._owned):
        assert not left
    for timers in (scheduler._timers, scheduler._idle, scheduler._tenancies.backlog._eligible):
        assert len(timers) == 0
