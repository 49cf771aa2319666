"""Turns on the devices that models share. The lines decide; here are the clock and the alarms.

All on the host's thread: an instance gets its turn before its step is made up, so that whatever
comes until then goes along, and what nobody wants any more does not.
"""

from collections.abc import Callable
from typing import Final, final

from streamgate.core.device_line import STATELESS_SHARE, DeviceLine
from streamgate.core.events import TurnCame
from streamgate.core.ids import InstanceIndex
from streamgate.core.model_turns import ModelTurns
from streamgate.core.party import Party
from streamgate.core.urgency import Urgency
from streamgate.engine.alarm import Alarm
from streamgate.engine.host import Host
from streamgate.model.config import Execution, Instance, InstanceKind, ModelConfig

CPU: Final = "cpu"


@final
class Device:
    """One device: its line, and how each instance on it is told that its turn has come."""

    def __init__(self, host: Host, width: int, share: float) -> None:
        self.line = DeviceLine(width, share)
        self.callers: dict[Party, Callable[[], None]] = {}
        self._host = host
        self._alarm = Alarm(host, self._look)
        self._is_due = False

    def look_soon(self) -> None:
        """It may be somebody else's turn, or at another time."""
        if not self._is_due:
            self._is_due = True
            self._host.call_soon(self._look)

    def _look(self) -> None:
        self._is_due = False
        now = self._host.now()
        following = self.line.next(now)
        if following is None:
            self._alarm.set(self.line.wake_at(now))
        else:
            # It asks once more, and whoever asks has us look again.
            self.callers[following[0]]()


@final
class ModelDevices:
    """The instances of one model on their devices. `gate` is the scheduler's."""

    def __init__(
        self,
        turns: "DeviceTurns",
        urgency: Urgency,
        host: Host,
        on_turn: Callable[[TurnCame], None],
    ) -> None:
        self.gate = ModelTurns(urgency, turns.look_soon)
        self._turns = turns
        self._host = host
        self._on_turn = on_turn
        self._devices: dict[InstanceIndex, tuple[Device, Party]] = {}

    def join(self, index: InstanceIndex, instance: Instance) -> None:
        """A new instance."""
        device = self._turns.device_of(instance)
        party = self.gate.join(index, device.line)
        device.callers[party] = lambda: self._on_turn(TurnCame(index))
        self._devices[index] = device, party

    def part(self, index: InstanceIndex) -> None:
        """An instance is closed for good. Idempotent."""
        device, party = self._devices.pop(index, (None, None))
        if device is not None and party is not None:
            self.gate.part(index, self._host.now())
            del device.callers[party]


@final
class DeviceTurns:
    """All devices of an engine, each with room for `width` steps at a time. Stateless work has a
    `share` of each, if it wants it."""

    def __init__(self, host: Host, width: int, share: float = STATELESS_SHARE) -> None:
        self._host = host
        self._width = width
        self._share = share
        self._devices: dict[str, Device] = {}
        self._by_line: dict[DeviceLine, Device] = {}

    def of(self, config: ModelConfig, on_turn: Callable[[TurnCame], None]) -> "ModelDevices | None":
        """For the instances of a model; None where they take no part: what runs inline runs on the
        engine's own thread, which waits for nobody. `on_turn` is told whose turn it is."""
        if config.execution is Execution.INLINE:
            return None
        rules = config.sequences
        urgency = Urgency.of(
            config.deadline_ns, rules.pace_ns if rules else 0, of_sequences=rules is not None
        )
        return ModelDevices(self, urgency, self._host, on_turn)

    def device_of(self, instance: Instance) -> Device:
        """The device that this instance's steps run on: a GPU, or all processors together."""
        is_gpu = instance.kind is InstanceKind.GPU
        name = f"gpu {instance.device_id}" if is_gpu else CPU
        device = self._devices.get(name)
        if device is None:
            device = self._devices[name] = Device(self._host, self._width, self._share)
            self._by_line[device.line] = device
        return device

    def look_soon(self, line: DeviceLine) -> None:
        """Something has changed in this line."""
        self._by_line[line].look_soon()
