"""Sequences kept in this process: several gateways in one, and tests.

A `MemoryShelf` outlives the stores that write to it, as a server of one's own would.
"""

import asyncio
import itertools
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import final

from streamgate.snapshot.contract import (
    KeptKey,
    KeptResult,
    KeptSequence,
    KeptSnapshot,
    KeptStep,
    NotTakenError,
    SequenceWatcher,
    SequenceWriter,
    StoreHealth,
    WhyNot,
)


@dataclass(slots=True, eq=False)
class _Record:
    epoch: int
    owner: str
    version: str
    note: str
    steps: deque[KeptStep] = field(default_factory=deque)
    snapshot: KeptSnapshot | None = None
    results: deque[KeptResult] = field(default_factory=deque)
    results_dropped: int = 0
    ended: str = ""


@final
class MemoryShelf:
    """What is kept, by name, and which owners live."""

    def __init__(self) -> None:
        self.records: dict[KeptKey, _Record] = {}
        self.owners: set[str] = set()
        self._epochs = itertools.count(1)

    def new_epoch(self) -> int:
        return next(self._epochs)


@final
class MemoryStore:
    """Implements `streamgate.snapshot.contract.SessionStore` over a shelf. Ended sequences stay on
    it: it is for short lives."""

    def __init__(self, shelf: MemoryShelf, owner: str) -> None:
        self._shelf = shelf
        self._owner = owner
        self._writes = 0
        self._refused = 0
        self._taken = 0

    async def start(self) -> None:
        self._shelf.owners.add(self._owner)

    async def close(self, seconds: float) -> None:
        del seconds
        await asyncio.sleep(0)  # what was called soon is called
        self._shelf.owners.discard(self._owner)

    def open(
        self, key: KeptKey, version: str, note: str, watcher: SequenceWatcher
    ) -> SequenceWriter:
        record = _Record(self._shelf.new_epoch(), self._owner, version, note)
        old = self._shelf.records.get(key)
        if old is not None:
            old.epoch = record.epoch
        self._shelf.records[key] = record
        return _MemoryWriter(self, record, watcher)

    async def take(
        self, key: KeptKey, watcher: SequenceWatcher, *, only_from_dead: bool
    ) -> tuple[KeptSequence, SequenceWriter]:
        record = self._shelf.records.get(key)
        if record is None:
            raise NotTakenError(WhyNot.UNKNOWN)
        if record.ended:
            raise NotTakenError(WhyNot.ENDED, record.ended, tuple(record.results))
        if only_from_dead and record.owner in self._shelf.owners:
            raise NotTakenError(WhyNot.OWNED, record.owner)
        record.epoch = self._shelf.new_epoch()
        record.owner = self._owner
        self._taken += 1
        kept = KeptSequence(
            record.epoch,
            record.version,
            record.note,
            tuple(record.steps),
            record.snapshot,
            tuple(record.results),
            record.results_dropped,
        )
        return kept, _MemoryWriter(self, record, watcher)

    def health(self) -> StoreHealth:
        return StoreHealth(
            is_up=True,
            writes=self._writes,
            refused_writes=self._refused,
            unkept=0,
            taken=self._taken,
            reconnects=0,
            waiting_bytes=0,
        )

    def count(self, *, refused: bool) -> None:
        """Count a write."""
        if refused:
            self._refused += 1
        else:
            self._writes += 1


@final
class _MemoryWriter:
    """Writes at once, while its epoch is the record's."""

    def __init__(self, store: MemoryStore, record: _Record, watcher: SequenceWatcher) -> None:
        self._store = store
        self._record = record
        self._watcher = watcher
        self._epoch = record.epoch
        self._is_told = False

    def append(self, position: int, data: bytes) -> None:
        if self._may_write():
            self._record.steps.append(KeptStep(position, data))

    def void(self, position: int) -> None:
        steps = self._record.steps
        if self._may_write() and steps and steps[0].position <= position <= steps[-1].position:
            steps[position - steps[0].position] = KeptStep(position, b"")

    def put_result(
        self, position: int, index: int, data: bytes, on_stored: Callable[[], None]
    ) -> None:
        if self._may_write():
            self._record.results.append(KeptResult(position, index, data))
            asyncio.get_running_loop().call_soon(on_stored)

    def put_snapshot(self, position: int, data: bytes) -> None:
        if self._may_write():
            record = self._record
            record.snapshot = KeptSnapshot(position, data)
            while record.steps and record.steps[0].position <= position:
                record.steps.popleft()

    def when_stored(self, on_stored: Callable[[], None]) -> None:
        if self._may_write():
            asyncio.get_running_loop().call_soon(on_stored)

    def drop_results(self, count: int) -> None:
        if self._may_write():
            for _ in range(count):
                self._record.results.popleft()
            self._record.results_dropped += count

    def end(self, reason: str) -> None:
        if self._may_write():
            record = self._record
            record.ended = reason
            record.steps.clear()
            record.snapshot = None

    def leave(self) -> None:
        if self._may_write():
            self._record.owner = ""

    def abandon(self) -> None:
        """Nothing waits here for longer than a turn of the loop."""

    def _may_write(self) -> bool:
        is_stale = self._record.epoch != self._epoch
        self._store.count(refused=is_stale)
        if is_stale and not self._is_told:
            self._is_told = True
            asyncio.get_running_loop().call_soon(self._watcher.on_fenced)
        return not is_stale
