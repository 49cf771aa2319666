"""A session store whose owner dies at a given write, as far as anybody else can tell: what it writes
from then on is nowhere, and it shows no life. It goes on itself, as a process that is cut off."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import final

from streamgate.snapshot.contract import (
    KeptKey,
    KeptSequence,
    SequenceWatcher,
    SequenceWriter,
    StoreHealth,
)
from streamgate.snapshot.memory import MemoryShelf, MemoryStore


@dataclass
class Fate:
    """When the owner dies: with so many writes done. `on_death` is called then."""

    writes_left: int = 10**9
    is_dead: bool = False
    writes: int = 0
    on_death: Callable[[], None] = lambda: None


@final
class MortalStore:
    """Implements `SessionStore` over a shelf in memory."""

    def __init__(self, shelf: MemoryShelf, owner: str, fate: Fate) -> None:
        self._shelf = shelf
        self._owner = owner
        self._store = MemoryStore(shelf, owner)
        self.fate = fate

    async def start(self) -> None:
        await self._store.start()

    async def close(self, seconds: float) -> None:
        await self._store.close(seconds)

    def open(
        self, key: KeptKey, version: str, note: str, watcher: SequenceWatcher
    ) -> SequenceWriter:
        if not self.may_write():
            return _MortalWriter(self, None)
        return _MortalWriter(self, self._store.open(key, version, note, watcher))

    async def take(
        self, key: KeptKey, watcher: SequenceWatcher, *, only_from_dead: bool
    ) -> tuple[KeptSequence, SequenceWriter]:
        kept, writer = await self._store.take(key, watcher, only_from_dead=only_from_dead)
        return kept, _MortalWriter(self, writer)

    def health(self) -> StoreHealth:
        return self._store.health()

    def may_write(self) -> bool:
        fate = self.fate
        if fate.is_dead:
            return False
        if not fate.writes_left:
            self.die()
            return False
        fate.writes_left -= 1
        fate.writes += 1
        return True

    def die(self) -> None:
        self.fate.is_dead = True
        self._shelf.owners.discard(self._owner)
        self.fate.on_death()


@final
class _MortalWriter:
    def __init__(self, store: MortalStore, writer: SequenceWriter | None) -> None:
        self._store = store
        self._writer = writer

    def append(self, position: int, data: bytes) -> None:
        if self._store.may_write() and self._writer is not None:
            self._writer.append(position, data)

    def void(self, position: int) -> None:
        if self._store.may_write() and self._writer is not None:
            self._writer.void(position)

    def put_result(
        self, position: int, index: int, data: bytes, on_stored: Callable[[], None]
    ) -> None:
        def stored() -> None:
            if not self._store.fate.is_dead:
                on_stored()

        if self._store.may_write() and self._writer is not None:
            self._writer.put_result(position, index, data, stored)

    def put_snapshot(self, position: int, data: bytes) -> None:
        if self._store.may_write() and self._writer is not None:
            self._writer.put_snapshot(position, data)

    def drop_results(self, count: int) -> None:
        if self._store.may_write() and self._writer is not None:
            self._writer.drop_results(count)

    def end(self, reason: str) -> None:
        if self._store.may_write() and self._writer is not None:
            self._writer.end(reason)

    def leave(self) -> None:
        if self._store.may_write() and self._writer is not None:
            self._writer.leave()

    def abandon(self) -> None:
        if self._writer is not None:
            self._writer.abandon()
