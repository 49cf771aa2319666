"""The log of a sequence: its steps since the newest snapshot, and what was delivered of each.

Recovery, moves and hibernation are one operation: restore the snapshot, replay the steps behind it,
suppress what was delivered. This is what has to be known for that. No clock and no I/O: moments
are arguments, in nanoseconds.
"""

import enum
from collections import deque
from collections.abc import Iterator
from typing import Final, Generic, TypeVar

from streamgate.model.request import Request
from streamgate.model.snapshot import Snapshot
from streamgate.session.durable.observer import LogObserver

STEP_BYTES: Final = 512
"""What a step takes beside its inputs, roughly: a log of empty requests is bounded, too."""


class Verdict(enum.Enum):
    """What becomes of a result."""

    HAND_ON = "hand on"
    SUPPRESS = "suppress"
    CLOSE = "close"
    """It was delivered before, but was not the last of its step then: now only that is news."""
    MISMATCH = "mismatch"
    """It was delivered before and was another one: the replay did not lead to the same state."""
    STALE = "stale"
    """It comes from an older incarnation of the sequence."""
    GAP = "gap"
    """One before it is missing."""


class Entry:
    """One step. `delivered` counts its results that were handed on, in order; `is_done`: the last
    of them was. `has_failed`: one of them was an error. `is_dropped`: it takes up its position, but
    nothing came of it, so it is not replayed. `digests` are those of the results, if any are made.
    """

    __slots__ = (
        "at_ns",
        "delivered",
        "digests",
        "has_failed",
        "is_done",
        "is_dropped",
        "position",
        "request",
        "size_bytes",
    )

    def __init__(self, position: int, request: Request, size_bytes: int, at_ns: int) -> None:
        self.position = position
        self.request = request
        self.size_bytes = size_bytes
        self.at_ns = at_ns
        self.delivered = 0
        self.is_done = False
        self.has_failed = False
        self.is_dropped = False
        self.digests: list[bytes | None] | None = None


E = TypeVar("E", bound=Entry)


