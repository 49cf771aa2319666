"""The generate extension: one JSON object in, JSON objects out, without tensors to spell out.

A member of the request that is named as an input of the model becomes that tensor; every other is
a parameter for the model. A response is an object with a member for each output. Sequence
parameters have no special meaning here, as in Triton (2.51). Knows no transport.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any, Final, final

from streamgate.errors import Code, Failure, StreamGateError
from streamgate.frontends.codes import HTTP_STATUS
from streamgate.frontends.json_tensors import data_to_json, elements_from_json, has_infinity
from streamgate.frontends.kserve_http.answer import Answer, failure_answer, json_answer, to_json
from streamgate.frontends.kserve_http.compression import IDENTITY
from streamgate.frontends.kserve_http.document import parse_json, refuse_overflow, text_member
from streamgate.frontends.kserve_http.exchange import Exchange, exchange_one
from streamgate.frontends.kserve_http.parameters import custom_parameter
from streamgate.model.config import ModelConfig
from streamgate.model.request import ParameterValue, Request, Response
from streamgate.model.tensor import Shape, Tensor, TensorSpec
from streamgate.session.gateway import Gateway

UNSENT_PAUSE_BYTES: Final = 1024 * 1024
"""Events of one stream that wait for a slow reader; beyond, its model is held up where it can
be, until they have left."""
UNSENT_BYTES_MAX: Final = 64 * 1024 * 1024
"""Beyond, the stream is cut and its request cancelled: it takes a model that can't be held up."""
_WRITE_BYTES: Final = 256 * 1024
"""What is handed over at once, as far as events can't be cut."""

_NOT_ONE: Final = (
    "generate expects model to produce exactly 1 response, use generate stream for model that "
    "generates various number of responses"
)


def read_generate(
    gateway: Gateway, model: str, version: str, content: bytes, content_encoding: str | None
) -> Request:
    """The request in the body of a generate call. Raises StreamGateError."""
    config = gateway.model(model, version).config
    if (content_encoding or IDENTITY) != IDENTITY:
        raise StreamGateError(
            Code.INVALID_ARG, "Unsupported content-encoding, only 'identity' is supported."
        )
    document = parse_json(content)
    if not isinstance(document, dict):
        raise StreamGateError(Code.INTERNAL, "attempt to get members for non-object")
    request = Request(model, version)
    if "id" in document:
        request.id = text_member(document, "id")
    inputs: dict[str, Tensor] = {}
    parameters: dict[str, ParameterValue] = {}
    nested = document.get("parameters")
    if isinstance(nested, dict):
        outer = {key: value for key, value in document.items() if key != "parameters"}
        _read_members(outer, config, inputs, parameters)
        _read_members(nested, config, inputs, parameters)
    else:
        _read_members(document, config, inputs, parameters)
    request.inputs = list(inputs.values())
    if any(map(has_infinity, request.inputs)):
        refuse_overflow(content)
    request.parameters = parameters
    return request


async def generate(gateway: Gateway, request: Request) -> Answer:
    """The answer of a model that is to respond exactly once.

    Triton sends the status before it knows how many responses there are, so that a wrong number
    is an error with status 200; here it is 400. Raises StreamGateError for a refused request.
    """
    response, count = await exchange_one(gateway, request)
    if response is None or count != 1:
        return failure_answer(Failure(Code.INVALID_ARG, _NOT_ONE))
    if response.failure is not None:
        return failure_answer(response.failure)
    return json_answer(_shown(response))


