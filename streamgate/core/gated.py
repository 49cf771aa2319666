"""What stateful models' instances tell the gate, where they take turns on devices with others."""

from typing import final

from streamgate.core.gate import Gate
from streamgate.core.ids import Ns
from streamgate.core.instance import Instance
from streamgate.core.sequence import Sequence


@final
class Gated:
    """The instances of one model before their gate."""

    def __init__(self, gate: Gate) -> None:
        self._gate = gate

    def arrived(self, instance: Instance, sequence: Sequence, now: Ns) -> None:
        """A request of a sequence on this instance has come."""
        self._gate.arrived(instance.index, sequence.key, now)
        is_new = len(sequence.queue) == 1 and sequence.is_ready
        if is_new and not instance.busy and instance.member.absence is None:
            self._gate.stir(instance.index)

    def has_turn(self, instance: Instance, now: Ns) -> bool:
        """Whether a free instance may start a step on its device now, if it has one to start."""
        ready = instance.lineup.peek(now)
        if not ready:
            instance.wants_since = None
            self._gate.rest(instance.index, now)
            return True
        count = len(ready)
        requests = ((each.queue[0].arrived_at, each.queue[0].event.timeout_ns) for each in ready)
        if self._gate.ask(instance.index, count, count, requests, now):
            return True
        if instance.wants_since is None:
            instance.wants_since = now
        return False

    def start(self, instance: Instance, rows: int, now: Ns) -> None:
        """Its step starts, and counts from when it could have started on a device of its own."""
        self._gate.start(instance.index, rows, now)
        if instance.wants_since is not None:
            instance.started_at = instance.wants_since
            instance.wants_since = None

    def end(self, instance: Instance, now: Ns) -> None:
        """Its step is over."""
        self._gate.end(instance.index, now)

    def lose(self, instance: Instance, now: Ns) -> None:
        """It has nothing to start until it is back."""
        instance.wants_since = None
        self._gate.rest(instance.index, now)
