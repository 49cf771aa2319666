"""The WebSocket front end over real sockets: handshake, frames, limits, back-pressure, stop."""

import asyncio
import base64
import json
import logging
import os
from contextlib import suppress
from typing import Any

import aiohttp
import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus
from websockets.frames import Frame, Opcode

from streamgate.errors import EndReason, StreamGateError
from streamgate.frontends.sockets.connection import SocketConnection
from streamgate.frontends.websocket import WebSocketFrontEnd, WebSocketLimits
from tests.frontends.fake_gateway import FakeGateway
from tests.frontends.websocket_client import Client, connected, floats, integers, served
from tests.waiting import until

MIB = 2**20


async def turns(count: int) -> None:
    """Give everybody the chance to do what they should not."""
    for _ in range(count):
        await asyncio.sleep(0.001)


def only_connection(front_end: WebSocketFrontEnd) -> SocketConnection:
    (connection,) = front_end.connections
    return connection


async def test_a_sequence_in_json() -> None:
    async with served(FakeGateway()) as (url, _), connected(url) as client:
        opened = await client.open("accumulate", sequence_id=7)
        assert opened["sequence_id"] == 7
        for value, total in ((1, 1), (2, 3)):
            await client.frame(integers(value))
            assert (await client.hear())["outputs"] == [
                {"name": "OUT", "datatype": "INT32", "shape": [1], "data": [total]}
            ]
        await client.say("flush", id="a")
        assert await client.hear() == {"type": "flushed", "id": "a", "position": 2}
        await client.say("end")
        ended = {"type": "ended", "reason": "client_end", "positions": 2, "closed": 1000}
        assert await client.hear_end() == ended


async def test_a_sequence_in_binary_sent_without_waiting() -> None:
    async with served(FakeGateway()) as (url, _), connected(f"{url}?who=me") as client:
        await client.say("open", model="accumulate", output_format="binary")
        await client.frame(integers(5))
        await client.say("last")
        await client.frame(integers(6))
        assert (await client.hear())["type"] == "opened"
        for position, total in enumerate((5, 11)):
            head, data = await client.hear_binary()
            assert head["position"] == position
            assert data == integers(total)
        assert (await client.hear_end())["positions"] == 2


async def test_the_client_of_aiohttp() -> None:
    async with (
        served(FakeGateway()) as (url, _),
        aiohttp.ClientSession() as session,
        session.ws_connect(url) as socket,
    ):
        await socket.send_json({"type": "open", "model": "accumulate"})
        assert (await socket.receive_json())["type"] == "opened"
        await socket.send_bytes(integers(5))
        assert (await socket.receive_json())["outputs"][0]["data"] == [5]
        await socket.send_json({"type": "end"})
        assert (await socket.receive_json())["type"] == "ended"
        assert (await socket.receive()).type == aiohttp.WSMsgType.CLOSE
        assert socket.close_code == 1000


async def test_a_fragmented_message_is_one_frame() -> None:
    async with served(FakeGateway()) as (url, _), connected(url) as client:
        await client.open("identity")
        await client.socket.send([floats(1), floats(2), floats(3)])
        assert (await client.hear())["outputs"][0]["data"] == [1, 2, 3]


async def refused(url: str) -> tuple[int, bytes]:
    with pytest.raises(InvalidStatus) as raised:
        await connect(url)
    response = raised.value.response
    return response.status_code, bytes(response.body or b"")


async def test_a_wrong_path_is_refused_at_the_handshake() -> None:
    async with served(FakeGateway()) as (url, _):
        assert await refused(url + "s") == (
            404,
            b"no such path: /v1/sequences, expected /v1/sequence\n",
        )
        assert (await refused(url.removesuffix("/v1/sequence")))[0] == 404


async def test_a_server_that_is_not_live_refuses_at_the_handshake() -> None:
    class Stopping(FakeGateway):
        def is_live(self) -> bool:
            return False

    async with served(Stopping()) as (url, _):
        assert await refused(url) == (503, b"the server is not accepting connections\n")


