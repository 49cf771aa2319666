"""What front ends and engines say to each other. Each is a value; a frame's header is its number in
`MESSAGES` and its fields.

`model` is the number under which an engine exports a model version on this connection, `epoch`
the incarnation of a sequence: it rises with each START, reservation and restore that a front end
sends, so what belongs to an older one is known. Steps and results, which are most of all, have a
form of their own (`steps`).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from streamgate.errors import EndReason, EndWarning, Failure
from streamgate.link.frames import FrameError
from streamgate.link.values import Bodies, ValueFormatError, pack, shape_of, unpack
from streamgate.model.config import ModelConfig
from streamgate.model.request import SequenceKey
from streamgate.model.snapshot import Snapshot
from streamgate.model.statistics import ModelStatistics, SlotTable
from streamgate.session.gateway import ModelIndexEntry, ServerInfo

STEP: Final = 0
RESULT: Final = 1


@dataclass(frozen=True, slots=True)
class Challenge:
    """The first frame of the side that was connected to."""

    shape: str
    nonce: bytes


@dataclass(frozen=True, slots=True)
class Hello:
    """The answer: who connects, and that it knows the secret. `incarnation` is another one after
    each start of its process; `peer_path` is where other front ends reach it, "" for nowhere.
    With `arena_bytes` comes a descriptor of an arena of so many."""

    shape: str
    nonce: bytes
    proof: bytes
    incarnation: str
    peer_path: str
    arena_bytes: int = 0


@dataclass(frozen=True, slots=True)
class Welcome:
    """The engine takes the connection: who it is, and that it knows the secret, too. The arena is
    as in Hello."""

    proof: bytes
    incarnation: str
    info: ServerInfo
    arena_bytes: int = 0


@dataclass(frozen=True, slots=True)
class Beat:
    """A sign of life, and how late this side's loop came to give it."""

    late_ns: int = 0


@dataclass(frozen=True, slots=True)
class Mapped:
    """Your arena can be read here: use it."""


@dataclass(frozen=True, slots=True)
class GivenBack:
    """Nobody holds these blocks of your arena any more."""

    blocks: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class VersionLine:
    """One version of the engine's model table. `model` is 0 for one that is not ready."""

    number: int
    state: str
    reason: str
    model: int


@dataclass(frozen=True, slots=True)
class ModelLine:
    """One model of the engine's table."""

    name: str
    trouble: str
    versions: tuple[VersionLine, ...]


@dataclass(frozen=True, slots=True)
class Table:
    """The engine's whole table. What is exported and not in here any more is retiring: it takes no
    new sequences, and goes as soon as nothing lives there. `live`: the engine has started, and is
    not stopping."""

    models: tuple[ModelLine, ...]
    live: bool


@dataclass(frozen=True, slots=True)
class Export:
    """A version that is ready, before it stands in the table; or its new configuration."""

    model: int
    version: str
    config: ModelConfig


@dataclass(frozen=True, slots=True)
class Withdrawn:
    """Nothing lives on this version any more, and nothing ever will."""

    model: int


@dataclass(frozen=True, slots=True)
class Reserve:
    """As `ModelLink.reserve`; answered by `Answered`."""

    number: int
    model: int
    owner: int
    epoch: int
    sequence: SequenceKey


@dataclass(frozen=True, slots=True)
class Restore:
    """As `MovableLink.restore`; answered by `Answered`."""

    number: int
    model: int
    owner: int
    epoch: int
    sequence: SequenceKey
    snapshot: Snapshot


@dataclass(frozen=True, slots=True)
class Answered:
    """What became of a reservation or a restore."""

    number: int
    failure: Failure | None


@dataclass(frozen=True, slots=True)
class HandOver:
    """As `MovableLink.hand_over`; answered by `HandedOver`."""

    number: int
    model: int
    epoch: int
    sequence: SequenceKey


@dataclass(frozen=True, slots=True)
class TakeSnapshot:
    """As `MovableLink.take_snapshot`; answered by `HandedOver`."""

    number: int
    model: int
    epoch: int
    sequence: SequenceKey


@dataclass(frozen=True, slots=True)
class HandedOver:
    """The snapshot of a sequence that has left or was to be copied, or why there is none."""

    number: int
    outcome: Snapshot | Failure


@dataclass(frozen=True, slots=True)
class Cancel:
    """As `ModelLink.cancel`."""

    number: int


@dataclass(frozen=True, slots=True)
class Pause:
    """As `ModelLink.pause`, and `resume`."""

    numbers: tuple[int, ...]
    on: bool


@dataclass(frozen=True, slots=True)
class Touch:
    """As `ModelLink.touch`."""

    model: int
    sequence: SequenceKey


@dataclass(frozen=True, slots=True)
class HangUp:
    """As `ModelLink.hang_up`."""

    model: int
    owner: int


@dataclass(frozen=True, slots=True)
class EndSequence:
    """As `ModelLink.end_sequence`."""

    model: int
    epoch: int
    sequence: SequenceKey
    reason: EndReason
    drain: bool


@dataclass(frozen=True, slots=True)
class WatchSnapshots:
    """As `MovableLink.watch_snapshots`."""

    model: int


