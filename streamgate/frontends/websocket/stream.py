"""One WebSocket connection's state, without the socket: messages in, messages out.

Knows the dialect's rules (what may come when, what is answered), nothing of sockets: the server
feeds `on_text` and `on_binary`, and sends what comes out through `emit`.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import final

from streamgate.errors import Code, EndReason, EndWarning, Failure, StreamGateError
from streamgate.frontends.correlation import correlation_id
from streamgate.frontends.holding import Hold
from streamgate.frontends.websocket.answers import (
    CLOSE_CODES,
    refusal_message,
    response_message,
    text_message,
    warning_message,
)
from streamgate.frontends.websocket.frames import (
    InputFormat,
    default_format,
    frame_tensor,
    input_format,
)
from streamgate.frontends.websocket.messages import (
    Message,
    Open,
    invalid,
    parse_message,
    parse_open,
    parse_step,
    text_field,
)
from streamgate.model.request import Request, Response, SequenceKey
from streamgate.model.tensor import Tensor
from streamgate.session.gateway import Gateway, ModelInfo
from streamgate.session.named_position import POSITION_PARAMETER
from streamgate.snapshot.codec import decode_value, encode_value

log = logging.getLogger(__name__)

MARKER_LENGTH_MAX = 256

Emit = Callable[[str | bytes], None]
Close = Callable[[int, str], None]


@final
class SequenceStream:
    """One sequence over one connection.

    `emit` queues a message for the client; `close` ends the connection after what is queued, and
    is called at most once; `on_room` says that the client need not be held back any more. Each step
    that was taken is answered by messages with its position, of which exactly one, the last, is
    final.
    """

    def __init__(
        self,
        gateway: Gateway,
        emit: Emit,
        close: Close,
        on_room: Callable[[], None],
        greeting: Mapping[str, object] | None = None,
    ) -> None:
        """`greeting` are further fields of `opened`."""
        self._gateway = gateway
        self._greeting = greeting or {}
        self._emit = emit
        self._close = close
        self._connection = gateway.connect(self._on_sequence_end, self._on_warning)
        self._hold = Hold(gateway, on_room)
        self._opened: _Opened | None = None
        self._started = False
        self._is_reserved = False
        self._last_is_next = False
        self._last_was_sent = False
        self._end_was_said = False
        self._finishing: asyncio.Task[None] | None = None
        self._reason: EndReason | None = None
        self._is_over = False
        self._positions = 0
        # Steps without their final response, in order (a dict keeps it), with their bytes.
        self._waiting: dict[int, int] = {}
        self._waiting_bytes = 0
        self._flushes: deque[tuple[int, str]] = deque()

    @property
    def in_flight(self) -> int:
        """What waits to be answered: steps and flushes."""
        return len(self._waiting) + len(self._flushes)

    @property
    def in_flight_bytes(self) -> int:
        """The bytes of the steps that wait for their final response."""
        return self._waiting_bytes

    @property
    def is_held_back(self) -> bool:
        """Whether the client sends more than it may, and is not to be read for a while."""
        return self._hold.is_on

    @property
    def is_open(self) -> bool:
        return self._opened is not None

    @property
    def is_over(self) -> bool:
        """Whether the connection is to be closed: what comes now is not looked at."""
        return self._is_over

    def on_text(self, text: str) -> Awaitable[None] | None:
        """A text frame. What is wrong with it is answered with `error`; nothing else changes.

        What comes back is to be waited for before the next frame.
        """
        if self._is_over:
            return None
        try:
            kind, message = parse_message(text)
            if kind == "open":
                return self._on_open(parse_open(message), text)
            self._on_message(kind, message, len(text))
        except StreamGateError as error:
            self._emit(refusal_message(error))
        return None

    def on_binary(self, frame: bytes) -> None:
        """A binary frame: the next step's input. Errors as for `on_text`."""
        if self._is_over:
            return
        try:
            opened = self._opened
            if opened is None:
                raise invalid("binary frame before 'open'; send an 'open' message first")
            if opened.format is None:
                opened.format = default_format(opened.model.config)
            self._step([frame_tensor(opened.format, frame)], len(frame), last=False)
        except StreamGateError as error:
            self._emit(refusal_message(error))

    def state(self) -> bytes | None:
        """What `restore` goes on from; None while steps or flushes wait to be answered, and once
        the end is in sight. Raises CodecError."""
        opened = self._opened
        is_ending = self._is_ending or self._reason is not None or self._is_over
        if opened is None or self._waiting or self._flushes or is_ending:
            return None
        return encode_value(
            _State(
                opened.text,
                opened.model.version,
                opened.sequence,
                self._positions,
                self._started,
                self._is_reserved,
                self._last_is_next,
            )
        )

    def restore(self, state: bytes) -> None:
        """Go on from there. Raises CodecError, and StreamGateError where its model is none that
        can."""
        known = decode_value(state, _State)
        _, message = parse_message(known.opening)
        opening = parse_open(message)
        model = self._gateway.model(opening.model, known.version)
        format_ = None if opening.input is None else input_format(opening.input, model.config)
        self._opened = _Opened(known.opening, opening, model, format_, known.sequence)
        self._positions = known.positions
        self._started = known.started
        self._is_reserved = known.is_reserved
        self._last_is_next = known.last_is_next

    def pause(self) -> None:
        """The client reads more slowly than answers come."""
        self._connection.pause()

    def resume(self) -> None:
        """It has caught up."""
        self._connection.resume()

    def keep(self) -> None:
        """The client is away, and may come back: its sequence is idle from now on only."""
        opened = self._opened
        if opened is not None and opened.sequence:
            config = opened.model.config
            self._connection.keep(config.name, opened.model.version, opened.sequence)

    def on_gone(self) -> None:
        """The connection is over. Unless the client has said so, its sequence ends now."""
        self._is_over = True
        self._hold.stop()
        self._connection.close(abort=not self._is_ending)

    @property
    def _is_ending(self) -> bool:
        return self._last_was_sent or self._end_was_said

    def _on_message(self, kind: str, message: Message, size_bytes: int) -> None:
        if self._opened is None:
            raise invalid(f"'{kind}' before 'open'; send an 'open' message first")
        if kind == "step":
            inputs, last = parse_step(message)
            self._step(inputs, size_bytes, last=last)
        elif kind == "last":
            self._check_not_ending("'last'")
            self._last_is_next = True
        elif kind == "flush":
            self._on_flush(text_field(message, "id"))
        elif kind == "end":
            self._on_end()
        else:
            raise invalid(f"unknown message type '{kind}', expected open, step, last, flush or end")

    def _on_open(self, message: Open, text: str) -> Awaitable[None] | None:
        if self._opened is not None:
            raise invalid("this connection has a sequence already; open another connection")
        model = self._gateway.model(message.model, message.version)
        config = model.config
        outputs = {spec.name for spec in config.outputs}
        for name in message.outputs:
            if name not in outputs:
                raise invalid(f"unexpected inference output '{name}' for model '{config.name}'")
        format_ = None if message.input is None else input_format(message.input, config)
        # An iterative model's sequences are the steps of one request each: nobody need name them.
        stateful = config.stateful and not (config.sequences and config.sequences.iterative)
        if message.reserve and not stateful:
            raise invalid(
                f"'reserve' is true, but model '{config.name}' has no sequences that its clients "
                "name: there is no slot to reserve"
            )
        sequence = correlation_id(message.sequence, config) if stateful else 0
        if message.position and not stateful:
            raise invalid(f"'position' is given, but model '{config.name}' has no sequences")
        opened = _Opened(text, message, model, format_, sequence)
        self._positions = message.position
        self._started = message.position > 0
        if message.reserve:
            return self._reserve(opened)
        self._opened = opened
        self._say_opened(opened)
        return None

    async def _reserve(self, opened: "_Opened") -> None:
        """Have the slot before anything is promised. Without it, nothing was opened."""
        self._opened = opened
        model = opened.model
        try:
            await self._connection.reserve(model.config.name, model.version, opened.sequence)
        except StreamGateError as error:
            self._opened = None
            if not self._is_over:
                self._emit(refusal_message(error))
            return
        if self._is_over:
            return
        self._is_reserved = self._reason is None
        self._say_opened(opened)
        self._finish_if_done()

    def _say_opened(self, opened: "_Opened") -> None:
        config = opened.model.config
        fields: dict[str, object] = {"model": config.name, "model_version": opened.model.version}
        if opened.sequence:
            fields["sequence_id"] = opened.sequence
        if opened.message.reserve:
            fields["reserved"] = True
        self._emit(
            text_message(type="opened", **fields, position=self._positions, **self._greeting)
        )

    def _step(self, inputs: Sequence[Tensor], size_bytes: int, *, last: bool) -> None:
        opened = self._opened
        assert opened is not None
        self._check_not_ending("step")
        last = last or self._last_is_next
        stateful = bool(opened.sequence)
        message = opened.message
        parameters = message.parameters
        if message.position:
            parameters = {**parameters, POSITION_PARAMETER: self._positions}
        request = Request(
            message.model,
            opened.model.version,
            inputs=inputs,
            requested_outputs=message.outputs,
            parameters=parameters,
            sequence=opened.sequence,
            start=stateful and not self._started,
            end=stateful and last,
        )
        self._hold.receive(size_bytes)
        position = self._positions
        self._connection.submit(request, lambda response: self._on_response(position, response))
        self._positions += 1
        self._waiting[position] = size_bytes
        self._waiting_bytes += size_bytes
        self._started = stateful
        self._last_is_next = False
        self._last_was_sent = last

    def _on_flush(self, marker: str) -> None:
        if len(marker) > MARKER_LENGTH_MAX:
            raise invalid(
                f"'id' has {len(marker)} characters, expected at most {MARKER_LENGTH_MAX}"
            )
        self._flushes.append((self._positions, marker))
        self._answer_flushes()

    def _on_end(self) -> None:
        if self._end_was_said:
            return
        self._end_was_said = True
        if not self._last_was_sent:
            self._end_sequence()

    def _end_sequence(self) -> None:
        """End the sequence behind the steps that it has; the END flag was not sent."""
        opened = self._opened
        assert opened is not None
        is_live = (self._started or self._is_reserved) and self._reason is None
        if not self._end_sequence_of_others() and is_live:
            self._connection.end_sequence(
                opened.model.config.name, opened.model.version, opened.sequence
            )
        self._finish_if_done()

    def _end_sequence_of_others(self) -> bool:
        """End a sequence that began over another connection, once its steps from here are answered:
        it may be on its way here until then, and anywhere without one. False if it did not."""
        opened = self._opened
        assert opened is not None
        if not opened.message.position or self._reason is not None:
            return False
        if not self._waiting and self._finishing is None:
            self._finishing = asyncio.create_task(self._finish(opened))
        return True

    async def _finish(self, opened: "_Opened") -> None:
        model = opened.model
        try:
            reason = await self._connection.finish(
                model.config.name, model.version, opened.sequence
            )
        except StreamGateError as error:
            self._end_was_said = False
            if not self._is_over and self._reason is None:
                self._emit(refusal_message(error))
            return
        finally:
            self._finishing = None
        if reason is not None:
            self._started = False
            self._reason = self._reason or reason
        self._finish_if_done()

    def _on_response(self, position: int, response: Response) -> None:
        if not self._is_over:
            self._emit(self._message(response, position))
        if not response.final:
            return
        self._waiting_bytes -= self._waiting.pop(position)
        if not response.admitted:
            self._on_refused(position, response.request)
        if self._end_was_said and not self._last_was_sent:
            self._end_sequence_of_others()
        if not self._is_over:
            self._answer_flushes()
            self._finish_if_done()

    def _message(self, response: Response, position: int) -> str | bytes:
        assert self._opened is not None
        try:
            return response_message(response, position, binary=self._opened.message.binary_output)
        except Exception as error:
            log.exception("a response of model '%s' can't be written", response.model)
            failure = Failure(Code.INTERNAL, f"the response can't be written: {error}")
            return response_message(replace(response, failure=failure), position, binary=False)

    def _on_refused(self, position: int, request: Request) -> None:
        """The scheduler did not take a step. The next one is what this one wanted to be."""
        if request.start:
            self._started = False
        if self._last_was_sent and position == self._positions - 1:
            self._last_was_sent = False
            if self._end_was_said:
                self._end_sequence()

    def _answer_flushes(self) -> None:
        oldest = next(iter(self._waiting), self._positions)
        while self._flushes and self._flushes[0][0] <= oldest:
            position, marker = self._flushes.popleft()
            self._emit(text_message(type="flushed", id=marker, position=position))

    def _on_sequence_end(self, model: str, sequence: SequenceKey, reason: EndReason) -> None:
        opened = self._opened
        if opened is None or (model, sequence) != (opened.model.config.name, opened.sequence):
            return
        self._started = self._is_reserved = False
        self._reason = reason
        self._finish_if_done()

    def _on_warning(self, model: str, sequence: SequenceKey, warning: EndWarning) -> None:
        opened = self._opened
        if opened is not None and (model, sequence) == (opened.model.config.name, opened.sequence):
            self._emit(warning_message(warning))

    def _finish_if_done(self) -> None:
        """Say goodbye once the sequence is over and every step was answered: the responses of a
        decoupled model may come after its sequence's end."""
        if self._waiting or self._is_over:
            return
        reason = self._reason
        if reason is None and self._is_ending and not self._started:
            reason = EndReason.CLIENT_END
        if reason is None:
            return
        self._is_over = True
        self._emit(text_message(type="ended", reason=reason.value, positions=self._positions))
        self._close(CLOSE_CODES[reason], reason.value)

    def _check_not_ending(self, what: str) -> None:
        if self._reason is not None:
            raise invalid(f"{what} after the sequence has ended ({self._reason.value})")
        if self._is_ending:
            before = "'end'" if self._end_was_said else "the last step"
            raise invalid(f"{what} after {before}")


@dataclass(frozen=True, slots=True)
class _State:
    """A sequence of which nothing waits. `opening` is the client's first message."""

    opening: str
    version: str
    sequence: SequenceKey
    positions: int
    started: bool
    is_reserved: bool
    last_is_next: bool


class _Opened:
    """What `open` said, and what it led to. `sequence` is 0 for steps that are each their own."""

    __slots__ = ("format", "message", "model", "sequence", "text")

    def __init__(
        self,
        text: str,
        message: Open,
        model: ModelInfo,
        format_: InputFormat | None,
        sequence: SequenceKey,
    ) -> None:
        self.text = text
        self.message = message
        self.model = model
        self.format = format_
        self.sequence = sequence
