"""Slots, the backlog, one ID after another and idleness, rule by rule."""

from streamgate.core.commands import Rejection, Run, SequenceEnded, SlotTaken
from streamgate.core.ids import Ns
from streamgate.errors import EndReason
from tests.core.listening import ended, first_slot, heard, refusals, requests, rows, taken
from tests.core.play import Play, direct, oldest


class TestSlots:
    def test_sequences_spread_over_instances(self) -> None:
        """Facts 4.2: A0, B0, A1, B1."""
        play = Play(direct(2), 2, 2)
        for sequence in (1, 2, 3, 4):
            play.submit(sequence, "S")
        assert taken(play.poll()) == [(1, 0, 0, 1), (2, 1, 0, 1), (3, 0, 1, 1), (4, 1, 1, 1)]

    def test_slot_is_released_when_the_end_step_completes(self) -> None:
        play = Play(direct(1), 1)
        play.submit(1, "SE")
        play.submit(2, "S")
        assert taken(play.poll()) == [(1, 0, 0, 1)]
        said = play.complete()
        assert ended(said) == [(1, 0, EndReason.CLIENT_END)]
        assert taken(said) == [(2, 0, 0, 2)]
        assert requests(said) == [[2]]

    def test_backlog_is_first_come_first_served_by_sequence(self) -> None:
        """Facts 4.2: by the sequences' creation, whatever they sent since."""
        play = Play(oldest(1), 1)
        play.submit(1, "SE")
        for sequence in (2, 3, 2, 3):
            play.submit(sequence, "S" if play.requests < 3 else "E")
        play.poll()
        said = play.complete()
        assert taken(said) == [(2, 0, 0, 2)]

    def test_waited_counts_from_the_start(self) -> None:
        play = Play(oldest(1), 1)
        play.submit(1, "SE")
        play.wait(10)
        play.submit(2, "S")
        play.wait(100)
        (said,) = [command for command in play.complete() if isinstance(command, SlotTaken)]
        assert said.waited_ns == 100

    def test_slot_taken_comes_before_the_row_and_ended_before_the_next_taken(self) -> None:
        play = Play(oldest(1), 1)
        play.submit(1, "SE")
        play.submit(2, "S")
        assert [type(command) for command in play.poll()] == [SlotTaken, Run]
        assert [type(command) for command in play.complete()] == [SequenceEnded, SlotTaken, Run]


class TestSameId:
    def test_defect_6_start_waits_for_the_end_before_it(self) -> None:
        """Triton ran the new START before, or together with, the old END."""
        play = Play(oldest(2), 2)
        for flags in ("S", "E", "S"):
            play.submit(7, flags)
        assert requests(play.poll()) == [[1]]
        assert requests(play.complete()) == [[2]]
        said = play.complete()
        assert ended(said) == [(7, 0, EndReason.CLIENT_END)]
        assert requests(said) == [[3]]

    def test_defect_6_direct_never_has_one_id_in_two_slots(self) -> None:
        play = Play(direct(2), 2)
        for flags in ("SE", "SE", "SE"):
            play.submit(7, flags)
        for number in (1, 2, 3):
            assert requests(play.poll() if number == 1 else play.complete()) == [[number]]

    def test_waiting_for_its_own_id_holds_nobody_up(self) -> None:
        play = Play(oldest(1), 1)
        for sequence, flags in ((1, "SE"), (2, "S"), (2, "E"), (2, "S"), (3, "SE")):
            play.submit(sequence, flags)
        order = [row.sequence for step in rows(play.poll()) for row in step]
        while play.running:
            order += [row.sequence for step in rows(play.complete()) for row in step]
        assert order == [1, 2, 2, 2]
        assert play.scheduler.statistics().backlog_sequences == 1

    def test_start_on_a_live_id_takes_over_when_its_row_runs(self) -> None:
        """Facts 4.1.7: it queues behind what is there."""
        play = Play(oldest(2), 2)
        for flags in ("S", "", "S", ""):
            play.submit(7, flags)
        assert requests(play.poll()) == [[1]]
        assert ended(play.complete()) == []
        said = play.complete()
        assert [type(command) for command in said] == [SequenceEnded, SlotTaken, Run]
        assert ended(said) == [(7, 0, EndReason.SUPERSEDED)]
        assert taken(said) == [(7, 0, 0, 2)]
        ((row,),) = rows(said)
        assert (row.request, row.generation, row.start) == (3, 2, True)
        ((row,),) = rows(play.complete())
        assert (row.request, row.generation, row.start) == (4, 2, False)

    def test_every_start_has_its_end(self) -> None:
        play = Play(oldest(1), 1)
        for flags in ("S", "S", "SE", "S"):
            play.submit(7, flags)
        play.run()
        play.wait(2_000_000_000)
        assert len(heard(play, SlotTaken)) == len(heard(play, SequenceEnded)) == 4


class TestIdle:
    """Facts 4.7 with defect 5 put right."""

    def test_idle_counts_from_the_last_completion(self) -> None:
        play = Play(direct(1, max_idle_ns=1_000), 1)
        play.submit(1, "S")
        play.wait(700)
        play.complete()
        assert play.scheduler.wake_at() == 1_700
        play.wait(1_000)
        assert heard(play, SequenceEnded) == [
            (1_700, SequenceEnded(1, *first_slot(), EndReason.IDLE))
        ]

    def test_defect_5_execution_is_not_idleness(self) -> None:
        play = Play(direct(1, max_idle_ns=1_000), 1)
        play.submit(1, "S")
        play.wait(5_000)
        play.complete()
        play.submit(1)
        assert refusals(play.poll()) == []

    def test_defect_5_waiting_behind_other_slots_is_not_idleness(self) -> None:
        play = Play(direct(2, max_idle_ns=1_000), 2)
        play.submit(1, "S")
        play.poll()
        play.submit(2, "S")
        play.wait(5_000)
        assert requests(play.complete()) == [[0, 2]]
        play.wait(900)
        play.submit(1)
        assert refusals(play.poll()) == []

    def test_defect_5_time_in_the_backlog_is_not_idleness(self) -> None:
        play = Play(direct(1, max_idle_ns=1_000), 1)
        play.submit(1, "SE")
        play.submit(2, "S")
        play.wait(5_000)
        play.complete()
        play.complete()
        play.wait(900)
        play.submit(2)
        assert refusals(play.poll()) == []

    def test_arrival_ends_idleness(self) -> None:
        play = Play(direct(1, max_idle_ns=1_000), 1)
        play.submit(1, "S")
        play.run(0)
        for _ in range(3):
            play.wait(900)
            play.submit(1)
            play.run(0)
        assert heard(play, SequenceEnded) == []

    def test_idle_slot_goes_to_the_backlog(self) -> None:
        play = Play(direct(1, max_idle_ns=1_000), 1)
        play.submit(1, "S")
        play.submit(2, "S")
        play.run(0)
        play.wait(1_000)
        assert [command for _, command in heard(play, SlotTaken)][-1] == SlotTaken(
            2, *first_slot(2), Ns(1_000)
        )

    def test_no_limit(self) -> None:
        play = Play(direct(1, max_idle_ns=0), 1)
        play.submit(1, "S")
        play.run()
        assert play.scheduler.wake_at() is None

    def test_request_after_the_end_needs_start(self) -> None:
        play = Play(direct(1, max_idle_ns=1_000), 1)
        play.submit(1, "S")
        play.run(0)
        play.wait(1_000)
        play.submit(1)
        assert refusals(play.poll()) == [Rejection.MISSING_START]
