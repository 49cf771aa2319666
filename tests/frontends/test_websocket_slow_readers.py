"""WebSocket clients that read slowly, or not at all: they stop only themselves."""

import asyncio
from contextlib import suppress

from websockets.exceptions import ConnectionClosed

from streamgate.frontends.websocket import WebSocketLimits
from tests.frontends.fake_gateway import FakeGateway, int32
from tests.frontends.test_websocket_server import MIB, only_connection, turns
from tests.frontends.websocket_client import connected, floats, integers, served
from tests.waiting import until


async def test_a_client_that_never_reads_stops_only_itself() -> None:
    gateway = FakeGateway()
    count, size = 300, 256 * 1024
    limits = WebSocketLimits(unsent_pause_bytes=MIB)
    async with (
        served(gateway, limits) as (url, front_end),
        connected(url, max_queue=1, max_size=None) as slow,
    ):
        await slow.say("open", model="identity", output_format="binary")
        connection = only_connection(front_end)

        async def send_all() -> None:
            for _ in range(count):
                await slow.frame(bytes(size))

        sender = asyncio.create_task(send_all())
        await until(lambda: connection._unsent_bytes >= limits.unsent_pause_bytes)
        await turns(50)
        taken = len(gateway.requests)
        assert connection._unsent_bytes < limits.unsent_pause_bytes + 2 * size
        assert taken < count
        assert not sender.done()
        async with connected(url) as other:
            await other.open("accumulate")
            for value in range(20):
                await other.frame(integers(value))
                assert (await other.hear())["position"] == value
        assert len(gateway.requests) == taken + 20

        await slow.hear()
        for position in range(count):
            head, data = await slow.hear_binary()
            assert head["position"] == position
            assert len(data) == size
        await sender


async def test_a_client_that_takes_nothing_for_too_long_is_given_up() -> None:
    gateway = FakeGateway()
    limits = WebSocketLimits(unsent_pause_bytes=MIB, send_seconds=0.1)
    async with (
        served(gateway, limits) as (url, front_end),
        connected(url, max_queue=1, max_size=None) as slow,
    ):
        await slow.say("open", model="identity", output_format="binary")
        with suppress(ConnectionClosed):
            for _ in range(300):
                await slow.frame(bytes(256 * 1024))
        await until(lambda: not front_end.connections)
        assert gateway.connections[-1].closed is True


async def test_a_client_that_does_not_read_is_given_up_when_too_much_waits() -> None:
    gateway = FakeGateway()
    limits = WebSocketLimits(unsent_pause_bytes=MIB, unsent_bytes=4 * MIB)
    async with (
        served(gateway, limits) as (url, front_end),
        connected(url, max_queue=1, max_size=None, close_timeout=0.1) as slow,
    ):
        await slow.say("open", model="manual_decoupled")
        await slow.frame(floats(1.0))
        await until(lambda: gateway.waiting)
        (call,) = gateway.waiting
        piece = int32("OUT", *range(50_000))

        def flood() -> bool:
            if not call.finished:
                call.send(piece, final=False)
            return call.finished

        await until(flood)
        assert call.connection.paused
        assert call.connection.closed is True
        await until(lambda: not front_end.connections)
