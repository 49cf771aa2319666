"""Stateless schedulers, rule by rule. "Facts" are sections of the notes on Triton's behaviour."""

import pytest

from streamgate.core.commands import Command, Reject, Rejection, Run
from streamgate.core.events import Cancel, Close, Completed, Drain, EndSequence, HangUp, Submit
from streamgate.core.ids import OwnerNumber, RequestNumber, StepNumber
from streamgate.errors import EndReason
from streamgate.model.config import (
    DefaultScheduling,
    DynamicBatching,
    QueuePolicy,
    Scheduling,
    TimeoutAction,
)
from tests.core.play import Play

DELAYED = DynamicBatching((8,), 400)


def steps(commands: list[Command]) -> list[list[int]]:
    return [
        [row.request for row in command.step.rows]
        for command in commands
        if isinstance(command, Run)
    ]


def instances(commands: list[Command]) -> list[int]:
    return [command.step.instance for command in commands if isinstance(command, Run)]


def rejects(commands: list[Command]) -> list[tuple[int, Rejection, bool]]:
    return [
        (command.request, command.reason, command.admitted)
        for command in commands
        if isinstance(command, Reject)
    ]


def submitted(scheduling: Scheduling, max_batch_size: int, *rows: int) -> Play:
    play = Play(scheduling, max_batch_size)
    for count in rows:
        play.submit(rows=count)
    return play


class TestDefaultScheduling:
    def test_one_request_a_step_first_in_first_out(self) -> None:
        """Facts 5.1: each alone, even when max_batch_size is above 1."""
        play = submitted(DefaultScheduling(), 4, 1, 3, 1)
        assert steps(play.poll()) == [[1]]
        assert steps(play.complete()) == [[2]]
        assert steps(play.complete()) == [[3]]

    def test_steps_spread_over_free_instances(self) -> None:
        play = Play(DefaultScheduling(), 0, 2)
        for _ in range(4):
            play.submit()
        assert instances(play.poll()) == [0, 1]
        assert instances(play.complete(which=1)) == [1]
        assert instances(play.complete()) == [0]

    def test_lone_requests_take_turns_with_the_instances(self) -> None:
        play = Play(DefaultScheduling(), 0, 3)
        seen = []
        for _ in range(4):
            play.submit()
            seen += instances(play.poll())
            play.complete()
        assert seen == [0, 1, 2, 0]

    def test_request_larger_than_the_batch_is_the_callers_fault(self) -> None:
        with pytest.raises(AssertionError, match="larger than the model's batch"):
            submitted(DefaultScheduling(), 4, 5)


