"""One WebSocket connection's state, without the socket: messages in, messages out.

Knows the dialect's rules (what may come when, what is answered), nothing of tasks or sockets: the
server feeds `on_text` and `on_binary`, and sends what comes out through `emit`.
"""

import secrets
from collections import deque
from collections.abc import Callable
from typing import Any

from streamgate.errors import Code, EndReason, StreamGateError
from streamgate.frontends.json_tensors import tensor_from_json
from streamgate.frontends.websocket.messages import (
    CLOSE_CODES,
    InputFormat,
    Open,
    default_input,
    error_message,
    frame_tensor,
    parse_message,
    parse_open,
    response_message,
    to_text,
)
from streamgate.model.config import ControlKind
from streamgate.model.datatypes import DataType
from streamgate.model.request import Request, Response, SequenceKey
from streamgate.model.tensor import Tensor
from streamgate.session.gateway import Gateway, ModelInfo

Emit = Callable[[str | bytes], None]
Close = Callable[[int, str], None]


class SequenceStream:
    """One sequence over one connection.

    `emit` queues a message for the client; `close` ends the connection after what is queued.
    """

    def __init__(self, gateway: Gateway, emit: Emit, close: Close) -> None:
        self._gateway = gateway
        self._emit = emit
        self._close = close
        self._connection = gateway.connect(self._on_sequence_end)
        self._open: Open | None = None
        self._model: ModelInfo | None = None
        self._format: InputFormat | None = None
        self._sequence: SequenceKey = 0
        self._started = False
        self._last_next = False
        self._ending = False
        self._ended = False
        self._positions = 0
        # Positions of steps without their final response, in order (a dict keeps it).
        self._waiting: dict[int, None] = {}
        self._flushes: deque[tuple[int, str]] = deque()

    @property
    def in_flight(self) -> int:
        """Steps that wait for their final response."""
        return len(self._waiting)

    @property
    def is_open(self) -> bool:
        return self._open is not None

    def on_text(self, text: str) -> None:
        """A text frame. What is wrong with it is answered with `error`; nothing else changes."""
        try:
            kind, message = parse_message(text)
            self._on_message(kind, message)
        except StreamGateError as error:
            self._emit(error_message(error.code, error.message))

    def on_binary(self, frame: bytes) -> None:
        """A binary frame: the next step's input."""
        try:
            if self._open is None:
                raise _invalid("binary frame before 'open'; send an 'open' message first")
            if self._format is None:
                assert self._model is not None
                self._format = default_input(self._model.config)
            self._step([frame_tensor(self._format, frame)], self._last_next)
        except StreamGateError as error:
            self._emit(error_message(error.code, error.message))

    def on_gone(self) -> None:
        """The connection is over: without an `end`, its sequence ends with client_abort."""
        self._ended = True
        self._connection.close(abort=True)

    def _on_message(self, kind: str, message: dict[str, Any]) -> None:
        if kind == "open":
            self._on_open(parse_open(message))
        elif self._open is None:
            raise _invalid(f"'{kind}' before 'open'; send an 'open' message first")
        elif kind == "step":
            self._on_step(message)
        elif kind == "last":
            self._last_next = True
        elif kind == "flush":
            marker = message.get("id", "")
            self._flushes.append((self._positions, marker if isinstance(marker, str) else ""))
            self._answer_flushes()
        elif kind == "end":
            self._on_end()
        else:
            raise _invalid(
                f"unknown message type '{kind}', expected open, step, last, flush or end"
            )

    def _on_open(self, message: Open) -> None:
        if self._open is not None:
            raise _invalid("this connection has a sequence already; open another connection")
        model = self._gateway.model(message.model, message.version)
        known = {spec.name for spec in model.config.inputs}
        if message.input is not None and message.input.name not in known:
            raise _invalid(
                f"unexpected inference input '{message.input.name}' for model '{message.model}'"
            )
        for name in message.outputs:
            if name not in {spec.name for spec in model.config.outputs}:
                raise _invalid(f"unexpected inference output '{name}' for model '{message.model}'")
        self._open, self._model, self._format = message, model, message.input
        if model.config.sequences is not None:
            self._sequence = message.sequence or _new_sequence(model)
        self._emit(
            to_text(
                type="opened",
                model=message.model,
                model_version=model.version,
                sequence_id=self._sequence,
                position=0,
            )
        )

    def _on_step(self, message: dict[str, Any]) -> None:
        inputs = message.get("inputs")
        if not isinstance(inputs, list):
            raise _invalid("'step' needs 'inputs', a list of tensors")
        last = message.get("last", self._last_next)
        self._step([tensor_from_json(entry) for entry in inputs], last is True)

    def _step(self, inputs: list[Tensor], last: bool) -> None:
        assert self._open is not None
        assert self._model is not None
        if self._ending:
            raise _invalid("step after 'end' or after the last step")
        opened = self._open
        stateful = self._model.config.sequences is not None
        request = Request(
            opened.model,
            self._model.version,
            inputs=inputs,
            requested_outputs=opened.outputs,
            parameters=opened.parameters,
            sequence=self._sequence,
            start=stateful and not self._started,
            end=stateful and last,
        )
        position = self._positions
        self._connection.submit(request, lambda response: self._on_response(position, response))
        self._positions += 1
        self._waiting[position] = None
        self._last_next = False
        self._started = stateful
        if last:
            self._ending = True

    def _on_end(self) -> None:
        if self._ending:
            return
        self._ending = True
        if self._started and self._model is not None:
            self._connection.end_sequence(
                self._model.config.name, self._model.version, self._sequence
            )
        self._end_if_done()

    def _on_response(self, position: int, response: Response) -> None:
        if response.final:
            self._waiting.pop(position, None)
            if response.failure is not None and not response.admitted:
                # The scheduler did not take it: if it was the START, the next step is.
                self._started = self._started and not response.request.start
        if self._ended:
            return
        assert self._open is not None
        if not response.empty:
            self._emit(response_message(response, position, binary=self._open.binary_output))
        if response.final:
            self._answer_flushes()
            self._end_if_done()

    def _answer_flushes(self) -> None:
        oldest = next(iter(self._waiting), self._positions)
        while self._flushes and self._flushes[0][0] <= oldest:
            position, marker = self._flushes.popleft()
            self._emit(to_text(type="flushed", id=marker, position=position))

    def _end_if_done(self) -> None:
        """A stream that never started a sequence ends when its steps are answered."""
        if self._ending and not self._started and not self._waiting:
            self._finish(EndReason.CLIENT_END)

    def _on_sequence_end(self, model: str, sequence: SequenceKey, reason: EndReason) -> None:
        if self._model is None or model != self._model.config.name or sequence != self._sequence:
            return
        self._started = False
        self._finish(reason)

    def _finish(self, reason: EndReason) -> None:
        if self._ended:
            return
        self._ended = True
        self._emit(to_text(type="ended", reason=reason.value, positions=self._positions))
        self._close(CLOSE_CODES[reason], reason.value)


def _new_sequence(model: ModelInfo) -> SequenceKey:
    """A correlation ID nobody else has, of the type that the model's CORRID control wants."""
    corrid = [c for c in model.config.controls if c.kind is ControlKind.CORRID]
    if corrid and corrid[0].datatype is not DataType.BYTES:
        bits = corrid[0].datatype.size_bytes * 8 - 1
        return secrets.randbelow(2**bits - 1) + 1
    return f"ws-{secrets.token_hex(8)}"


def _invalid(message: str) -> StreamGateError:
    return StreamGateError(Code.INVALID_ARG, message)
