"""HTTP itself: connections, bodies in pieces, limits, options, start and stop."""

from __future__ import annotations

import asyncio
import gzip
import json
import socket
from collections.abc import Iterator
from email.utils import parsedate_to_datetime

import pytest

from streamgate.errors import StreamGateError
from streamgate.frontends.kserve_http import HttpFrontEnd, HttpOptions, RestrictedKey, aio
from tests.frontends.conftest import HttpService, HttpStarter
from tests.frontends.fake_gateway import FakeGateway, int32
from tests.frontends.http_client import HEADER_LENGTH, WAIT_SECONDS, HttpClient, inputs, tensor

BODY = json.dumps(inputs(tensor(1))).encode()
INFER = b"POST /v2/models/identity/infer HTTP/1.1\r\nHost: x\r\n"


class Raw:
    """A bare socket to a service."""

    def __init__(self, service: HttpService) -> None:
        host, port = service.address.rsplit(":", 1)
        self.socket = socket.create_connection((host, int(port)), WAIT_SECONDS)
        self._rest = b""

    def send(self, *parts: bytes) -> None:
        for part in parts:
            self.socket.sendall(part)

    def reply(self) -> tuple[bytes, bytes]:
        """Head and body of the next response."""
        while b"\r\n\r\n" not in self._rest:
            self._more()
        head, _, self._rest = self._rest.partition(b"\r\n\r\n")
        (length,) = [
            int(line.partition(b":")[2])
            for line in head.split(b"\r\n")
            if line.lower().startswith(b"content-length:")
        ] or [0]
        while len(self._rest) < length:
            self._more()
        body, self._rest = self._rest[:length], self._rest[length:]
        return head, body

    def is_closed(self) -> bool:
        """Whether the server closes the connection without another byte."""
        return self._rest == b"" and self.socket.recv(1) == b""

    def _more(self) -> None:
        part = self.socket.recv(65536)
        assert part, self._rest
        self._rest += part


@pytest.fixture
def raw(http_service: HttpService) -> Iterator[Raw]:
    client = Raw(http_service)
    yield client
    client.socket.close()


def with_length(body: bytes = BODY, *headers: bytes) -> bytes:
    lines = [*headers, b"Content-Length: %d" % len(body)]
    return INFER + b"".join(line + b"\r\n" for line in lines) + b"\r\n" + body


def test_a_connection_stays_open_and_answers_have_a_date(raw: Raw) -> None:
    for _ in range(3):
        raw.send(with_length())
        head, body = raw.reply()
        assert head.startswith(b"HTTP/1.1 200 OK\r\n")
        assert b"Connection" not in head
        assert json.loads(body)["outputs"][0]["data"] == [1.0]
    (date,) = [line for line in head.split(b"\r\n") if line.startswith(b"Date: ")]
    assert parsedate_to_datetime(date[6:].decode()).year > 2000


def test_requests_may_be_sent_ahead(raw: Raw) -> None:
    raw.send(with_length() + with_length(b"{bad") + with_length())
    statuses = [raw.reply()[0].split(b" ")[1] for _ in range(3)]
    assert statuses == [b"200", b"500", b"200"]


def test_a_client_may_ask_to_close(raw: Raw) -> None:
    raw.send(with_length(BODY, b"Connection: close"))
    assert b"\r\nConnection: close" in raw.reply()[0]
    assert raw.is_closed()


