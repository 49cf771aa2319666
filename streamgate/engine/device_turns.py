"""Turns on the devices that models share: an instance's thread waits for its own before a step.

The line itself decides; here are the clock and the lock. A thread that waits for its turn holds up
its own instance only, and what is asked of that instance stays in order.
"""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final, final

from streamgate.core.device_line import DeviceLine
from streamgate.core.ids import Ns
from streamgate.model.config import Instance, InstanceKind

CPU: Final = "cpu"


@final
class Device:
    """One device and the line before it."""

    def __init__(self, width: int) -> None:
        self._line = DeviceLine(width)
        self._changed = threading.Condition()

    @contextmanager
    def turn(self, deadline_at: Ns) -> Iterator[None]:
        """Have the device for a step, once it is its turn. From any thread but the engine's."""
        line, changed = self._line, self._changed
        with changed:
            ticket = line.enter(deadline_at, _now())
            line.admit(_now())
            while not ticket.is_on:
                wake_at = line.wake_at()
                changed.wait(None if wake_at is None else max(0, wake_at - _now()) / 1e9)
                if line.admit(_now()):
                    changed.notify_all()
        try:
            yield
        finally:
            with changed:
                line.leave(ticket)
                if line.admit(_now()):
                    changed.notify_all()


@final
class DeviceTurns:
    """All devices of an engine, each with room for `width` steps at a time."""

    def __init__(self, width: int) -> None:
        self._width = width
        self._devices: dict[str, Device] = {}

    def device_of(self, instance: Instance) -> Device:
        """The device that this instance's steps run on: a GPU, or all processors together."""
        is_gpu = instance.kind is InstanceKind.GPU
        name = f"gpu {instance.device_id}" if is_gpu else CPU
        device = self._devices.get(name)
        if device is None:
            device = self._devices[name] = Device(self._width)
        return device


def _now() -> Ns:
    return Ns(time.monotonic_ns())
