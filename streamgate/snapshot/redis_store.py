"""Sequences kept in Redis (or Valkey): one task writes, all that has come up since its last turn.

Writes of one loop turn leave as one pipeline, a script call for each sequence. While the server
can't be reached, or refuses to write, the same is tried again with growing pauses; whoever waits to
hear that something is stored is told at once then, and what waits is bounded (`RedisLimits`).
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final, cast, final

from streamgate.errors import Code, StreamGateError
from streamgate.snapshot.contract import (
    KeptKey,
    KeptSequence,
    NotTakenError,
    SequenceWatcher,
    SequenceWriter,
    StoreHealth,
    WhyNot,
)
from streamgate.snapshot.redis_client import connect, faults, is_unknown_script
from streamgate.snapshot.redis_entries import TakenEntries, inline_results
from streamgate.snapshot.redis_scripts import OPEN, PREFIX, TAKE, WRITE, RedisKeys, alive_key
from streamgate.snapshot.redis_writer import RedisWriter, WriterState

log = logging.getLogger(__name__)

SOON_SECONDS: Final = 0.01
"""How long a step waits for its result, to be written with it."""

BATCH_BYTES: Final = 8 * 2**20
"""What one pipeline carries, as far as sequences can be parted."""


@dataclass(frozen=True, slots=True)
class RedisLimits:
    """Bounds and times, in bytes and seconds.

    ttl_seconds: how long a sequence is kept after its owner has touched it last.
    sequence_bytes, waiting_bytes: what may wait to be written of one sequence, and of all. The
        sequence that outgrows either is kept no more.
    alive_seconds: an owner that does not show for so long that it lives may lose its sequences.
    timeout_seconds: a server that does not answer for so long can't be reached.
    """

    ttl_seconds: float = 600.0
    sequence_bytes: int = 16 * 2**20
    waiting_bytes: int = 256 * 2**20
    alive_seconds: float = 3.0
    timeout_seconds: float = 2.0
    retry_seconds_min: float = 0.05
    retry_seconds_max: float = 2.0


@final
class RedisStore:
    """Implements `streamgate.snapshot.contract.SessionStore`."""

    def __init__(self, url: str, owner: str, limits: RedisLimits | None = None) -> None:
        """`owner` is a name that no other process has or ever had. Raises ConfigError as
        `redis_client.connect` does."""
        self._limits = limits or RedisLimits()
        self._owner = owner
        self._client = connect(url, self._limits.timeout_seconds)
        self._dirty: dict[RedisWriter, None] = {}
        self._live: dict[RedisWriter, None] = {}
        self._later: dict[RedisWriter, None] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._wakening: asyncio.Event = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []
        self._idle = asyncio.Event()
        self._idle.set()
        self._hashes: dict[str, str] = {}
        self._trash: list[str] = []
        self._is_up = False
        self._writes = 0
        self._refused = 0
        self._unkept = 0
        self._taken = 0
        self._reconnects = 0
        self._waiting_bytes = 0

    @property
    def is_up(self) -> bool:
        return self._is_up

    async def start(self) -> None:
        try:
            await self._load_scripts()
            await self._show_life()
        except faults() as error:
            await self._client.aclose()
            raise StreamGateError(
                Code.UNAVAILABLE, f"the session store can't be reached: {error}"
            ) from None
        self._is_up = True
        loop = asyncio.get_running_loop()
        self._tasks = [
            loop.create_task(self._write_on()),
            loop.create_task(self._every(self._limits.alive_seconds / 3, self._show_life)),
            loop.create_task(self._every(self._limits.ttl_seconds / 4, self._touch)),
        ]

    async def close(self, seconds: float) -> None:
        if self._tasks:
            self._wake_late()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(seconds):
                    await self._idle.wait()
        tasks, self._tasks = set(self._tasks), []
        while tasks:
            # More than once, as the client may take a cancellation for a broken connection.
            for task in tasks:
                task.cancel()
            _, tasks = await asyncio.wait(tasks, timeout=0.05)
        # Who waits to hear that something is stored hears so, as when the store is away.
        self._is_up = False
        for writer in list(self._live):
            writer.abandon()
        with contextlib.suppress(*faults()):
            await self._client.delete(alive_key(self._owner))
        await self._client.aclose()

    def open(
        self, key: KeptKey, version: str, note: str, watcher: SequenceWatcher
    ) -> SequenceWriter:
        writer = RedisWriter(self, key, watcher, opening=(version, note))
        self._live[writer] = None
        self.wake(writer)
        return writer

    async def take(
        self, key: KeptKey, watcher: SequenceWatcher, *, only_from_dead: bool
    ) -> tuple[KeptSequence, SequenceWriter]:
        names = RedisKeys.of(key)
        wanted = (self._owner, self._ttl_ms, f"{PREFIX}:alive:")
        try:
            try:
                answer = await self._run(TAKE, names, *wanted, "dead" if only_from_dead else "any")
            except faults():
                # The connection may be one to a server that was there before.
                answer = await self._run(TAKE, names, *wanted, "again" if only_from_dead else "any")
        except faults() as error:
            raise NotTakenError(WhyNot.UNREACHABLE, str(error)) from None
        word = answer[0].decode()
        if word != "taken":
            detail = answer[1].decode() if len(answer) > 1 else ""
            results = inline_results(answer[2]) if len(answer) > 2 else ()
            raise NotTakenError(WhyNot(word), detail, results)
        head = dict(zip(answer[1][::2], answer[1][1::2], strict=True))
        entries = TakenEntries(head, answer[2], answer[3])
        blobs = entries.blobs
        kept = entries.sequence(await self._load_blobs(list(blobs)))
        writer = RedisWriter(self, key, watcher, kept=kept, blobs=blobs)
        self._live[writer] = None
        self._taken += 1
        return kept, writer

    def health(self) -> StoreHealth:
        return StoreHealth(
            is_up=self._is_up,
            writes=self._writes,
            refused_writes=self._refused,
            unkept=self._unkept,
            taken=self._taken,
            reconnects=self._reconnects,
            waiting_bytes=self._waiting_bytes,
        )

    def wake(self, writer: RedisWriter) -> None:
        """A writer has something to be written."""
        self._dirty[writer] = None
        self._idle.clear()
        self._wakening.set()

    def wake_soon(self, writer: RedisWriter) -> None:
        """It has something that nobody waits for: it may be written with what comes next."""
        self._later[writer] = None
        self._idle.clear()
        if self._timer is None:
            loop = asyncio.get_running_loop()
            self._timer = loop.call_later(SOON_SECONDS, self._wake_late)

    def _wake_late(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        later, self._later = self._later, {}
        for writer in later:
            if writer.is_waiting:
                self.wake(writer)
        self._wakening.set()

    def let_go(self, writer: RedisWriter) -> None:
        """Nobody waits for anything of it any more."""
        self._live.pop(writer, None)

    def grow(self, writer: RedisWriter, size_bytes: int) -> None:
        """So many more bytes of it wait."""
        self._waiting_bytes += size_bytes
        if size_bytes <= 0 or writer.state in {WriterState.UNKEPT, WriterState.OVER}:
            return
        limits = self._limits
        if writer.size_bytes > limits.sequence_bytes:
            self._unkeep(writer, f"more than {limits.sequence_bytes} bytes of it wait", forget=True)
        elif self._waiting_bytes > limits.waiting_bytes:
            self._unkeep(writer, f"more than {limits.waiting_bytes} bytes of all wait", forget=True)

    async def _load_blobs(self, names: Sequence[str]) -> dict[str, bytes]:
        if not names:
            return {}
        try:
            found: list[Any] = await self._client.mget(names)
        except faults() as error:
            raise NotTakenError(WhyNot.UNREACHABLE, str(error)) from None
        loaded = {}
        for name, data in zip(names, found, strict=True):
            if data is None:
                raise NotTakenError(WhyNot.BROKEN, f"{name} is missing")
            loaded[name] = data
        return loaded

    async def _write_on(self) -> None:
        """Write what there is, again and again."""
        pause = self._limits.retry_seconds_min
        while True:
            if not self._dirty:
                if not self._later:
                    self._idle.set()
                await self._wakening.wait()
            self._wakening.clear()
            writers = self._next_batch()
            try:
                await self._write(writers)
            except faults() as error:
                self._wake_late()
                self._down(writers, error)
                await asyncio.sleep(pause * random.uniform(0.5, 1.0))
                pause = min(pause * 2, self._limits.retry_seconds_max)
                continue
            pause = self._limits.retry_seconds_min
            if not self._is_up:
                self._is_up = True
                self._reconnects += 1
                log.info("the session store answers again")

    def _next_batch(self) -> list[RedisWriter]:
        """Sessions come first: what is written of the sequences that stand on them must not be
        stored without what it came of."""
        batch: list[RedisWriter] = []
        left = BATCH_BYTES
        for writer in [each for each in self._later if each.key.is_session]:
            del self._later[writer]
            self._dirty[writer] = None
        for writer in sorted(self._dirty, key=lambda each: not each.key.is_session):
            if left < 0:
                break
            batch.append(writer)
            left -= writer.size_bytes
        for writer in batch:
            del self._dirty[writer]
        return batch

    async def _write(self, writers: Sequence[RedisWriter]) -> None:
        """One pipeline. Raises what keeps it from being written; then all of it may be, or not."""
        pipeline = self._client.pipeline(transaction=False)
        trash, self._trash = self._trash, []
        if trash:
            pipeline.unlink(*trash)
        places: list[tuple[RedisWriter, int]] = []
        for writer in writers:
            if writer.state is WriterState.OVER:
                continue
            self._compose(pipeline, writer)
            places.append((writer, len(pipeline) - 1))
        if not places:
            return
        try:
            async with asyncio.timeout(self._limits.timeout_seconds):
                answers = await pipeline.execute(raise_on_error=False)
            fault = next((each for each in answers if isinstance(each, Exception)), None)
            if fault is not None:
                if is_unknown_script(fault):
                    await self._load_scripts()
                raise fault
        except faults():
            for writer, _ in places:
                writer.came_back()
            raise
        for writer, place in places:
            self._answered(writer, answers[place])

    def _compose(self, pipeline: Any, writer: RedisWriter) -> None:
        """The commands for a writer; the last one's answer tells what became of them."""
        names = writer.names
        keys = (names.head, names.steps, names.results)
        if not writer.epoch:
            assert writer.opening is not None
            version, note = writer.opening
            script = self._hashes[OPEN]
            pipeline.evalsha(script, 3, *keys, self._owner, version, note, self._ttl_ms)
            return
        is_due = self._is_due(writer)
        for name in writer.blobs if is_due else ():
            pipeline.pexpire(name, self._ttl_ms)
        arguments, blobs = writer.take_off()
        for name, data in blobs.items():
            pipeline.set(name, data, px=self._ttl_ms)
        pipeline.evalsha(self._hashes[WRITE], 3, *keys, writer.epoch, self._ttl_ms, *arguments)

    def _is_due(self, writer: RedisWriter) -> bool:
        """Whether its blobs are to be touched again."""
        now = time.monotonic()
        if now - writer.touched < self._limits.ttl_seconds / 8:
            return False
        writer.touched = now
        return True

    def _answered(self, writer: RedisWriter, answer: Any) -> None:
        word = answer.decode()
        if not writer.epoch:
            writer.opened(word)
            return
        if writer.state is WriterState.OVER:  # it was given up meanwhile
            return
        self._writes += 1
        if word == "stale":
            self._refused += 1
            log.warning(
                "a write of sequence %r of '%s' was refused: another has taken it",
                writer.key.sequence,
                writer.key.model,
            )
            writer.fence()
        elif word == "ok" or writer.state is WriterState.UNKEPT:
            self._trash += writer.landed()
        else:
            is_gone = word == "gone"
            why = "the store has lost it" if is_gone else "a part of it was not stored"
            self._unkeep(writer, why, forget=not is_gone)

    def _unkeep(self, writer: RedisWriter, why: str, *, forget: bool) -> None:
        self._unkept += 1
        writer.unkeep(why, must_forget=forget)

    def _down(self, writers: Sequence[RedisWriter], error: BaseException) -> None:
        """The server can't be reached, or does not write: these are to be written yet."""
        if self._is_up:
            self._is_up = False
            kind = type(error).__name__
            log.warning("the session store can't be written to: %s: %s", kind, error)
        self._dirty = {**dict.fromkeys(writers), **self._dirty}
        for writer in list(self._live):
            writer.release()

    async def _every(self, seconds: float, do: Callable[[], Awaitable[None]]) -> None:
        while True:
            await asyncio.sleep(seconds)
            with contextlib.suppress(*faults()):
                async with asyncio.timeout(self._limits.timeout_seconds):
                    await do()

    async def _show_life(self) -> None:
        milliseconds = int(self._limits.alive_seconds * 1e3)
        await self._client.set(alive_key(self._owner), 1, px=milliseconds)

    async def _touch(self) -> None:
        """Sequences that live are kept, though they may have nothing to write."""
        for writer in self._live:
            if writer.state is WriterState.WRITING:
                self.wake(writer)

    async def _load_scripts(self) -> None:
        for script in (OPEN, TAKE, WRITE):
            self._hashes[script] = await self._client.script_load(script)

    async def _run(self, script: str, names: RedisKeys, *arguments: str | int) -> Any:
        async with asyncio.timeout(self._limits.timeout_seconds):
            client = cast("Any", self._client)
            return await client.eval(script, 3, names.head, names.steps, names.results, *arguments)

    @property
    def _ttl_ms(self) -> int:
        return int(self._limits.ttl_seconds * 1e3)
