"""Steps of sequences, rule by rule."""

import pytest

from streamgate.core.commands import Reject, Rejection, Run, SequenceEnded, SlotTaken
from streamgate.core.events import Cancel, Completed, Drain, Submit
from streamgate.core.factory import create_scheduler
from streamgate.core.ids import Ns, RequestNumber, StepNumber
from streamgate.errors import EndReason
from streamgate.model.config import DirectStrategy, OldestStrategy, SequenceBatching
from tests.core.listening import ended, first_slot, heard, refusals, requests, rows, taken
from tests.core.play import Play, direct, oldest


class TestDirect:
    def test_rows_stand_in_their_slots(self) -> None:
        """Facts 4.3: a lone request in slot 3 runs as a batch of 4."""
        play = Play(direct(4), 4)
        for sequence in (1, 2, 3, 4):
            play.submit(sequence, "S")
        play.run()
        play.submit(4)
        ((*gaps, row),) = rows(play.poll())
        assert (row.request, row.slot) == (5, 3)
        assert [(gap.request, gap.slot, gap.generation) for gap in gaps] == [
            (0, 0, 1),
            (0, 1, 1),
            (0, 2, 1),
        ]

    def test_null_rows_know_the_generation_of_an_empty_slot(self) -> None:
        play = Play(direct(2), 2)
        play.submit(1, "SE")
        play.submit(2, "S")
        play.run()
        play.submit(2)
        ((null, _),) = rows(play.poll())
        assert (null.request, null.generation) == (0, 1)

    def test_one_step_at_a_time_on_an_instance(self) -> None:
        play = Play(direct(2), 2)
        play.submit(1, "S")
        play.poll()
        play.submit(2, "S")
        assert requests(play.poll()) == []
        assert requests(play.complete()) == [[0, 2]]

    def test_instances_run_independently(self) -> None:
        play = Play(direct(1), 1, 2)
        play.submit(1, "S")
        play.submit(2, "S")
        assert requests(play.poll()) == [[1], [2]]
        play.submit(1)
        play.submit(2)
        assert requests(play.complete(which=1)) == [[4]]

    def test_unbatched_model_serialises_sequences(self) -> None:
        """Facts 4.3: the second sequence waits for the END of the first."""
        play = Play(direct(1), 0)
        for sequence, flags in ((1, "S"), (2, "S"), (1, "E")):
            play.submit(sequence, flags)
        order = [requests(play.poll())]
        while play.running:
            order.append(requests(play.complete()))
        assert order == [[[1]], [[3]], [[2]], []]

    def test_start_that_takes_over_while_a_step_is_held_back(self) -> None:
        play = Play(SequenceBatching(DirectStrategy(500, 1.0), 2), 2)
        play.submit(1, "S")
        play.wait(500)
        play.complete()
        play.submit(1, "S")
        assert play.poll() == []
        play.submit(2, "S")
        said = play.poll()
        assert [type(command) for command in said] == [SlotTaken, SequenceEnded, SlotTaken, Run]
        assert [[row.generation for row in step] for step in rows(said)] == [[2, 1]]


class TestOldest:
    def test_one_request_of_a_sequence_at_a_time(self) -> None:
        play = Play(oldest(4), 4)
        for flags in ("S", "", ""):
            play.submit(1, flags)
        play.submit(2, "S")
        assert requests(play.poll()) == [[1, 4]]
        assert requests(play.complete()) == [[2]]

    def test_sequences_take_turns_whatever_they_sent_ahead(self) -> None:
        """Facts 4.4: with max_batch_size 0 they interleave request by request."""
        play = Play(oldest(3), 0)
        for sequence in (1, 2, 3, 4):
            play.submit(sequence, "S")
            play.submit(sequence, "E")
        order = [row.sequence for step in rows(play.poll()) for row in step]
        while play.running:
            order += [row.sequence for step in rows(play.complete()) for row in step]
        assert order == [1, 2, 3, 1, 2, 3, 4, 4]

    def test_more_candidates_than_rows(self) -> None:
        play = Play(SequenceBatching(OldestStrategy(4, (2,)), 4), 2)
        for sequence in (1, 2, 3, 4):
            play.submit(sequence, "S")
        assert requests(play.poll()) == [[1, 2]]
        assert requests(play.complete()) == [[3, 4]]

    def test_delay_for_each_request_of_a_lone_sequence(self) -> None:
        """Facts 12.2: four pipelined requests take the delay each."""
        play = Play(SequenceBatching(OldestStrategy(4, (4,), 300), 4), 4)
        for flags in ("S", "", "", ""):
            play.submit(1, flags)
        play.run(0)
        starts = [now for now, _ in heard(play, Run)]
        assert starts == []
        for _ in range(4):
            play.wait(300)
            play.run(0)
        assert [now for now, _ in heard(play, Run)] == [300, 600, 900, 1_200]


