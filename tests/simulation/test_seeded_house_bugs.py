"""The simulation catches what it is for: each bug put in on purpose makes it fail."""

from collections.abc import Callable, Collection, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import settings
from hypothesis.stateful import run_state_machine_as_test

from streamgate.core.backlog import Backlog
from streamgate.core.commands import Step
from streamgate.core.endings import Endings
from streamgate.core.events import Completed
from streamgate.core.ids import Ns, RequestNumber
from streamgate.core.sequence import Sequence as CoreSequence
from streamgate.core.sequences import SequenceScheduler
from streamgate.core.slots import Slot, SlotPool
from streamgate.core.tenancies import Tenancies
from streamgate.core.timers import Countdown
from streamgate.engine import tensor_runner
from streamgate.engine.alarm import Alarm
from streamgate.engine.arena import Arena, NewStates
from streamgate.engine.controls import ControlTensors
from streamgate.engine.counters import Counters
from streamgate.engine.delivery import Delivery
from streamgate.engine.instances import Instances
from streamgate.engine.live import LiveRequest, Outbox
from streamgate.engine.runtime import ModelRuntime
from streamgate.engine.stepper import Stepper
from streamgate.engine.tensor_runner import Outcome, TensorRunner
from streamgate.model.request import Request, Response
from streamgate.session.positions import Positions
from tests.model.settings import CAUGHT, ONLY_LONG, SEEDED
from tests.simulation.house_machine import HouseMachine

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

# Most take a few dozen stories; how many depends on what else hypothesis has seen.
PATIENT = settings(SEEDED, max_examples=3_000)

Bug = Callable[[pytest.MonkeyPatch], None]


def nothing(*_: Any, **__: Any) -> None:
    return None


def state_of_the_last_tenant(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Arena, "begin", nothing)


def states_go_to_the_wrong_slots(patch: pytest.MonkeyPatch) -> None:
    scatter = Arena.scatter

    def swap(self: Arena, slots: Sequence[int], rows: Sequence[int], new: NewStates) -> None:
        scatter(self, slots[::-1], rows, new)

    patch.setattr(Arena, "scatter", swap)


def states_come_from_the_wrong_slots(patch: pytest.MonkeyPatch) -> None:
    gather = Arena.gather
    patch.setattr(Arena, "gather", lambda self, slots: gather(self, slots[::-1]))


def states_are_not_kept(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Arena, "scatter", nothing)


