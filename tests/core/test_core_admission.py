"""Which requests of sequences are taken in, rule by rule."""

import pytest

from streamgate.core.commands import Rejection
from streamgate.core.events import Drain
from streamgate.errors import EndReason
from streamgate.model.request import SequenceKey
from tests.core.listening import ended, refusals, requests, rows
from tests.core.play import Play, direct, oldest


class TestAdmission:
    """Facts 4.1, in this order; none of these is admitted or changes anything."""

    def test_batch_in_sequence_comes_before_all_other_faults(self) -> None:
        play = Play(direct(), 4)
        play.submit(0, rows=2)
        assert refusals(play.poll()) == [Rejection.BATCH_IN_SEQUENCE]

    @pytest.mark.parametrize("key", [0, ""])
    def test_no_correlation_id(self, key: SequenceKey) -> None:
        play = Play(direct(), 4)
        play.tell(Drain())
        play.submit(key, "S")
        assert refusals(play.poll()) == [Rejection.NO_CORRELATION_ID]

    def test_stopping_refuses_starts_and_takes_the_rest_of_live_sequences(self) -> None:
        play = Play(direct(), 4)
        play.submit(1, "S")
        play.poll()
        play.tell(Drain())
        play.submit(2, "S")
        play.submit(3)
        play.submit(1, "E")
        assert refusals(play.poll()) == [Rejection.STOPPING, Rejection.MISSING_START]
        assert requests(play.complete()) == [[4]]

    def test_steps_behind_a_refused_start_are_not_for_the_sequence_before(self) -> None:
        play = Play(direct(1, max_pending=2), 1)
        play.submit(1, "S")
        play.poll()
        waiting = [play.submit(1), play.submit(1)]
        play.submit(1, "S")
        assert refusals(play.poll()) == [Rejection.QUEUE_FULL]
        assert requests(play.complete()) == [[waiting[0]]]
        play.submit(1)
        assert refusals(play.poll()) == [Rejection.MISSING_START]
        assert requests(play.complete()) == [[waiting[1]]]
        assert ended(play.complete()) == [(1, 0, EndReason.SUPERSEDED)]

    def test_a_start_that_is_refused_ends_an_idle_sequence_of_its_id(self) -> None:
        play = Play(direct(), 4)
        play.submit(1, "S")
        play.run()
        play.tell(Drain())
        play.submit(1, "S")
        commands = play.poll()
        assert refusals(commands) == [Rejection.STOPPING]
        assert ended(commands) == [(1, 0, EndReason.SUPERSEDED)]

    @pytest.mark.parametrize("flags", ["", "E"])
    def test_unknown_sequence_needs_start(self, flags: str) -> None:
        play = Play(direct(), 4)
        play.submit(1, flags)
        assert refusals(play.poll()) == [Rejection.MISSING_START]

    def test_integer_and_string_ids_are_different_sequences(self) -> None:
        play = Play(direct(), 4)
        play.submit(7, "S")
        play.submit("7")
        assert refusals(play.poll()) == [Rejection.MISSING_START]

    def test_end_forgets_the_id_on_arrival(self) -> None:
        play = Play(direct(), 4)
        play.submit(1, "S")
        play.submit(1, "E")
        play.submit(1)
        assert refusals(play.poll()) == [Rejection.MISSING_START]

    def test_start_and_end_in_one_request_is_a_sequence(self) -> None:
        play = Play(direct(), 4)
        play.submit(1, "SE")
        ((row,),) = rows(play.poll())
        assert (row.start, row.end) == (True, True)
        assert ended(play.complete()) == [(1, 0, EndReason.CLIENT_END)]

    def test_request_in_the_backlog_joins_its_sequence(self) -> None:
        play = Play(oldest(1), 1)
        play.submit(1, "S")
        play.submit(2, "S")
        play.submit(2)
        play.submit(2, "E")
        assert refusals(play.poll()) == []
        assert play.scheduler.statistics().backlog_sequences == 1

    def test_limit_of_one_sequences_queue(self) -> None:
        play = Play(direct(1, max_pending=2), 1)
        play.submit(1, "S")
        play.poll()
        for _ in range(3):
            play.submit(1)
        assert refusals(play.poll()) == [Rejection.QUEUE_FULL]
        play.complete()
        play.submit(1)
        assert refusals(play.poll()) == []

    def test_limit_of_the_backlog(self) -> None:
        play = Play(direct(1, max_backlog=1), 1)
        for sequence in (1, 2, 3):
            play.submit(sequence, "S")
        assert refusals(play.poll()) == [Rejection.BACKLOG_FULL]

    def test_limit_of_the_backlog_holds_for_sequences_that_wait_for_their_own_id(self) -> None:
        play = Play(direct(4, max_backlog=1), 4)
        for _ in range(3):
            play.submit(1, "SE")
        assert refusals(play.poll()) == [Rejection.BACKLOG_FULL]

    def test_no_limits(self) -> None:
        play = Play(direct(1, max_backlog=0, max_pending=0), 1)
        for sequence in range(1, 50):
            play.submit(sequence, "S")
            for _ in range(20):
                play.submit(sequence)
        assert refusals(play.poll()) == []
