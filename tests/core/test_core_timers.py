import pytest

from streamgate.core.ids import Ns
from streamgate.core.timers import Countdown, Timers


def test_timers_come_due_in_order_and_not_before() -> None:
    timers: Timers[str] = Timers()
    timers.push(20, "late")
    timers.push(10, "early")
    assert timers.next_at() == 10
    assert timers.pop_due(Ns(9)) is None
    assert timers.pop_due(Ns(20)) == "early"
    assert timers.pop_due(Ns(20)) == "late"
    assert timers.pop_due(Ns(20)) is None
    assert timers.next_at() is None


def test_stopped_timer_never_shows_in_next_at() -> None:
    timers: Timers[str] = Timers()
    timer = timers.push(10, "stopped")
    timers.push(20, "runs")
    timers.discard(timer)
    assert timers.next_at() == 20
    assert timers.pop_due(Ns(15)) is None


def test_all_timers_stopped_is_no_timer() -> None:
    timers: Timers[str] = Timers()
    timers.discard(timers.push(10, "stopped"))
    assert timers.next_at() is None
    assert timers.pop_due(Ns(99)) is None


def test_countdowns_come_due_in_order_of_start() -> None:
    idle: Countdown[str] = Countdown(100)
    idle.start("a", Ns(5))
    idle.start("b", Ns(7))
    assert len(idle) == 2
    assert idle.next_at() == 105
    assert idle.pop_due(Ns(104)) is None
    assert idle.pop_due(Ns(105)) == "a"
    assert idle.next_at() == 107
    assert idle.pop_due(Ns(200)) == "b"
    assert idle.pop_due(Ns(200)) is None
    assert idle.next_at() is None


def test_countdown_that_is_stopped_and_started_again_counts_from_there() -> None:
    idle: Countdown[str] = Countdown(100)
    idle.start("a", Ns(0))
    idle.start("b", Ns(1))
    idle.stop("a")
    idle.stop("a")
    idle.start("a", Ns(50))
    assert idle.next_at() == 101
    assert idle.pop_due(Ns(150)) == "b"
    assert idle.pop_due(Ns(150)) == "a"


def test_countdown_runs_once_for_each_subject() -> None:
    idle: Countdown[str] = Countdown(100)
    idle.start("a", Ns(0))
    with pytest.raises(AssertionError):
        idle.start("a", Ns(1))