class TestDynamicBatching:
    def test_no_delay_takes_what_is_there(self) -> None:
        play = submitted(DynamicBatching((4,)), 4, 1, 1, 1)
        assert steps(play.poll()) == [[1, 2, 3]]

    def test_busy_instance_lets_the_queue_grow(self) -> None:
        play = submitted(DynamicBatching((4,)), 4, 1)
        play.poll()
        for _ in range(6):
            play.submit()
        assert play.poll() == []
        assert steps(play.complete()) == [[2, 3, 4, 5]]
        assert steps(play.complete()) == [[6, 7]]

    def test_unbatched_model_behaves_as_by_default(self) -> None:
        """Facts 5.1: max_batch_size 0 behaves like no scheduler."""
        play = submitted(DynamicBatching((), 400), 0, 1, 1)
        assert steps(play.poll()) == [[1]]

    def test_lone_request_waits_exactly_for_the_delay(self) -> None:
        play = submitted(DELAYED, 8, 1)
        assert play.poll() == []
        assert play.scheduler.wake_at() == 400
        play.wait(399)
        assert play.poll() == []
        play.wait(1)
        assert [(now, steps([command])) for now, command in play.heard] == [(400, [[1]])]

    def test_other_shape_flushes_at_once(self) -> None:
        """Facts 5.2: shapes 2,2,3,2 within the delay make [2,2], [3], [2]."""
        play = Play(DELAYED, 8)
        said = []
        for shape in ("2", "2", "3", "2"):
            play.submit(shape=shape)
            said += play.poll()
        assert steps(said) == [[1, 2]]
        assert steps(play.complete()) == [[3]]
        assert steps(play.complete()) == []
        play.wait(400)
        assert steps([command for _, command in play.heard]) == [[1, 2], [3], [4]]

    def test_request_that_does_not_fit_flushes_at_once(self) -> None:
        """Facts 5.2: 4 waits, +3 of 8 waits, +2 would be 9: the first two run."""
        play = submitted(DELAYED, 8, 4)
        assert steps(play.poll()) == []
        play.submit(rows=3)
        assert steps(play.poll()) == []
        play.submit(rows=2)
        assert steps(play.poll()) == [[1, 2]]

    def test_arrivals_while_waiting_join_the_step(self) -> None:
        play = submitted(DELAYED, 8, 1)
        play.wait(200)
        play.submit()
        play.wait(200)
        assert steps([command for _, command in play.heard]) == [[1, 2]]

    def test_defect_1_free_instance_with_a_queue_policy_is_used_at_once(self) -> None:
        policy = QueuePolicy(TimeoutAction.REJECT, 1_000_000, max_queue_size=9)
        play = submitted(DynamicBatching((1,), default_policy=policy), 1, 1, 1, 1)
        play.poll()
        for expected in (2, 3):
            play.wait(100)
            assert steps(play.complete()) == [[expected]]

    def test_rows_say_how_many_rows_they_are(self) -> None:
        play = submitted(DynamicBatching((4,)), 4, 3, 1)
        (run,) = play.poll()
        assert isinstance(run, Run)
        assert [row.rows for row in run.step.rows] == [3, 1]

    def test_higher_priority_overtakes_a_prefix_that_waits(self) -> None:
        play = Play(DynamicBatching((2,), 400, priority_levels=2, default_priority=2), 2)
        play.submit(shape="wide")
        play.poll()
        play.submit(priority=1)
        assert steps(play.poll()) == [[2]]
        assert steps(play.complete()) == []
        play.wait(400)
        assert steps([command for _, command in play.heard]) == [[2], [1]]


class TestQueuePolicies:
    def test_full_queue_refuses_on_arrival(self) -> None:
        """Facts 5.4: the executing request is not counted."""
        play = submitted(DynamicBatching((1,), default_policy=QueuePolicy(max_queue_size=2)), 1, 1)
        play.poll()
        for _ in range(3):
            play.submit()
        assert rejects(play.poll()) == [(4, Rejection.QUEUE_FULL, False)]

    def test_defect_2_rejection_is_exact_with_all_instances_busy(self) -> None:
        policy = QueuePolicy(TimeoutAction.REJECT, 500)
        play = submitted(DynamicBatching((1,), default_policy=policy), 1, 1)
        play.poll()
        play.wait(10)
        play.submit()
        play.wait(600)
        assert [
            (now, command.reason) for now, command in play.heard if isinstance(command, Reject)
        ] == [(510, Rejection.TIMEOUT)]

    def test_request_with_the_device_is_out_of_reach_of_its_timeout(self) -> None:
        policy = QueuePolicy(TimeoutAction.REJECT, 500)
        play = submitted(DynamicBatching((1,), default_policy=policy), 1, 1)
        play.poll()
        assert play.scheduler.wake_at() is None

    def test_delayed_request_runs_after_a_later_one(self) -> None:
        """Facts 5.4: DELAY moves behind, never rejects."""
        policy = QueuePolicy(TimeoutAction.DELAY, 300)
        play = submitted(DynamicBatching((1,), default_policy=policy), 1, 1, 1)
        play.poll()
        play.wait(310)
        play.submit()
        assert steps(play.complete()) == [[3]]
        assert steps(play.complete()) == [[2]]

    def test_timeout_of_one_request_lets_the_others_run_together(self) -> None:
        policy = QueuePolicy(TimeoutAction.REJECT, 0, allow_timeout_override=True)
        play = Play(DynamicBatching((2,), 400, default_policy=policy), 8)
        play.submit(shape="a")
        play.poll()
        play.submit(shape="a", timeout_ns=0)
        assert steps(play.poll()) == [[1, 2]]
        play.submit(shape="a", timeout_ns=50)
        play.complete()
        play.wait(50)
        assert rejects([command for _, command in play.heard]) == [(3, Rejection.TIMEOUT, True)]
        assert play.scheduler.statistics().pending == 0


