"""A connection on an asyncio transport: reads, writes, timers. Knows no frames and no calls."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Final, cast, final

from streamgate.frontends.lean_http2.connection import Http2Connection, OpenCall
from streamgate.frontends.lean_http2.frames import ErrorCode
from streamgate.frontends.lean_http2.limits import Http2Limits

LINGER_SECONDS: Final = 1.0
"""How long what is written at the end may take to leave."""

_WRITE_HIGH_BYTES: Final = 1024 * 1024


@final
class Http2Protocol(asyncio.Protocol):
    """One peer. Writes once for each read, and once for each turn of the loop between."""

    def __init__(
        self,
        limits: Http2Limits,
        open_call: OpenCall,
        keepalive_seconds: tuple[float, float],
        on_lost: Callable[[Http2Protocol], None],
    ) -> None:
        """`keepalive_seconds`: of silence before a ping, and after it before giving up."""
        self._limits = limits
        self._keepalive = keepalive_seconds
        self._on_lost = on_lost
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._is_busy = False
        self._is_scheduled = False
        self._was_heard = False
        self._timers: dict[str, asyncio.TimerHandle] = {}
        self._core = Http2Connection(limits, open_call, self._wake, time.monotonic_ns())

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._transport.set_write_buffer_limits(_WRITE_HIGH_BYTES)
        self._after("preface", self._limits.preface_seconds, self._expect_preface)
        self._after("keepalive", self._keepalive[0], self._ask)
        if self._limits.idle_seconds:
            self._after("idle", self._limits.idle_seconds, self._watch_idle, 0)
        self._flush()

    def data_received(self, data: bytes) -> None:
        self._was_heard = True
        self._is_busy = True
        self._core.feed(data, time.monotonic_ns())
        self._flush()

    def pause_writing(self) -> None:
        self._core.outbox.is_paused = True

    def resume_writing(self) -> None:
        self._core.outbox.resume()

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        for timer in self._timers.values():
            timer.cancel()
        self._core.lose()
        self._on_lost(self)

    def leave(self) -> None:
        """Take no more calls and close once those that run have ended."""
        self._core.leave()
        self._close_when_done()

    def abort(self) -> None:
        """Close now."""
        if self._transport is not None:
            self._transport.abort()

    def _after(self, name: str, seconds: float, act: Callable[..., None], *values: object) -> None:
        self._timers[name] = self._loop.call_later(seconds, act, *values)

    def _wake(self) -> None:
        if not self._is_busy and not self._is_scheduled:
            self._is_scheduled = True
            self._loop.call_soon(self._flush)

    def _flush(self) -> None:
        """Write what can be written and hand on what that sets free."""
        self._is_scheduled = False
        transport = self._transport
        if transport is None:
            return
        core = self._core
        self._is_busy = True
        try:
            while True:
                data = core.take()
                if data:
                    transport.write(data)
                if core.has_to_settle:
                    core.settle()
                elif not data:
                    break
        finally:
            self._is_busy = False
        if core.is_closing and not transport.is_closing():
            transport.close()
            self._after("linger", LINGER_SECONDS, self.abort)

    def _expect_preface(self) -> None:
        if not self._core.is_established:
            self._core.fail(ErrorCode.PROTOCOL_ERROR, "no HTTP/2 preface came in time")

    def _ask(self) -> None:
        if self._was_heard:
            self._was_heard = False
            self._after("keepalive", self._keepalive[0], self._ask)
            return
        self._core.ping(b"keepaliv")
        self._after("keepalive", self._keepalive[1], self._give_up)

    def _give_up(self) -> None:
        if self._was_heard:
            self._ask()
        else:
            self.abort()

    def _watch_idle(self, last_id_then: int) -> None:
        core = self._core
        if not core.streams and core.last_id == last_id_then:
            self.leave()
            return
        self._after("idle", self._limits.idle_seconds, self._watch_idle, core.last_id)

    def _close_when_done(self) -> None:
        if self._core.streams:
            self._after("leave", 0.01, self._close_when_done)
        elif self._transport is not None:
            self._flush()
            self._transport.close()
            self._after("linger", LINGER_SECONDS, self.abort)
