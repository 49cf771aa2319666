"""Cancelled requests and lost connections of sequences, rule by rule."""

import pytest

from streamgate.core.commands import Rejection, SequenceEnded
from streamgate.core.events import Cancel, HangUp
from streamgate.core.ids import NO_INSTANCE, NO_SLOT, OwnerNumber
from streamgate.errors import EndReason
from tests.core.listening import (
    ended,
    heard,
    refusals,
    rejects,
    requests,
    taken,
)
from tests.core.play import Play, direct, oldest

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

    @pytest.mark.parametrize("flags", ["S", "SE"], ids=["open", "closed"])
    def test_each_start_that_is_given_up_is_told_from_those_before_it(self, flags: str) -> None:
        play = Play(oldest(1), 1)
        play.submit(1, flags)
        doomed = [play.submit(1, "S") for _ in range(2)]
        last = play.submit(1, "S")
        play.poll()
        places = []
        for number in (doomed[0], last, doomed[1]):
            play.tell(Cancel(number))
            places += [said.place for said in play.poll() if isinstance(said, SequenceEnded)]
        assert places == [1, 2, 1]

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