class SequenceLog(Generic[E]):
    """The steps of one sequence in their order, positions rising, with gaps where steps were
    refused.

    At most `limit_bytes` of inputs and `limit_ns` of time between the oldest and the newest are
    kept (0: no limit). What outgrows that is freed, and the sequence can't be recovered from then
    on, until there is a snapshot behind all that was freed. With `keeps_done` false, steps are
    freed once they are done. `epoch` counts its incarnations: results and snapshots of an older
    one do not count.
    """

    __slots__ = (
        "_entries",
        "_freed_open",
        "_keeps_done",
        "_limit_bytes",
        "_limit_ns",
        "_lost_up_to",
        "epoch",
        "observer",
        "size_bytes",
        "snapshot",
        "why_lost",
    )

    def __init__(
        self,
        limit_bytes: int,
        limit_ns: int,
        *,
        keeps_done: bool = True,
        epoch: int = 1,
        snapshot: Snapshot | None = None,
        observer: LogObserver | None = None,
    ) -> None:
        self.epoch = epoch
        self.snapshot = snapshot
        self.size_bytes = 0
        self.why_lost = ""
        self._limit_bytes = limit_bytes
        self._limit_ns = limit_ns
        self._keeps_done = keeps_done
        self._entries: deque[E] = deque()
        # Freed, but not answered yet: whoever waits for them is to be told of a loss.
        self._freed_open: list[E] = []
        self._lost_up_to = -1
        self.observer = observer

    def __len__(self) -> int:
        return len(self._entries)

    def __iter__(self) -> Iterator[E]:
        return iter(self._entries)

    @property
    def is_recoverable(self) -> bool:
        """Whether the snapshot, if there is one, and the steps here lead to the newest state. If
        not, `why_lost` says why."""
        snapshot = self.snapshot
        return self._lost_up_to <= (-1 if snapshot is None else snapshot.position)

    def append(self, entry: E) -> bool:
        """A step came in, whose position is behind all others. Returns whether that was too much:
        the log is freed."""
        entries = self._entries
        if not self._keeps_done:
            while entries and entries[0].is_done:
                self._let_go(entries.popleft())
        entries.append(entry)
        if self.observer is not None:
            self.observer.appended(entry.position, entry.request)
        size = self.size_bytes = self.size_bytes + entry.size_bytes
        if 0 < self._limit_bytes < size:
            self._outgrow(f"its log outgrew {self._limit_bytes} bytes")
            return True
        if 0 < self._limit_ns < entry.at_ns - entries[0].at_ns:
            self._outgrow(f"its log outgrew {self._limit_ns / 1e9:g} s of input")
            return True
        return False

    def drop(self, entry: E) -> None:
        """A step was refused, or cancelled before it ran: its position stays a gap. It is done."""
        entry.is_done = entry.is_dropped = True
        if self.observer is not None:
            self.observer.dropped(entry.position)

    def deliver(
        self,
        entry: E,
        epoch: int,
        index: int,
        final: bool,
        failed: bool = False,
        digest: bytes | None = None,
    ) -> Verdict:
        """A result of a step arrived, the `index`-th of those of one run: what becomes of it.

        One that is handed on or closes its step is counted as delivered from now on.
        """
        if epoch != self.epoch:
            return Verdict.STALE
        delivered = entry.delivered
        if not entry.is_done and index == delivered:
            entry.delivered = delivered + 1
            entry.is_done = final
            if failed:
                entry.has_failed = True
            if digest is not None:
                if entry.digests is None:
                    entry.digests = []
                entry.digests.append(digest)
            return Verdict.HAND_ON
        if index > delivered and not entry.is_done:
            return Verdict.GAP
        if not entry.has_failed and (failed or self._differs(entry, index, digest)):
            return Verdict.MISMATCH
        if final and not entry.is_done:
            entry.is_done = True
            return Verdict.CLOSE
        return Verdict.SUPPRESS

    def cut(self, epoch: int, snapshot: Snapshot) -> bool:
        """A snapshot was taken: what it covers is not needed any more. False, and nothing changes,
        for one of an older incarnation, of an older state than the last one, or of a step that
        has not been answered: it can't be what it seems."""
        position = snapshot.position
        if epoch != self.epoch or (self.snapshot is not None and position < self.snapshot.position):
            return False
        entries = self._entries
        covered = 0
        for entry in entries:
            if entry.position > position:
                break
            if not entry.is_done:
                return False
            covered += 1
        for _ in range(covered):
            self.size_bytes -= entries.popleft().size_bytes
        if position >= self._lost_up_to:
            # One that is behind what was freed is of no use.
            self.snapshot = snapshot
            self.why_lost = ""
        if self.observer is not None:
            self.observer.cut(snapshot)
        return True

    def replay(self) -> list[E]:
        """The steps to run on the snapshot's state, in their order."""
        return [entry for entry in self._entries if not entry.is_dropped]

    def open_entries(self) -> list[E]:
        """The steps that have not had their last result, in their order."""
        entries = [*self._freed_open, *self._entries]
        return [entry for entry in entries if not entry.is_done]

    def raise_epoch(self) -> None:
        """The sequence begins another incarnation."""
        self.epoch += 1
        if self.observer is not None:
            self.observer.epoch_raised(self.epoch)

    def forget(self, why: str) -> None:
        """Free all steps: from now on the sequence can't be recovered, until a snapshot comes."""
        if self._entries:
            self._outgrow(why)

    def _let_go(self, entry: E) -> None:
        self.size_bytes -= entry.size_bytes
        if not entry.is_dropped:
            self._lost_up_to = entry.position
            self.why_lost = "no log of it is kept"

    def _outgrow(self, why: str) -> None:
        self._lost_up_to = self._entries[-1].position
        self._freed_open = self.open_entries()
        self._entries.clear()
        self.size_bytes = 0
        self.why_lost = why
        # It can't be of use any more: a newer one is.
        self.snapshot = None
        if self.observer is not None:
            self.observer.outgrown(self._lost_up_to, why)

    @staticmethod
    def _differs(entry: E, index: int, digest: bytes | None) -> bool:
        digests = entry.digests
        if digest is None or digests is None:
            return False
        return index >= len(digests) or digests[index] != digest