class TestCancellation:
    def test_queued_request_goes_at_once_and_alone(self) -> None:
        play = submitted(DynamicBatching((4,)), 4, 4, 1, 1, 1)
        play.poll()
        play.tell(Cancel(RequestNumber(3)))
        assert rejects(play.poll()) == [(3, Rejection.CANCELLED, True)]
        assert steps(play.complete()) == [[2, 4]]

    def test_running_finished_and_unknown_requests_are_ignored(self) -> None:
        play = submitted(DefaultScheduling(), 4, 1)
        play.poll()
        play.tell(Cancel(RequestNumber(1)))
        play.tell(Cancel(RequestNumber(99)))
        assert play.poll() == []
        play.complete()
        play.tell(Cancel(RequestNumber(1)))
        assert play.poll() == []

    def test_cancelled_request_no_longer_holds_others_back(self) -> None:
        play = Play(DELAYED, 8)
        play.submit(shape="a")
        play.poll()
        play.wait(100)
        play.tell(Cancel(RequestNumber(1)))
        play.submit(shape="b")
        play.poll()
        assert play.scheduler.wake_at() == 500

    def test_hang_up_cancels_what_the_connection_has_queued(self) -> None:
        play = Play(DefaultScheduling(), 0)
        for owner in (1, 1, 2, 1, 0):
            play.submit(owner=owner)
        play.poll()
        play.tell(HangUp(OwnerNumber(1)))
        assert [number for number, _, _ in rejects(play.poll())] == [2, 4]
        play.tell(HangUp(OwnerNumber(1)))
        play.tell(HangUp(OwnerNumber(7)))
        assert rejects(play.poll()) == []
        assert steps(play.complete()) == [[3]]


class TestEnd:
    def test_draining_runs_the_queue_and_takes_nothing_new(self) -> None:
        play = submitted(DefaultScheduling(), 0, 1, 1)
        play.tell(Drain())
        play.submit()
        assert rejects(play.poll()) == [(3, Rejection.STOPPING, False)]
        assert steps(play.complete()) == [[2]]

    def test_closing_fails_the_queue_and_lets_steps_come_back(self) -> None:
        play = submitted(DefaultScheduling(), 0, 1, 1, 1)
        play.poll()
        play.tell(Close())
        play.submit()
        assert rejects(play.poll()) == [
            (2, Rejection.STOPPING, True),
            (3, Rejection.STOPPING, True),
            (4, Rejection.STOPPING, False),
        ]
        assert play.complete() == []
        assert play.scheduler.statistics().running_steps == 0

    def test_there_are_no_sequences_to_end(self) -> None:
        play = submitted(DefaultScheduling(), 0, 1)
        play.tell(EndSequence(7, EndReason.LIFETIME, drain=False))
        assert steps(play.poll()) == [[1]]


class TestTime:
    def test_poll_without_an_event_before_wake_at_does_nothing(self) -> None:
        play = submitted(DELAYED, 8, 1)
        play.poll()
        before = play.scheduler.statistics()
        assert play.poll() == []
        assert play.scheduler.statistics() == before
        assert play.scheduler.wake_at() == 400

    def test_wake_at_is_now_until_the_event_was_polled(self) -> None:
        play = Play(DefaultScheduling(), 0)
        assert play.scheduler.wake_at() is None
        play.submit()
        assert play.scheduler.wake_at() == play.now
        play.poll()
        assert play.scheduler.wake_at() is None

    def test_unknown_step_is_the_callers_fault(self) -> None:
        play = Play(DefaultScheduling(), 0)
        with pytest.raises(KeyError):
            play.scheduler.receive(Completed(StepNumber(1)), play.now)

    def test_statistics_count_queue_and_steps(self) -> None:
        play = submitted(DefaultScheduling(), 0, 1, 1)
        assert play.scheduler.statistics().pending == 2
        play.poll()
        statistics = play.scheduler.statistics()
        assert (statistics.pending, statistics.running_steps, statistics.slots) == (1, 1, 0)


def test_sequence_flags_of_a_stateless_request_mean_nothing() -> None:
    """Facts 4.1: sequence parameters on a non-sequence model are ignored."""
    play = Play(DefaultScheduling(), 0)
    play.scheduler.receive(Submit(RequestNumber(1), 7, end=True), play.now)
    (run,) = play.poll()
    assert isinstance(run, Run)
    (row,) = run.step.rows
    assert (row.slot, row.sequence, row.start, row.end) == (-1, 0, False, False)