@dataclass(frozen=True, slots=True)
class Ended:
    """A sequence ended; `unstarted`: it was a reservation."""

    model: int
    epoch: int
    sequence: SequenceKey
    reason: EndReason
    unstarted: bool


@dataclass(frozen=True, slots=True)
class Warned:
    """A sequence will end soon, and why."""

    model: int
    epoch: int
    sequence: SequenceKey
    warning: EndWarning


@dataclass(frozen=True, slots=True)
class Snapped:
    """A snapshot that was taken unasked; `has_left`: and the sequence lives in it alone."""

    model: int
    epoch: int
    sequence: SequenceKey
    snapshot: Snapshot
    has_left: bool


@dataclass(frozen=True, slots=True)
class AskReady:
    """Whether a model says that it can serve; answered by `Ready`."""

    number: int
    model: int


@dataclass(frozen=True, slots=True)
class Ready:
    """Whether it does."""

    number: int
    ready: bool


@dataclass(frozen=True, slots=True)
class AskStatistics:
    """As `Gateway.statistics`; answered by `Statistics` or `Refused`."""

    number: int
    name: str
    version: str


@dataclass(frozen=True, slots=True)
class Statistics:
    """The statistics of versions."""

    number: int
    statistics: tuple[ModelStatistics, ...]


@dataclass(frozen=True, slots=True)
class AskSlots:
    """As `Gateway.slots`; answered by `Slots` or `Refused`."""

    number: int
    name: str
    version: str


@dataclass(frozen=True, slots=True)
class Slots:
    """The slot tables of versions."""

    number: int
    tables: tuple[SlotTable, ...]


@dataclass(frozen=True, slots=True)
class AskIndex:
    """As `Gateway.repository_index`; answered by `Index` or `Refused`."""

    number: int
    ready_only: bool


@dataclass(frozen=True, slots=True)
class Index:
    """The lines of the index."""

    number: int
    entries: tuple[ModelIndexEntry, ...]


@dataclass(frozen=True, slots=True)
class Load:
    """As `Gateway.load_model`; answered by `Done` or `Refused`."""

    number: int
    name: str
    config: str | None
    files: Mapping[str, bytes]


@dataclass(frozen=True, slots=True)
class Unload:
    """As `Gateway.unload_model`; answered by `Done` or `Refused`."""

    number: int
    name: str
    unload_dependents: bool


@dataclass(frozen=True, slots=True)
class Done:
    """It is done."""

    number: int


@dataclass(frozen=True, slots=True)
class Refused:
    """What was asked can't be answered or done."""

    number: int
    failure: Failure


@dataclass(frozen=True, slots=True)
class AskOwner:
    """Which front end holds the log of a sequence of this model; answered by `Owner`. Front ends
    answer for themselves."""

    number: int
    name: str
    sequence: SequenceKey


@dataclass(frozen=True, slots=True)
class Owner:
    """Where that front end is reached; "" for nobody's sequence."""

    number: int
    peer_path: str


@dataclass(frozen=True, slots=True)
class Peers:
    """Where all front ends are reached that an engine knows: one may hold a sequence that lives at
    no engine just now."""

    paths: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Supersede:
    """A START of this ID came to a front end that holds no such sequence: what another one has of
    it at any engine ends, behind what it has queued."""

    name: str
    sequence: SequenceKey


@dataclass(frozen=True, slots=True)
class Forward:
    """From one front end to the one that holds a sequence: the step of this number, which follows,
    is for this model."""

    number: int
    name: str
    version: str


@dataclass(frozen=True, slots=True)
class ForwardEnd:
    """The same of `Connection.end_sequence`."""

    name: str
    version: str
    sequence: SequenceKey


MESSAGES: Final = (
    *(Challenge, Hello, Welcome, Beat, Mapped, GivenBack, Table, Export, Withdrawn),
    *(
        Reserve,
        Restore,
        Answered,
        HandOver,
        TakeSnapshot,
        HandedOver,
        Cancel,
        Pause,
        Touch,
        HangUp,
        EndSequence,
    ),
    *(WatchSnapshots, Ended, Warned, Snapped),
    *(AskReady, Ready, AskStatistics, Statistics, AskSlots, Slots, AskIndex, Index),
    *(Load, Unload, Done, Refused, AskOwner, Owner, Peers, Supersede, Forward, ForwardEnd),
)
"""All messages but steps and results. A frame's kind is the place here, from 2."""

SHAPE: Final = "1-" + shape_of(MESSAGES)
"""Tells programs apart that would misunderstand each other."""

_KINDS: Final = {cls: place for place, cls in enumerate(MESSAGES, 2)}


def encode_message(message: object) -> tuple[tuple[Any, ...], Bodies]:
    """Header and bodies of a message's frame."""
    bodies: Bodies = []
    cls = type(message)
    return (_KINDS[cls], *pack(cls, message, bodies)), bodies


def decode_message(header: tuple[Any, ...], bodies: Sequence[memoryview]) -> object:
    """The message of a frame that is neither a step nor a result. Raises FrameError."""
    kind = header[0]
    if type(kind) is not int or not 2 <= kind < 2 + len(MESSAGES):
        raise FrameError(f"no message is of kind {kind!r:.40}")
    try:
        return unpack(MESSAGES[kind - 2], header[1:], bodies)
    except ValueFormatError as error:
        raise FrameError(str(error)) from error
