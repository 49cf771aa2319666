"""A call that hears: the order of its messages, its pressure and its end, in any dialect.

The dialect's words are a `Wording`: it reads the client's messages and writes ours, and knows
nothing else. A call with a whole recording in its only message is the same, but that its audio
comes at once and that its wording says nothing before the end.
"""

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, Protocol, final

from google.protobuf.message import DecodeError, Message

from streamgate.errors import Code, EndReason, Failure, StreamGateError
from streamgate.frontends.dialects.over_grpc.hearing import Heard, Hearing, Wanted
from streamgate.frontends.dialects.over_grpc.statuses import (
    DEADLINE_EXCEEDED,
    UNAVAILABLE,
    end_status,
    invalid,
    refusal,
)
from streamgate.frontends.grpc_service import CallWire, GrpcStatus
from streamgate.frontends.kserve_grpc.decode import UNPARSABLE
from streamgate.frontends.kserve_grpc.unary import SHUTTING_DOWN, unexpected
from streamgate.frontends.speech import SpeechContext

FIRST_MESSAGE_SECONDS: Final = 30.0
"""How long a call may stay without its configuration."""
UNSENT_PAUSE_BYTES: Final = 256 * 1024
"""Answers not yet taken by the transport: above, no further step of the call's sequences begins and
no more audio is read, until half of it is left."""
UNREAD_SECONDS: Final = 60.0
"""A client that takes nothing for so long while that much waits is given up."""
PIECE_BYTES: Final = 64 * 1024
"""A recording is decoded in such pieces, as its results make room."""


@dataclass(frozen=True, slots=True)
class Asked:
    """What one of a client's messages asks for, in this order. `is_last`: no more audio comes.
    `config` is the client's own word of what is wanted."""

    wanted: Wanted | None = None
    config: Message | None = None
    audio: bytes = b""
    flush: bool = False
    is_last: bool = False


class Wording(Protocol):
    """One call's words."""

    @property
    def is_done(self) -> bool:
        """Whether all is said that the client wanted, and the call should end."""

    def read(self, data: bytes) -> Asked:
        """What a message asks for. Raises StreamGateError (INVALID_ARG) and DecodeError."""

    def say(self, heard: Heard) -> Iterable[Message]:
        """The messages, if any, that tell of this."""

    def closing(self, heard_seconds: float) -> Iterable[Message]:
        """Those that come last when all went well. `heard_seconds` is how much audio came."""


