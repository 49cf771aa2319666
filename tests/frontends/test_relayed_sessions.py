"""Two front-end processes, played by two front ends in this one: a client comes back to the other
one, which relays it to its session."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus

from streamgate.frontends.sockets.connection import ConnectionLimits
from streamgate.frontends.sockets.kept import KeepLimits
from streamgate.frontends.sockets.reception import Reception
from streamgate.frontends.sockets.relay import socket_path
from streamgate.frontends.sockets.relay_post import RelayPost
from streamgate.frontends.sockets.resumption import PURPOSE, ResumeOptions, Resumption
from streamgate.frontends.websocket import WebSocketFrontEnd
from streamgate.session.tokens import Claim, TokenSigner
from tests.durable.proxy import Cut, Way, cutting
from tests.frontends.fake_gateway import FakeGateway, int32
from tests.frontends.test_resume import Peer, begun
from tests.frontends.websocket_client import integers
from tests.waiting import until

SECRET = b"a secret of two processes"


@dataclass
class Process:
    """One front end, with sessions of its own."""

    name: str
    gateway: FakeGateway
    resumption: Resumption
    front_end: WebSocketFrontEnd
    post: RelayPost
    port: int

    @asynccontextmanager
    async def peer(self, query: str = "") -> AsyncIterator[Peer]:
        async with connect(f"ws://127.0.0.1:{self.port}/v1/sequence?{query}") as socket:
            yield Peer(socket)

    def again(self, token: str, last_event: int) -> Any:
        return self.peer(f"resume={token}&last_event={last_event}")

    async def refused(self, token: str, last_event: int = 0) -> tuple[int, str]:
        with pytest.raises(InvalidStatus) as refusal:
            async with self.again(token, last_event):
                pass
        body = refusal.value.response.body
        assert body is not None
        return refusal.value.response.status_code, body.decode()

    async def until_detached(self, count: int = 1) -> None:
        await until(lambda: self.resumption.counts.detached == count)


@asynccontextmanager
async def process(
    name: str, directory: Path, keep: KeepLimits | None = None
) -> AsyncIterator[Process]:
    gateway = FakeGateway()
    options = ResumeOptions(
        TokenSigner(SECRET), owner=name, directory=directory, keep=keep or KeepLimits()
    )
    resumption = Resumption(options)
    front_end = WebSocketFrontEnd(gateway, resumption=resumption)
    port = await front_end.start("127.0.0.1", 0)
    dialects = {each.name: each for each in front_end.dialects}
    post = RelayPost(dialects, Reception(gateway.is_accepting, resumption), ConnectionLimits())
    await post.start(socket_path(directory, name))
    try:
        yield Process(name, gateway, resumption, front_end, post, port)
    finally:
        resumption.stop()
        await post.stop(2)
        await front_end.stop(2)


@asynccontextmanager
async def two(directory: Path, **options: Any) -> AsyncIterator[tuple[Process, Process]]:
    async with (
        process("front-0", directory, **options) as one,
        process("front-1", directory, **options) as other,
    ):
        yield one, other


async def test_a_client_comes_back_to_another_process_and_says_goodbye_there(
    tmp_path: Path,
) -> None:
    async with two(tmp_path) as (one, other):
        async with one.peer() as peer:
            token = await begun(peer)
            peer.cut()
        await one.until_detached()
        async with other.again(token, 2) as peer:
            resumed = await peer.hear()
            assert resumed["received"] == {"messages": 3, "bytes": 8}
            assert peer.token == token
            assert peer.socket.response is not None
            assert peer.socket.response.headers["StreamGate-Received"] == "messages=3, bytes=8"
            assert await peer.hear_sum() == 3
            await peer.add(4)
            assert await peer.hear_sum() == 7
            await peer.say("end")
            assert (await peer.hear())["reason"] == "client_end"
            assert await peer.hear_close() == (1000, "client_end")
        assert other.gateway.requests == []
        assert other.resumption.counts.relayed == 1
        async with asyncio.timeout(20):
            while True:
                status, text = await other.refused(token)
                if "it had ended" in text:
                    break
        assert status == 404


async def test_a_relayed_connection_that_is_lost_detaches_the_session_again(
    tmp_path: Path,
) -> None:
    async with two(tmp_path) as (one, other):
        async with one.peer() as peer:
            token = await begun(peer)
            peer.cut()
        await one.until_detached()
        for round_, number in enumerate((10, 20)):
            async with other.again(token, 3 + round_) as peer:
                await peer.hear()
                await peer.add(number)
                await peer.hear_sum()
                peer.cut()
            await one.until_detached()
        async with one.again(token, 5) as peer:
            assert (await peer.hear())["received"]["messages"] == 5
            await peer.add(0)
            assert await peer.hear_sum() == 33


async def test_whoever_comes_back_elsewhere_takes_over_and_the_first_is_told(
    tmp_path: Path,
) -> None:
    async with two(tmp_path) as (one, other), one.peer() as first:
        token = await begun(first)
        async with other.again(token, 3) as second:
            await second.hear()
            assert (await first.hear())["code"] == "CANCELLED"
            assert (await first.hear_close())[0] == 4409
            async with one.again(token, 3) as third:
                await third.hear()
                assert (await second.hear())["code"] == "CANCELLED"
                assert (await second.hear_close())[0] == 4409
                await third.add(1)
                assert await third.hear_sum() == 4


async def test_a_process_that_is_gone_is_told_as_an_end(tmp_path: Path) -> None:
    async with process("front-1", tmp_path) as other:
        async with process("front-0", tmp_path) as one:
            async with one.peer() as peer:
                token = await begun(peer)
                peer.cut()
            await one.until_detached()
        status, text = await other.refused(token)
        assert (status, "the process that had it is gone" in text) == (404, True)


async def test_a_process_that_goes_says_so_to_whom_it_relays(tmp_path: Path) -> None:
    async with process("front-1", tmp_path) as other:
        async with process("front-0", tmp_path) as one:
            async with one.peer() as peer:
                token = await begun(peer)
                peer.cut()
            await one.until_detached()
            gone = other.again(token, 3)
            peer = await gone.__aenter__()
            await peer.hear()
        code, _ = await peer.hear_close()
        assert code == 1001
        await gone.__aexit__(None, None, None)


@pytest.mark.parametrize("owner", ["nobody", "front-0"])
async def test_a_token_leads_nowhere_else(owner: str, tmp_path: Path) -> None:
    """Of a process that never was, or of a session that this one never had."""
    claim = Claim(bytes(16), owner)
    async with two(tmp_path) as (_, other):
        assert (await other.refused(TokenSigner(SECRET).sign(PURPOSE, claim)))[0] == 404
        stranger = TokenSigner(b"another secret, as long")
        assert (await other.refused(stranger.sign(PURPOSE, claim)))[0] == 400


async def test_what_a_relayed_client_has_got_is_known_to_the_owner(tmp_path: Path) -> None:
    """It answers pings for the client, not for itself: what a client never got is kept."""
    keep = KeepLimits(heard_events=4)
    async with two(tmp_path, keep=keep) as (one, other):
        async with one.peer() as peer:
            await peer.say("open", model="manual_decoupled")
            await peer.hear()
            await peer.socket.send(integers(1))
            await until(lambda: bool(one.gateway.waiting))
            token = peer.token
            peer.cut()
        await one.until_detached()
        call = one.gateway.waiting[0]
        async with other.again(token, 1) as peer:
            await peer.hear()
            for number in range(600):
                call.send(int32("OUT", number), final=False)
            for number in range(600):
                assert await peer.hear_sum() == number
            (session,) = one.resumption._shelf._sessions.values()
            await until(lambda: session.kept_bytes < 50_000)
            peer.cut()
        await one.until_detached()
        # A client that gets nothing of this: the wire to it takes a handshake's bytes and no more.
        async with cutting(other.port, [Cut(Way.DOWN, 500, silent=True)]) as proxy:
            url = f"ws://127.0.0.1:{proxy.port}/v1/sequence?resume={token}&last_event=601"
            async with connect(url) as socket:
                for number in range(600, 1200):
                    call.send(int32("OUT", number), final=False)
                await asyncio.sleep(0.1)
                socket.transport.abort()
        async with other.again(token, 601) as peer:
            await peer.hear()
            for number in range(600, 1200):
                assert await peer.hear_sum() == number
