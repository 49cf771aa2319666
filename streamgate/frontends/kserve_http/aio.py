"""Mounts the transport-neutral handlers on aiohttp's low-level server; nothing else knows aiohttp.

Answers are written to the transport as they are: aiohttp's own responses cost as much again as
all the rest of its work for a small request (measured: 35 of 115 us).
"""

from __future__ import annotations

import asyncio
import http
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from email.utils import formatdate
from functools import partial
from typing import Final, final

from aiohttp import web
from aiohttp.abc import AbstractStreamWriter

from streamgate.errors import Code, OverLimitError, StreamGateError
from streamgate.frontends.api_keys import key_of
from streamgate.frontends.header_forwarding import HeaderForwarding
from streamgate.frontends.http_service import HttpService
from streamgate.frontends.kserve_http.access import RestrictedKey
from streamgate.frontends.kserve_http.answer import (
    EVENTS,
    HEADER_LENGTH,
    Answer,
    error_answer,
    failure_answer,
    limit_answer,
    unexpected,
)
from streamgate.frontends.kserve_http.compression import too_large
from streamgate.frontends.kserve_http.control import ControlEndpoints
from streamgate.frontends.kserve_http.generate import GenerateStream, generate, read_generate
from streamgate.frontends.kserve_http.infer import InferBody, infer
from streamgate.frontends.kserve_http.routes import Endpoint, Route, find_route
from streamgate.frontends.sockets.http_mount import WebSocketMount
from streamgate.session.gateway import Gateway

BODY_IDLE_SECONDS: Final = 60.0
"""How long a client may pause within a body."""
EVENTS_UNREAD_SECONDS: Final = 60.0
"""How long a client may take nothing of a stream of events."""
JOINED_BYTES_MAX: Final = 64 * 1024
"""Up to this size, an answer is written in one piece."""

_REASONS: Final = {status.value: status.phrase for status in http.HTTPStatus}


@final
class Handlers:
    """Answers HTTP requests from a gateway."""

    def __init__(
        self,
        gateway: Gateway,
        size_bytes_max: int,
        forwarding: HeaderForwarding,
        restricted: Mapping[Endpoint, RestrictedKey],
        services: Sequence[HttpService] = (),
        sockets: WebSocketMount | None = None,
    ) -> None:
        self.is_draining = False
        self._services = services
        self._sockets = sockets
        self._gateway = gateway
        self._size_bytes_max = size_bytes_max
        self._forwarding = forwarding
        self._restricted = restricted
        self._control = ControlEndpoints(gateway, lambda: self.is_draining).handlers()

    async def __call__(self, request: web.BaseRequest) -> web.StreamResponse:
        """The handler of aiohttp's server."""
        try:
            answer = await self._answer(request)
        except OverLimitError as error:
            answer = limit_answer(error)
        except StreamGateError as error:
            answer = failure_answer(error.failure)
        except web.RequestPayloadError as error:
            answer = error_answer(400, f"the request's body can't be read: {error}")
        except Exception as error:  # noqa: BLE001, whatever it is, the client gets an answer
            answer = _answer_to_unexpected(request, error)
        return answer if isinstance(answer, web.StreamResponse) else _WrittenAnswer(answer)

    async def _answer(self, request: web.BaseRequest) -> Answer | web.StreamResponse:
        if self._sockets is not None and request.method == "GET":
            # Before KServe's paths: some dialects live on `/v2`, too.
            dialect = self._sockets.dialect_for(request)
            if dialect is not None:
                return await self._sockets.serve(request, dialect)
        route = find_route(request.raw_path)
        if route is None:
            return await self._serve(request)
        body = await self._body(request)
        endpoint = route.endpoint
        if request.method not in endpoint.methods:
            return error_answer(405, "Method Not Allowed")
        if self._restricted:
            key = self._restricted.get(endpoint)
            if key is not None and not key.opens(request.headers.get(key.name)):
                return error_answer(403, key.refusal)
        if endpoint is Endpoint.INFER:
            return await self._held_back(request, body, partial(self._infer, request, route))
        if endpoint is Endpoint.GENERATE or endpoint is Endpoint.GENERATE_STREAM:
            return await self._held_back(request, body, partial(self._generate, request, route))
        return await self._control[endpoint](route, body)

    async def _serve(self, request: web.BaseRequest) -> Answer | web.StreamResponse:
        """What is not KServe's: one of the other services."""
        path = request.raw_path.partition("?")[0]
        for service in self._services:
            handler = service.handler_for(request.method, path)
            if handler is not None:
                return await handler(request)
        await self._body(request)
        return error_answer(404, "Not Found")

    async def _held_back(
        self,
        request: web.BaseRequest,
        body: bytes,
        answer: Callable[[bytes, Gateway], Awaitable[Answer | web.StreamResponse]],
    ) -> Answer | web.StreamResponse:
        """The answer, for the tenant whose key the request brings. Of a client that sends more than
        it may, the next request waits for this one's answer."""
        headers = request.headers
        key = key_of(headers.get("Authorization"), headers.get("X-Api-Key"))
        gateway = self._gateway.of(key)
        hold_seconds = gateway.owe(len(body))
        if hold_seconds <= 0:
            return await answer(body, gateway)
        clock = asyncio.get_running_loop().time
        until = clock() + hold_seconds
        answered = await answer(body, gateway)
        await asyncio.sleep(max(0.0, until - clock()))
        return answered

    async def _infer(
        self, request: web.BaseRequest, route: Route, body: bytes, gateway: Gateway
    ) -> Answer:
        headers = request.headers
        content = InferBody(
            body,
            headers.get(HEADER_LENGTH),
            headers.get("Content-Encoding"),
            headers.get("Accept-Encoding"),
        )
        if self._forwarding.is_on:
            # As they were written: aiohttp's own mapping has lost the case of the names.
            written = (
                (name.decode(errors="replace"), value.decode(errors="replace"))
                for name, value in request.raw_headers
            )
            content.forwarded = self._forwarding.parameters(written)
        return await infer(gateway, route.name, route.version, content, self._size_bytes_max)

    async def _generate(
        self, request: web.BaseRequest, route: Route, body: bytes, gateway: Gateway
    ) -> Answer | web.StreamResponse:
        encoding = request.headers.get("Content-Encoding")
        asked = read_generate(gateway, route.name, route.version, body, encoding)
        if route.endpoint is Endpoint.GENERATE:
            return await generate(gateway, asked)
        transport = request.transport
        if transport is None:
            raise ConnectionResetError("the client has gone")
        stream = GenerateStream(gateway, asked, transport.abort)
        try:
            response = web.StreamResponse(
                status=await stream.status(), headers={"Content-Type": EVENTS}
            )
            response.enable_chunked_encoding()
            await response.prepare(request)
            while (events := await stream.next_events()) is not None:
                await _write(response, events, transport)
            await response.write_eof()
        finally:
            stream.cancel()
        return response

    async def _body(self, request: web.BaseRequest) -> bytes:
        """The whole body. Raises StreamGateError for one that is too large or never ends."""
        content = request.content
        if content.is_eof():  # it came with the headers, or there is none
            data = content.read_nowait()
            if len(data) > self._size_bytes_max:
                raise self._too_large(request, len(data))
            return data
        announced = request.content_length
        if announced is not None and announced > self._size_bytes_max:
            raise self._too_large(request, announced)
        if request.headers.get("Expect", "").lower() == "100-continue":
            await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
            request.writer.output_size = 0
        parts: list[bytes] = []
        size = 0
        while True:
            try:
                async with asyncio.timeout(BODY_IDLE_SECONDS):
                    part = await content.readany()
            except TimeoutError:
                raise StreamGateError(
                    Code.INVALID_ARG,
                    f"the request's body stopped after {size} bytes: nothing came for "
                    f"{BODY_IDLE_SECONDS:g} s",
                ) from None
            if not part:
                return parts[0] if len(parts) == 1 else b"".join(parts)
            parts.append(part)
            size += len(part)
            if size > self._size_bytes_max:
                raise self._too_large(request, None)

    def _too_large(self, request: web.BaseRequest, size: int | None) -> StreamGateError:
        what = "body" if HEADER_LENGTH in request.headers else "JSON"
        return too_large(what, size, self._size_bytes_max)