class TestIterative:
    """Facts 4.9."""

    def test_request_without_id_gets_one_and_start(self) -> None:
        play = Play(oldest(2, iterative=True), 2)
        play.submit()
        play.submit("")
        ((first, second),) = rows(play.poll())
        assert first.start
        assert second.start
        assert [row.sequence for row in (first, second)] == [2**63 + 1, 2**63 + 2]

    def test_id_that_a_client_uses_is_not_given_out(self) -> None:
        play = Play(oldest(2, iterative=True), 2)
        play.submit(2**63 + 1, "S")
        play.submit()
        ((_, row),) = rows(play.poll())
        assert row.sequence == 2**63 + 2

    def test_rescheduled_request_runs_again_without_flags(self) -> None:
        play = Play(oldest(2, iterative=True), 2)
        play.submit(5, "SE")
        ((row,),) = rows(play.poll())
        assert (row.start, row.end) == (True, True)
        said = play.complete(again=True)
        ((row,),) = rows(said)
        assert (row.request, row.start, row.end) == (1, False, False)
        assert ended(said) == []
        assert ended(play.complete()) == [(5, 0, EndReason.CLIENT_END)]

    def test_rescheduled_request_comes_before_those_behind_it(self) -> None:
        play = Play(oldest(1, iterative=True), 1)
        for flags in ("S", "", ""):
            play.submit(5, flags)
        play.poll()
        assert requests(play.complete(again=True)) == [[1]]
        assert requests(play.complete()) == [[2]]

    def test_new_requests_join_between_iterations(self) -> None:
        play = Play(oldest(3, iterative=True), 3)
        play.submit()
        play.poll()
        play.submit()
        assert requests(play.complete(again=True)) == [[2, 1]]

    def test_sequence_is_over_when_its_request_is(self) -> None:
        play = Play(oldest(1, iterative=True), 1)
        play.submit()
        play.submit()
        play.poll()
        said = play.complete()
        assert ended(said) == [(2**63 + 1, 0, EndReason.CLIENT_END)]
        assert taken(said) == [(2**63 + 2, 0, 0, 2)]

    def test_draining_refuses_it_as_it_would_be_a_start(self) -> None:
        play = Play(oldest(1, iterative=True), 1)
        play.tell(Drain())
        play.submit()
        assert refusals(play.poll()) == [Rejection.STOPPING]


class TestModelEnds:
    """The model may declare a sequence over."""

    def test_what_is_queued_is_rejected(self) -> None:
        play = Play(oldest(1), 1)
        for flags in ("S", "", "E"):
            play.submit(7, flags)
        play.poll()
        said = play.complete(over=True)
        assert said == [
            Reject(RequestNumber(2), Rejection.SEQUENCE_ENDED, True, EndReason.CLIENT_END),
            Reject(RequestNumber(3), Rejection.SEQUENCE_ENDED, True, EndReason.CLIENT_END),
            SequenceEnded(7, *first_slot(), EndReason.CLIENT_END),
        ]

    def test_start_in_the_queue_begins_anew(self) -> None:
        play = Play(oldest(1), 1)
        for flags in ("S", "", "S", ""):
            play.submit(7, flags)
        play.poll()
        said = play.complete(over=True)
        assert ended(said) == [(7, 0, EndReason.CLIENT_END)]
        assert taken(said) == [(7, 0, 0, 2)]
        assert requests(said) == [[3]]

    def test_it_wins_over_running_again(self) -> None:
        play = Play(oldest(1, iterative=True), 1)
        play.submit(7, "S")
        play.poll()
        said = play.complete(over=True, again=True)
        assert ended(said) == [(7, 0, EndReason.CLIENT_END)]
        assert requests(said) == []


class TestTime:
    def test_poll_before_wake_at_does_nothing(self) -> None:
        play = Play(direct(1, max_idle_ns=1_000), 1)
        play.submit(1, "S")
        play.run(0)
        before = play.scheduler.statistics()
        for now in (0, 1, 999):
            assert play.scheduler.poll(Ns(now)) == []
        assert play.scheduler.statistics() == before
        assert play.scheduler.wake_at() == 1_000

    def test_wake_at_is_now_until_events_are_polled(self) -> None:
        play = Play(direct(1), 1)
        assert play.scheduler.wake_at() is None
        play.wait(5)
        play.submit(1, "S")
        play.now = Ns(7)
        play.submit(1)
        assert play.scheduler.wake_at() == 5
        play.poll()
        assert play.scheduler.wake_at() is None

    def test_event_that_comes_in_with_a_late_poll_counts_first(self) -> None:
        """A driver that was held up must not end a sequence whose request is there."""
        scheduler = create_scheduler(direct(1, max_idle_ns=1_000), 1, 1)
        scheduler.receive(Submit(RequestNumber(1), 1, start=True), Ns(0))
        scheduler.poll(Ns(0))
        scheduler.receive(Completed(StepNumber(1)), Ns(0))
        scheduler.poll(Ns(0))
        scheduler.receive(Submit(RequestNumber(2), 1), Ns(1_500))
        assert requests(scheduler.poll(Ns(1_500))) == [[2]]

    def test_unknown_step_is_the_callers_fault(self) -> None:
        play = Play(direct(1), 1)
        with pytest.raises(KeyError):
            play.scheduler.receive(Completed(StepNumber(1)), play.now)

    def test_unknown_request_is_no_fault(self) -> None:
        play = Play(direct(1), 1)
        play.tell(Cancel(RequestNumber(9)))
        assert play.poll() == []


def test_statistics() -> None:
    play = Play(direct(2), 2)
    for sequence in (1, 2, 3):
        play.submit(sequence, "S")
        play.submit(sequence)
    play.poll()
    statistics = play.scheduler.statistics()
    assert (statistics.pending, statistics.running_steps) == (4, 1)
    assert (statistics.slots, statistics.active_sequences) == (2, 2)
    assert statistics.backlog_sequences == 1