async def test_connections_are_bounded() -> None:
    limits = WebSocketLimits(connections=2)
    async with served(FakeGateway(), limits) as (url, front_end):
        async with connected(url) as first, connected(url):
            await first.open("accumulate")
            await until(lambda: len(front_end.connections) == 2)
            assert await refused(url) == (
                503,
                b"there are 2 connections already, come again later\n",
            )
        await until(lambda: not front_end.connections)
        async with connected(url) as third:
            await third.open("accumulate")


async def test_plain_http_is_told_to_upgrade() -> None:
    async with (
        served(FakeGateway()) as (url, _),
        aiohttp.ClientSession() as session,
        session.get(url.replace("ws:", "http:")) as answer,
    ):
        assert answer.status == 426


async def test_a_port_in_use_is_named() -> None:
    async with served(FakeGateway()) as (url, _):
        port = int(url.split(":")[2].split("/")[0])
        with pytest.raises(StreamGateError, match=f"can't listen on 127.0.0.1:{port} for"):
            await WebSocketFrontEnd(FakeGateway()).start("127.0.0.1", port)


async def test_who_does_not_open_in_time_is_shown_the_door() -> None:
    limits = WebSocketLimits(open_seconds=0.05)
    async with served(FakeGateway(), limits) as (url, _), connected(url) as client:
        await client.frame(b"abc")
        assert (await client.hear())["message"].startswith("binary frame before 'open'")
        assert await client.hear() == {
            "type": "error",
            "code": "INVALID_ARG",
            "message": "no 'open' within 0.05 s",
        }
        assert await client.hear_close() == (1008, "no open")


async def test_who_has_opened_may_take_all_the_time_in_the_world() -> None:
    limits = WebSocketLimits(open_seconds=0.05)
    async with served(FakeGateway(), limits) as (url, _), connected(url) as client:
        await client.open("accumulate")
        await asyncio.sleep(0.1)
        await client.frame(integers(1))
        assert (await client.hear())["type"] == "response"


@pytest.mark.parametrize("message", [bytes(1025), "x" * 1025])
async def test_a_frame_that_is_too_large_closes_the_connection(message: bytes | str) -> None:
    limits = WebSocketLimits(frame_bytes=1024)
    async with served(FakeGateway(), limits) as (url, _), connected(url) as client:
        await client.open("identity")
        await client.frame(bytes(1024))
        assert (await client.hear())["type"] == "response"
        await client.socket.send(message)
        assert (await client.hear_close())[0] == 1009


async def test_text_that_is_no_utf8_closes_the_connection() -> None:
    async with served(FakeGateway()) as (url, _), connected(url) as client:
        await client.socket.send(b"\xff", text=True)
        assert (await client.hear_close())[0] == 1007


async def test_mistakes_leave_the_connection_usable() -> None:
    async with served(FakeGateway()) as (url, _), connected(url) as client:
        await client.open("accumulate")
        for frame in (b"abc", integers(1)[:-1], b"x" * 4097):
            await client.frame(frame)
            assert (await client.hear())["message"].startswith(
                f"binary frame of {len(frame)} bytes does not fill input 'IN' (INT32 [-1])"
            )
        await client.socket.send("{")
        assert (await client.hear())["message"].startswith("message is not JSON")
        await client.frame(integers(1))
        assert (await client.hear())["position"] == 0


@pytest.mark.parametrize("way", ["close", "abort"])
async def test_a_client_that_goes_ends_its_sequence_at_once(way: str) -> None:
    gateway = FakeGateway()
    async with served(gateway) as (url, front_end):
        async with connected(url) as client:
            await client.open("accumulate", sequence_id=7)
            await client.frame(integers(1))
            await client.hear()
            if way == "close":
                await client.socket.close()
            else:
                client.socket.transport.abort()
            await until(lambda: gateway.ended)
        assert gateway.ended == [("accumulate", 7, EndReason.CLIENT_ABORT)]
        await until(lambda: not front_end.connections)