async def _write(response: web.StreamResponse, events: bytes, transport: asyncio.Transport) -> None:
    """Write events as fast as the client reads; leave one that does not."""
    try:
        async with asyncio.timeout(EVENTS_UNREAD_SECONDS):
            await response.write(events)
    except TimeoutError:
        transport.abort()
        raise ConnectionResetError("the client does not read") from None


def _answer_to_unexpected(request: web.BaseRequest, error: Exception) -> Answer:
    """The answer after an error that nobody foresaw, unless it is too late for one."""
    transport = request.transport
    if transport is None or transport.is_closing():
        return Answer()  # the client has gone, which may well be the error; nothing is written
    failure = unexpected(error)
    if request.writer.output_size:
        transport.abort()  # within a stream, an end that is none is all that can be told
    return failure_answer(failure)


class _WrittenAnswer(web.StreamResponse):
    """An answer that is written at once. aiohttp calls `prepare`, `write_eof` and `keep_alive`."""

    def __init__(self, answer: Answer) -> None:
        super().__init__(status=answer.status)
        self._answer = answer
        self._stays_open = False

    @property
    def keep_alive(self) -> bool:
        return self._stays_open

    async def prepare(self, request: web.BaseRequest) -> AbstractStreamWriter | None:
        transport = request.transport
        if transport is None or transport.is_closing():
            raise ConnectionResetError("the client has gone")
        answer = self._answer
        pieces = answer.pieces
        size = sum(map(len, pieces))
        self._stays_open = request.keep_alive
        head = _head(answer, size, request, keep_alive=self._stays_open)
        if request.method == "HEAD":
            pieces = ()
        if size <= JOINED_BYTES_MAX:
            transport.write(b"".join((head, *pieces)))
        else:
            transport.write(head)
            for piece in pieces:
                transport.write(piece)
        await request.writer.drain()
        return None

    async def write_eof(self, data: bytes = b"") -> None:
        """Everything was written before."""


def _head(answer: Answer, size: int, request: web.BaseRequest, *, keep_alive: bool) -> bytes:
    status = answer.status
    lines = [
        f"HTTP/1.1 {status} {_REASONS[status]}",
        f"Content-Type: {answer.content_type}",
        f"Content-Length: {size}",
        f"Date: {_date(int(time.time()))}",
    ]
    lines += [f"{name}: {value}" for name, value in answer.headers]
    if not keep_alive:
        lines.append("Connection: close")
    elif request.version < (1, 1):
        lines.append("Connection: keep-alive")
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")


_last_date: tuple[int, str] = (0, "")


def _date(second: int) -> str:
    """The header's form of a time, remembered for as long as it is now."""
    global _last_date  # noqa: PLW0603, a memory of one entry
    if _last_date[0] != second:
        _last_date = (second, formatdate(second, usegmt=True))
    return _last_date[1]
