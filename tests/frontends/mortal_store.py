"""A session store whose owner dies at a given write, as far as anybody else can tell: what it
writes from then on is nowhere, and it shows no life. It goes on itself, as if it were cut off."""

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
class Life:
    """One of an owner's: it ends with so many writes done."""

    name: str
    writes_left: int = 10**9
    writes: int = 0
    is_over: bool = False


@final
class MortalStore:
    """Implements `SessionStore` over a shelf in memory. `on_death` is called when its owner dies;
    who is `reborn` is somebody else, and knows nothing of what was written before."""

    def __init__(self, shelf: MemoryShelf, owner: str) -> None:
        self._shelf = shelf
        self._owner = owner
        self._lives = 0
        self.on_death: Callable[[], None] = lambda: None
        self.life: Life
        self.reborn()

    def reborn(self, writes_left: int = 10**9) -> None:
        self._lives += 1
        self.life = Life(f"{self._owner}, life {self._lives}", writes_left)
        self._store = MemoryStore(self._shelf, self.life.name)
        self._shelf.owners.add(self.life.name)

    async def start(self) -> None:
        """It lives already."""

    async def close(self, seconds: float) -> None:
        await self._store.close(seconds)

    def open(
        self, key: KeptKey, version: str, note: str, watcher: SequenceWatcher
    ) -> SequenceWriter:
        writer = None
        if self.may_write(self.life):
            writer = self._store.open(key, version, note, watcher)
        return _MortalWriter(self, self.life, writer)

    async def take(
        self, key: KeptKey, watcher: SequenceWatcher, *, only_from_dead: bool
    ) -> tuple[KeptSequence, SequenceWriter]:
        kept, writer = await self._store.take(key, watcher, only_from_dead=only_from_dead)
        return kept, _MortalWriter(self, self.life, writer)

    def health(self) -> StoreHealth:
        return self._store.health()

    def die(self) -> None:
        self.life.is_over = True
        self._shelf.owners.discard(self.life.name)
        self.on_death()

    def may_write(self, life: Life) -> bool:
        if life.is_over:
            return False
        if not life.writes_left:
            self.die()
            return False
        life.writes_left -= 1
        life.writes += 1
        return True


@final
class _MortalWriter:
    def __init__(self, store: MortalStore, life: Life, writer: SequenceWriter | None) -> None:
        self._store = store
        self._life = life
        self._writer = writer

    def append(self, position: int, data: bytes) -> None:
        if self._store.may_write(self._life) and self._writer is not None:
            self._writer.append(position, data)

    def void(self, position: int) -> None:
        if self._store.may_write(self._life) and self._writer is not None:
            self._writer.void(position)

    def put_result(
        self, position: int, index: int, data: bytes, on_stored: Callable[[], None]
    ) -> None:
        def stored() -> None:
            if not self._life.is_over:
                on_stored()

        if self._store.may_write(self._life) and self._writer is not None:
            self._writer.put_result(position, index, data, stored)

    def put_snapshot(self, position: int, data: bytes) -> None:
        if self._store.may_write(self._life) and self._writer is not None:
            self._writer.put_snapshot(position, data)

    def when_stored(self, on_stored: Callable[[], None]) -> None:
        if self._store.may_write(self._life) and self._writer is not None:
            self._writer.when_stored(on_stored)

    def drop_results(self, count: int) -> None:
        if self._store.may_write(self._life) and self._writer is not None:
            self._writer.drop_results(count)

    def end(self, reason: str) -> None:
        if self._store.may_write(self._life) and self._writer is not None:
            self._writer.end(reason)

    def leave(self) -> None:
        if self._store.may_write(self._life) and self._writer is not None:
            self._writer.leave()

    def abandon(self) -> None:
        if self._writer is not None:
            self._writer.abandon()
