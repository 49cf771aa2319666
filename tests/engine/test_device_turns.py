"""Instances that share a device take turns on it, whatever models they belong to."""

import threading
from collections.abc import Callable
from functools import partial

import pytest

from streamgate.core.ids import Ns
from streamgate.engine import device_turns
from streamgate.engine.device_turns import Device, DeviceTurns
from streamgate.model.config import Instance, InstanceKind
from tests.waiting import wait

WAIT_SECONDS = 20.0


def started(work: Callable[[], None]) -> threading.Thread:
    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    return thread


def test_who_waits_goes_by_deadline() -> None:
    device = Device(1)
    order: list[int] = []
    threads = []

    def step(deadline: int) -> None:
        with device.turn(Ns(deadline)):
            order.append(deadline)

    def waiting(count: int) -> bool:
        return device._line.waiting == count

    with device.turn(Ns(0)):
        for count, deadline in enumerate((5, 3, 4, 1, 2), 1):
            threads.append(started(partial(step, deadline)))
            wait(partial(waiting, count))
        assert order == []
    for thread in threads:
        thread.join(WAIT_SECONDS)
    assert order == [1, 2, 3, 4, 5]
    assert (device._line.waiting, device._line.running) == (0, 0)


@pytest.mark.parametrize("width", [1, 3])
def test_never_more_than_there_is_room_for(width: int) -> None:
    device = Device(width)
    lock = threading.Lock()
    running, most, steps = 0, 0, 0

    def work() -> None:
        nonlocal running, most, steps
        for number in range(200):
            with device.turn(Ns(number)):
                with lock:
                    running += 1
                    most = max(most, running)
                with lock:
                    running -= 1
                    steps += 1

    threads = [started(work) for _ in range(8)]
    for thread in threads:
        thread.join(WAIT_SECONDS)
    assert steps == 8 * 200
    assert 1 <= most <= width


def test_a_step_that_fails_gives_its_turn_back() -> None:
    device = Device(1)
    with pytest.raises(ValueError, match="a step"), device.turn(Ns(0)):
        raise ValueError("a step")
    with device.turn(Ns(0)):
        pass


def test_a_step_that_hangs_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """So a step may call another model on the same device, and wait for it."""
    now = [0]
    monkeypatch.setattr(device_turns, "_now", lambda: Ns(now[0]))
    device = Device(1)
    done = threading.Event()

    def called() -> None:
        with device.turn(Ns(0)):
            done.set()

    with device.turn(Ns(0)):
        thread = started(called)
        wait(lambda: device._line.waiting == 1)
        assert not done.is_set()
        now[0] = 10**12
        assert done.wait(WAIT_SECONDS)
        thread.join(WAIT_SECONDS)


def test_instances_share_what_they_run_on() -> None:
    turns = DeviceTurns(1)
    cpu, other_cpu = (Instance(name, InstanceKind.CPU) for name in ("a", "b"))
    gpu, other_gpu = (Instance("c", InstanceKind.GPU, device_id=n) for n in (0, 1))
    assert turns.device_of(cpu) is turns.device_of(other_cpu)
    assert turns.device_of(gpu) is turns.device_of(Instance("d", InstanceKind.GPU, device_id=0))
    assert len({id(turns.device_of(each)) for each in (cpu, gpu, other_gpu)}) == 3
