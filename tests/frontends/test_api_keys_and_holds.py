"""Whose client it is, on every wire, and how one is read that sends more than it may."""

import asyncio

import pytest

from streamgate.frontends.api_keys import bearer, key_in, key_of
from streamgate.frontends.holding import Hold
from tests.frontends.fake_gateway import FakeGateway
from tests.frontends.websocket_conversation import Conversation


@pytest.mark.parametrize(
    ("authorization", "api_key", "key"),
    [
        (None, None, ""),
        ("Bearer k", None, "k"),
        ("bearer  k ", None, "k"),
        ("Basic abc", "k", "k"),
        ("Bearer first", "second", "first"),
        ("", "k", "k"),
    ],
)
def test_where_a_key_stands(authorization: str | None, api_key: str | None, key: str) -> None:
    assert key_of(authorization, api_key) == key
    metadata = [("x-other", "o"), ("x-api-key", api_key), ("authorization", authorization)]
    assert key_in([(name, value) for name, value in metadata if value is not None]) == key


def test_binary_metadata_is_no_key() -> None:
    assert key_in([("authorization", b"Bearer k"), ("x-api-key", "k")]) == "k"
    assert bearer("Token k", "Token") == "k"


async def test_a_hold_lasts_as_long_as_the_gateway_says() -> None:
    gateway = FakeGateway()
    over = asyncio.Event()
    hold = Hold(gateway, over.set)
    hold.receive(10)
    assert [hold.is_on] == [False]
    gateway.hold_seconds = 0.02
    begin = asyncio.get_running_loop().time()
    hold.receive(20)
    hold.receive(30)
    assert [hold.is_on] == [True]
    await asyncio.wait_for(over.wait(), 10)
    assert asyncio.get_running_loop().time() - begin >= 0.019
    assert [hold.is_on] == [False]
    assert gateway.received_bytes == 60


async def test_a_hold_that_is_stopped_tells_nobody() -> None:
    gateway = FakeGateway(hold_seconds=0.001)
    told: list[bool] = []
    hold = Hold(gateway, lambda: told.append(True))
    hold.receive(1)
    hold.stop()
    hold.stop()
    await asyncio.sleep(0.01)
    assert told == []


async def test_a_websocket_is_held_back_and_goes_on() -> None:
    conversation = Conversation(FakeGateway(hold_seconds=0.01))
    conversation.open("accumulate")
    assert [conversation.stream.is_held_back] == [False]
    await conversation.frame(1)
    assert [conversation.stream.is_held_back] == [True]
    for _ in range(1000):
        if conversation.rooms:
            break
        await asyncio.sleep(0.005)
    assert conversation.rooms == 1
    assert conversation.kinds() == ["opened", "response"]
    await conversation.frame(3)
    conversation.stream.on_gone()
    await asyncio.sleep(0.02)
    assert conversation.rooms == 1
