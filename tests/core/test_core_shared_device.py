"""Streams beside stateless work on one simulated device: streams keep their pace wherever they
can, and what is left of the device is for the rest."""

from typing import NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streamgate.core.device_line import PACES, PATIENCE_NS
from streamgate.model.config import DefaultScheduling
from tests.core.play import MS
from tests.core.shared_device import Model, SharedDevice, StepTime, batched, streams
from tests.model.settings import LONG, MODEL

PACE_MS = 80.0


def served(
    step_ms: float, stateless_ms: float, *, seconds: float = 20, share: float = 0.05
) -> tuple[Model, Model]:
    """Four streams of one model, out of step with each other, and four instances of a stateless
    one that are never without a request."""
    device = SharedDevice(share=share)
    paced = device.add("paced", streams(PACE_MS), lambda _: step_ms, rows=4)
    heavy = device.add("heavy", DefaultScheduling(), lambda _: stateless_ms, instances=4)
    for number in range(4):
        device.stream(paced, number + 1, number * PACE_MS / 4)
    device.callers(heavy, 8)
    device.run(1000 * seconds)
    return paced, heavy


def test_a_chunk_waits_for_one_step_of_the_others_at_most() -> None:
    """And not for another one after that: it joins the step that is in line."""
    paced, heavy = served(2, 30)
    assert paced.lag_ms() <= 30 + 2
    assert max(rows for _, rows in paced.starts) > 1
    # What is left of the device is theirs.
    assert paced.used_ns + heavy.used_ns >= 0.99 * 20_000 * MS


def test_stateless_steps_that_leave_no_time_wait_for_streams_and_are_owed_their_share() -> None:
    """Three of the pace, which no order of steps can hide."""
    paced, heavy = served(2, 240)
    assert paced.lag_ms(share=0.5) <= 2 * 2
    assert len(heavy.starts) >= 20 * 1e9 / (PATIENCE_NS + 240 * MS) - 1
    _, heavy = served(2, 240, share=0.5)
    assert len(heavy.starts) >= 20 * 1e3 / (480 + 240) - 1


@pytest.mark.parametrize("noise", [0.0, 0.1])
def test_a_dynamic_batch_is_as_large_as_streams_leave_time_for(noise: float) -> None:
    """A full one takes 90 ms, longer than the pace."""
    device = SharedDevice(noise=noise)
    paced = device.add("paced", streams(PACE_MS), lambda _: 2, rows=4)
    heavy = device.add("heavy", batched(), lambda rows: 10 + 5 * rows, rows=16, instances=4)
    for number in range(4):
        device.stream(paced, number + 1, number * PACE_MS / 4, jitter_ms=5)
    device.callers(heavy, 32)
    device.run(20_000)
    assert paced.lag_ms(2000, 1.0 if noise == 0 else 0.99) <= PACE_MS
    sizes = {rows for _, rows in heavy.starts}
    assert min(sizes) < 16
    assert max(sizes) > 8
    # A device of its own would serve 16 in 90 ms.
    assert heavy.answers() >= 0.85 * 20_000 / 90 * 16


def test_without_streams_nothing_is_held_back() -> None:
    device = SharedDevice()
    device.add("paced", streams(PACE_MS), lambda _: 2, rows=4)
    heavy = device.add("heavy", batched(), lambda rows: 10 + 5 * rows, rows=16)
    device.callers(heavy, 32)
    device.run(9_000 - 1)
    assert heavy.used_ns == 9_000 * MS
    assert {rows for _, rows in heavy.starts} == {16}


def test_streams_that_fill_the_device_starve_nobody() -> None:
    """They are late for ever, and never without a step."""
    device = SharedDevice()
    paced = device.add("paced", streams(20), lambda _: 25, rows=1)
    heavy = device.add("heavy", DefaultScheduling(), lambda _: 10, instances=3)
    device.stream(paced, 1, 0)
    device.callers(heavy, 3)
    device.run(20_000)
    # A share of 5 %: each 200 ms, when the step that runs is over.
    assert len(heavy.starts) >= 20_000 / (200 + 25 + 10) - 1
    assert heavy.lag_ms() <= 3 * (200 + 25 + 10)


def steady(step_ms: float) -> StepTime:
    return lambda _: step_ms


class Load(NamedTuple):
    """Milliseconds: the pace, each stream's step and phase, each stateless model's step."""

    pace: int
    steps: list[tuple[int, int]]
    stateless: list[int]

    @property
    def is_feasible(self) -> bool:
        longest = max([0, *self.stateless])
        return sum(step for step, _ in self.steps) + longest <= self.pace


@st.composite
def loads(draw: st.DrawFn) -> Load:
    pace = draw(st.integers(20, 200))
    steps = draw(st.lists(st.tuples(st.integers(1, pace), st.integers(0, pace)), max_size=4))
    stateless = draw(st.lists(st.integers(1, pace), max_size=3))
    return Load(pace, steps, stateless)


def play(load: Load) -> tuple[list[Model], list[Model], SharedDevice]:
    device = SharedDevice()
    paced = []
    for number, (step, phase) in enumerate(load.steps):
        model = device.add(f"paced {number}", streams(load.pace), steady(step))
        device.stream(model, 1, phase)
        paced.append(model)
    others = []
    for number, step in enumerate(load.stateless):
        model = device.add(f"other {number}", DefaultScheduling(), steady(step))
        device.callers(model, 2)
        others.append(model)
    return paced, others, device


@settings(MODEL, max_examples=2_000 if LONG else 60)
@given(loads().filter(lambda load: load.is_feasible))
def test_whenever_streams_can_keep_their_pace_they_do(load: Load) -> None:
    """By response-time analysis: all steps of streams and the longest stateless one take no longer
    than the pace."""
    paced, others, device = play(load)
    device.run(12 * load.pace)
    for model in paced:
        assert model.lags
        assert model.lag_ms() <= load.pace
    for model in others:
        assert model.starts


@settings(MODEL, max_examples=1_000 if LONG else 40)
@given(loads())
def test_nobody_starves_and_nothing_idles_but_for_a_stream(load: Load) -> None:
    paced, others, device = play(load)
    waits_since = [0]
    idle_since = [-1]
    steps = [step for step, _ in load.steps] + load.stateless
    bound_ms = max(PACES * load.pace, *(20 * each for each in [*load.stateless, 1]))
    longest = min(PATIENCE_NS / MS, bound_ms) + max([0, *steps])

    def started(model: Model, rows: int) -> None:
        if not model.of_sequences:
            assert device.now - waits_since[0] <= longest * MS
            waits_since[0] = device.now + round(model.step_time(rows) * MS)

    def rested() -> None:
        if device.line.running or not device.line.waiting:
            idle_since[0] = -1
            return
        assert any(each.expected(device.now) for model in paced for each in model.parties)
        if idle_since[0] < 0:
            idle_since[0] = device.now
        assert device.now - idle_since[0] <= longest * MS

    device.on_start = started
    device.on_rest = rested
    device.run(3_000)
    if load.stateless:
        assert device.now - waits_since[0] <= longest * MS
        assert sum(model.used_ns for model in others) >= 0.04 * 3_000 * MS or longest >= 1_000