def null_rows_are_kept(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(tensor_runner, "NO_REQUEST", -1)


def answers_of_the_neighbour(patch: pytest.MonkeyPatch) -> None:
    run = TensorRunner.run

    def turned(self: TensorRunner, step: Step, lives: Sequence[LiveRequest | None]) -> Outcome:
        outcome = run(self, step, lives)
        sent = outcome.responses
        outcome.responses = [
            (live, replace(other, request=live.request, position=live.position))
            for (live, _), (_, other) in zip(sent, sent[1:] + sent[:1], strict=True)
        ]
        return outcome

    patch.setattr(TensorRunner, "run", turned)


def correlation_ids_of_the_neighbour(patch: pytest.MonkeyPatch) -> None:
    arrays = ControlTensors.arrays
    patch.setattr(
        ControlTensors,
        "arrays",
        lambda self, rows: [
            (control, np.roll(values, 1, axis=0)) for control, values in arrays(self, rows)
        ],
    )


def cancelled_answer_is_delivered(patch: pytest.MonkeyPatch) -> None:
    deliver = Delivery.deliver

    def careless(self: Delivery, live: LiveRequest, response: Response) -> None:
        if live.closed and response.final:
            live.sink(response)
        else:
            deliver(self, live, response)

    patch.setattr(Delivery, "deliver", careless)


def cancelled_answer_goes_to_the_successor(patch: pytest.MonkeyPatch) -> None:
    deliver = Delivery.deliver

    def mixed_up(self: Delivery, live: LiveRequest, response: Response) -> None:
        if live.closed:
            for other in list(self.lives.values()):
                if other.request.sequence == live.request.sequence:
                    live = other
                    break
        deliver(self, live, response)

    patch.setattr(Delivery, "deliver", mixed_up)


def request_numbers_are_used_again(patch: pytest.MonkeyPatch) -> None:
    submit = ModelRuntime.submit

    def again(self: ModelRuntime, *rest: Any) -> RequestNumber:
        self._numbers = len(self._lives)
        return submit(self, *rest)

    patch.setattr(ModelRuntime, "submit", again)


def positions_of_a_refused_start(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Positions, "refuse", nothing)


def position_is_given_twice(patch: pytest.MonkeyPatch) -> None:
    assign = Positions.assign

    def stuck(self: Positions, request: Request, listener: Any, at: int | None = None) -> int:
        return min(1, assign(self, request, listener, at))

    patch.setattr(Positions, "assign", stuck)


def first_listener_is_told(patch: pytest.MonkeyPatch) -> None:
    assign = Positions.assign

    def keep_the_first(
        self: Positions, request: Request, listener: Any, at: int | None = None
    ) -> int:
        tenancies = self._tenancies.get(request.sequence)
        if not request.start and tenancies:
            listener = tenancies[-1].listener
        return assign(self, request, listener, at)

    patch.setattr(Positions, "assign", keep_the_first)


def the_oldest_is_told(patch: pytest.MonkeyPatch) -> None:
    end = Positions.end
    patch.setattr(Positions, "end", lambda self, key, reason, place: end(self, key, reason))


def steps_behind_a_refused_start_run(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Endings, "shut", nothing)


def slot_released_twice(patch: pytest.MonkeyPatch) -> None:
    release = SlotPool.release

    def twice(self: SlotPool, slot: Slot) -> None:
        release(self, slot)
        release(self, slot)

    patch.setattr(SlotPool, "release", twice)


def hang_up_ends_nothing(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Endings, "hang_up", nothing)


def idle_while_running(patch: pytest.MonkeyPatch) -> None:
    start = Countdown.start

    def restart(self: Countdown[Any], subject: Any, now: Ns) -> None:
        if subject not in self._due:
            start(self, subject, now)

    patch.setattr(Countdown, "start", restart)
    patch.setattr(Countdown, "stop", nothing)


def end_waits_for_nobody(patch: pytest.MonkeyPatch) -> None:
    add = Backlog.add

    def impatient(self: Backlog, sequence: CoreSequence) -> None:
        held_back = sequence.predecessor is not None
        add(self, sequence)
        if held_back:
            self.admit(sequence)

    patch.setattr(Backlog, "add", impatient)


def outstanding_answers_are_lost(patch: pytest.MonkeyPatch) -> None:
    lost = ModelRuntime.instance_lost

    def forget(self: ModelRuntime, *rest: Any, **named: Any) -> None:
        lives, self._lives = self._lives, {}
        lost(self, *rest, **named)
        self._lives = lives

    patch.setattr(ModelRuntime, "instance_lost", forget)


def lost_sequences_go_on(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Stepper, "keeps_states", True)


def ends_are_not_told_to_models(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Instances, "depart", nothing)


def paused_clients_are_served(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(SequenceScheduler, "_pause", nothing)


def lives_for_ever(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Endings, "outlive", nothing)


def lost_instance_stays_away(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(ModelRuntime, "instance_back", nothing)


def timer_is_set_once(patch: pytest.MonkeyPatch) -> None:
    def forget(self: Alarm) -> None:
        self._timer = None
        self._ring()

    patch.setattr(Alarm, "_on_timer", forget)


def last_answers_of_a_step_are_lost(patch: pytest.MonkeyPatch) -> None:
    take_in = ModelRuntime._take_in

    def short(self: ModelRuntime, outcome: Outcome) -> Outbox:
        return take_in(self, outcome)[:1]

    patch.setattr(ModelRuntime, "_take_in", short)


def two_final_answers(patch: pytest.MonkeyPatch) -> None:
    deliver = Delivery.deliver

    def twice(self: Delivery, live: LiveRequest, response: Response) -> None:
        deliver(self, live, response)
        if live.cancelled:
            live.sink(response)

    patch.setattr(Delivery, "deliver", twice)


def responses_are_not_numbered(patch: pytest.MonkeyPatch) -> None:
    deliver = Delivery.deliver

    def unnumbered(self: Delivery, live: LiveRequest, response: Response) -> None:
        live.index = 0
        deliver(self, live, response)

    patch.setattr(Delivery, "deliver", unnumbered)


def failures_count_twice(patch: pytest.MonkeyPatch) -> None:
    count = Counters.count_failure

    def twice(self: Counters, reason: str, duration_ns: int) -> None:
        count(self, reason, duration_ns)
        count(self, reason, duration_ns)

    patch.setattr(Counters, "count_failure", twice)


def completed_steps_run_again(patch: pytest.MonkeyPatch) -> None:
    complete = SequenceScheduler._complete

    def again(self: SequenceScheduler, event: Completed, now: Ns) -> None:
        _, done = self._running[event.step]
        complete(self, event, now)
        for pending in done:
            if pending.sequence.queue and not pending.start:
                self._requests[pending.event.request] = pending
                pending.sequence.queue.append(pending)
                return

    patch.setattr(SequenceScheduler, "_complete", again)


def waiting_starts_are_forgotten(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Tenancies, "_fill", nothing)


def loss_goes_unnoticed(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Instances, "ended", nothing)


BUGS: list[Bug] = [
    state_of_the_last_tenant,
    states_go_to_the_wrong_slots,
    states_come_from_the_wrong_slots,
    states_are_not_kept,
    null_rows_are_kept,
    answers_of_the_neighbour,
    correlation_ids_of_the_neighbour,
    cancelled_answer_is_delivered,
    cancelled_answer_goes_to_the_successor,
    request_numbers_are_used_again,
    positions_of_a_refused_start,
    position_is_given_twice,
    first_listener_is_told,
    the_oldest_is_told,
    steps_behind_a_refused_start_run,
    slot_released_twice,
    hang_up_ends_nothing,
    idle_while_running,
    end_waits_for_nobody,
    outstanding_answers_are_lost,
    lost_sequences_go_on,
    ends_are_not_told_to_models,
    paused_clients_are_served,
    lives_for_ever,
    lost_instance_stays_away,
    timer_is_set_once,
    last_answers_of_a_step_are_lost,
    two_final_answers,
    responses_are_not_numbered,
    failures_count_twice,
    completed_steps_run_again,
    waiting_starts_are_forgotten,
    loss_goes_unnoticed,
]

RARE: Collection[Bug] = (hang_up_ends_nothing, steps_behind_a_refused_start_run)
"""Those that take many stories to show."""


@pytest.mark.parametrize(
    "bug",
    [pytest.param(bug, marks=ONLY_LONG) if bug in RARE else bug for bug in BUGS],
    ids=lambda bug: bug.__name__,
)
def test_bug_is_caught(bug: Bug, monkeypatch: pytest.MonkeyPatch) -> None:
    """The machine fails, by the audit or by one of the house's own assertions."""
    bug(monkeypatch)
    # Once more at random where the usual stories do not show it. CPython 3.11 now and then fails to
    # compile a source that hypothesis looks at (a SystemError of its own).
    for tries in (PATIENT, settings(PATIENT, derandomize=False)):
        try:
            run_state_machine_as_test(HouseMachine, settings=tries)
        except CAUGHT:
            return
        except SystemError as error:
            assert "recursion depth mismatch" in str(error)  # noqa: PT017 - it is none of ours
    pytest.fail("the bug was not caught")