def test_http_1_0(http_service: HttpService) -> None:
    first, second = Raw(http_service), Raw(http_service)
    first.send(b"GET /v2 HTTP/1.0\r\n\r\n")
    assert b"\r\nConnection: close" in first.reply()[0]
    assert first.is_closed()
    for _ in range(2):
        second.send(b"GET /v2 HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
        assert b"\r\nConnection: keep-alive" in second.reply()[0]
    first.socket.close()
    second.socket.close()


def test_a_body_in_chunks(raw: Raw) -> None:
    raw.send(INFER, b"Transfer-Encoding: chunked\r\n\r\n")
    for start in range(0, len(BODY), 7):
        part = BODY[start : start + 7]
        raw.send(b"%x\r\n" % len(part), part, b"\r\n")
    raw.send(b"0\r\n\r\n")
    assert raw.reply()[0].startswith(b"HTTP/1.1 200")


def test_a_body_that_comes_byte_by_byte(raw: Raw) -> None:
    raw.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    raw.send(*[bytes([byte]) for byte in with_length()])
    assert raw.reply()[0].startswith(b"HTTP/1.1 200")


def test_a_client_that_waits_to_be_told_to_go_on(raw: Raw) -> None:
    for _ in range(2):
        raw.send(INFER, b"Expect: 100-continue\r\nContent-Length: %d\r\n\r\n" % len(BODY))
        assert raw.reply()[0] == b"HTTP/1.1 100 Continue"
        raw.send(BODY)
        assert raw.reply()[0].startswith(b"HTTP/1.1 200")


def test_what_is_no_http_is_refused(raw: Raw) -> None:
    raw.send(b"NO SUCH THING\r\n\r\n")
    assert raw.reply()[0].split(b" ")[1] == b"400"
    assert raw.is_closed()


def test_broken_chunks_are_refused(raw: Raw, monkeypatch: pytest.MonkeyPatch) -> None:
    # aiohttp does not tell the handler when it waits already: the body only stops.
    monkeypatch.setattr(aio, "BODY_IDLE_SECONDS", 0.1)
    raw.send(INFER, b"Transfer-Encoding: chunked\r\n\r\n", b"5\r\nab")
    raw.send(b"cdefgh\r\n")
    assert raw.reply()[0].split(b" ")[1] == b"400"


def test_a_body_that_is_cut_short_asks_nothing_of_a_model(
    raw: Raw, http: HttpClient, http_service: HttpService
) -> None:
    raw.send(with_length()[:-5])
    raw.socket.shutdown(socket.SHUT_WR)
    assert raw.is_closed()
    assert http.infer(inputs(tensor(2))).status == 200
    assert len(http_service.gateway.requests) == 1


def test_a_body_that_stops_is_given_up(raw: Raw, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(aio, "BODY_IDLE_SECONDS", 0.01)
    raw.send(with_length()[:-5])
    head, body = raw.reply()
    assert head.startswith(b"HTTP/1.1 400")
    size = len(BODY) - 5
    expected = f"the request's body stopped after {size} bytes: nothing came for 0.01 s"
    assert json.loads(body) == {"error": expected}


LIMIT = 300


def too_large(what: str, size: str = "") -> tuple[int, str]:
    return 400, (
        f"Request {what} size{size} exceeds the maximum allowed value of {LIMIT} bytes. "
        "Use --http-max-input-size to increase the limit."
    )


@pytest.fixture
def limited(start_http: HttpStarter) -> Iterator[HttpClient]:
    with HttpClient(start_http(HttpOptions(input_bytes_max=LIMIT)).address) as client:
        yield client


@pytest.mark.parametrize("size", [LIMIT + 1, 500_000])
def test_a_body_beyond_the_limit_is_refused_and_the_connection_goes_on(
    limited: HttpClient, size: int
) -> None:
    body = BODY + b" " * (size - len(BODY))
    assert limited.infer(body).error == too_large("JSON", f" of {size} bytes")
    reply = limited.infer(body, headers={HEADER_LENGTH: "0"})
    assert reply.error == too_large("body", f" of {size} bytes")
    assert limited.infer(BODY + b" " * (LIMIT - len(BODY))).status == 200


def test_chunks_beyond_the_limit_are_refused(start_http: HttpStarter) -> None:
    raw = Raw(start_http(HttpOptions(input_bytes_max=LIMIT)))
    raw.send(INFER, b"Transfer-Encoding: chunked\r\n\r\n")
    raw.send(b"12d\r\n" + b" " * 301 + b"\r\n")
    _head, body = raw.reply()
    assert (400, json.loads(body)["error"]) == too_large("JSON")
    raw.send(b"0\r\n\r\n" + with_length())
    assert raw.reply()[0].startswith(b"HTTP/1.1 200")
    raw.socket.close()


def test_a_limit_for_what_is_decompressed(limited: HttpClient) -> None:
    body = gzip.compress(BODY + b" " * LIMIT)
    reply = limited.infer(body, headers={"Content-Encoding": "gzip"})
    assert reply.error == too_large("JSON")


def test_restricted_end_points_need_their_key(start_http: HttpStarter) -> None:
    key = RestrictedKey("admin-key", "secret")
    service = start_http(HttpOptions(restricted={"model-repository": key, "health": key}))
    refusal = (403, "This API is restricted, expecting header 'admin-key'")
    with HttpClient(service.address) as http:
        for method, path in (
            ("POST", "/v2/repository/index"),
            ("POST", "/v2/repository/models/m/load"),
            ("GET", "/v2/health/live"),
            ("GET", "/v2/models/identity/ready"),
        ):
            assert http.request(method, path).error == refusal
            assert http.request(method, path, headers={"admin-key": "wrong"}).error == refusal
            assert http.request(method, path, headers={"Admin-Key": "secret"}).status == 200
        assert http.get("/v2").status == 200


def test_headers_are_forwarded_to_the_model(start_http: HttpStarter) -> None:
    service = start_http(HttpOptions(forward_headers="(X-.*|priority)"))
    with HttpClient(service.address) as http:
        body = inputs(tensor(1), parameters={"X-b": "mine"})
        reply = http.infer(body, "parrot", {"X-A": "1", "X-b": "2", "Y": "3", "MyX-": "4"})
        assert reply.json["parameters"] == {"X-A": "1", "X-b": "mine"}
        assert http.infer(body, "parrot", {"priority": "1"}).error == (
            400,
            "Header 'priority' is reserved for Triton usage and cannot be forwarded.",
        )
        reply = http.post("/v2/models/parrot/generate", {"IN": 1}, {"X-A": "1"})
        assert "X-A" not in reply.json


def test_an_unforeseen_error_is_told_without_its_details(
    http: HttpClient,
    http_service: HttpService,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    def broken() -> bool:
        raise ZeroDivisionError("a secret")

    monkeypatch.setattr(http_service.gateway, "is_live", broken)
    status, message = http.get("/v2/health/live").error
    assert status == 500
    assert "ZeroDivisionError" in message
    assert "secret" not in message
    assert "a secret" in caplog.text
    assert http.get("/v2").status == 200


def test_a_port_that_is_taken(http_service: HttpService) -> None:
    port = int(http_service.address.rsplit(":", 1)[1])
    with pytest.raises(StreamGateError, match=f"can't listen on 127.0.0.1:{port} for HTTP"):
        http_service.thread.run(HttpFrontEnd(FakeGateway()).start("127.0.0.1", port))


def test_a_front_end_that_never_started_can_be_stopped(http_service: HttpService) -> None:
    http_service.thread.run(HttpFrontEnd(FakeGateway()).stop(0))


def test_stop_lets_requests_end_and_closes_the_rest(http_service: HttpService) -> None:
    idle, busy = Raw(http_service), Raw(http_service)
    idle.send(b"GET /v2/health/ready HTTP/1.1\r\nHost: x\r\n\r\n")
    assert idle.reply()[0].startswith(b"HTTP/1.1 200")
    body = json.dumps(inputs(tensor(1), id="last")).encode()
    busy.send(with_length(body).replace(b"/identity/", b"/manual/"))
    call = http_service.waiting("last")
    stopping = asyncio.run_coroutine_threadsafe(
        http_service.front_end.stop(WAIT_SECONDS), http_service.thread.loop
    )
    assert idle.is_closed()
    with pytest.raises(ConnectionRefusedError):
        Raw(http_service)
    http_service.act(call.send, int32("OUT", 5))
    assert json.loads(busy.reply()[1])["outputs"][0]["data"] == [5]
    assert busy.is_closed()
    stopping.result(WAIT_SECONDS)
    idle.socket.close()
    busy.socket.close()


def test_stop_cancels_what_takes_too_long(http_service: HttpService) -> None:
    client = Raw(http_service)
    body = json.dumps(inputs(tensor(1), id="stuck")).encode()
    client.send(with_length(body).replace(b"/identity/", b"/manual/"))
    call = http_service.waiting("stuck")
    http_service.thread.run(http_service.front_end.stop(0))
    http_service.thread.wait_until(lambda: call.finished)
    assert http_service.gateway.cancelled == ["stuck"]
    assert client.is_closed()
    client.socket.close()