async def test_a_client_that_closes_behind_its_end_has_its_steps_run() -> None:
    gateway = FakeGateway()
    async with served(gateway) as (url, front_end):
        async with connected(url) as client:
            await client.open("manual_sequence")
            await client.frame(floats(1))
            await client.say("end")
        await until(lambda: not front_end.connections)
        assert gateway.connections[-1].closed is False
        assert gateway.cancelled == []


async def test_what_waits_for_an_answer_is_bounded_by_count() -> None:
    gateway = FakeGateway()
    async with served(gateway, WebSocketLimits(in_flight=8)) as (url, _), connected(url) as client:
        await client.open("manual")
        for value in range(100):
            await client.frame(floats(value))
        await until(lambda: len(gateway.waiting) == 8)
        await turns(20)
        assert len(gateway.requests) == 8
        for count in range(100):
            await until(lambda: gateway.waiting)
            assert len(gateway.waiting) <= 8
            gateway.waiting[0].send()
            assert (await client.hear())["position"] == count
        assert len(gateway.requests) == 100


async def test_what_waits_for_an_answer_is_bounded_by_size() -> None:
    gateway = FakeGateway()
    limits = WebSocketLimits(in_flight_bytes=3 * 4096)
    async with served(gateway, limits) as (url, _), connected(url) as client:
        await client.open("manual")
        for _ in range(10):
            await client.frame(bytes(4096))
        await until(lambda: len(gateway.waiting) == 3)
        await turns(20)
        assert len(gateway.requests) == 3
        while len(gateway.requests) < 10:
            taken = len(gateway.requests)
            gateway.waiting[0].send()
            await until(lambda taken=taken: len(gateway.requests) > taken)  # type: ignore[misc]
            assert len(gateway.waiting) <= 3


async def test_flushes_that_wait_are_bounded_too() -> None:
    gateway = FakeGateway()
    limits = WebSocketLimits(in_flight=8)
    async with served(gateway, limits) as (url, front_end), connected(url) as client:
        await client.open("manual")
        await client.frame(floats(1))
        for _ in range(100):
            await client.say("flush")
        conversation: Any = only_connection(front_end)._conversation
        await until(lambda: conversation._stream.in_flight == 8)
        await turns(20)
        assert conversation._stream.in_flight == 8
        gateway.waiting[0].send()
        assert (await client.hear())["type"] == "response"
        for _ in range(100):
            assert (await client.hear())["type"] == "flushed"


