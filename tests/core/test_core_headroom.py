"""What is learned of steps, and how many streams that allows."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamgate.core.headroom import USE, Headroom, longest_wait
from streamgate.core.ids import InstanceIndex, Ns
from streamgate.core.step_times import KNOWN_AFTER, SURPRISES_MAX, WARM_UP, StepTimes
from streamgate.model.config import OldestStrategy, SequenceBatching
from tests.core.paced import PACE_NS, PacedServer, affine
from tests.core.play import MS

ONE = InstanceIndex(0)


def taught(*steps: tuple[int, float]) -> StepTimes:
    """(rows, milliseconds) of steps, behind some that warm up."""
    times = StepTimes()
    for _ in range(WARM_UP):
        times.note(1, 5_000 * MS)
    for rows, taken_ms in steps:
        times.note(rows, round(taken_ms * MS))
    return times


class TestStepTimes:
    def test_first_steps_tell_nothing(self) -> None:
        assert not taught().is_known
        assert not taught(*[(1, 10.0)] * (KNOWN_AFTER - 1)).is_known
        times = taught(*[(1, 10.0)] * KNOWN_AFTER)
        assert times.is_known
        assert times.expected(1) == pytest.approx(10 * MS, rel=0.01)

    def test_batches_are_of_no_use_until_they_are_seen_to_be(self) -> None:
        alone = taught(*[(1, 10.0)] * 50)
        assert alone.expected(8) == pytest.approx(80 * MS, rel=0.01)
        mixed = taught(*[(1, 10.0), (2, 10.0)] * 100)
        assert mixed.expected(8) < 20 * MS

    @given(st.floats(0, 50), st.floats(0.05, 5), st.integers(0, 2**32))
    def test_a_line_is_found_through_noise(self, fixed: float, row: float, seed: int) -> None:
        dice = random.Random(seed)
        times = taught()
        for _ in range(400):
            rows = dice.randint(1, 32)
            times.note(rows, round((fixed + row * rows) * dice.uniform(0.9, 1.1) * MS))
        for rows in (8, 16, 32):
            assert times.expected(rows) == pytest.approx((fixed + row * rows) * MS, rel=0.15)

    @given(st.lists(st.tuples(st.integers(1, 300), st.integers(0, 10**12)), max_size=100))
    def test_a_larger_step_is_never_thought_to_be_quicker(
        self, steps: list[tuple[int, int]]
    ) -> None:
        times = StepTimes()
        for rows, duration_ns in steps:
            times.note(rows, duration_ns)
        assert times.fixed_ns >= 0
        assert times.per_row_ns >= 0
        assert times.deviation_ns >= 0
        assert times.expected(1) <= times.expected(300)

    def test_one_slow_step_is_no_news(self) -> None:
        times = taught(*[(4, 10.0)] * 100)
        times.note(4, 60_000 * MS)
        assert times.expected(4) < 12.5 * MS

    @pytest.mark.parametrize("factor", [0.1, 3.0, 100.0])
    def test_a_change_of_speed_is_noticed_soon(self, factor: float) -> None:
        times = taught(*[(4, 10.0)] * 500)
        for _ in range(SURPRISES_MAX + 4):
            times.note(4, round(10 * factor * MS))
        assert times.expected(4) == pytest.approx(10 * factor * MS, rel=0.05)

    def test_a_gradual_change_is_followed(self) -> None:
        times = taught(*[(4, 10.0)] * 200)
        for _ in range(600):
            times.note(4, 13 * MS)
        assert times.expected(4) == pytest.approx(13 * MS, rel=0.02)

    def test_what_was_long_slow_at_the_start_is_forgotten(self) -> None:
        times = taught(*[(1, 3_000.0)] * 6, *[(1, 10.0)] * (SURPRISES_MAX + 2))
        assert times.expected(1) == pytest.approx(10 * MS, rel=0.05)


def learned(pace_ms: float, fixed: float, row: float, rows: int, delay_ms: float = 0) -> Headroom:
    headroom = Headroom(round(pace_ms * MS), rows, round(delay_ms * MS), 1000)
    for number in range(400):
        size = 1 + number % rows
        headroom.note(ONE, size, Ns(round((fixed + row * size) * MS)))
    return headroom


class TestLimit:
    def test_nobody_is_refused_before_anything_is_known(self) -> None:
        headroom = Headroom(PACE_NS, 8, 0, 100)
        assert headroom.limit(ONE) == 100
        for _ in range(WARM_UP + KNOWN_AFTER - 1):
            headroom.note(ONE, 1, Ns(PACE_NS))
        assert headroom.limit(ONE) == 100
        headroom.note(ONE, 1, Ns(PACE_NS))
        assert headroom.limit(ONE) == 1
        headroom.forget(ONE)
        assert headroom.limit(ONE) == 100

    def test_one_stream_is_always_let_in(self) -> None:
        assert learned(10, 1_000, 1, 8).limit(ONE) == 1

    def test_it_is_what_the_derivation_says(self) -> None:
        # Two steps of 20 ms, and a row of 2 ms for each: 40 + 2 n <= 136.
        assert learned(160, 20, 2, 64).limit(ONE) in {47, 48}
        # One at a time: 5 n <= 136.
        assert learned(160, 0, 5, 1).limit(ONE) in {26, 27}

    def test_what_steps_are_held_back_for_is_time_lost(self) -> None:
        held_back = learned(160, 20, 2, 64, delay_ms=20)
        assert held_back.limit(ONE) in {37, 38}

    @given(st.floats(1, 200), st.floats(0, 50), st.floats(0.05, 5), st.sampled_from([1, 2, 8, 64]))
    def test_it_is_the_last_that_fits(
        self, pace_ms: float, fixed: float, row: float, rows: int
    ) -> None:
        steps = [(1 + number % rows, fixed + row * (1 + number % rows)) for number in range(99)]
        times = taught(*steps)
        headroom = Headroom(round(pace_ms * MS), rows, 0, 1000)
        for size, taken_ms in [(1, 5_000.0)] * WARM_UP + steps:
            headroom.note(ONE, size, Ns(round(taken_ms * MS)))
        limit = headroom.limit(ONE)
        budget = pace_ms * MS * USE
        assert limit == 1 or longest_wait(times, limit, rows) <= budget + 1
        assert limit == 1000 or longest_wait(times, limit + 1, rows) > budget - 1

    def test_noise_hardly_moves_it(self) -> None:
        dice = random.Random(1)
        headroom = Headroom(PACE_NS, 64, 0, 1000)
        limits = []
        for number in range(4000):
            rows = dice.randint(5, 25)
            taken = (20 + 2 * rows) * dice.lognormvariate(0, 0.1)
            headroom.note(ONE, rows, Ns(round(taken * MS)))
            if number > 400:
                limits.append(headroom.limit(ONE))
        assert max(limits) - min(limits) <= 0.25 * max(limits)


@given(
    st.sampled_from([1, 2, 4, 8, 16]),
    st.sampled_from([0.0, 1.0, 3.0, 10.0, 30.0]),
    st.sampled_from([0.3, 1.0, 2.0, 4.0]),
    st.lists(st.integers(0, PACE_NS - 1), min_size=1, max_size=6),
    st.integers(0, 2**32),
)
def test_whatever_the_phases_no_result_is_late(
    rows: int, fixed: float, row: float, phases: list[int], seed: int
) -> None:
    """So many streams as fit on a device without noise, some at the same moment, never wait longer
    than the derivation allows."""
    times = StepTimes()
    times.fixed_ns, times.per_row_ns = fixed * MS, row * MS
    fit = max(n for n in range(1, 120) if n == 1 or longest_wait(times, n, rows) <= PACE_NS * USE)
    rules = SequenceBatching(OldestStrategy(fit, (rows,)), fit, max_idle_ns=10**12)
    server = PacedServer(rules, rows, affine(fixed, row))
    dice = random.Random(seed)
    server.arrive(sorted(dice.choice(phases) + dice.choice((0, 1, 5 * MS)) for _ in range(fit)))
    server.run(5 * PACE_NS)
    assert len(server.live) == fit
    assert server.lag_ms(share=1) <= PACE_NS * USE / MS + 0.01
