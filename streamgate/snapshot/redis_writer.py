"""One sequence as its owner writes it to Redis: what waits, how it is written, who is told."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping
from enum import Enum
from typing import Protocol, final

from streamgate.snapshot.contract import KeptKey, KeptSequence, SequenceWatcher
from streamgate.snapshot.redis_entries import (
    BlobOf,
    blob_data,
    blobs_gone,
    entry_of,
    result_data,
)
from streamgate.snapshot.redis_scripts import RedisKeys
from streamgate.snapshot.unwritten import Operation, Unwritten

log = logging.getLogger(__name__)


class WriterState(Enum):
    """How far a writer is."""

    OPENING = "opening"
    WRITING = "writing"
    UNKEPT = "unkept"
    OVER = "over"


class WriterOwner(Protocol):
    """The store that a writer belongs to."""

    @property
    def is_up(self) -> bool: ...

    def wake(self, writer: RedisWriter) -> None:
        """It has something to be written."""

    def wake_soon(self, writer: RedisWriter) -> None:
        """It has something to be written that nobody waits for."""

    def let_go(self, writer: RedisWriter) -> None:
        """Nothing of it waits to be told, or will be."""

    def grow(self, writer: RedisWriter, size_bytes: int) -> None:
        """So many more bytes of it wait; fewer when negative."""


@final
class RedisWriter:
    """Implements `streamgate.snapshot.contract.SequenceWriter`. The store asks for what is to be
    written with `take_off`, and says what became of it."""

    def __init__(
        self,
        store: WriterOwner,
        key: KeptKey,
        watcher: SequenceWatcher,
        *,
        opening: tuple[str, str] | None = None,
        kept: KeptSequence | None = None,
        blobs: Mapping[str, BlobOf] | None = None,
    ) -> None:
        """`opening` are version and note of a sequence that begins; `kept` is one that was taken,
        and `blobs` those that it has already."""
        self.key = key
        self.names = RedisKeys.of(key)
        self.opening = opening
        self.state = WriterState.WRITING if kept is not None else WriterState.OPENING
        self.epoch = "" if kept is None else str(kept.epoch)
        self.blobs: dict[str, BlobOf] = dict(blobs or {})
        self.touched = 0.0
        self._store = store
        self._watcher = watcher
        self._unwritten = Unwritten()
        self._flying: list[Operation] = []
        self._blob_count = 0
        self._dropped = 0 if kept is None else kept.results_dropped
        self._next_ordinal = 0 if kept is None else kept.results_dropped + len(kept.results)

    @property
    def size_bytes(self) -> int:
        """Of all that waits to be written, and of what is being written."""
        return self._unwritten.size_bytes

    @property
    def is_waiting(self) -> bool:
        """Whether there is anything to be written."""
        return self._unwritten.is_waiting

    def append(self, position: int, data: bytes) -> None:
        if self._may_write:
            self._unwritten.step(position, data)
            self._store.wake_soon(self)
            self._store.grow(self, len(data))

    def void(self, position: int) -> None:
        if self._may_write:
            self._change(lambda: self._unwritten.void(position))

    def put_result(
        self, position: int, index: int, data: bytes, on_stored: Callable[[], None]
    ) -> None:
        if not self._may_write:
            if self.state is WriterState.UNKEPT:
                _tell([on_stored])
            return
        ordinal = self._next_ordinal
        self._next_ordinal += 1
        whole = result_data(position, index, data)
        self._unwritten.result(ordinal, whole, on_stored)
        self._store.wake(self)
        self._store.grow(self, len(whole))
        if not self._store.is_up:
            self.release()

    def put_snapshot(self, position: int, data: bytes) -> None:
        if self._may_write:
            self._change(lambda: self._unwritten.snapshot(position, data))

    def when_stored(self, on_stored: Callable[[], None]) -> None:
        if not self._may_write:
            if self.state is WriterState.UNKEPT:
                _tell([on_stored])
            return
        self._unwritten.tell(on_stored)
        self._store.wake(self)
        if not self._store.is_up:
            self.release()

    def drop_results(self, count: int) -> None:
        if self._may_write:
            self._dropped += count
            self._change(lambda: self._unwritten.drop_to(self._dropped))

    def end(self, reason: str) -> None:
        if self._may_write:
            self._change(lambda: self._unwritten.last("end", reason.encode()))

    def leave(self) -> None:
        if self._may_write:
            self._change(lambda: self._unwritten.last("leave"))

    def abandon(self) -> None:
        _tell(self._stop(WriterState.OVER))

    def opened(self, epoch: str) -> None:
        """The sequence is this writer's."""
        self.epoch = epoch
        if self.state is WriterState.OPENING:
            self.state = WriterState.WRITING
        elif self.state is WriterState.UNKEPT:
            self._unwritten.last("forget")
        if self._unwritten.is_waiting:
            self._store.wake(self)

    def take_off(self) -> tuple[list[str | bytes | int], dict[str, bytes]]:
        """What is to be written now: the operations as a script's arguments, and new blobs."""
        self._flying = self._unwritten.take_off()
        arguments: list[str | bytes | int] = []
        blobs: dict[str, bytes] = {}
        for operation in self._flying:
            kind, number, _ = operation
            name = ""
            data = blob_data(operation)
            if data is not None:
                # Never a name that was used before: who is fenced by now must not change what is
                # named by those before it.
                self._blob_count += 1
                name = f"{self.names.blobs}:{self.epoch}:{self._blob_count}"
                blobs[name] = data
                self.blobs[name] = (kind, number)
            arguments += (kind, number, entry_of(operation, name))
        return arguments, blobs

    def landed(self) -> list[str]:
        """It is written. The names of the blobs that nothing needs any more."""
        flown, self._flying = self._flying, []
        gone = blobs_gone(self.blobs, flown)
        for name in gone:
            del self.blobs[name]
        before = self.size_bytes
        told = self._unwritten.landed()
        if flown and flown[-1][0] in {"end", "leave", "forget"}:
            self.state = WriterState.OVER
            self._store.let_go(self)
        self._store.grow(self, self.size_bytes - before)
        _tell(told)
        return gone

    def came_back(self) -> None:
        """It may be written, or not."""
        before = self.size_bytes
        self._unwritten.came_back()
        self._store.grow(self, self.size_bytes - before)

    def release(self) -> None:
        """The store can't be reached: nobody waits for it."""
        _tell(self._unwritten.take_told())

    def fence(self) -> None:
        """Somebody else has the sequence. Who waits to be told of a result never is."""
        self._stop(WriterState.OVER)
        _tell([self._watcher.on_fenced])

    def unkeep(self, why: str, *, must_forget: bool) -> None:
        """It can't be kept any more. `must_forget`: there is something of it that must not be taken
        for all of it."""
        told = self._stop(WriterState.UNKEPT)
        log.warning(
            "sequence %r of '%s' is kept no more: %s", self.key.sequence, self.key.model, why
        )
        if must_forget and self.epoch:
            self._unwritten.last("forget")
            self._store.wake(self)
        _tell(told)
        _tell([lambda: self._watcher.on_unkept(why)])

    @property
    def _may_write(self) -> bool:
        return self.state in {WriterState.OPENING, WriterState.WRITING}

    def _stop(self, state: WriterState) -> list[Callable[[], None]]:
        before = self.size_bytes
        told = self._unwritten.clear()
        self.state = state
        self._store.let_go(self)
        self._store.grow(self, -before)
        return told

    def _change(self, change: Callable[[], None]) -> None:
        before = self.size_bytes
        change()
        self._store.wake(self)
        self._store.grow(self, self.size_bytes - before)


def _tell(told: Iterable[Callable[[], None]]) -> None:
    """Call each. What one raises is no matter of the store's."""
    for each in told:
        try:
            each()
        except Exception:
            log.exception("news of what is stored was lost")