@final
class GenerateStream:
    """The responses to one request as server-sent events.

    The status is that of the first response; the stream goes on after an error. `cancel` when the
    client has gone, and at the end.
    """

    def __init__(self, gateway: Gateway, request: Request, cut: Callable[[], None]) -> None:
        """`cut` is to drop the client when it reads too slowly for too long.

        Raises StreamGateError for a refused request.
        """
        self._cut = cut
        self._events: deque[bytes] = deque()
        self._unsent_bytes = 0
        self._handed_bytes = 0
        self._is_over = False
        self._changed = asyncio.Event()
        self._status = 0
        self._exchange = Exchange(gateway, request, self._receive)

    async def status(self) -> int:
        """The status to begin with, once it is known."""
        while not self._status and not self._is_over:
            await self._wait()
        return self._status or 200

    async def next_events(self) -> bytes | None:
        """The next events, several together; None after the last. Those before have left."""
        self._unsent_bytes -= self._handed_bytes
        self._handed_bytes = 0
        if not self._events:
            self._exchange.resume()
        while not self._events:
            if self._is_over:
                return None
            await self._wait()
        events: list[bytes] = []
        while self._events and self._handed_bytes < _WRITE_BYTES:
            event = self._events.popleft()
            self._handed_bytes += len(event)
            events.append(event)
        return b"".join(events)

    def cancel(self) -> None:
        self._exchange.cancel()

    async def _wait(self) -> None:
        self._changed.clear()
        await self._changed.wait()

    def _receive(self, response: Response) -> None:
        self._is_over = response.final
        self._changed.set()
        if response.empty:
            return
        failure = response.failure
        if failure is None:
            try:
                text = to_json(_shown(response))
            except StreamGateError as error:
                failure = error.failure
        if failure is not None:
            text = to_json({"error": failure.message})
        self._status = self._status or (200 if failure is None else HTTP_STATUS[failure.code])
        event = f"data: {text}\n\n".encode()
        self._unsent_bytes += len(event)
        if self._unsent_bytes > UNSENT_PAUSE_BYTES:
            if self._events and self._unsent_bytes > UNSENT_BYTES_MAX:
                self._events.clear()
                self._exchange.cancel()
                self._cut()
                return
            if not response.final:
                self._exchange.pause()
        self._events.append(event)


def _read_members(
    members: Mapping[str, Any],
    config: ModelConfig,
    inputs: dict[str, Tensor],
    parameters: dict[str, ParameterValue],
) -> None:
    """Sort the members of an object into inputs and parameters."""
    specs = {spec.name: spec for spec in config.inputs}
    for key, value in members.items():
        spec = specs.get(key)
        if spec is not None:
            inputs[key] = _tensor(spec, value, config)
        else:
            parameters[key] = custom_parameter(key, value)


def _tensor(spec: TensorSpec, value: object, config: ModelConfig) -> Tensor:
    """An input's value, a scalar or a list, in the shape that the model wants."""
    data = value if isinstance(value, list) else [value]
    elements = elements_from_json(data, spec.datatype, spec.name)
    shape = _shape(len(elements), spec.shape, batches=config.batches)
    if shape is None:
        raise StreamGateError(
            Code.INVALID_ARG,
            f"The schema can not convert input '{spec.name}' to tensor with proper shape",
        )
    return Tensor(spec.name, spec.datatype, shape, array=elements.reshape(shape))


def _shape(count: int, dimensions: Shape, *, batches: bool) -> Shape | None:
    """The shape of so many elements; None when there is none.

    Fixed dimensions stay, the innermost unknown one takes what is left, other unknown ones are 1.
    Without an unknown one, what is left is the batch dimension, if the model has one.
    """
    left = count
    for size in dimensions:
        if size != -1:
            if not size or left % size:
                return None
            left //= size
    shape = [1 if size == -1 else size for size in dimensions]
    if -1 in dimensions:
        innermost = len(dimensions) - 1 - dimensions[::-1].index(-1)
        shape[innermost] = left
        left = 1
    if batches:
        return (left, *shape) if left else None
    return tuple(shape) if left == 1 else None


def _shown(response: Response) -> dict[str, Any]:
    """A response as one object; a scalar for an output of one element."""
    shown: dict[str, Any] = {}
    if response.request.id:
        shown["id"] = response.request.id
    shown["model_name"] = response.model
    shown["model_version"] = response.version
    shown.update(response.parameters)
    for tensor in response.outputs:
        elements = data_to_json(tensor)
        shown[tensor.name] = elements[0] if len(elements) == 1 else elements
    return shown
