"""Cancellation, lost connections, timeouts and shutdown of sequences, rule by rule."""

from typing import Any

import pytest

from streamgate.core.commands import Rejection, SequenceEnded, SlotTaken
from streamgate.core.events import Cancel, Close, Drain, EndSequence, HangUp
from streamgate.core.ids import NO_INSTANCE, NO_SLOT, OwnerNumber
from streamgate.errors import EndReason
from streamgate.model.config import SequenceBatching
from tests.core.listening import (
    ended,
    heard,
    refusals,
    rejects,
    requests,
    taken,
)
from tests.core.scenarios import Play, direct, oldest

A = OwnerNumber(1)
B = OwnerNumber(2)


class TestCancel:
    """Facts 4.8 with defect 7 put right."""

    def test_defect_7_queued_request_goes_at_once_and_alone(self) -> None:
        play = Play(direct(1), 1)
        numbers = [play.submit(1, flags) for flags in ("S", "", "", "")]
        play.poll()
        play.tell(Cancel(numbers[2]))
        assert rejects(play.poll()) == [(3, Rejection.CANCELLED)]
        assert requests(play.complete()) == [[2]]
        assert requests(play.complete()) == [[4]]

    def test_running_request_is_left_alone(self) -> None:
        play = Play(direct(1), 1)
        number = play.submit(1, "S")
        play.submit(1)
        play.poll()
        play.tell(Cancel(number))
        assert play.poll() == []
        said = play.complete()
        assert (ended(said), requests(said)) == ([], [[2]])

    def test_head_of_a_queue_that_waits_for_a_step(self) -> None:
        play = Play(direct(2), 2)
        play.submit(1, "S")
        play.run(0)
        play.submit(2, "S")
        play.poll()
        number = play.submit(1)
        play.submit(1)
        play.poll()
        play.tell(Cancel(number))
        play.poll()
        assert requests(play.complete()) == [[4]]

    def test_last_request_leaves_the_sequence_idle(self) -> None:
        play = Play(direct(2, max_idle_ns=1_000), 2)
        play.submit(1, "S")
        play.run(0)
        play.submit(2, "S")
        play.poll()
        number = play.submit(1)
        play.wait(5_000)
        play.tell(Cancel(number))
        play.poll()
        assert play.scheduler.wake_at() == 6_000

    def test_start_takes_what_needs_it_along(self) -> None:
        play = Play(direct(2), 2)
        play.submit(1, "S")
        play.poll()
        number = play.submit(2, "S")
        play.submit(2)
        play.poll()
        play.tell(Cancel(number))
        said = play.poll()
        assert rejects(said) == [(2, Rejection.CANCELLED), (3, Rejection.SEQUENCE_ENDED)]
        assert ended(said) == [(2, 1, EndReason.CLIENT_ABORT)]
        play.submit(2)
        assert refusals(play.poll()) == [Rejection.MISSING_START]

    def test_defect_7_start_in_the_backlog_makes_room_at_once(self) -> None:
        play = Play(oldest(1, max_backlog=1), 1)
        play.submit(1, "S")
        number = play.submit(2, "S")
        play.poll()
        play.tell(Cancel(number))
        (_, said) = play.poll()
        assert isinstance(said, SequenceEnded)
        assert (said.instance, said.slot) == (NO_INSTANCE, NO_SLOT)
        play.submit(3, "S")
        assert refusals(play.poll()) == []

    def test_request_in_the_backlog_leaves_its_sequence_waiting(self) -> None:
        play = Play(oldest(1), 1)
        play.submit(1, "SE")
        play.submit(2, "S", timeout_ns=900)
        number = play.submit(2, timeout_ns=500)
        play.poll()
        assert play.scheduler.wake_at() == 500
        play.tell(Cancel(number))
        assert rejects(play.poll()) == [(3, Rejection.CANCELLED)]
        assert play.scheduler.wake_at() == 900
        assert requests(play.complete()) == [[2]]

    def test_start_before_another_start_gives_its_slot_to_that(self) -> None:
        play = Play(oldest(2), 1)
        play.submit(1, "S")
        number = play.submit(2, "S")
        play.submit(2)
        play.submit(2, "S")
        play.poll()
        play.tell(Cancel(number))
        said = play.poll()
        assert rejects(said) == [(2, Rejection.CANCELLED), (3, Rejection.SEQUENCE_ENDED)]
        assert ended(said) == [(2, 1, EndReason.CLIENT_ABORT)]
        assert taken(said) == [(2, 0, 1, 2)]
        assert requests(play.complete()) == [[4]]

    def test_start_before_another_start_gives_its_place_in_the_backlog_to_that(self) -> None:
        play = Play(oldest(1), 1)
        play.submit(1, "SE")
        number = play.submit(2, "S")
        play.submit(3, "S")
        play.submit(2, "S")
        play.poll()
        play.tell(Cancel(number))
        assert ended(play.poll()) == [(2, NO_SLOT, EndReason.CLIENT_ABORT)]
        assert requests(play.complete()) == [[4]]

    def test_start_that_was_to_take_over_leaves_the_old_sequence_to_its_end(self) -> None:
        """Nobody may add to it: what comes now was meant for the one that was cancelled."""
        play = Play(oldest(1), 1)
        play.submit(1, "S")
        play.submit(1)
        number = play.submit(1, "S")
        play.submit(1)
        play.poll()
        play.tell(Cancel(number))
        said = play.poll()
        assert rejects(said) == [(3, Rejection.CANCELLED), (4, Rejection.SEQUENCE_ENDED)]
        assert ended(said) == [(1, NO_SLOT, EndReason.CLIENT_ABORT)]
        play.submit(1)
        assert refusals(play.poll()) == [Rejection.MISSING_START]
        assert requests(play.complete()) == [[2]]
        assert ended(play.complete()) == [(1, 0, EndReason.SUPERSEDED)]

    def test_end_leaves_the_sequence_alive_and_open(self) -> None:
        play = Play(oldest(1, max_idle_ns=1_000), 1)
        play.submit(1, "S")
        number = play.submit(1, "E")
        play.poll()
        play.tell(Cancel(number))
        play.submit(1)
        said = play.poll()
        assert (rejects(said), refusals(said)) == ([(2, Rejection.CANCELLED)], [])
        assert requests(play.complete()) == [[3]]
        assert ended(play.complete()) == []
        play.wait(1_000)
        assert [type(command) for _, command in heard(play, SequenceEnded)] == [SequenceEnded]

    def test_end_that_a_new_sequence_waits_for_ends_the_old_one_all_the_same(self) -> None:
        play = Play(oldest(1), 1)
        play.submit(1, "S")
        play.submit(1)
        number = play.submit(1, "E")
        play.submit(1, "S")
        play.poll()
        play.tell(Cancel(number))
        play.poll()
        assert requests(play.complete()) == [[2]]
        said = play.complete()
        assert ended(said) == [(1, 0, EndReason.SUPERSEDED)]
        assert requests(said) == [[4]]

    def test_end_does_not_reopen_what_a_cancelled_start_came_after(self) -> None:
        """Found by the model test: the next request would have run on the wrong state."""
        play = Play(oldest(1), 1)
        play.submit(1, "S")
        end, start = play.submit(1, "E"), play.submit(1, "S")
        play.poll()
        play.tell(Cancel(start))
        play.tell(Cancel(end))
        play.submit(1)
        assert refusals(play.poll()) == [Rejection.MISSING_START]
        assert ended(play.complete()) == [(1, 0, EndReason.SUPERSEDED)]

    def test_rescheduled_request_while_it_waits_ends_its_sequence(self) -> None:
        play = Play(oldest(2, iterative=True), 1)
        first, _ = play.submit(), play.submit()
        play.poll()
        assert requests(play.complete(again=True)) == [[2]]
        play.tell(Cancel(first))
        said = play.poll()
        assert rejects(said) == [(1, Rejection.CANCELLED)]
        assert ended(said) == [(2**63 + 1, 0, EndReason.CLIENT_ABORT)]

    def test_request_that_wants_to_run_again_and_is_not_wanted_any_more(self) -> None:
        play = Play(oldest(1, iterative=True), 1)
        number = play.submit()
        play.poll()
        play.tell(Cancel(number))
        play.poll()
        said = play.complete(again=True)
        assert rejects(said) == [(1, Rejection.CANCELLED)]
        assert ended(said) == [(2**63 + 1, 0, EndReason.CLIENT_ABORT)]
        assert requests(said) == []


