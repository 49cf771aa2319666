"""How a sequence comes to its end, without sockets, and what fails on the way."""

import pytest

from streamgate.errors import Code, EndReason, Failure
from tests.frontends.fake_gateway import (
    FakeGateway,
    int32,
)
from tests.frontends.websocket_client import floats
from tests.frontends.websocket_conversation import Conversation, error, settle


async def test_end_before_any_step_ends_at_once() -> None:
    client = Conversation()
    client.open("accumulate")
    client.say("end")
    assert client.said[1:] == [{"type": "ended", "reason": "client_end", "positions": 0}]
    assert client.closed == [(1000, "client_end")]
    assert client.gateway.requests == []


async def test_a_step_that_fails_has_its_position_and_the_sequence_goes_on() -> None:
    client = Conversation()
    client.open("manual_sequence")
    client.stream.on_binary(floats(1))
    client.stream.on_binary(floats(2))
    await settle()
    client.waiting().fail(Failure(Code.INTERNAL, "boom"))
    client.waiting().send()
    assert client.said[1] == {
        "type": "error",
        "position": 0,
        "index": 0,
        "final": True,
        "code": "INTERNAL",
        "message": "boom",
    }
    assert client.said[2]["position"] == 1
    assert [call.start for call in client.gateway.requests] == [True, False]


async def test_a_refused_start_lets_the_next_step_be_the_start() -> None:
    client = Conversation()
    client.open("manual_sequence")
    client.stream.on_binary(floats(1))
    await settle()
    client.waiting().fail(Failure(Code.UNAVAILABLE, "backlog full"), admitted=False)
    client.stream.on_binary(floats(2))
    await settle()
    client.waiting().send()
    client.stream.on_binary(floats(3))
    assert [request.start for request in client.gateway.requests] == [True, True, False]
    assert [message["position"] for message in client.said[1:]] == [0, 1]


async def test_a_refused_last_step_may_be_sent_again() -> None:
    client = Conversation()
    client.open("manual_sequence")
    for _ in range(2):
        client.say("last")
        client.stream.on_binary(floats(1))
        await settle()
        client.waiting().fail(Failure(Code.UNAVAILABLE, "backlog full"), admitted=False)
    assert client.kinds() == ["opened", "error", "error"]
    client.say("last")
    client.stream.on_binary(floats(1))
    await settle()
    client.waiting().send()
    assert client.kinds()[3:] == ["response", "ended"]
    assert all(request.start and request.end for request in client.gateway.requests)


async def test_a_refused_last_step_is_not_sent_again_by_who_has_said_the_end() -> None:
    client = Conversation()
    client.open("manual_sequence")
    client.stream.on_binary(floats(1))
    client.say("last")
    client.stream.on_binary(floats(2))
    client.say("end")
    await settle()
    client.waiting(1).fail(Failure(Code.UNAVAILABLE, "queue full"), admitted=False)
    assert client.kinds() == ["opened", "error"]
    assert client.gateway.live == {}
    client.waiting().send()
    assert client.kinds()[2:] == ["response", "ended"]


@pytest.mark.parametrize(
    ("reason", "code"),
    [
        (EndReason.IDLE, 4001),
        (EndReason.LIFETIME, 4002),
        (EndReason.SUPERSEDED, 4003),
        (EndReason.DRAINED, 1012),
        (EndReason.PREEMPTED, 1013),
        (EndReason.ERROR, 1011),
        (EndReason.ENGINE_LOST, 1011),
    ],
)
async def test_an_end_from_the_engine_is_told_with_its_close_code(
    reason: EndReason, code: int
) -> None:
    client = Conversation()
    client.open("accumulate")
    await client.frame(1)
    client.end_sequence(reason)
    assert client.said[-1] == {"type": "ended", "reason": reason.value, "positions": 1}
    assert client.closed == [(code, reason.value)]
    await client.frame(2)
    assert len(client.gateway.requests) == 1


