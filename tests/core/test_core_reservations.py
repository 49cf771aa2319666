"""A slot that is had before the START comes: granted or refused at once, then really its own."""

import pytest

from streamgate.core.commands import IdleWarning, Rejection, Reserved
from streamgate.core.events import Cancel, Close, Drain, EndSequence, HangUp, Touch
from streamgate.core.ids import Ns, OwnerNumber, RequestNumber
from streamgate.errors import EndReason
from streamgate.model.config import DefaultScheduling, DynamicBatching, Scheduling, SequenceBatching
from tests.core.listening import (
    ended,
    first_slot,
    heard,
    not_reserved,
    refusals,
    rejects,
    requests,
    rows,
    taken,
)
from tests.core.play import MS, Play, direct, oldest

BOTH = pytest.mark.parametrize("scheduling", [direct(2), oldest(2)], ids=["direct", "oldest"])


class TestAdmission:
    @BOTH
    def test_a_free_slot_is_had_at_once(self, scheduling: SequenceBatching) -> None:
        play = Play(scheduling, 2)
        said = play.reserve(7)
        assert taken(said) == [(7, 0, 0, 1)]
        assert said[-1] == Reserved(RequestNumber(1))
        statistics = play.scheduler.statistics()
        assert (statistics.active_sequences, statistics.pending) == (1, 0)

    @BOTH
    def test_it_does_not_wait_for_one(self, scheduling: SequenceBatching) -> None:
        play = Play(scheduling, 2)
        play.submit(1, "S")
        play.reserve(2)
        assert not_reserved(play.reserve(3)) == [(Rejection.SLOTS_TAKEN, 2)]
        assert play.scheduler.statistics().backlog_sequences == 0
        play.tell(EndSequence(2, EndReason.CLIENT_END))
        play.wait(0)
        assert taken(play.reserve(3)) == [(3, 0, 1, 2)]

    def test_it_does_not_overtake_the_backlog(self) -> None:
        play = Play(direct(1), 1)
        play.submit(1, "SE")
        play.submit(2, "S")
        play.poll()
        assert not_reserved(play.reserve(3)) == [(Rejection.SLOTS_TAKEN, 1)]
        assert taken(play.complete()) == [(2, 0, 0, 2)]
        assert not_reserved(play.reserve(3)) == [(Rejection.SLOTS_TAKEN, 1)]

    @BOTH
    def test_an_id_that_lives_is_refused(self, scheduling: SequenceBatching) -> None:
        play = Play(scheduling, 2)
        play.reserve(1)
        assert not_reserved(play.reserve(1)) == [(Rejection.SEQUENCE_LIVES, 0)]
        play.submit(1, "SE")
        play.poll()
        assert not_reserved(play.reserve(1)) == [(Rejection.SEQUENCE_LIVES, 0)]
        play.complete()
        assert taken(play.reserve(1)) == [(1, 0, 0, 2)]

    @pytest.mark.parametrize(
        ("scheduling", "sequence", "reason"),
        [
            (DefaultScheduling(), 1, Rejection.NOTHING_TO_RESERVE),
            (DynamicBatching(), 1, Rejection.NOTHING_TO_RESERVE),
            (oldest(2, iterative=True), 1, Rejection.NOTHING_TO_RESERVE),
            (direct(2), 0, Rejection.NO_CORRELATION_ID),
            (direct(2), "", Rejection.NO_CORRELATION_ID),
        ],
    )
    def test_where_there_is_nothing_to_reserve(
        self, scheduling: Scheduling, sequence: int | str, reason: Rejection
    ) -> None:
        assert not_reserved(Play(scheduling, 2).reserve(sequence)) == [(reason, 0)]

    @pytest.mark.parametrize("event", [Drain(), Close()])
    def test_a_model_that_goes_takes_none(self, event: Drain | Close) -> None:
        play = Play(direct(2), 2)
        play.tell(event)
        assert not_reserved(play.reserve(1)) == [(Rejection.STOPPING, 0)]

    def test_slots_of_a_lost_instance_are_not_had(self) -> None:
        play = Play(direct(1), 1, instances=2)
        play.lose(0)
        assert taken(play.reserve(1)) == [(1, 1, 0, 1)]
        assert not_reserved(play.reserve(2)) == [(Rejection.SLOTS_TAKEN, 1)]
        play.lose(1)
        assert not_reserved(play.reserve(2)) == [(Rejection.INSTANCE_AWAY, 0)]
        play.wait(20 * MS)
        assert not_reserved(play.reserve(2)) == [(Rejection.INSTANCE_AWAY, 0)]
        play.bring_back(0)
        assert taken(play.reserve(2)) == [(2, 0, 0, 1)]