async def shake_hands(url: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """A client that does nothing of itself, not even answer pings."""
    host, port = url.removeprefix("ws://").split("/")[0].split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    key = base64.b64encode(os.urandom(16)).decode()
    writer.write(
        f"GET /v1/sequence HTTP/1.1\r\nHost: {host}\r\nUpgrade: websocket\r\n"
        f"Connection: Upgrade\r\nSec-WebSocket-Key: {key}\r\n"
        "Sec-WebSocket-Version: 13\r\n\r\n".encode()
    )
    assert b"101" in (await reader.readuntil(b"\r\n\r\n"))
    return reader, writer


def frame_of(message: str | bytes) -> bytes:
    """As a client puts it on the wire."""
    text = isinstance(message, str)
    data = message.encode() if isinstance(message, str) else message
    return Frame(Opcode.TEXT if text else Opcode.BINARY, data).serialize(mask=True)


async def test_a_client_that_does_not_answer_pings_is_given_up() -> None:
    gateway = FakeGateway()
    limits = WebSocketLimits(ping_seconds=0.05)
    async with served(gateway, limits) as (url, _), connected(url) as lively:
        await lively.open("accumulate")
        reader, writer = await shake_hands(url)
        writer.write(frame_of(json.dumps({"type": "open", "model": "accumulate"})))
        writer.write(frame_of(integers(1)))
        await until(lambda: gateway.ended)
        with suppress(ConnectionError):
            await reader.read()
        writer.close()
        with suppress(ConnectionError):
            await writer.wait_closed()
        await lively.frame(integers(1))
        assert (await lively.hear())["type"] == "response"


async def test_a_client_that_is_not_listened_to_need_not_answer_pings() -> None:
    gateway = FakeGateway()
    limits = WebSocketLimits(in_flight=1, ping_seconds=0.02)
    async with served(gateway, limits) as (url, front_end), connected(url) as client:
        await client.open("manual")
        for value in range(20):
            await client.frame(floats(value))
        connection = only_connection(front_end)
        # Its pongs stand in line behind its frames.
        socket: Any = connection._socket
        await until(lambda: len(socket._socket.pending_pings) >= 4)
        for position in range(20):
            await until(lambda: gateway.waiting)
            gateway.waiting[0].send()
            assert (await client.hear())["position"] == position


async def test_a_client_that_vanishes_while_it_is_not_listened_to_is_missed() -> None:
    gateway = FakeGateway()
    limits = WebSocketLimits(in_flight=1, ping_seconds=0.02)
    async with served(gateway, limits) as (url, _), connected(url) as client:
        await client.open("manual_sequence", sequence_id=7)
        for value in range(20):
            await client.frame(floats(value))
        await until(lambda: gateway.waiting)
        client.socket.transport.abort()
        await until(lambda: gateway.ended)


async def test_stopping_sends_what_is_queued_and_says_goodbye() -> None:
    gateway = FakeGateway()
    async with served(gateway) as (url, front_end), connected(url) as client:
        await client.open("accumulate")
        await client.frame(integers(1))
        await until(lambda: gateway.requests)
        await front_end.stop(5)
        assert (await client.hear())["type"] == "response"
        assert await client.hear_close() == (1001, "the server is going away")
        assert gateway.ended
        with pytest.raises(ConnectionRefusedError):
            await connect(url)
        await front_end.stop(5)


async def test_stopping_does_not_hide_how_a_sequence_ended() -> None:
    gateway = FakeGateway()
    async with served(gateway) as (url, front_end), connected(url) as client:
        await client.open("accumulate", sequence_id=7)
        await client.frame(integers(1))
        await client.hear()
        on_end = gateway.connections[-1].on_sequence_end
        assert on_end is not None
        on_end("accumulate", 7, EndReason.DRAINED)
        await front_end.stop(5)
        assert (await client.hear_end())["closed"] == 1012


async def test_stopping_does_not_wait_for_who_does_not_say_goodbye() -> None:
    gateway = FakeGateway()
    async with served(gateway) as (url, front_end):
        reader, writer = await shake_hands(url)
        await until(lambda: front_end.connections)
        await front_end.stop(0.05)
        assert not front_end.connections
        with suppress(ConnectionError):
            await reader.read()
        writer.close()
        with suppress(ConnectionError):
            await writer.wait_closed()


async def test_knocking_at_the_port_is_no_news(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    async with served(FakeGateway()) as (url, _):
        host, port = url.removeprefix("ws://").split("/")[0].split(":")
        for hello in (b"", b"nonsense\r\n\r\n"):
            reader, writer = await asyncio.open_connection(host, int(port))
            writer.write(hello)
            writer.write_eof()
            await reader.read()
            writer.close()
            await writer.wait_closed()
        async with connected(url) as client:
            await client.open("accumulate")
    assert [r.getMessage() for r in caplog.records if r.name.startswith("streamgate")] == []


async def test_many_clients_at_a_time() -> None:
    gateway = FakeGateway()
    async with served(gateway) as (url, _):

        async def one(number: int) -> None:
            async with connected(url) as client:
                await client.open("accumulate")
                for step in range(5):
                    await client.frame(integers(number))
                    assert (await client.hear())["outputs"][0]["data"] == [number * (step + 1)]
                await client.say("end")
                assert (await client.hear_end())["positions"] == 5

        await asyncio.gather(*(one(number) for number in range(50)))


def test_the_client_of_these_tests_is_the_real_one() -> None:
    assert Client.__module__ != connect.__module__
    assert connect.__module__ == "websockets.asyncio.client"
