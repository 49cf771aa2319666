"""Instances that are lost, come back, join and go, rule by rule."""

import pytest

from streamgate.core.commands import InstanceGone, Rejection
from streamgate.core.events import Close, Drain
from streamgate.core.ids import InstanceIndex
from streamgate.errors import EndReason
from streamgate.model.config import DefaultScheduling, DynamicBatching, SequenceBatching
from tests.core.listening import ended, heard, refusals, rejects, requests, taken
from tests.core.play import MS, Play, direct, oldest

EITHER = pytest.mark.parametrize("scheduling", [direct(2), oldest(2)], ids=["direct", "oldest"])


def gone(play: Play) -> list[int]:
    return [
        command.instance
        for _, command in heard(play, InstanceGone)
        if isinstance(command, InstanceGone)
    ]


class TestLostSequences:
    @EITHER
    def test_nothing_runs_on_a_lost_instance_until_it_is_back(
        self, scheduling: SequenceBatching
    ) -> None:
        play = Play(scheduling, 2)
        play.submit(1, "S")
        play.poll()
        play.submit(1)
        assert play.lose(0) == []
        play.submit(1)
        assert play.poll() == []
        assert requests(play.bring_back(0)) == [[2]]
        assert requests(play.complete()) == [[3]]

    def test_its_free_slots_are_not_handed_out(self) -> None:
        play = Play(direct(1), 1, 2)
        play.submit(1, "S")
        play.poll()
        play.lose(1)
        play.submit(2, "S")
        assert taken(play.poll()) == []
        assert taken(play.bring_back(1)) == [(2, 1, 0, 1)]

    def test_a_slot_that_is_freed_meanwhile_waits_for_it(self) -> None:
        play = Play(direct(1), 1)
        play.submit(1, "SE")
        play.submit(2, "S")
        play.poll()
        assert ended(play.lose(0)) == [(1, 0, EndReason.CLIENT_END)]
        assert taken(play.bring_back(0)) == [(2, 0, 0, 2)]

    def test_others_go_on(self) -> None:
        play = Play(direct(1), 1, 2)
        play.submit(1, "S")
        play.submit(2, "S")
        play.poll()
        play.lose(0)
        play.submit(2)
        assert requests(play.complete()) == [[3]]

    def test_sequences_without_their_state_end(self) -> None:
        """Up to a new START of theirs, which has lost nothing; nor has one that has not run."""
        play = Play(oldest(4), 4)
        for sequence in (1, 2, 3):
            play.submit(sequence, "S")
        play.run()
        play.submit(1)
        play.submit(2)
        play.submit(2)
        play.submit(2, "S")
        play.poll()
        play.submit(4, "S")
        said = play.lose(0, keeps_states=False)
        assert sorted(ended(said)) == [
            (1, 0, EndReason.ENGINE_LOST),
            (2, 1, EndReason.ENGINE_LOST),
            (3, 2, EndReason.ENGINE_LOST),
        ]
        assert rejects(said) == [(6, Rejection.INSTANCE_LOST)]
        assert requests(play.bring_back(0)) == [[8, 7]]

    def test_who_waits_gets_a_slot_elsewhere_at_once(self) -> None:
        play = Play(direct(1), 1, 2)
        play.submit(1, "S")
        play.submit(2, "SE")
        play.submit(3, "S")
        play.poll()
        play.lose(0, keeps_states=False)
        assert taken(play.complete()) == [(3, 1, 0, 2)]

    def test_one_that_stays_away_is_given_up(self) -> None:
        play = Play(oldest(1), 1)
        for sequence in (1, 2):
            play.submit(sequence, "S")
            play.submit(sequence)
        play.poll()
        play.lose(0, patience_ns=3 * MS)
        play.wait(3 * MS - 1)
        assert heard(play, InstanceGone) == []
        assert rejects([command for _, command in play.heard]) == []
        play.wait(1)
        said = [command for now, command in play.heard if now == 3 * MS]
        assert rejects(said) == [
            (2, Rejection.INSTANCE_AWAY),
            (3, Rejection.INSTANCE_AWAY),
            (4, Rejection.INSTANCE_AWAY),
        ]
        assert ended(said) == [(1, 0, EndReason.ENGINE_LOST), (2, -1, EndReason.ENGINE_LOST)]
        play.submit(3, "S")
        assert refusals(play.poll()) == [Rejection.INSTANCE_AWAY]
        play.bring_back(0)
        play.submit(4, "S")
        assert requests(play.poll()) == [[6]]

    def test_nobody_is_refused_while_another_instance_is_left(self) -> None:
        play = Play(direct(1), 1, 2)
        play.submit(1, "S")
        play.run()
        play.lose(1, patience_ns=MS)
        play.submit(2, "S")
        play.wait(2 * MS)
        play.submit(3, "S")
        assert refusals(play.poll()) == []
        play.submit(1, "E")
        play.poll()
        assert taken(play.complete()) == [(2, 0, 0, 2)]

    def test_what_is_lost_or_back_already_is_ignored(self) -> None:
        play = Play(direct(1), 1)
        assert play.bring_back(0) == []
        play.lose(0, patience_ns=MS)
        assert play.lose(0, keeps_states=False, patience_ns=9 * MS) == []
        assert play.scheduler.wake_at() == MS

    def test_it_can_be_closed(self) -> None:
        play = Play(direct(1), 1)
        play.submit(1, "S")
        play.poll()
        play.submit(1)
        play.lose(0)
        play.tell(Close())
        assert rejects(play.poll()) == [(2, Rejection.STOPPING)]
        assert play.bring_back(0) == []