class TestStart:
    @BOTH
    def test_it_begins_what_is_reserved(self, scheduling: SequenceBatching) -> None:
        play = Play(scheduling, 2)
        play.reserve(1)
        play.submit(1, "S")
        play.submit(1, "E")
        said = play.poll()
        assert taken(said) == []
        assert ended(said) == []
        (row,) = rows(said)[0]
        assert (row.start, row.slot, row.generation) == (True, 0, 1)
        said = play.complete()
        assert requests(said) == [[3]]
        assert ended(play.complete()) == [(1, 0, EndReason.CLIENT_END)]
        assert play.scheduler.statistics().active_sequences == 0

    def test_it_finds_its_slot_however_many_wait(self) -> None:
        play = Play(direct(1, max_backlog=1), 1)
        play.reserve(1)
        play.submit(2, "S")
        play.submit(3, "S")
        play.submit(1, "SE")
        said = play.poll()
        assert refusals(said) == [Rejection.BACKLOG_FULL]
        assert requests(said) == [[4]]
        assert taken(play.complete()) == [(2, 0, 0, 2)]

    def test_the_next_one_supersedes_it(self) -> None:
        play = Play(direct(1), 1)
        play.reserve(1)
        play.submit(1, "S")
        play.submit(1, "S")
        play.run()
        assert ended([command for _, command in play.heard]) == [(1, 0, EndReason.SUPERSEDED)]
        assert taken([command for _, command in play.heard]) == [(1, 0, 0, 1), (1, 0, 0, 2)]

    def test_a_step_before_it_is_refused_and_costs_nothing(self) -> None:
        play = Play(direct(1), 1)
        play.reserve(1)
        play.submit(1)
        play.submit(1, "S", rows=2)
        assert refusals(play.poll()) == [Rejection.MISSING_START, Rejection.BATCH_IN_SEQUENCE]
        play.submit(1, "S")
        said = play.poll()
        assert (requests(said), taken(said)) == ([[4]], [])

    def test_null_rows_stand_for_it(self) -> None:
        play = Play(direct(2), 2)
        play.reserve(1)
        play.submit(2, "S")
        null, row = rows(play.poll())[0]
        assert (null.request, null.slot, null.generation) == (0, 0, 1)
        assert (row.slot, row.start) == (1, True)

    def test_a_draining_model_keeps_its_promise(self) -> None:
        play = Play(direct(2), 2)
        play.reserve(1)
        play.tell(Drain())
        play.submit(2, "S")
        play.submit(1, "S")
        play.submit(1, "S")
        said = play.poll()
        assert refusals(said) == [Rejection.STOPPING, Rejection.STOPPING]
        assert requests(said) == [[3]]

    def test_cancelled_it_gives_the_slot_back(self) -> None:
        play = Play(direct(1), 1)
        play.reserve(1)
        play.submit(1, "S")
        play.submit(1)
        play.submit(2, "S")
        play.tell(Cancel(RequestNumber(2)))
        said = play.poll()
        assert rejects(said) == [(2, Rejection.CANCELLED), (3, Rejection.SEQUENCE_ENDED)]
        assert ended(said) == [(1, 0, EndReason.CLIENT_ABORT)]
        assert requests(said) == [[4]]


