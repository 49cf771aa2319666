"""A conversation's connections to the gateway: what comes over them is written on its tape.

In the past, while the tape is played, nothing is behind a connection: what was answered is on the
tape. When the present is reached, it is connected, and what has no answer yet is asked for: a step
of a sequence by its position, so that one which was run already is not run again.
"""

import asyncio
import logging
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Final, Protocol, final

from streamgate.errors import Code, EndReason, EndWarning, Failure, OverLimitError, StreamGateError
from streamgate.frontends.sockets.taped.checkpoints import KeptConnection, KeptLife
from streamgate.frontends.sockets.taped.entries import (
    Answered,
    Entry,
    Raised,
    Reserved,
    SequenceEnded,
    Warned,
    answered,
)
from streamgate.frontends.world import World, within
from streamgate.model.request import Request, Response, SequenceKey
from streamgate.session.gateway import Call, Connection, EndSink, Gateway, ResponseSink, WarningSink
from streamgate.session.named_position import POSITION_PARAMETER
from streamgate.snapshot.codec import CodecError, decode_request, encode_request

log = logging.getLogger(__name__)

CONNECT_SECONDS: Final = 35.0
"""How long a sequence may take to be brought to life, or a slot to be had."""

_Name = tuple[str, SequenceKey]


class Past(Protocol):
    """The tape, to its connections."""

    @property
    def is_past(self) -> bool: ...

    @property
    def world(self) -> World: ...

    def write(self, entry: Entry) -> None: ...

    def give_up(self, why: str) -> None:
        """Not all of what comes can be written."""

    def raised(self, connection: int, call: int) -> StreamGateError | None:
        """How a call was refused in the past."""


@dataclass(slots=True)
class _Sequence:
    """One that lives. `answered` is the newest step that was, with its position."""

    next_position: int = 0
    is_reserved: bool = False
    answered: tuple[int, Request] | None = None


@dataclass(slots=True)
class _Open:
    """A call without its final response. `position` is -1 outside of sequences; `responses` is how
    many have come."""

    request: Request
    sink: ResponseSink
    position: int
    call: Call | None = None
    responses: int = 0
    is_cancelled: bool = False

    def cancel(self) -> None:
        self.is_cancelled = True
        if self.call is not None:
            self.call.cancel()


@dataclass(slots=True)
class _Reservation:
    """One that was not answered yet; or with `is_finish`, a sequence that is to be ended, of which
    that is still to be told."""

    model: str
    version: str
    sequence: SequenceKey
    is_finish: bool = False
    answer: "asyncio.Future[Failure | None]" = field(
        default_factory=lambda: asyncio.get_running_loop().create_future()
    )