@final
class SpeechCall:
    """A `CallHandler`. The slots are taken when the configuration comes."""

    def __init__(self, context: SpeechContext, wording: Wording, wire: CallWire) -> None:
        self._context = context
        self._wording = wording
        self._wire = wire
        self._loop = asyncio.get_running_loop()
        self._hearing: Hearing | None = None
        self._config: Message | None = None
        self._received_bytes = 0
        self._opening: asyncio.Task[None] | None = None
        self._recording = memoryview(b"")
        self._is_last = False
        self._is_finishing = False
        self._verdict: GrpcStatus | None = None
        self._is_over = False
        self._unsent_bytes = 0
        self._is_congested = False
        self._timer: asyncio.TimerHandle | None = None
        self._waits_for: tuple[float, _Then] | None = None
        self._wait(FIRST_MESSAGE_SECONDS, self._on_no_message)

    @property
    def is_over(self) -> bool:
        return self._is_over

    @property
    def received_bytes(self) -> int:
        """The bytes of audio that have come."""
        return self._received_bytes

    @property
    def wants_message(self) -> bool:
        if self._is_over or self._is_finishing:
            return True  # and drops it
        return (
            self._opening is None
            and not self._is_congested
            and not self._recording
            and (self._hearing is None or self._hearing.has_room)
        )

    def on_message(self, data: bytes, /) -> None:
        if self._is_over or self._is_finishing or self._is_last:
            return
        try:
            self._take(self._wording.read(data))
        except DecodeError:
            self._refuse(GrpcStatus.of(Failure(Code.INTERNAL, UNPARSABLE)))
        except StreamGateError as error:
            self._refuse(GrpcStatus.of(error.failure))
        except Exception as error:  # noqa: BLE001, whatever it is, the client gets an answer
            self._refuse(GrpcStatus.of(unexpected(error)))

    def on_half_close(self) -> None:
        if self._is_over or self._is_last:
            return
        self._is_last = True
        if self._hearing is None:
            self._end(GrpcStatus.of(invalid("the call ended without a configuration").failure))
        elif self._opening is None:
            self._go_on()

    def on_lost(self) -> None:
        if not self._is_over:
            self._give_up()

    def on_sent(self, size_bytes: int, /) -> None:
        self._unsent_bytes -= size_bytes
        if not self._is_congested or self._is_over:
            return
        if self._unsent_bytes * 2 > UNSENT_PAUSE_BYTES:
            self._wait(UNREAD_SECONDS, self._on_unread)
            return
        self._is_congested = False
        self._stop_waiting()
        if self._hearing is not None:
            self._hearing.resume()
        self.on_room()

    def keep(self) -> None:
        """Its client is away, and may come back."""
        if self._hearing is not None and self._opening is None:
            self._hearing.keep()
        if self._waits_for is not None:
            self._wait(*self._waits_for)

    def repeats(self, data: bytes) -> bool:
        """Whether a message is the configuration that has come already. It is not taken."""
        if self._config is None:
            return False
        try:
            return self._wording.read(data).config == self._config
        except (StreamGateError, DecodeError):
            return False  # who takes it will say what is wrong with it

    def drain(self) -> None:
        """A call that hears is told by its sequence."""
        if not self._is_over and (self._hearing is None or self._opening is not None):
            self._end(GrpcStatus(UNAVAILABLE, SHUTTING_DOWN))

    def on_heard(self, heard: Heard) -> None:
        if self._is_over:
            return
        try:
            self._say(self._wording.say(heard))
            if self._wording.is_done:
                self._close_well()
        except Exception as error:  # noqa: BLE001, whatever it is, the client gets an answer
            self._end(GrpcStatus.of(unexpected(error)))

    def on_room(self) -> None:
        self._go_on()
        if not self._is_over and self.wants_message:
            self._wire.resume()

    def on_end(self, reason: EndReason, failure: Failure | None) -> None:
        if self._is_over:
            return
        status = self._verdict or end_status(reason, failure)
        if status is None:
            self._close_well()
        else:
            self._end(status)

    def _take(self, asked: Asked) -> None:
        if asked.wanted is not None:
            if self._hearing is not None:
                raise invalid(
                    "the configuration came twice, expected it in the first message only, or the "
                    "same once more where a call is resumed"
                )
            self._stop_waiting()
            self._config = asked.config
            self._hearing = Hearing(self._context, self)
            self._opening = self._loop.create_task(self._open(self._hearing, asked.wanted))
        elif self._hearing is None:
            raise invalid("the first message has no configuration, expected it before any audio")
        self._received_bytes += len(asked.audio)
        if asked.is_last:
            self._is_last = True
        if self._opening is not None:
            self._recording = memoryview(asked.audio)
            return
        self._feed(asked.audio)
        if asked.flush and not self._is_finishing:
            self._hearing.flush()

    async def _open(self, hearing: Hearing, wanted: Wanted) -> None:
        try:
            await hearing.open(wanted)
        except StreamGateError as error:
            self._end(refusal(self._context, error))
        except Exception as error:  # noqa: BLE001, whatever it is, the client gets an answer
            self._end(GrpcStatus.of(unexpected(error)))
        else:
            self._opening = None
            self.on_room()

    def _go_on(self) -> None:
        """Hear more of the recording, as there is room; finish when that was all."""
        if self._hearing is None or self._is_over or self._opening is not None:
            return
        while self._recording and self._hearing.has_room and not self._is_finishing:
            piece, self._recording = self._recording[:PIECE_BYTES], self._recording[PIECE_BYTES:]
            self._feed(bytes(piece))
        if self._is_last and not self._recording:
            self._finish()

    def _feed(self, audio: bytes) -> None:
        assert self._hearing is not None
        try:
            if audio:
                self._hearing.feed(audio)
        except StreamGateError as error:
            self._refuse(GrpcStatus.of(error.failure))

    def _finish(self) -> None:
        """No more audio. The results of what came follow, then the end."""
        if self._is_finishing or self._hearing is None:
            return
        self._is_finishing = True
        self._recording = memoryview(b"")
        try:
            self._hearing.finish()
        except StreamGateError as error:
            self._verdict = self._verdict or GrpcStatus.of(error.failure)

    def _refuse(self, status: GrpcStatus) -> None:
        """The client sent what is wrong: what came before is answered, then the call ends."""
        if self._hearing is None or self._opening is not None:
            self._end(status)
            return
        self._verdict = status
        self._finish()

    def _say(self, messages: Iterable[Message]) -> None:
        for message in messages:
            data = message.SerializeToString()
            self._unsent_bytes += len(data)
            self._wire.send(data)
        if self._unsent_bytes > UNSENT_PAUSE_BYTES and not self._is_congested:
            self._is_congested = True
            self._wait(UNREAD_SECONDS, self._on_unread)
            if self._hearing is not None:
                self._hearing.pause()

    def _close_well(self) -> None:
        assert self._hearing is not None
        self._say(self._wording.closing(self._hearing.heard_seconds))
        self._end(None)

    def _end(self, status: GrpcStatus | None) -> None:
        if not self._is_over:
            self._give_up()
            self._wire.finish(status)

    def _give_up(self) -> None:
        self._is_over = True
        self._stop_waiting()
        opening, self._opening = self._opening, None
        if opening is not None and opening is not asyncio.current_task():
            opening.cancel()
        if self._hearing is not None:
            self._hearing.close()

    def _on_no_message(self) -> None:
        text = f"no configuration came within {FIRST_MESSAGE_SECONDS:g} s"
        self._end(GrpcStatus(DEADLINE_EXCEEDED, text))

    def _on_unread(self) -> None:
        self._give_up()
        self._wire.break_off(
            GrpcStatus(
                UNAVAILABLE,
                f"the client reads too slowly: {self._unsent_bytes} bytes of results wait to be "
                f"sent, and it took nothing for {UNREAD_SECONDS:g} s",
            )
        )

    def _wait(self, seconds: float, then: "_Then") -> None:
        self._stop_waiting()
        self._waits_for = (seconds, then)
        self._timer = self._loop.call_later(seconds, then)

    def _stop_waiting(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = self._waits_for = None


class _Then(Protocol):
    def __call__(self) -> None: ...