class TestEnds:
    @BOTH
    def test_who_never_sends_is_idle(self, scheduling: SequenceBatching) -> None:
        play = Play(SequenceBatching(scheduling.strategy, 2, 5 * MS, idle_warning_ns=2 * MS), 2)
        play.wait(MS)
        play.reserve(1)
        play.wait(10 * MS)
        assert heard(play, IdleWarning) == [(4 * MS, IdleWarning(1, *first_slot(), Ns(2 * MS)))]
        assert ended([command for now, command in play.heard if now == 6 * MS]) == [
            (1, 0, EndReason.IDLE)
        ]
        assert play.scheduler.statistics().active_sequences == 0
        assert play.scheduler.wake_at() is None

    def test_its_start_stops_the_idle_limit(self) -> None:
        play = Play(direct(1, max_idle_ns=5 * MS), 1)
        play.reserve(1)
        play.wait(4 * MS)
        play.submit(1, "S")
        play.poll()
        play.wait(4 * MS)
        play.complete()
        play.wait(4 * MS)
        assert ended([command for _, command in play.heard]) == []

    def test_a_touch_keeps_it(self) -> None:
        play = Play(direct(1, max_idle_ns=5 * MS), 1)
        play.reserve(1)
        play.wait(4 * MS)
        play.tell(Touch(1))
        play.wait(4 * MS)
        assert ended([command for _, command in play.heard]) == []

    def test_its_lifetime_counts_from_the_reservation(self) -> None:
        play = Play(direct(1, max_lifetime_ns=5 * MS), 1)
        play.reserve(1)
        play.wait(3 * MS)
        play.submit(1, "S")
        play.run(0)
        play.wait(2 * MS)
        assert ended([command for now, command in play.heard if now == 5 * MS]) == [
            (1, 0, EndReason.LIFETIME)
        ]

    def test_its_owner_hangs_up(self) -> None:
        play = Play(direct(2), 2)
        play.reserve(1, owner=1)
        play.reserve(2, owner=2)
        play.tell(HangUp(OwnerNumber(1)))
        assert ended(play.poll()) == [(1, 0, EndReason.CLIENT_ABORT)]

    def test_it_belongs_to_who_sends_its_start(self) -> None:
        play = Play(direct(1), 1)
        play.reserve(1, owner=1)
        play.submit(1, "S", owner=2)
        play.run()
        play.tell(HangUp(OwnerNumber(1)))
        assert ended(play.poll()) == []
        play.tell(HangUp(OwnerNumber(2)))
        assert ended(play.poll()) == [(1, 0, EndReason.CLIENT_ABORT)]

    @pytest.mark.parametrize("drain", [True, False])
    def test_it_is_ended_from_outside(self, drain: bool) -> None:
        play = Play(direct(1), 1)
        play.reserve(1)
        play.submit(2, "S")
        play.tell(EndSequence(1, EndReason.DRAINED, drain))
        said = play.poll()
        assert ended(said) == [(1, 0, EndReason.DRAINED)]
        assert requests(said) == [[2]]

    def test_the_model_is_closed(self) -> None:
        play = Play(direct(1), 1)
        play.reserve(1)
        play.tell(Close())
        assert ended(play.poll()) == [(1, 0, EndReason.DRAINED)]
        play.submit(1, "S")
        assert refusals(play.poll()) == [Rejection.STOPPING]


class TestInstances:
    def test_a_loss_takes_nothing_from_it(self) -> None:
        play = Play(direct(1), 1)
        play.reserve(1)
        assert ended(play.lose(0, keeps_states=False)) == []
        play.submit(1, "S")
        assert requests(play.poll()) == []
        assert requests(play.bring_back(0)) == [[2]]

    def test_an_instance_that_is_given_up_takes_it_along(self) -> None:
        play = Play(direct(1), 1)
        play.reserve(1)
        play.lose(0, patience_ns=5 * MS)
        play.wait(5 * MS)
        assert ended([command for _, command in play.heard]) == [(1, 0, EndReason.ENGINE_LOST)]
        play.submit(1, "S")
        assert refusals(play.poll()) == [Rejection.INSTANCE_AWAY]

    def test_an_instance_that_goes_waits_for_it(self) -> None:
        play = Play(direct(1), 1)
        play.reserve(1)
        play.resize(1, grace_ns=5 * MS)
        assert not_reserved(play.reserve(1)) == [(Rejection.SEQUENCE_LIVES, 0)]
        play.submit(1, "SE")
        assert requests(play.poll()) == [[3]]
        assert ended(play.complete()) == [(1, 0, EndReason.CLIENT_END)]

    def test_but_not_for_ever(self) -> None:
        play = Play(direct(1), 1)
        play.reserve(1)
        play.resize(1, grace_ns=5 * MS)
        play.wait(5 * MS)
        assert ended([command for _, command in play.heard]) == [(1, 0, EndReason.PREEMPTED)]