@final
class TapedConnection:
    """Implements `streamgate.session.gateway.Connection`."""

    def __init__(
        self,
        tape: Past,
        number: int,
        gateway: Gateway,
        on_sequence_end: EndSink | None,
        on_warning: WarningSink | None,
    ) -> None:
        self._tape = tape
        self.number = number
        self._gateway = gateway
        self._on_sequence_end = on_sequence_end
        self._on_warning = on_warning
        self._calls = 0
        self._open: dict[int, _Open] = {}
        self._reservations = 0
        self._reserving: dict[int, _Reservation] = {}
        self._finishing = 0
        self._sequences: dict[_Name, _Sequence] = {}
        self._ending: list[tuple[str, str, SequenceKey]] = []
        self._is_paused = False
        self.is_closed = False
        self._real = None if tape.is_past else self._connected()

    def _connected(self) -> Connection:
        return self._gateway.connect(self._ended, self._warned)

    # -- for the conversation

    def submit(self, request: Request, sink: ResponseSink) -> Call:
        number = self._calls
        self._calls += 1
        if self._tape.is_past:
            error = self._tape.raised(self.number, number)
            if error is not None:
                raise error
            position = self._position_of(request)
            self._take_position(request, position)
            self._open[number] = asked = _Open(request, sink, position)
            return asked
        assert self._real is not None
        position = self._position_of(request)
        try:
            call = self._real.submit(request, partial(self._receive, number))
        except StreamGateError as error:
            self._tape.write(_raised(self.number, number, error))
            raise
        self._take_position(request, position)
        self._open[number] = asked = _Open(request, sink, position, call)
        return asked

    async def reserve(self, model: str, version: str, sequence: SequenceKey) -> None:
        number = self._reservations
        self._reservations += 1
        if self._tape.is_past:
            self._reserving[number] = reservation = _Reservation(model, version, sequence)
            failure = await reservation.answer
            if failure is not None:
                raise StreamGateError(failure.code, failure.message)
            return
        assert self._real is not None
        try:
            await self._real.reserve(model, version, sequence)
        except StreamGateError as error:
            self._tape.write(Reserved(self.number, number, error.failure))
            raise
        self._tape.write(Reserved(self.number, number, None))
        self._reserve(model, sequence)

    def keep(self, model: str, version: str, sequence: SequenceKey) -> None:
        if self._real is not None:
            self._real.keep(model, version, sequence)

    def end_sequence(self, model: str, version: str, sequence: SequenceKey) -> None:
        if self._real is None:
            self._ending.append((model, version, sequence))
        else:
            self._real.end_sequence(model, version, sequence)

    async def finish(self, model: str, version: str, sequence: SequenceKey) -> EndReason | None:
        number = self._reservations
        self._reservations += 1
        self._sequences.setdefault((model, sequence), _Sequence())
        if self._real is None:
            asked = _Reservation(model, version, sequence, is_finish=True)
            self._reserving[number] = asked
            failure = await asked.answer
        else:
            failure = await self._finish(number, model, version, sequence)
        if failure is not None:
            raise StreamGateError(failure.code, failure.message)
        return None

    async def _finish(
        self, number: int, model: str, version: str, sequence: SequenceKey
    ) -> Failure | None:
        """Its end is told as others are, also where it is over already."""
        assert self._real is not None
        failure = reason = None
        self._finishing += 1
        try:
            reason = await self._real.finish(model, version, sequence)
        except StreamGateError as error:
            failure = error.failure
        finally:
            self._finishing -= 1
        self._tape.write(Reserved(self.number, number, failure))
        if reason is not None:
            self._ended(model, sequence, reason)
        return failure

    def pause(self) -> None:
        self._is_paused = True
        if self._real is not None:
            self._real.pause()

    def resume(self) -> None:
        self._is_paused = False
        if self._real is not None:
            self._real.resume()

    def close(self, *, abort: bool) -> None:
        self.is_closed = True
        if self._real is not None:
            self._real.close(abort=abort)

    # -- what comes, and is written

    def _receive(self, number: int, response: Response) -> None:
        if number not in self._open:
            return
        if not self.is_closed:
            try:
                self._tape.write(answered(self.number, number, response))
            except CodecError as error:
                self._tape.give_up(str(error))
        self._deliver(number, response)

    def _ended(self, model: str, sequence: SequenceKey, reason: EndReason) -> None:
        if (model, sequence) in self._sequences:
            self._tape.write(SequenceEnded(self.number, model, sequence, reason))
            self.tell_end(model, sequence, reason)

    def _warned(self, model: str, sequence: SequenceKey, warning: EndWarning) -> None:
        self._tape.write(Warned(self.number, model, sequence, warning))
        self.tell_warning(model, sequence, warning)

    # -- what came in the past

    def has_asked(self, entry: Answered | Reserved) -> bool:
        """Whether the conversation has got so far as to wait for this."""
        if isinstance(entry, Answered):
            return entry.call < self._calls
        return entry.reservation < self._reservations

    def answer(self, entry: Answered) -> None:
        """A response came. Raises CodecError."""
        asked = self._open.get(entry.call)
        if asked is None:
            return
        try:
            self._deliver(entry.call, entry.response_to(asked.request))
        except CodecError:
            raise
        except Exception:
            log.exception("a response was lost in its conversation, for the second time")

    def answer_reservation(self, entry: Reserved) -> None:
        """A reservation was answered."""
        reservation = self._reserving.pop(entry.reservation, None)
        if reservation is not None:
            if entry.failure is None and not reservation.is_finish:
                self._reserve(reservation.model, reservation.sequence)
            reservation.answer.set_result(entry.failure)

    def tell_end(self, model: str, sequence: SequenceKey, reason: EndReason) -> None:
        """A sequence ended."""
        self._sequences.pop((model, sequence), None)
        if self._on_sequence_end is not None and not self.is_closed:
            with within(self._tape.world):
                self._on_sequence_end(model, sequence, reason)

    def tell_warning(self, model: str, sequence: SequenceKey, warning: EndWarning) -> None:
        """A sequence will end."""
        if self._on_warning is not None and not self.is_closed:
            with within(self._tape.world):
                self._on_warning(model, sequence, warning)

    # -- where the tape is cut

    def kept(self) -> KeptConnection | None:
        """What it goes on from; None while anything is under way. Raises CodecError."""
        is_busy = self._open or self._reserving or self._ending or self._finishing
        if not self.is_closed and is_busy:
            return None
        lives = [] if self.is_closed else [_kept(*each) for each in self._sequences.items()]
        return KeptConnection(self._calls, self._reservations, self.is_closed, lives)

    def restore(self, kept: KeptConnection) -> None:
        """Go on from there. Raises CodecError."""
        if self.is_closed != kept.is_closed or self._open or self._reserving:
            raise CodecError("a connection is another than it was")
        self._calls, self._reservations = kept.calls, kept.reservations
        self._sequences.clear()
        for life in kept.sequences:
            answered = None
            if life.answered_position >= 0:
                request = decode_request(life.answered, life.model)
                answered = life.answered_position, request
            self._sequences[life.model, life.sequence] = _Sequence(
                life.next_position, life.is_reserved, answered
            )

    # -- the present

    async def connect(self) -> None:
        """Bring what lives to life here, and ask for what has no answer yet. Raises StreamGateError
        when it can't be had."""
        if self.is_closed:
            return
        self._real = self._connected()
        async with asyncio.timeout(CONNECT_SECONDS):
            for (model, sequence), live in list(self._sequences.items()):
                await self._revive(model, sequence, live)

    def go_on(self) -> None:
        """It is live: what waits for an answer is asked for."""
        if self.is_closed or self._real is None:
            return
        for number, asked in sorted(self._open.items()):
            self._ask_again(number, asked)
        for each in self._ending:
            self._real.end_sequence(*each)
        for number, reservation in self._reserving.items():
            self._reserve_again(number, reservation)
        if self._is_paused:
            self._real.pause()

    async def _revive(self, model: str, sequence: SequenceKey, live: _Sequence) -> None:
        assert self._real is not None
        if live.answered is None:
            if live.is_reserved:
                await self._real.reserve(model, "", sequence)
            return
        position, request = live.answered
        if request.end:
            # It was told that the sequence's last step is done, but not of its end.
            asyncio.get_running_loop().call_soon(self._ended, model, sequence, EndReason.CLIENT_END)
            return
        answer: asyncio.Future[Response] = asyncio.get_running_loop().create_future()

        def receive(response: Response) -> None:
            if response.final and not answer.done():
                answer.set_result(response)

        # A step that has come before is answered again, once its sequence lives here.
        self._real.submit(_at(position, replace(request, start=False)), receive)
        response = await answer
        if response.failure is not None and not response.admitted:
            raise StreamGateError(response.failure.code, response.failure.message)

    def _ask_again(self, number: int, asked: _Open) -> None:
        assert self._real is not None
        request = asked.request
        if asked.position > 0 or (asked.position == 0 and not request.start):
            request = _at(asked.position, request)

        had = asked.responses

        def receive(response: Response) -> None:
            if had and request.end and _has_ended(response):
                # All of it had come, but for the word that it was all.
                response = Response(request, request.model, request.version, empty=True, index=had)
            if not response.admitted or response.index >= had:
                self._receive(number, response)
            if request.end and response.final and response.admitted:
                # One that had ended elsewhere has its end told to nobody.
                self._ended(request.model, request.sequence, EndReason.CLIENT_END)

        try:
            asked.call = self._real.submit(request, receive)
        except StreamGateError as error:
            self._receive(
                number,
                Response(request, request.model, request.version, failure=error.failure),
            )
            return
        if asked.is_cancelled:
            asked.call.cancel()

    def _reserve_again(self, number: int, reservation: _Reservation) -> None:
        wanted = reservation.model, reservation.version, reservation.sequence

        async def reserve() -> None:
            assert self._real is not None
            failure = None
            if reservation.is_finish:
                failure = await self._finish(number, *wanted)
                self.answer_reservation(Reserved(self.number, number, failure))
                return
            try:
                await self._real.reserve(*wanted)
            except StreamGateError as error:
                failure = error.failure
            entry = Reserved(self.number, number, failure)
            self._tape.write(entry)
            self.answer_reservation(entry)

        task = asyncio.get_running_loop().create_task(reserve())
        reservation.answer.add_done_callback(lambda _: task.cancel())

    # -- what is known of sequences

    def _position_of(self, request: Request) -> int:
        """The position that a request has; -1 outside of sequences."""
        if not request.sequence:
            return -1
        if request.start:
            return 0
        live = self._sequences.get((request.model, request.sequence))
        position = request.parameters.get(POSITION_PARAMETER)
        if isinstance(position, int):
            return position
        return 0 if live is None else live.next_position

    def _take_position(self, request: Request, position: int) -> None:
        """A request is on its way."""
        if not request.sequence:
            return
        live = self._sequences.setdefault((request.model, request.sequence), _Sequence())
        if request.start:
            live.answered = None
        live.next_position = position + 1

    def _reserve(self, model: str, sequence: SequenceKey) -> None:
        self._sequences[model, sequence] = _Sequence(is_reserved=True)

    def _deliver(self, number: int, response: Response) -> None:
        asked = self._open[number]
        asked.responses += 1
        if response.final:
            del self._open[number]
            self._note_answer(asked, response)
        with within(self._tape.world):
            asked.sink(response)

    def _note_answer(self, asked: _Open, response: Response) -> None:
        request = asked.request
        name = request.model, request.sequence
        live = self._sequences.get(name)
        if live is None or not request.sequence:
            return
        if response.admitted:
            live.answered = asked.position, request
        elif request.start and not live.is_reserved:
            del self._sequences[name]


def error_of(entry: Raised) -> StreamGateError:
    """What a call was refused with."""
    if entry.retry_seconds is not None:
        return OverLimitError(entry.failure.message, entry.retry_seconds)
    return StreamGateError(entry.failure.code, entry.failure.message)


def _raised(connection: int, call: int, error: StreamGateError) -> Raised:
    retry = error.retry_seconds if isinstance(error, OverLimitError) else None
    return Raised(connection, call, error.failure, retry)


def _has_ended(response: Response) -> bool:
    """Whether a request was refused since its sequence is over, as the store knows."""
    failure = response.failure
    return not response.admitted and failure is not None and failure.code is Code.NOT_FOUND


def _kept(name: _Name, live: _Sequence) -> KeptLife:
    position, data = -1, b""
    if live.answered is not None:
        position, request = live.answered
        data = encode_request(request)
    return KeptLife(*name, live.next_position, live.is_reserved, position, data)


def _at(position: int, request: Request) -> Request:
    """The request as one that may have come before."""
    return replace(request, parameters={**request.parameters, POSITION_PARAMETER: position})