async def test_an_end_waits_for_the_answers_that_are_still_to_come() -> None:
    client = Conversation()
    client.open("manual_sequence")
    client.stream.on_binary(floats(1))
    await settle()
    client.end_sequence(EndReason.DRAINED)
    client.stream.on_binary(floats(2))
    assert client.said[1:] == [error("INVALID_ARG", "step after the sequence has ended (drained)")]
    client.waiting().send()
    assert client.kinds()[2:] == ["response", "ended"]
    assert client.closed == [(1012, "drained")]


async def test_the_end_of_another_sequence_is_not_ours() -> None:
    client = Conversation()
    client.open("accumulate", sequence_id=7)
    await client.frame(1)
    on_end = client.connection.on_sequence_end
    assert on_end is not None
    on_end("accumulate", "7", EndReason.IDLE)
    on_end("identity", 7, EndReason.IDLE)
    assert client.closed == []


async def test_a_client_that_goes_takes_its_sequence_with_it() -> None:
    client = Conversation()
    client.open("manual_sequence", sequence_id=7)
    client.stream.on_binary(floats(1))
    await settle()
    client.stream.on_gone()
    assert client.connection.closed is True
    assert client.gateway.ended == [("manual_sequence", 7, EndReason.CLIENT_ABORT)]
    await settle()
    assert client.kinds() == ["opened"]


@pytest.mark.parametrize("word", ["end", "last"])
async def test_a_client_that_has_said_the_end_may_go(word: str) -> None:
    client = Conversation()
    client.open("manual_sequence")
    client.say("last" if word == "last" else "flush")
    client.stream.on_binary(floats(1))
    if word == "end":
        client.say("end")
    await settle()
    client.stream.on_gone()
    assert client.connection.closed is False
    assert client.gateway.cancelled == []
    client.waiting().send()
    assert client.stream.in_flight == 0


async def test_a_client_that_goes_before_it_opens() -> None:
    client = Conversation()
    client.stream.on_gone()
    assert client.connection.closed is True
    assert client.said == []


async def test_a_response_that_can_not_be_written_is_an_error_to_the_client() -> None:
    gateway = FakeGateway()
    client = Conversation(gateway)
    client.open("manual")
    client.stream.on_binary(floats(1))
    await settle()
    broken = int32("OUT", 1)
    broken._array = None
    broken._raw = b"abc"
    client.waiting().send(broken)
    assert client.said[-1]["type"] == "error"
    assert client.said[-1]["message"].startswith("the response can't be written: ")
    assert client.said[-1]["final"]
    assert client.stream.in_flight == 0


async def test_end_without_a_step_ends_a_sequence_that_began_over_another_connection() -> None:
    gateway = FakeGateway()
    first, second = Conversation(gateway), Conversation(gateway)
    first.open("accumulate", sequence_id=7)
    await first.frame(1)
    second.open("accumulate", sequence_id=7, position=1)
    second.say("end")
    await settle()
    assert second.said[1:] == [{"type": "ended", "reason": "client_end", "positions": 1}]
    assert second.closed == [(1000, "client_end")]
    assert gateway.live == {}


async def test_end_of_a_sequence_that_nobody_has_is_an_error_and_changes_nothing() -> None:
    gateway = FakeGateway()
    client = Conversation(gateway)
    client.open("accumulate", sequence_id=7, position=1)
    client.say("end")
    await settle()
    assert [message["type"] for message in client.said] == ["opened", "error"]
    assert client.said[1]["code"] == "NOT_FOUND"
    first = Conversation(gateway)
    first.open("accumulate", sequence_id=7)
    await first.frame(1)
    await client.frame(2)
    assert client.said[2]["type"] == "response"
    client.say("end")
    await settle()
    assert client.said[3:] == [{"type": "ended", "reason": "client_end", "positions": 2}]


async def test_end_waits_for_steps_of_a_sequence_that_is_on_its_way() -> None:
    gateway = FakeGateway()
    first, second = Conversation(gateway), Conversation(gateway)
    first.open("manual_sequence", sequence_id=7)
    await first.frame(1)
    second.open("manual_sequence", sequence_id=7, position=1)
    await second.frame(2)
    second.say("end")
    await settle()
    assert len(second.said) == 1
    assert gateway.live
    gateway.waiting[1].send(int32("OUT", 3))
    await settle()
    assert [message["type"] for message in second.said[1:]] == ["response", "ended"]
    assert gateway.live == {}