class TestHangUp:
    def test_sequence_with_nothing_running_ends_at_once(self) -> None:
        play = Play(direct(1), 1)
        play.submit(1, "S", owner=A)
        play.run(0)
        play.submit(2, "S", owner=B)
        play.tell(HangUp(A))
        said = play.poll()
        assert ended(said) == [(1, 0, EndReason.CLIENT_ABORT)]
        assert requests(said) == [[2]]

    def test_slot_is_released_when_the_running_step_completes(self) -> None:
        play = Play(direct(1), 1)
        play.submit(1, "S", owner=A)
        play.submit(1, owner=A)
        play.submit(2, "S", owner=B)
        play.poll()
        play.tell(HangUp(A))
        said = play.poll()
        assert (rejects(said), ended(said)) == ([(2, Rejection.CANCELLED)], [])
        said = play.complete()
        assert ended(said) == [(1, 0, EndReason.CLIENT_ABORT)]
        assert requests(said) == [[3]]

    def test_sequence_belongs_to_the_connection_of_its_newest_request(self) -> None:
        play = Play(direct(1), 1)
        play.submit(1, "S", owner=A)
        play.submit(1, owner=B)
        play.poll()
        play.tell(HangUp(A))
        assert play.poll() == []
        assert requests(play.complete()) == [[2]]
        play.tell(HangUp(B))
        play.poll()
        assert ended(play.complete()) == [(1, 0, EndReason.CLIENT_ABORT)]

    def test_requests_of_others_in_a_sequence_that_it_owns(self) -> None:
        play = Play(oldest(1), 1)
        play.submit(1, "S", owner=A)
        play.submit(1, owner=B)
        play.submit(1, owner=A)
        play.poll()
        play.tell(HangUp(A))
        said = play.poll()
        assert rejects(said) == [(3, Rejection.CANCELLED), (2, Rejection.SEQUENCE_ENDED)]

    def test_requests_of_its_own_in_a_sequence_of_others(self) -> None:
        play = Play(oldest(1), 1)
        play.submit(1, "S", owner=B)
        play.submit(1, owner=A)
        play.submit(1, owner=B)
        play.poll()
        play.tell(HangUp(A))
        assert rejects(play.poll()) == [(2, Rejection.CANCELLED)]
        assert requests(play.complete()) == [[3]]

    def test_nobodys_sequence_outlives_every_connection(self) -> None:
        play = Play(direct(1), 1)
        play.submit(1, "S")
        play.run(0)
        play.tell(HangUp(A))
        play.tell(HangUp(OwnerNumber(0)))
        assert ended(play.poll()) == []

    def test_end_that_runs_is_the_end(self) -> None:
        play = Play(direct(1), 1)
        play.submit(1, "SE", owner=A)
        play.poll()
        play.tell(HangUp(A))
        play.poll()
        assert ended(play.complete()) == [(1, 0, EndReason.CLIENT_END)]

    def test_nobody_gets_a_slot_only_to_lose_it(self) -> None:
        play = Play(oldest(1), 1)
        play.submit(1, "S", owner=A)
        play.run(0)
        for sequence in (2, 3):
            play.submit(sequence, "S", owner=A)
        play.submit(4, "S", owner=B)
        play.tell(HangUp(A))
        assert taken(play.poll()) == [(4, 0, 0, 2)]

    def test_start_that_was_to_take_over_was_of_another_connection(self) -> None:
        play = Play(oldest(1), 1)
        play.submit(1, "S", owner=A)
        play.submit(1, owner=A)
        play.submit(1, "S", owner=B)
        play.poll()
        play.tell(HangUp(B))
        said = play.poll()
        assert rejects(said) == [(3, Rejection.CANCELLED)]
        assert requests(play.complete()) == [[2]]
        assert ended(play.complete()) == [(1, 0, EndReason.SUPERSEDED)]

    def test_iterative_request_is_not_run_again(self) -> None:
        play = Play(oldest(1, iterative=True), 1)
        play.submit(owner=A)
        play.poll()
        play.tell(HangUp(A))
        play.poll()
        said = play.complete(again=True)
        assert rejects(said) == [(1, Rejection.CANCELLED)]
        assert ended(said) == [(2**63 + 1, 0, EndReason.CLIENT_ABORT)]


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
