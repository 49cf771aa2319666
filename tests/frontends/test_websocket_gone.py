"""A client that is gone while nothing is read from it: found out at once, on either carrier."""

import asyncio

import aiohttp
import pytest
from aiohttp import web
from websockets.asyncio.client import connect

from streamgate.errors import Failure
from streamgate.frontends.sockets.contract import Accepted, Handshake, Outlet, Refusal
from streamgate.frontends.sockets.http_mount import WebSocketMount
from streamgate.frontends.sockets.server import WebSocketServer


class Full:
    """A conversation that has no room, and a dialect that leads to it."""

    name = "full"
    path = "/"
    offers_resume = False
    has_room = False

    def __init__(self) -> None:
        self.is_gone = asyncio.Event()

    def matches(self, handshake: Handshake) -> bool:
        return True

    async def admit(self, handshake: Handshake, outlet: Outlet) -> Accepted:
        return Accepted(self)

    def bar(self, handshake: Handshake) -> None:
        """Everybody may come in."""

    def refuse(self, failure: Failure) -> Refusal:
        raise AssertionError("nobody should be refused")

    def keep(self) -> None:
        """Nothing runs out."""

    def on_text(self, text: str) -> None:
        raise AssertionError("nothing should be read")

    def on_binary(self, data: bytes) -> None:
        raise AssertionError("nothing should be read")

    def pause(self) -> None:
        """Nothing is written."""

    def resume(self) -> None:
        """Nothing is written."""

    def on_gone(self) -> None:
        self.is_gone.set()


SOON_SECONDS = 10
"""Long before the first ping, which would find it out, too."""


@pytest.mark.parametrize("says_something", [False, True])
async def test_on_a_port_of_its_own(says_something: bool) -> None:
    full = Full()
    server = WebSocketServer([full], lambda: True)
    port = await server.start("127.0.0.1", 0)
    try:
        client = await connect(f"ws://127.0.0.1:{port}/")
        if says_something:
            await client.send("hello")
        client.transport.abort()
        async with asyncio.timeout(SOON_SECONDS):
            await full.is_gone.wait()
    finally:
        await server.stop(1)
    assert server.connections == []


async def test_on_the_http_port() -> None:
    full = Full()
    mount = WebSocketMount([full], lambda: True)

    async def handle(request: web.BaseRequest) -> web.StreamResponse:
        return await mount.serve(request, full)

    runner = web.ServerRunner(web.Server(handle))
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        port = runner.addresses[0][1]
        async with aiohttp.ClientSession() as session:
            client = await session.ws_connect(f"http://127.0.0.1:{port}/")
            await client.send_str("hello")
        async with asyncio.timeout(SOON_SECONDS):
            await full.is_gone.wait()
    finally:
        await runner.cleanup()
