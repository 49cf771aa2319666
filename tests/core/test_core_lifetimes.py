"""Sequences that end though nobody ended them: too old, idle after a warning, or failed."""

import pytest

from streamgate.core.commands import IdleWarning, Rejection
from streamgate.core.ids import Ns
from streamgate.errors import EndReason
from streamgate.model.config import SequenceBatching
from tests.core.listening import ended, first_slot, heard, rejects, requests
from tests.core.play import MS, Play, direct, oldest


class TestLifetime:
    def test_it_counts_from_the_start_however_busy_the_sequence_is(self) -> None:
        play = Play(direct(1, max_lifetime_ns=5 * MS), 1)
        play.submit(1, "S")
        for _ in range(4):
            play.run(0)
            play.wait(MS)
            play.submit(1)
        play.run(0)
        play.wait(MS - 1)
        assert ended([command for _, command in play.heard]) == []
        play.wait(1)
        assert ended([command for _, command in play.heard]) == [(1, 0, EndReason.LIFETIME)]

    def test_the_step_that_runs_is_waited_for(self) -> None:
        play = Play(oldest(1, max_lifetime_ns=5 * MS), 1)
        play.submit(1, "S")
        play.poll()
        play.submit(1)
        play.wait(6 * MS)
        play.submit(1)
        said = play.complete()
        assert ended(said) == [(1, 0, EndReason.LIFETIME)]
        assert rejects(said) == [(2, Rejection.SEQUENCE_ENDED), (3, Rejection.SEQUENCE_ENDED)]

    def test_an_end_that_runs_then_is_an_end(self) -> None:
        play = Play(direct(1, max_lifetime_ns=5 * MS), 1)
        play.submit(1, "SE")
        play.poll()
        play.wait(6 * MS)
        assert ended(play.complete()) == [(1, 0, EndReason.CLIENT_END)]

    def test_a_start_that_takes_over_has_a_lifetime_of_its_own(self) -> None:
        play = Play(direct(1, max_lifetime_ns=5 * MS), 1)
        play.submit(1, "S")
        play.poll()
        play.submit(1)
        play.submit(1, "S")
        play.wait(6 * MS)
        said = play.complete()
        assert ended(said) == [(1, 0, EndReason.LIFETIME)]
        assert rejects(said) == [(2, Rejection.SEQUENCE_ENDED)]
        assert requests(said) == [[3]]
        play.run(MS)
        play.wait(3 * MS)
        assert len(ended([command for _, command in play.heard])) == 1
        play.wait(MS)
        assert len(ended([command for _, command in play.heard])) == 2

    def test_it_ends_sequences_that_wait_for_a_slot(self) -> None:
        play = Play(direct(1, max_lifetime_ns=5 * MS), 1)
        play.submit(1, "S")
        play.wait(MS)
        play.submit(2, "S")
        play.submit(2)
        play.wait(5 * MS)
        said = [command for now, command in play.heard if now == 6 * MS]
        assert ended(said) == [(2, -1, EndReason.LIFETIME)]
        assert rejects(said) == [(2, Rejection.SEQUENCE_ENDED), (3, Rejection.SEQUENCE_ENDED)]

    def test_a_request_that_wants_to_run_again_does_not(self) -> None:
        play = Play(oldest(1, max_lifetime_ns=5 * MS, iterative=True), 1)
        play.submit(0)
        play.wait(6 * MS)
        said = play.complete(again=True)
        assert rejects(said) == [(1, Rejection.SEQUENCE_ENDED)]
        assert [reason for _, _, reason in ended(said)] == [EndReason.LIFETIME]


class TestWarning:
    def test_it_comes_before_the_idle_end(self) -> None:
        play = Play(direct(1, max_idle_ns=5 * MS, idle_warning_ns=2 * MS), 1)
        play.submit(1, "S")
        play.run(0)
        play.wait(10 * MS)
        assert heard(play, IdleWarning) == [(3 * MS, IdleWarning(1, *first_slot(), Ns(2 * MS)))]
        assert ended([command for now, command in play.heard if now == 5 * MS]) == [
            (1, 0, EndReason.IDLE)
        ]

    def test_a_request_after_it_keeps_the_sequence(self) -> None:
        play = Play(direct(1, max_idle_ns=5 * MS, idle_warning_ns=2 * MS), 1)
        play.submit(1, "S")
        play.run(0)
        play.wait(4 * MS)
        play.submit(1)
        play.run(0)
        play.wait(4 * MS)
        assert [now for now, _ in heard(play, IdleWarning)] == [3 * MS, 7 * MS]
        assert ended([command for _, command in play.heard]) == []

    def test_one_that_would_come_too_late_is_left_out(self) -> None:
        play = Play(direct(1, max_idle_ns=5 * MS, idle_warning_ns=2 * MS), 1)
        play.submit(1, "S")
        play.run(0)
        play.now = Ns(7 * MS)
        assert ended(play.poll()) == [(1, 0, EndReason.IDLE)]
        assert heard(play, IdleWarning) == []


class TestErrors:
    @pytest.mark.parametrize("scheduling", [direct(2), oldest(2)], ids=["direct", "oldest"])
    def test_a_failed_request_ends_its_sequence(self, scheduling: SequenceBatching) -> None:
        play = Play(scheduling, 2)
        play.submit(1, "S")
        play.poll()
        play.submit(1)
        play.submit(1, "S")
        said = play.complete(failed=True)
        assert ended(said) == [(1, 0, EndReason.ERROR)]
        assert rejects(said) == [(2, Rejection.SEQUENCE_ENDED)]
        assert requests(said) == [[3]]

    def test_an_end_that_fails_is_an_end(self) -> None:
        play = Play(direct(1), 1)
        play.submit(1, "SE")
        play.poll()
        assert ended(play.complete(failed=True)) == [(1, 0, EndReason.CLIENT_END)]
