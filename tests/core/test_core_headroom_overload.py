"""Twice as many real-time streams as can be served: who is let in is served in time, at any speed.

The simulated device is as the docs say one may be: `fixed + per_row * rows`, with noise.
"""

from typing import NamedTuple

import pytest

from streamgate.core.headroom import USE
from streamgate.model.config import SequenceBatching
from tests.core.paced import PACE_NS, PacedServer, StepTime, affine, paced_direct, paced_oldest
from tests.core.play import MS, oldest

ROWS = 32
SECOND = 1_000 * MS
PACE_MS = PACE_NS / MS

FAST = (20.0, 2.0)
SLOW = (40.0, 4.0)


def fitting(fixed_ms: float, row_ms: float, rows: int = ROWS) -> int:
    """Streams whose results are in time whatever their phases, counted one by one."""
    streams = 1
    while True:
        steps = 1 + -(-streams // rows)
        if steps * fixed_ms + (streams + 1) * row_ms > PACE_MS * USE:
            return streams
        streams += 1


def overloaded(
    scheduling: SequenceBatching, step_time: StepTime, offered: int, rows: int = ROWS
) -> PacedServer:
    server = PacedServer(scheduling, rows, step_time, noise=0.1, seed=1)
    server.offer(offered, 5 * SECOND)
    server.run(8 * SECOND)
    return server


@pytest.mark.parametrize(
    ("device", "rows"), [((20.0, 2.0), 32), ((2.0, 4.0), 32), ((25.0, 0.1), 8), ((10.0, 0.0), 1)]
)
def test_accepted_streams_are_in_time_and_the_rest_is_refused_at_once(
    device: tuple[float, float], rows: int
) -> None:
    fit = fitting(*device, rows)
    server = overloaded(paced_oldest(4 * fit), affine(*device), 2 * fit, rows)
    assert len(server.live) + server.refused == 2 * fit
    assert 0.75 * fit <= len(server.live) <= 1.1 * fit
    assert server.answered_at_once
    assert server.lag_ms(share=0.999) < PACE_MS


def test_rows_in_fixed_places_count_as_what_they_cost() -> None:
    server = overloaded(paced_direct(64), affine(*FAST), 128, rows=64)
    assert server.refused > 64
    assert len(server.live) >= 20
    assert server.lag_ms(share=0.999) < PACE_MS


def test_without_a_pace_everybody_is_let_in_and_late() -> None:
    fit = fitting(*FAST)
    server = overloaded(oldest(4 * fit, max_idle_ns=10**12), affine(*FAST), 2 * fit)
    assert server.refused == 0
    assert server.lag_ms() > PACE_MS


def test_each_instance_has_a_limit_of_its_own() -> None:
    server = PacedServer(paced_oldest(100), ROWS, affine(*FAST), instances=3, noise=0.1)
    fit = 3 * fitting(*FAST)
    server.offer(2 * fit, 6 * SECOND)
    server.run(8 * SECOND)
    assert 0.75 * fit <= len(server.live) <= 1.1 * fit
    assert server.lag_ms(share=0.999) < PACE_MS


class Phase(NamedTuple):
    """What was while the device had one speed."""

    streams: float
    late_ms: float


def churned(scheduling: SequenceBatching) -> tuple[Phase, Phase, Phase]:
    """Streams of 5 s come for 75 s, twice as many as a fast device can serve, which is slow from
    the 25th second to the 50th. What is so 10 s after each change."""
    server = PacedServer(scheduling, ROWS, affine(*FAST), noise=0.1, lifetime_ns=5 * SECOND)
    phases = []
    for device in (FAST, SLOW, FAST):
        server.step_time = affine(*device)
        server.offer(2 * fitting(*FAST) * 5, 25 * SECOND)
        server.run(12 * SECOND)
        since = server.now
        counts = []
        for _ in range(13):
            server.run(SECOND)
            counts.append(len(server.live))
        phases.append(Phase(sum(counts) / len(counts), server.lag_ms(since, server.now - SECOND)))
    first, second, third = phases
    return first, second, third


def test_the_limit_follows_the_device_in_both_directions() -> None:
    fast, slow, again = churned(paced_oldest(200))
    for phase, device in ((fast, FAST), (slow, SLOW), (again, FAST)):
        assert 0.7 * fitting(*device) <= phase.streams <= 1.1 * fitting(*device)
        assert phase.late_ms < PACE_MS


def test_a_fixed_limit_wastes_or_breaks() -> None:
    for_fast = churned(oldest(fitting(*FAST), max_idle_ns=10**12))
    assert for_fast[0].late_ms < PACE_MS
    assert for_fast[1].late_ms > 2 * PACE_MS
    for_slow = churned(oldest(fitting(*SLOW), max_idle_ns=10**12))
    assert for_slow[1].late_ms < PACE_MS
    assert for_slow[0].streams < 0.5 * fitting(*FAST)
