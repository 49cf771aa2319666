"""A connection with somebody who is known: messages by their class, signs of life both ways."""

import asyncio
import socket
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from streamgate.engine.lateness import Lateness
from streamgate.link.addresses import pid_behind
from streamgate.link.beat import BEAT_SECONDS
from streamgate.link.frame_socket import FrameSocket
from streamgate.link.frames import FRAME_BYTES_MAX, Body, FrameError
from streamgate.link.messages import RESULT, STEP, Beat, decode_message, encode_message
from streamgate.link.sharing import Sharing
from streamgate.link.steps import decode_result, decode_step

GREETING_BYTES_MAX: Final = 2**16
"""What a frame may have before both sides know each other."""


@dataclass(frozen=True, slots=True)
class Heartbeat:
    """How often each side says that it lives, and after how long a silence it is taken for lost."""

    interval_seconds: float = BEAT_SECONDS
    silence_seconds: float = 1.0


class Channel:
    """Messages over one socket. `handlers` has what may come, by class, each called with the
    message; anything else that comes ends the connection. `on_lost` is told once, with the reason,
    of an end that is not by `close`. `on_silent` is called with the reason when the other side is
    to be taken for lost because it says nothing; it may be replaced, and ends the connection."""

    def __init__(
        self,
        connection: socket.socket,
        handlers: Mapping[type, Callable[[Any], None]],
        on_lost: Callable[[str], None],
        heartbeat: Heartbeat,
    ) -> None:
        self._handlers = handlers
        self._heartbeat = heartbeat
        self._on_lost = on_lost
        self.on_silent: Callable[[str], None] = self.lose
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None
        self._is_greeted = False
        self._heard = 0
        self._silent_beats = 0
        self.peer_pid = pid_behind(connection)
        """The other side's process, 0 where that is not of this machine."""
        self._beat_at = 0.0
        self.lateness = Lateness()
        """How late the other side's loop is."""
        self.socket = FrameSocket(
            connection, self._receive, self._lost, frame_bytes_max=GREETING_BYTES_MAX
        )
        self.sharing = Sharing(self.socket, self.send)
        self._own_handlers = {
            Beat: lambda beat: self.lateness.note(beat.late_ns),
            **self.sharing.handlers,
        }

    @property
    def is_open(self) -> bool:
        return self.socket.is_open

    def send(self, message: object) -> None:
        """Raises TypeError or ValueError for a value that can't be sent."""
        self.socket.send(*encode_message(message))

    def send_frame(self, header: tuple[Any, ...], bodies: Sequence[Body]) -> None:
        """A step or a result, encoded."""
        self.socket.send(header, bodies)

    def begin(self) -> None:
        """Both sides know each other: frames may be large, and silence means loss."""
        self.socket.frame_bytes_max = FRAME_BYTES_MAX
        self._is_greeted = True
        self.sharing.begin()
        self._beat_at = self._loop.time()
        self._beat()

    def fence(
        self,
        handlers: Mapping[type, Callable[[Any], None]],
        on_lost: Callable[[str], None],
        frame_bytes_max: int,
    ) -> None:
        """Say nothing any more, not even that this side lives, and have the other side know. What
        it still says goes to these handlers, its end to `on_lost`; silence is no loss any more."""
        self._stop()
        self._handlers, self._on_lost = handlers, on_lost
        self.sharing.fence()
        self.socket.frame_bytes_max = frame_bytes_max
        self.socket.half_close()

    def close(self) -> None:
        self._stop()
        self.socket.close()
        self.sharing.close()

    def lose(self, why: str) -> None:
        self.socket.lose(why)

    def _lost(self, why: str) -> None:
        self._stop()
        self.sharing.close()
        self._on_lost(why)

    def _stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _beat(self) -> None:
        """Silence is counted in beats of ours: when this process itself stood still, what the other
        side sent meanwhile is still to be read."""
        heard = self.socket.received
        self._silent_beats = self._silent_beats + 1 if heard == self._heard else 0
        self._heard = heard
        interval = self._heartbeat.interval_seconds
        if self._silent_beats * interval >= self._heartbeat.silence_seconds:
            self.on_silent(f"nothing was heard for {self._silent_beats * interval:.1f} s")
            return
        self.sharing.pass_time(interval)
        now = self._loop.time()
        self.send(Beat(max(0, round((now - self._beat_at) * 1e9))))
        if self.is_open:
            self._beat_at = now + interval
            self._timer = self._loop.call_at(self._beat_at, self._beat)

    def _receive(self, header: tuple[Any, ...], bodies: Sequence[memoryview]) -> None:
        if not header:
            raise FrameError("a frame without a kind")
        kind = header[0]
        message: object
        if kind == STEP and self._is_greeted:
            message = decode_step(header, bodies)
        elif kind == RESULT and self._is_greeted:
            message = decode_result(header, bodies)
        else:
            message = decode_message(header, bodies)
            own = self._own_handlers.get(type(message))
            if own is not None and self._is_greeted:
                own(message)
                return
        handler = self._handlers.get(type(message))
        if handler is None:
            raise FrameError(f"a {type(message).__name__} does not belong here")
        handler(message)
