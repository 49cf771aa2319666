"""Waiting on the spot for quick steps: nothing is lost, and slow ones are not waited for."""

import threading

from streamgate.core.commands import Step
from streamgate.core.ids import InstanceIndex, StepNumber
from streamgate.engine.outcomes import QUICK_NS, Outcomes
from streamgate.engine.tensor_runner import Outcome


def outcome(number: int, duration_ns: int = 1000) -> Outcome:
    step = Step(StepNumber(number), InstanceIndex(0), ())
    return Outcome(step, started_ns=0, ended_ns=duration_ns)


def test_an_outcome_that_nobody_waits_for_wakes_the_engine() -> None:
    woken: list[int] = []
    outcomes = Outcomes(wake=lambda: woken.append(1))
    outcomes.put(outcome(1))
    assert woken == [1]
    taken = outcomes.take()
    assert taken is not None
    assert taken.step.number == 1
    assert outcomes.take() is None


def test_a_quick_step_is_waited_for_and_wakes_nobody() -> None:
    woken: list[int] = []
    outcomes = Outcomes(wake=lambda: woken.append(1))
    outcomes.put(outcome(1))
    outcomes.take()  # learns that steps are quick
    woken.clear()
    for number in range(200):
        stepper = threading.Thread(target=outcomes.put, args=(outcome(number),))
        stepper.start()
        # Late ones are neither lost: they wake, or are found after the wait.
        taken = outcomes.wait()
        stepper.join()
        taken = taken or outcomes.take()
        assert taken is not None
        assert taken.step.number == number
    assert outcomes.take() is None


def test_slow_steps_are_not_waited_for() -> None:
    outcomes = Outcomes(wake=lambda: None)
    outcomes.put(outcome(1, QUICK_NS * 100))
    outcomes.take()
    # With nothing put, waiting would last; not waiting answers at once.
    assert outcomes.wait() is None


def test_steps_become_quick_again_when_they_are() -> None:
    outcomes = Outcomes(wake=lambda: None)
    outcomes.put(outcome(0, QUICK_NS * 2))
    outcomes.take()
    for number in range(1, 40):
        outcomes.put(outcome(number))
        assert outcomes.wait() is not None
    release = threading.Event()

    def late() -> None:
        release.wait(10)
        outcomes.put(outcome(99))

    stepper = threading.Thread(target=late)
    stepper.start()
    release.set()
    taken = outcomes.wait()
    stepper.join()
    assert taken or outcomes.take()