class TestResizedSequences:
    def test_a_new_instance_takes_new_sequences(self) -> None:
        play = Play(direct(1), 1)
        play.submit(1, "S")
        play.submit(2, "S")
        play.poll()
        said = play.resize(0, 1)
        assert taken(said) == [(2, 1, 0, 1)]
        assert requests(said) == [[2]]
        assert play.scheduler.statistics().slots == 2

    def test_one_that_goes_serves_what_it_has_and_takes_nothing_new(self) -> None:
        play = Play(direct(1), 1, 2)
        play.submit(1, "S")
        play.submit(2, "S")
        play.run()
        play.resize(0)
        play.submit(2)
        play.submit(3, "S")
        play.run()
        assert taken([command for _, command in play.heard])[2:] == []
        play.submit(2, "E")
        play.run()
        assert gone(play) == [1]
        assert play.scheduler.statistics().slots == 1
        play.submit(1, "E")
        play.run()
        assert taken([command for _, command in play.heard])[2:] == [(3, 0, 0, 2)]

    def test_one_without_sequences_goes_at_once(self) -> None:
        play = Play(oldest(2), 2, 2)
        assert play.resize(0) == [InstanceGone(InstanceIndex(1))]

    def test_one_that_is_lost_goes_too(self) -> None:
        play = Play(oldest(2), 2, 2)
        play.submit(1, "S")
        play.submit(2, "S")
        play.run()
        play.lose(1)
        play.resize(0, grace_ns=MS)
        play.wait(MS)
        assert ended([command for _, command in play.heard]) == [(2, 0, EndReason.PREEMPTED)]
        assert gone(play) == [1]
        assert play.bring_back(1) == []

    def test_what_stays_for_too_long_is_preempted(self) -> None:
        play = Play(oldest(2), 2, 2)
        for sequence in (1, 2, 3, 4):
            play.submit(sequence, "S")
        play.run()
        play.submit(2)
        play.poll()
        play.submit(2)
        play.resize(0, grace_ns=MS)
        play.wait(2 * MS)
        assert ended([command for _, command in play.heard]) == [(4, 1, EndReason.PREEMPTED)]
        assert rejects([command for _, command in play.heard]) == [(6, Rejection.SEQUENCE_ENDED)]
        assert ended(play.complete()) == [(2, 0, EndReason.PREEMPTED)]
        assert gone(play) == [1]

    def test_one_that_was_to_go_may_stay_after_all(self) -> None:
        play = Play(direct(1), 1, 2)
        play.submit(1, "S")
        play.submit(2, "S")
        play.run()
        play.resize(0, grace_ns=MS)
        play.resize(0, 1)
        play.wait(2 * MS)
        play.submit(2, "E")
        play.submit(3, "S")
        play.run()
        assert gone(play) == []
        assert taken([command for _, command in play.heard])[2:] == [(3, 1, 0, 2)]

    def test_who_waits_for_those_that_are_given_up_is_sent_away(self) -> None:
        play = Play(direct(1), 1, 2)
        play.submit(1, "S")
        play.submit(2, "S")
        play.submit(3, "S")
        play.run()
        play.lose(0, patience_ns=MS)
        play.wait(2 * MS)
        assert rejects(play.resize(0)) == [(3, Rejection.INSTANCE_AWAY)]
        play.submit(4, "S")
        assert refusals(play.poll()) == [Rejection.INSTANCE_AWAY]


class TestStateless:
    def test_a_lost_instance_takes_no_steps_until_it_is_back(self) -> None:
        play = Play(DefaultScheduling(), 1, 2)
        for _ in range(4):
            play.submit()
        assert requests(play.poll()) == [[1], [2]]
        assert requests(play.lose(0)) == []
        assert requests(play.complete()) == [[3]]
        assert requests(play.bring_back(0)) == [[4]]

    def test_what_waits_is_rejected_when_nobody_comes_back(self) -> None:
        play = Play(DynamicBatching((2,)), 2)
        for _ in range(3):
            play.submit()
        play.poll()
        play.lose(0, patience_ns=3 * MS)
        play.wait(3 * MS)
        assert [(now, rejects([command])) for now, command in play.heard[1:]] == [
            (3 * MS, [(3, Rejection.INSTANCE_AWAY)])
        ]
        play.submit()
        assert refusals(play.poll()) == [Rejection.INSTANCE_AWAY]
        play.bring_back(0)
        play.submit()
        assert requests(play.poll()) == [[5]]

    def test_nobody_waits_for_ever_while_the_model_drains(self) -> None:
        play = Play(DefaultScheduling(), 1)
        play.submit()
        play.submit()
        play.poll()
        play.tell(Drain())
        play.lose(0, patience_ns=MS)
        play.wait(MS)
        said = [command for _, command in play.heard]
        assert rejects(said) == [(2, Rejection.INSTANCE_AWAY)]

    def test_instances_join_and_go(self) -> None:
        play = Play(DefaultScheduling(), 1)
        for _ in range(5):
            play.submit()
        play.poll()
        assert requests(play.resize(0, 1)) == [[2]]
        play.resize(1)
        assert requests(play.complete()) == []
        assert gone(play) == [0]
        assert requests(play.complete()) == [[3]]
        play.resize(2)
        assert gone(play) == [0]
        assert play.running[1].instance == 2
        play.run()
        assert gone(play) == [0, 1]
        assert play.scheduler.wake_at() is None

    def test_the_grace_of_a_long_step_takes_nothing_from_it(self) -> None:
        play = Play(DefaultScheduling(), 1, 2)
        play.submit()
        play.submit()
        play.poll()
        play.resize(0, grace_ns=MS)
        play.wait(2 * MS)
        assert gone(play) == []
        play.complete(which=1)
        assert gone(play) == [1]
