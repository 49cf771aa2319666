"""What a scheduler was told and what it said, as lines of JSON: to be kept, read and replayed.

    {"scheduling":{...},"max_batch_size":4,"instances":1}
    {"now":1000,"receive":{"Submit":{"request":1,"sequence":7,"start":true}}}
    {"now":1000,"poll":[{"SlotTaken":{...}},{"Run":{...}}],"wake_at":1000001000}

A trace of a live engine reproduces a scheduling fault anywhere; the traces in tests/core/traces
make sure that a change of the code is no change of behaviour. Values are written as {type: fields},
fields at their defaults left out. Knows no file: lines come from and go to the caller.
"""

import enum
import json
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import MISSING, fields, is_dataclass
from typing import Any, final

from streamgate.core import commands, events
from streamgate.core.commands import Command
from streamgate.core.events import Event
from streamgate.core.ids import Ns
from streamgate.core.scheduler import Scheduler, SchedulerStatistics, SlotHolder
from streamgate.errors import EndReason
from streamgate.model import config
from streamgate.model.config import Scheduling
from streamgate.model.request import SequenceKey

Create = Callable[[Scheduling, int, int], Scheduler]
"""How a scheduler is made of its configuration, `max_batch_size` and instances."""

_TYPES: dict[str, type] = {
    each.__name__: each
    for each in (
        *(events.Submit, events.Reserve, events.Completed, events.Cancel, events.HangUp),
        *(events.Pause, events.Resume, events.Touch),
        *(events.EndSequence, events.Drain, events.Close),
        *(events.Restore, events.Arrived, events.HandOver),
        *(events.Copied, events.NotCopied, events.Hibernate),
        *(events.InstanceLost, events.InstanceBack, events.Resize, events.TurnCame),
        *(commands.InstanceGone, commands.IdleWarning),
        *(commands.Run, commands.Step, commands.Row, commands.Reject, commands.Rejection),
        *(commands.Reserved, commands.ReservationRefused),
        *(commands.RestoreRefused, commands.HandOverRefused, commands.Leave, commands.Evict),
        *(commands.SequenceLeft, commands.SequenceParked, commands.SequenceStays),
        *(commands.SlotTaken, commands.SequenceEnded, EndReason),
        *(config.DefaultScheduling, config.DynamicBatching, config.SequenceBatching),
        *(config.DirectStrategy, config.OldestStrategy, config.QueuePolicy, config.TimeoutAction),
    )
}
_SET = "set"
_MAP = "map"


@final
class Recorder:
    """A scheduler that hands a line to `write` for everything that goes in or comes out."""

    def __init__(
        self,
        create: Create,
        scheduling: Scheduling,
        max_batch_size: int,
        instances: int,
        write: Callable[[str], None],
    ) -> None:
        self._scheduler = create(scheduling, max_batch_size, instances)
        self._write = write
        write(
            _line(scheduling=encode(scheduling), max_batch_size=max_batch_size, instances=instances)
        )

    def receive(self, event: Event, now: Ns) -> None:
        self._write(_line(now=now, receive=encode(event)))
        self._scheduler.receive(event, now)

    def poll(self, now: Ns) -> list[Command]:
        said = self._scheduler.poll(now)
        wake_at = self._scheduler.wake_at()
        self._write(_line(now=now, poll=[encode(command) for command in said], wake_at=wake_at))
        return said

    def wake_at(self) -> Ns | None:
        return self._scheduler.wake_at()

    def statistics(self) -> SchedulerStatistics:
        return self._scheduler.statistics()

    def holders(self, limit: int, only: Collection[SequenceKey] | None = None) -> list[SlotHolder]:
        return self._scheduler.holders(limit, only)


def replay(lines: Iterable[str], create: Create) -> Iterator[str]:
    """The trace that a scheduler made now gives for the same events and polls.

    Line by line the same as `lines`, unless it behaves in another way. Raises ValueError where
    `lines` is no trace.
    """
    written: list[str] = []
    recorder: Recorder | None = None
    for number, line in enumerate(lines, 1):
        match json.loads(line):
            case {"scheduling": scheduling, "max_batch_size": int(rows), "instances": int(count)}:
                recorder = Recorder(create, decode(scheduling), rows, count, written.append)
            case {"now": int(now), "receive": event} if recorder is not None:
                recorder.receive(decode(event), Ns(now))
            case {"now": int(now), "poll": list()} if recorder is not None:
                recorder.poll(Ns(now))
            case _:
                raise ValueError(f"line {number} is not one of a trace: {line!r}")
        yield from written
        written.clear()


def encode(value: object) -> Any:
    """A value as JSON has it. Raises TypeError for what a trace can't hold."""
    if isinstance(value, enum.Enum):
        return {type(value).__name__: value.name}
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, tuple):
        return [encode(each) for each in value]
    if isinstance(value, frozenset):
        return {_SET: sorted(encode(each) for each in value)}
    if isinstance(value, Mapping):
        return {_MAP: [[encode(key), encode(value[key])] for key in sorted(value)]}
    if is_dataclass(value) and type(value).__name__ in _TYPES:
        return {type(value).__name__: _encode_fields(value)}
    raise TypeError(f"a trace can't hold {value!r}")


def decode(value: Any) -> Any:
    """What `encode` was given."""
    match value:
        case list():
            return tuple(decode(each) for each in value)
        case {"set": members}:
            return frozenset(decode(each) for each in members)
        case {"map": pairs}:
            return {decode(key): decode(each) for key, each in pairs}
        case dict():
            ((name, content),) = value.items()
            kind = _TYPES[name]
            if issubclass(kind, enum.Enum):
                return kind[content]
            return kind(**{key: decode(each) for key, each in content.items()})
        case _:
            return value


def _encode_fields(value: Any) -> dict[str, Any]:
    encoded: dict[str, Any] = {}
    for field in fields(value):
        content = getattr(value, field.name)
        default = field.default if field.default_factory is MISSING else field.default_factory()
        if default is MISSING or content != default:
            encoded[field.name] = encode(content)
    return encoded


def _line(**content: Any) -> str:
    return json.dumps(content, separators=(",", ":"))
