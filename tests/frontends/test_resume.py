"""Sessions that lose their connection, over real sockets: who may come back, and to what."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from streamgate.errors import EndReason
from streamgate.frontends.sockets.kept import KeepLimits
from streamgate.frontends.sockets.resumption import PURPOSE, ResumeOptions, Resumption
from streamgate.frontends.websocket import WebSocketFrontEnd
from streamgate.session.tokens import Claim, TokenSigner
from tests.frontends.fake_gateway import FakeGateway, int32
from tests.frontends.websocket_client import integers

Message = dict[str, Any]

SECRET = b"a secret of this test"
SECONDS = 20.0


@dataclass
class Peer:
    """A client of one connection, and all that it heard over it."""

    socket: ClientConnection
    heard: list[Message] = field(default_factory=list)

    async def say(self, kind: str, **fields: Any) -> None:
        await self.socket.send(json.dumps({"type": kind, **fields}))

    async def add(self, number: int) -> None:
        await self.socket.send(integers(number))

    async def hear(self) -> Message:
        async with asyncio.timeout(SECONDS):
            message: Message = json.loads(await self.socket.recv())
        self.heard.append(message)
        return message

    async def hear_sum(self) -> int:
        message = await self.hear()
        assert message["type"] == "response", message
        return int(message["outputs"][0]["data"][0])

    async def hear_close(self) -> tuple[int, str]:
        with pytest.raises(ConnectionClosed) as closing:
            await self.hear()
        received = closing.value.rcvd
        assert received is not None
        return received.code, received.reason

    @property
    def token(self) -> str:
        assert self.socket.response is not None
        return self.socket.response.headers["StreamGate-Resume"]

    def cut(self) -> None:
        self.socket.transport.abort()


@dataclass
class House:
    """A front end over a gateway in memory."""

    gateway: FakeGateway
    resumption: Resumption
    url: str

    @asynccontextmanager
    async def peer(self, query: str = "") -> AsyncIterator[Peer]:
        async with connect(f"{self.url}?{query}") as socket:
            yield Peer(socket)

    def again(self, token: str, last_event: int) -> "Any":
        return self.peer(f"resume={token}&last_event={last_event}")

    async def refused(self, token: str, last_event: int = 0) -> tuple[int, str]:
        with pytest.raises(InvalidStatus) as refusal:
            async with self.again(token, last_event):
                pass
        response = refusal.value.response
        assert response.body is not None
        return response.status_code, response.body.decode()

    async def come_and_go(self, token: str, last_event: int) -> None:
        """Be gone as soon as the connection is upgraded, without reading what follows."""
        host, port = self.url.removeprefix("ws://").partition("/")[0].split(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        writer.write(
            f"GET /v1/sequence?resume={token}&last_event={last_event} HTTP/1.1\r\n"
            "Host: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
            "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: MDEyMzQ1Njc4OTAxMjM0NQ==\r\n\r\n"
            "".encode()
        )
        assert b" 101 " in await reader.readline()
        await self.until(lambda: self.resumption.counts.detached == 0)
        writer.transport.abort()

    async def until(self, holds: Callable[[], bool]) -> None:
        async with asyncio.timeout(SECONDS):
            while not holds():  # noqa: ASYNC110 - the front end tells nobody
                await asyncio.sleep(0.005)

    async def until_detached(self) -> None:
        await self.until(lambda: self.resumption.counts.detached == 1)


@asynccontextmanager
async def resuming(**options: Any) -> AsyncIterator[House]:
    gateway = FakeGateway()
    resumption = Resumption(ResumeOptions(TokenSigner(SECRET), **{"seconds": 30.0, **options}))
    front_end = WebSocketFrontEnd(gateway, resumption=resumption)
    port = await front_end.start("127.0.0.1", 0)
    try:
        yield House(gateway, resumption, f"ws://127.0.0.1:{port}/v1/sequence")
    finally:
        resumption.stop()
        await front_end.stop(5)


async def begun(peer: Peer, model: str = "accumulate") -> str:
    """A sequence whose sum is 3; its token."""
    await peer.say("open", model=model)
    opened = await peer.hear()
    assert opened["resume"] == {"token": peer.token, "seconds": 30.0}
    for number, total in ((1, 1), (2, 3)):
        await peer.add(number)
        assert await peer.hear_sum() == total
    assert [message["event"] for message in peer.heard] == [1, 2, 3]
    return peer.token


async def test_a_session_goes_on_over_another_connection() -> None:
    async with resuming() as house:
        async with house.peer() as peer:
            token = await begun(peer)
            peer.cut()
        await house.until_detached()
        async with house.again(token, 3) as peer:
            resumed = await peer.hear()
            assert resumed == {
                "type": "resumed",
                "received": {"messages": 3, "bytes": 8},
                "event": 3,
                "resume": {"token": token, "seconds": 30.0},
            }
            assert peer.socket.response is not None
            assert peer.socket.response.headers["StreamGate-Received"] == "messages=3, bytes=8"
            await peer.add(4)
            assert await peer.hear_sum() == 7
            assert peer.heard[-1]["event"] == 4
            assert peer.heard[-1]["position"] == 2
            await peer.say("end")
            assert (await peer.hear())["reason"] == "client_end"
            assert await peer.hear_close() == (1000, "client_end")
        counts = house.resumption.counts
        assert (counts.detached, counts.detachments, counts.resumed) == (0, 1, 1)
        assert await house.refused(token) == (
            404,
            "the session of the resume token is over: it had ended; begin a new one\n",
        )
        assert len(house.gateway.connections) == 1


async def test_a_server_that_takes_nobody_new_still_lets_its_own_back_in() -> None:
    """As while it drains: sessions go on to their end, wherever they are connected."""
    async with resuming() as house:
        async with house.peer() as peer:
            token = await begun(peer)
            peer.cut()
        house.gateway.accepts = False
        with pytest.raises(InvalidStatus, match="503"):
            async with house.peer():
                pass
        async with house.again(token, 3) as peer:
            assert (await peer.hear())["type"] == "resumed"
            await peer.add(1)
            assert await peer.hear_sum() == 4


async def test_what_was_not_heard_is_said_again() -> None:
    async with resuming() as house:
        async with house.peer() as peer:
            token = await begun(peer)
            peer.cut()
        async with house.again(token, 1) as peer:
            assert (await peer.hear())["event"] == 1
            assert [await peer.hear_sum(), await peer.hear_sum()] == [1, 3]
            assert [message["event"] for message in peer.heard[1:]] == [2, 3]


async def test_what_the_model_says_meanwhile_is_kept() -> None:
    async with resuming() as house:
        async with house.peer() as peer:
            await peer.say("open", model="manual_sequence")
            await peer.hear()
            await peer.add(1)
            await house.until(lambda: len(house.gateway.waiting) == 1)
            token = peer.token
            peer.cut()
        await house.until_detached()
        house.gateway.waiting[0].send(int32("OUT", 42))
        async with house.again(token, 1) as peer:
            await peer.hear()
            assert await peer.hear_sum() == 42


async def test_a_goodbye_that_was_lost_is_said_again() -> None:
    async with resuming() as house:
        async with house.peer() as peer:
            token = await begun(peer)
            peer.cut()
        await house.until_detached()
        connection = house.gateway.connections[0]
        assert connection.on_sequence_end is not None
        request = connection.calls[-1].request
        connection.on_sequence_end(request.model, request.sequence, EndReason.DRAINED)
        for _ in range(2):
            await house.come_and_go(token, 3)
            await house.until_detached()
        async with house.again(token, 3) as peer:
            await peer.hear()
            ended = await peer.hear()
            assert (ended["reason"], ended["event"]) == ("drained", 4)
            assert await peer.hear_close() == (1012, "drained")
        assert (await house.refused(token))[0] == 404


@pytest.mark.parametrize(("code", "is_kept"), [(1000, False), (3000, False), (1001, True)])
async def test_who_says_goodbye_means_it(code: int, is_kept: bool) -> None:
    async with resuming() as house:
        async with house.peer() as peer:
            token = await begun(peer)
            await peer.socket.close(code)
        if is_kept:
            async with house.again(token, 3) as peer:
                assert (await peer.hear())["type"] == "resumed"
        else:
            await house.until(lambda: bool(house.gateway.ended))
            assert house.gateway.ended[0][2] is EndReason.CLIENT_ABORT
            assert (await house.refused(token))[0] == 404


async def test_a_session_waits_for_its_client_so_long_and_is_kept_from_running_out() -> None:
    async with resuming(seconds=0.6) as house:
        async with house.peer() as peer:
            await peer.say("open", model="accumulate", sequence_id=7)
            await peer.hear()
            await peer.add(1)
            await peer.hear()
            token = peer.token
            peer.cut()
        await house.until_detached()
        await house.until(lambda: bool(house.gateway.ended))
        assert house.gateway.ended == [("accumulate", 7, EndReason.CLIENT_ABORT)]
        assert house.gateway.connections[0].kept.count(("accumulate", 7)) >= 2
        status, text = await house.refused(token)
        assert (status, "did not come back in time" in text) == (404, True)
        assert house.resumption.counts.ended == {"expired": 1}
        assert house.resumption.counts.refused == {"expired": 1}


async def test_a_forged_token_learns_nothing() -> None:
    """The words are the same whether the session that it names lives or not."""
    async with resuming() as house, house.peer() as peer:
        token = await begun(peer)
        number = TokenSigner(SECRET).verify(PURPOSE, token).session
        other = TokenSigner(b"the secret of somebody else")
        forged = [other.sign(PURPOSE, Claim(each, "server")) for each in (number, bytes(16))]
        words = [await house.refused(each) for each in [*forged, "junk", token[:-2] + "xx"]]
        assert set(words) == {
            (400, "the resume token is not valid, expected one that was given here\n")
        }
        assert house.resumption.counts.refused == {"forged": 4}
        await peer.add(3)
        assert await peer.hear_sum() == 6


async def test_the_second_to_resume_takes_over_and_the_first_is_told() -> None:
    async with resuming() as house, house.peer() as first:
        token = await begun(first)
        async with house.again(token, 3) as second:
            assert (await second.hear())["received"] == {"messages": 3, "bytes": 8}
            told = await first.hear()
            assert (told["type"], told["code"]) == ("error", "CANCELLED")
            await second.add(4)
            assert await second.hear_sum() == 7
            code, reason = await first.hear_close()
            assert (code, reason.partition(":")[0]) == (4409, "superseded")
            await second.add(5)
            assert await second.hear_sum() == 12
        counts = house.resumption.counts
        assert (counts.resumed, counts.taken_over) == (1, 1)


@pytest.mark.parametrize("last_event", ["4", "x", "-1", "9" * 30])
async def test_an_event_that_was_never_sent_can_not_be_gone_on_from(last_event: str) -> None:
    async with resuming() as house, house.peer() as peer:
        token = await begun(peer)
        with pytest.raises(InvalidStatus) as refusal:
            async with house.peer(f"resume={token}&last_event={last_event}"):
                pass
        body = refusal.value.response.body
        assert refusal.value.response.status_code == 400
        assert body is not None
        assert b"'last_event' is " in body
        # Nothing has changed for who is there.
        await peer.add(3)
        assert await peer.hear_sum() == 6


async def test_who_says_too_much_to_nobody_is_held_up_and_then_given_up() -> None:
    async with resuming(keep=KeepLimits(heard_events=1, events=6)) as house:
        async with house.peer() as peer:
            await peer.say("open", model="manual_decoupled")
            await peer.hear()
            await peer.socket.send(b"\0\0\0\0")
            await house.until(lambda: len(house.gateway.waiting) == 1)
            token = peer.token
            peer.cut()
        await house.until_detached()
        call = house.gateway.waiting[0]
        for number in range(3):
            call.send(int32("OUT", number), final=False)
        assert call.connection.paused
        for number in range(3):
            call.send(int32("OUT", number), final=False)
        await house.until(lambda: call.connection.closed is not None)
        status, text = await house.refused(token)
        assert (status, "too much was said" in text) == (404, True)
        assert house.resumption.counts.ended == {"outgrown": 1}


async def test_who_is_held_up_goes_on_when_the_client_is_back() -> None:
    async with resuming(keep=KeepLimits(events=6)) as house:
        async with house.peer() as peer:
            await peer.say("open", model="manual_decoupled")
            await peer.hear()
            await peer.socket.send(b"\0\0\0\0")
            await house.until(lambda: len(house.gateway.waiting) == 1)
            token = peer.token
            peer.cut()
        await house.until_detached()
        call = house.gateway.waiting[0]
        for number in range(4):
            call.send(int32("OUT", number), final=False)
        held_up = call.connection.paused
        assert held_up
        async with house.again(token, 1) as peer:
            await peer.hear()
            assert not call.connection.paused
            assert [await peer.hear_sum() for _ in range(4)] == [0, 1, 2, 3]


async def test_only_so_many_wait_at_once() -> None:
    async with resuming(sessions=1) as house:
        tokens = []
        for _ in range(2):
            async with house.peer() as peer:
                tokens.append(await begun(peer))
                peer.cut()
            await house.until_detached()
        await house.until(lambda: bool(house.gateway.ended))
        assert (await house.refused(tokens[1]))[0] == 404
        async with house.again(tokens[0], 3) as peer:
            assert (await peer.hear())["type"] == "resumed"


async def test_all_that_is_kept_has_a_bound_and_the_largest_goes_first() -> None:
    async with resuming(bytes=2_000) as house:
        async with house.peer() as peer:
            small = await begun(peer)
            peer.cut()
        await house.until_detached()
        async with house.peer() as peer:
            large = await begun(peer)
            for number in range(20):
                await peer.add(number)
                await peer.hear()
            peer.cut()
        await house.until(lambda: house.resumption.counts.ended == {"outgrown": 1})
        assert (await house.refused(large))[0] == 404
        async with house.again(small, 3) as peer:
            assert (await peer.hear())["type"] == "resumed"


async def test_who_does_not_want_to_come_back_is_not_waited_for() -> None:
    async with resuming() as house:
        async with house.peer("resume=off") as peer:
            await peer.say("open", model="accumulate")
            opened = await peer.hear()
            assert "resume" not in opened
            assert "event" not in opened
            await peer.add(1)
            await peer.hear()
            peer.cut()
        await house.until(lambda: bool(house.gateway.ended))
        assert house.resumption.counts.detachments == 0


async def test_a_server_that_stops_keeps_nobody() -> None:
    async with resuming() as house:
        async with house.peer() as peer:
            token = await begun(peer)
            peer.cut()
        await house.until_detached()
        house.resumption.stop()
        assert house.gateway.ended[0][2] is EndReason.CLIENT_ABORT
        assert (await house.refused(token))[0] == 404
