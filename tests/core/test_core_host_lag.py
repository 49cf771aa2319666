"""Admission follows the lag that is seen: a busy host refuses, though its device has time."""

from itertools import pairwise

import pytest

from streamgate.core.events import Completed, Event, Submit
from streamgate.core.host_lag import FEWER, GOOD_WINDOWS, WINDOW_NS, HostLag
from streamgate.core.ids import Ns, RequestNumber
from tests.core.paced import PACE_NS, PacedServer, affine, paced_oldest
from tests.core.play import MS

SECOND = 1_000 * MS
DEVICE = (2.0, 0.5)
"""Which is fast: by its steps, all slots could be had."""
SLOTS = 60


class TestLimit:
    def lag(self) -> HostLag:
        made = HostLag(PACE_NS)
        made.look(40, SLOTS, Ns(0))
        return made

    def window(self, lag: HostLag, number: int, *shares: float, streams: int = 40) -> int | None:
        """One of these shares of the pace after another, a hundred of them; the limit then."""
        for each in range(100):
            lag.note(int(shares[each % len(shares)] * PACE_NS))
        lag.look(streams, SLOTS, Ns(number * WINDOW_NS))
        return lag.limit

    def test_there_is_none_while_streams_are_in_time(self) -> None:
        lag = self.lag()
        assert self.window(lag, 1, 0.5, 0.8) is None

    def test_it_falls_below_what_there_is(self) -> None:
        lag = self.lag()
        assert self.window(lag, 1, 0.5, 0.9) == int(FEWER * 40)
        # Who stays is no reason to raise it.
        assert self.window(lag, 2, 0.9) == int(FEWER * 40)
        assert self.window(lag, 3, 0.9, streams=20) == int(FEWER * 20)
        assert self.window(lag, 4, 0.9, streams=0) == 1

    def test_a_pause_of_somebody_elses_changes_nothing(self) -> None:
        lag = self.lag()
        for _ in range(4):
            lag.note(2 * PACE_NS)
        assert self.window(lag, 1, 0.3) is None

    def test_what_steps_explain_is_no_hosts_fault(self) -> None:
        lag = self.lag()
        for _ in range(100):
            lag.note(PACE_NS)
        lag.look(40, SLOTS, Ns(WINDOW_NS), explained=True)
        assert lag.limit is None

    def test_nothing_is_said_within_a_window(self) -> None:
        lag = self.lag()
        for _ in range(100):
            lag.note(PACE_NS)
        lag.look(40, SLOTS, Ns(WINDOW_NS - 1))
        assert lag.limit is None

    def test_it_rises_slowly_and_not_while_anything_is_slow(self) -> None:
        lag = self.lag()
        assert self.window(lag, 1, 0.9) == 36
        for number in range(2, 10):
            assert self.window(lag, number, 0.7) == 36
        number = 10
        for _ in range(GOOD_WINDOWS):
            assert self.window(lag, number, 0.3) == 36
            number += 1
        assert self.window(lag, number, 0.3) == 39
        # One that is slow, and the patience begins anew.
        assert self.window(lag, number + 1, 0.7) == 39
        assert self.window(lag, number + 2, 0.3) == 39

    def test_nobody_is_late_where_nobody_speaks(self) -> None:
        lag = self.lag()
        assert self.window(lag, 1, 0.9) == 36
        lag.look(40, SLOTS, Ns(3 * WINDOW_NS))
        assert lag.limit == 36
        lag.look(40, SLOTS, Ns(100 * WINDOW_NS))
        assert lag.limit is None


class BusyHost(PacedServer):
    """Beside the steps, clients wait for `outside_ms(streams)`."""

    def __init__(self, **rest: int) -> None:
        super().__init__(paced_oldest(SLOTS), 32, affine(*DEVICE), seed=3, **rest)
        self.per_stream_ms = 0.0
        self.fixed_ms = 0.0
        self.worst: list[tuple[int, float]] = []

    def outside_ns(self) -> int:
        return round((self.fixed_ms + self.per_stream_ms * len(self.live)) * MS)

    def _tell(self, event: Event) -> None:
        if isinstance(event, Completed):
            event = Completed(event.step, outside_ns=self.outside_ns())
            self.worst.append((self.now, self.lags[-1][1] / MS + self.outside_ns() / MS))
        super()._tell(event)


def test_a_busy_host_refuses_though_its_device_has_time() -> None:
    server = BusyHost()
    server.offer(20, 2 * SECOND)
    server.run(4 * SECOND)
    assert len(server.live) == 20
    assert server.headroom == SLOTS - 20
    server.fixed_ms = 0.9 * PACE_NS / MS
    server.run(2 * SECOND)
    assert server.headroom == 0
    server.offer(10, SECOND)
    server.run(2 * SECOND)
    assert (len(server.live), server.refused) == (20, 10)
    assert server.answered_at_once
    # And lets in again, not all at once, when it is not busy any more.
    server.fixed_ms = 0.0
    seen = []
    for _ in range(40):
        server.run(SECOND)
        seen.append(server.headroom)
    assert seen[:2] == [0, 0]
    assert seen == sorted(seen)
    assert all(more - less <= 6 for less, more in pairwise(seen[:12]))
    assert seen[-1] == SLOTS - 20


@pytest.mark.parametrize("per_stream_ms", [3.0, 6.0])
def test_it_comes_to_rest_where_streams_are_in_time(per_stream_ms: float) -> None:
    """The host adds so much for each stream; twice as many as fit come and go for a minute."""
    server = BusyHost(lifetime_ns=5 * SECOND)
    server.per_stream_ms = per_stream_ms
    fit = PACE_NS / MS / per_stream_ms
    server.offer(round(2 * fit * 12), 60 * SECOND)
    counts = []
    for second in range(60):
        server.run(SECOND)
        if second >= 20:
            counts.append(len(server.live))
    assert server.refused
    late = [ms for at, ms in server.worst if at >= 20 * SECOND]
    assert sorted(late)[int(0.99 * len(late))] <= PACE_NS / MS
    assert 0.4 * fit <= sum(counts) / len(counts) <= fit
    # No swing between all and none.
    assert min(counts) >= 0.25 * fit


def test_a_file_that_is_sent_at_once_is_no_lag() -> None:
    """Its steps wait for each other, not for the host."""
    server = BusyHost()
    server.offer(1, 1)
    server.run(10 * MS)
    (key,) = server.live
    for _ in range(200):
        request = RequestNumber(next(server._requests))
        server._arrived[request] = server.now
        server._tell(Submit(request, key))
    server.run(5 * SECOND)
    assert max(lag for _, lag in server.lags) > PACE_NS
    assert server.headroom > SLOTS / 2
