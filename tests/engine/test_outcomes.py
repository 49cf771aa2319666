"""Waiting on the spot for quick steps: nothing is lost, and slow ones are not waited for."""

import asyncio
import threading
from collections.abc import Iterator

import pytest

from streamgate.core.commands import Step
from streamgate.core.ids import InstanceIndex, StepNumber
from streamgate.engine.host import AsyncioHost
from streamgate.engine.outcomes import QUICK_NS, Outcomes
from streamgate.engine.tensor_runner import Outcome


@pytest.fixture
def host() -> Iterator[AsyncioHost]:
    loop = asyncio.new_event_loop()
    yield AsyncioHost(loop)
    loop.close()


def outcome(number: int, duration_ns: int = 1000) -> Outcome:
    step = Step(StepNumber(number), InstanceIndex(0), ())
    return Outcome(step, started_ns=0, ended_ns=duration_ns)


def test_an_outcome_that_nobody_waits_for_wakes_the_engine(host: AsyncioHost) -> None:
    woken: list[int] = []
    outcomes = Outcomes(host, wake=lambda: woken.append(1))
    outcomes.put(outcome(1))
    assert woken == [1]
    taken = outcomes.take()
    assert taken is not None
    assert taken.step.number == 1
    assert outcomes.take() is None


def test_a_quick_step_is_waited_for_and_wakes_nobody(host: AsyncioHost) -> None:
    woken: list[int] = []
    outcomes = Outcomes(host, wake=lambda: woken.append(1))
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


def test_slow_steps_are_not_waited_for(host: AsyncioHost) -> None:
    outcomes = Outcomes(host, wake=lambda: None)
    outcomes.put(outcome(1, QUICK_NS * 100))
    outcomes.take()
    # With nothing put, waiting would last; not waiting answers at once.
    assert outcomes.wait() is None


def test_steps_become_quick_again_when_they_are(host: AsyncioHost) -> None:
    outcomes = Outcomes(host, wake=lambda: None)
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


@pytest.mark.timeout(30)
def test_a_wait_ends_when_a_step_waits_for_the_engine(
    host: AsyncioHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("streamgate.engine.outcomes.WAIT_SECONDS", 600)
    woken = threading.Event()
    outcomes = Outcomes(host, wake=woken.set)
    outcomes.put(outcome(0))
    outcomes.take()
    asked: list[int] = []
    for number in range(1, 50):
        woken.clear()
        # Before the wait or in it: by chance.
        model = threading.Thread(
            target=host.post, args=(lambda: asked.append(1),), kwargs={"urgent": True}
        )
        model.start()
        assert outcomes.wait() is None
        model.join()
        # What is posted is done, and the step's end wakes the engine as if nobody had waited.
        host._loop.run_until_complete(asyncio.sleep(0))
        assert len(asked) == number
        outcomes.put(outcome(number))
        assert woken.is_set()
        taken = outcomes.take()
        assert taken is not None
        assert taken.step.number == number


@pytest.mark.timeout(30)
def test_other_posts_end_no_wait(host: AsyncioHost) -> None:
    outcomes = Outcomes(host, wake=lambda: None)
    outcomes.put(outcome(0))
    outcomes.take()
    for number in range(1, 50):
        host.post(lambda: None)
        outcomes.put(outcome(number))
        assert outcomes.wait() is not None
