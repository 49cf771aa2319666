"""Where sequences are kept, so that another process can go on with them.

What is kept of a sequence: its steps since its newest snapshot, that snapshot, its newest results,
and an epoch. The epoch is the right to write: whoever opens or takes a sequence gets a higher one,
in one operation with it, and from then on nobody else can write to it.

Writing never waits. What a writer was told is written in order, soon; `on_stored` tells when. While
the store can't be reached, sequences go on: `on_stored` is called nevertheless, what is written
waits in memory up to a bound, and a sequence that outgrows it is kept no more, which its watcher is
told. Steps, snapshots and results are bytes here (see `streamgate.snapshot.codec`).
"""

import enum
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from streamgate.model.request import SequenceKey


@dataclass(frozen=True, slots=True)
class KeptKey:
    """A sequence's name: its model and its correlation ID."""

    model: str
    sequence: SequenceKey
    is_session: bool = False
    """Whether it is a client's session, on which sequences of models stand: what is written of it
    is stored before what was written of them meanwhile or later."""


@dataclass(frozen=True, slots=True)
class KeptStep:
    """A request of a sequence, by its position (0 is START's). Empty where nothing came of it: it
    was refused, or cancelled before it ran."""

    position: int
    data: bytes


@dataclass(frozen=True, slots=True)
class KeptSnapshot:
    """The state after the step at `position`."""

    position: int
    data: bytes


@dataclass(frozen=True, slots=True)
class KeptResult:
    """One response to the step at `position`, its place among that step's responses in `index`."""

    position: int
    index: int
    data: bytes


@dataclass(frozen=True, slots=True)
class KeptSequence:
    """All that is kept of a sequence.

    `steps` are those after the snapshot, from 0 where there is none, without a gap. `results` are
    the newest ones, in order; all before them were dropped. `version` is the model's, `note` what
    the sequence was opened with.
    """

    epoch: int
    version: str
    note: str
    steps: Sequence[KeptStep]
    snapshot: KeptSnapshot | None
    results: Sequence[KeptResult]
    results_dropped: int

    @property
    def next_position(self) -> int:
        """The position of the step that comes next: so many steps were received."""
        if self.steps:
            return self.steps[-1].position + 1
        return self.snapshot.position + 1 if self.snapshot is not None else 0


class WhyNot(enum.Enum):
    """Why a sequence can't be taken."""

    UNKNOWN = "unknown"
    ENDED = "ended"
    OWNED = "owned"
    BROKEN = "broken"
    UNREACHABLE = "unreachable"


class NotTakenError(Exception):
    """A sequence that can't be taken. `detail`: why it ended, who owns it, what is wrong. Of one
    that ended, `results` are its last ones, but for large ones."""

    def __init__(self, why: WhyNot, detail: str = "", results: Sequence[KeptResult] = ()) -> None:
        super().__init__(f"{why.value}: {detail}" if detail else why.value)
        self.why = why
        self.detail = detail
        self.results = results


class SequenceWatcher(Protocol):
    """Told what becomes of a sequence that is written. At most one of these is called, once."""

    def on_fenced(self) -> None:
        """Somebody else has taken or opened the sequence: nothing of it may be told to its client
        any more, and what was not stored by now never will be."""

    def on_unkept(self, why: str) -> None:
        """The sequence is kept no more: it goes on here, but can't be taken elsewhere."""


class SequenceWriter(Protocol):
    """The right to write one sequence. All of it is for the event loop's thread and returns at
    once; after `end`, `leave` or `abandon` nothing may follow."""

    def append(self, position: int, data: bytes) -> None:
        """A step that was received. Positions have no gaps."""

    def void(self, position: int) -> None:
        """Nothing came of a step that was appended: it is not to be run again."""

    def put_result(
        self, position: int, index: int, data: bytes, on_stored: Callable[[], None]
    ) -> None:
        """A result, which is given to the client at `on_stored`: once it, and all that was written
        before it, is stored (or the store can't be reached). Never called before this returns, in
        the order of the calls, and not at all for a writer that is fenced."""

    def put_snapshot(self, position: int, data: bytes) -> None:
        """The state after this step, in place of the last one and of the steps up to it."""

    def when_stored(self, on_stored: Callable[[], None]) -> None:
        """Be told as `put_result` tells: once all that was written before is stored."""

    def drop_results(self, count: int) -> None:
        """Forget this many of the oldest results that are kept."""

    def end(self, reason: str) -> None:
        """The sequence is over: keep nothing of it but its reason and results, for a while."""

    def leave(self) -> None:
        """The sequence goes on elsewhere: anybody may take it now."""

    def abandon(self) -> None:
        """Write no more of it. What waits for `on_stored` is told so now, and nothing later."""


@dataclass(frozen=True, slots=True)
class StoreHealth:
    """How a store does. Counts are since its start.

    `is_up`: it answered last time. `refused_writes`: of writers that were fenced. `unkept`:
    sequences that are, or were, kept no more. `waiting_bytes`: what is to be written yet.
    """

    is_up: bool
    writes: int
    refused_writes: int
    unkept: int
    taken: int
    reconnects: int
    waiting_bytes: int


class SessionStore(Protocol):
    """A store, as one owner of sequences (a front end) uses it."""

    async def start(self) -> None:
        """Begin to write, and to show that this owner lives. Raises StreamGateError (UNAVAILABLE)
        when the store can't be reached."""

    async def close(self, seconds: float) -> None:
        """Write what waits, for at most so long, then let go of the store."""

    def open(
        self, key: KeptKey, version: str, note: str, watcher: SequenceWatcher
    ) -> SequenceWriter:
        """Begin a sequence, in place of whatever was kept under its name."""

    async def take(
        self, key: KeptKey, watcher: SequenceWatcher, *, only_from_dead: bool
    ) -> tuple[KeptSequence, SequenceWriter]:
        """All that is kept of a sequence, and the right to go on with it; its last owner has it no
        more. `only_from_dead`: not from an owner that shows that it lives. Raises NotTakenError."""

    def health(self) -> StoreHealth: ...
