"""The dialect's rules, without sockets: what may come when, and what is answered."""

import pytest

from streamgate.errors import Code, Failure
from streamgate.model.config import ControlInput, ControlKind, DirectStrategy, SequenceBatching
from streamgate.model.datatypes import DataType
from tests.frontends.fake_gateway import (
    FakeCall,
    FakeGateway,
    FakeModel,
    accumulate,
    identity,
    int32,
    model_config,
)
from tests.frontends.websocket_client import floats
from tests.frontends.websocket_conversation import Conversation, Message, error, settle, values


async def test_a_sequence_from_open_to_end() -> None:
    client = Conversation()
    client.open("accumulate", sequence_id="mine")
    assert client.said == [
        {
            "type": "opened",
            "model": "accumulate",
            "model_version": "3",
            "sequence_id": "mine",
            "position": 0,
        }
    ]
    for value in (1, 2, 3):
        await client.frame(value)
    client.say("end")
    assert [values(message) for message in client.said[1:4]] == [[1], [3], [6]]
    assert [message["position"] for message in client.said[1:4]] == [0, 1, 2]
    assert client.said[4:] == [{"type": "ended", "reason": "client_end", "positions": 3}]
    assert client.closed == [(1000, "client_end")]
    requests = client.gateway.requests
    assert [request.start for request in requests] == [True, False, False]
    assert not any(request.end for request in requests)
    assert {request.sequence for request in requests} == {"mine"}
    assert {request.version for request in requests} == {"3"}


@pytest.mark.parametrize("way", ["message", "field"])
async def test_the_last_step_carries_end_and_its_answer_ends_the_connection(way: str) -> None:
    client = Conversation()
    client.open("accumulate")
    await client.frame(1)
    if way == "message":
        client.say("last")
        await client.frame(2)
    else:
        entry = {"name": "IN", "datatype": "INT32", "shape": [1], "data": [2]}
        client.say("step", inputs=[entry], last=True)
        await settle()
    assert [request.end for request in client.gateway.requests] == [False, True]
    assert client.kinds() == ["opened", "response", "response", "ended"]
    assert client.closed == [(1000, "client_end")]


async def test_a_last_step_that_is_not_taken_leaves_the_next_one_to_be_last() -> None:
    client = Conversation()
    client.open("accumulate")
    await client.frame(1)
    client.say("last")
    client.stream.on_binary(b"abc")
    assert client.said[-1]["message"].startswith("binary frame of 3 bytes does not fill")
    await client.frame(2)
    assert client.gateway.requests[-1].end
    assert client.said[-1] == {"type": "ended", "reason": "client_end", "positions": 2}


async def test_parameters_and_outputs_go_with_each_step() -> None:
    gateway = FakeGateway()
    config = model_config("pair2", inputs=("IN0", "IN1"))
    gateway.models["pair2"] = FakeModel(config, identity)
    client = Conversation(gateway)
    client.open("pair2", parameters={"a": 1}, outputs=["OUT1"])
    entry = {"datatype": "FP32", "shape": [1], "data": [0.5]}
    client.say("step", inputs=[{"name": "IN0", **entry}, {"name": "IN1", **entry}])
    await settle()
    (request,) = gateway.requests
    assert request.parameters == {"a": 1}
    assert request.requested_outputs == ["OUT1"]
    assert [output["data"] for output in client.said[-1]["outputs"]] == [[0.5], [0.5]]


async def test_a_model_without_sequences_takes_steps_that_are_each_their_own() -> None:
    client = Conversation()
    client.open("identity", sequence_id=7)
    assert "sequence_id" not in client.said[0]
    client.stream.on_binary(floats(1.5))
    client.say("last")
    client.stream.on_binary(floats(2.5))
    await settle()
    assert {request.sequence for request in client.gateway.requests} == {0}
    assert not any(request.start or request.end for request in client.gateway.requests)
    assert [values(message) for message in client.said[1:3]] == [[1.5], [2.5]]
    assert client.said[3:] == [{"type": "ended", "reason": "client_end", "positions": 2}]


async def test_the_sequences_of_an_iterative_model_are_its_requests() -> None:
    gateway = FakeGateway()
    config = model_config("iterative", DataType.INT32)
    scheduling = SequenceBatching(DirectStrategy(), 4, iterative=True)
    fields = {name: getattr(config, name) for name in config.__slots__}
    iterative = type(config)(**{**fields, "scheduling": scheduling})
    seen: list[FakeCall] = []
    gateway.models["iterative"] = FakeModel(iterative, seen.append)
    client = Conversation(gateway)
    client.open("iterative", sequence_id=9)
    assert "sequence_id" not in client.said[0]
    client.connection._admit = lambda request: None  # type: ignore[method-assign]
    await client.frame(1)
    await client.frame(1)
    assert [(call.request.sequence, call.request.start) for call in seen] == [(0, False)] * 2


async def test_integers_are_made_where_the_model_wants_them() -> None:
    gateway = FakeGateway()
    config = model_config("numbered", DataType.INT32, sequences=True)
    control = ControlInput("CORRID", ControlKind.CORRID, DataType.UINT64)
    fields = {name: getattr(config, name) for name in config.__slots__}
    numbered = type(config)(**{**fields, "controls": (control,)})
    gateway.models["numbered"] = FakeModel(numbered, accumulate)
    client = Conversation(gateway)
    client.open("numbered", sequence_id="text")
    assert client.said == [
        error(
            "INVALID_ARG",
            "'sequence_id' is a string, but model 'numbered' takes an integer (its CORRID control "
            "is UINT64)",
        )
    ]
    client.open("numbered")
    assert isinstance(client.said[-1]["sequence_id"], int)


@pytest.mark.parametrize(
    ("fields", "code", "message"),
    [
        ({"model": "x"}, "NOT_FOUND", "Request for unknown model: 'x' is not found"),
        (
            {"model": "identity", "model_version": "9"},
            "NOT_FOUND",
            "Request for unknown model: 'identity' version 9 is not found",
        ),
        (
            {"model": "identity", "model_version": "one"},
            "INVALID_ARG",
            (
                "failed to get model version from specified version string 'one' (details: stol), "
                "version should be an integral value > 0"
            ),
        ),
        (
            {"model": "identity", "outputs": ["OUT", "X"]},
            "INVALID_ARG",
            "unexpected inference output 'X' for model 'identity'",
        ),
        (
            {"model": "identity", "input": {"name": "X"}},
            "INVALID_ARG",
            "unexpected inference input 'X' for model 'identity'",
        ),
    ],
)
async def test_an_open_that_fails_may_be_repeated(fields: Message, code: str, message: str) -> None:
    client = Conversation()
    client.say("open", **fields)
    assert client.said == [error(code, message)]
    assert not client.stream.is_open
    client.open("identity")
    assert client.said[-1]["type"] == "opened"
    assert client.stream.is_open


async def test_what_may_not_come_before_open() -> None:
    client = Conversation()
    client.stream.on_binary(b"abcd")
    for kind in ("step", "last", "flush", "end", "nonsense"):
        client.say(kind)
    assert client.said == [
        error("INVALID_ARG", "binary frame before 'open'; send an 'open' message first"),
        *(
            error("INVALID_ARG", f"'{kind}' before 'open'; send an 'open' message first")
            for kind in ("step", "last", "flush", "end", "nonsense")
        ),
    ]
    assert client.closed == []


async def test_what_is_wrong_changes_nothing() -> None:
    client = Conversation()
    client.open("accumulate")
    await client.frame(1)
    client.stream.on_text("nonsense")
    client.open("accumulate")
    client.say("begin")
    client.say("flush", id=7)
    client.say("flush", id="x" * 257)
    client.stream.on_binary(b"abc")
    entry = {"name": "X", "datatype": "INT32", "shape": [1], "data": [2]}
    client.say("step", inputs=[entry])
    await client.frame(2)
    assert [message["message"] for message in client.said[2:9]] == [
        "message is not JSON: Expecting value: line 1 column 1 (char 0)",
        "this connection has a sequence already; open another connection",
        "unknown message type 'begin', expected open, step, last, flush or end",
        "'id' is a number, expected a string",
        "'id' has 257 characters, expected at most 256",
        "binary frame of 3 bytes does not fill input 'IN' (INT32 [-1]), expected a multiple of 4",
        "unexpected inference input 'X' for model 'accumulate'",
    ]
    assert all("position" not in message for message in client.said[2:9])
    assert values(client.said[-1]) == [3]
    assert client.said[-1]["position"] == 1


async def test_two_inputs_need_a_name_or_steps_in_json() -> None:
    client = Conversation()
    client.open("pair")
    client.stream.on_binary(floats(1))
    assert client.said[-1]["message"] == (
        "model 'pair' has 2 inputs ('IN0', 'IN1'), and a binary frame holds one tensor: name it "
        "in 'input', and use 'step' messages for several"
    )


async def test_nothing_is_taken_after_the_end_was_said() -> None:
    client = Conversation()
    client.open("manual_sequence")
    client.stream.on_binary(floats(1))
    await settle()
    client.say("end")
    client.say("end")
    client.stream.on_binary(floats(2))
    client.say("last")
    client.say("flush", id="late")
    assert [message.get("message") for message in client.said[1:]] == [
        "step after the sequence has ended (client_end)",
        "'last' after the sequence has ended (client_end)",
    ]
    client.waiting().send()
    assert client.kinds()[3:] == ["response", "flushed", "ended"]
    client.say("flush")
    client.stream.on_text("nonsense")
    client.stream.on_binary(b"x")
    assert len(client.said) == 6
    assert client.closed == [(1000, "client_end")]


async def test_nothing_is_taken_after_the_last_step() -> None:
    client = Conversation()
    client.open("manual_sequence")
    client.say("last")
    client.stream.on_binary(floats(1))
    client.stream.on_binary(floats(2))
    client.say("last")
    client.say("end")
    client.stream.on_binary(floats(2))
    await settle()
    assert [message["message"] for message in client.said[1:]] == [
        "step after the last step",
        "'last' after the last step",
        "step after 'end'",
    ]
    client.waiting().send()
    assert client.kinds()[4:] == ["response", "ended"]


async def test_the_answers_of_a_decoupled_model_are_counted_and_the_last_is_final() -> None:
    client = Conversation()
    client.open("manual_decoupled")
    client.stream.on_binary(floats(1))
    client.stream.on_binary(floats(2))
    await settle()
    first, second = client.gateway.waiting
    first.send(int32("OUT", 1), final=False)
    second.send(int32("OUT", 2), final=False)
    first.fail(Failure(Code.INTERNAL, "boom"), final=False)
    first.close()
    second.send(int32("OUT", 3))
    client.say("end")
    assert [(message["position"], message["final"]) for message in client.said[1:6]] == [
        (0, False),
        (1, False),
        (0, False),
        (0, True),
        (1, True),
    ]
    assert client.said[4]["outputs"] == []
    assert client.kinds()[-1] == "ended"


async def test_flushed_comes_when_all_before_it_is_answered_in_full() -> None:
    client = Conversation()
    client.open("manual_decoupled")
    client.say("flush", id="none")
    client.stream.on_binary(floats(1))
    client.say("flush", id="one")
    client.stream.on_binary(floats(2))
    client.say("flush", id="two")
    client.say("flush")
    await settle()
    assert client.stream.in_flight == 5
    first, second = client.gateway.waiting
    assert client.said[1] == {"type": "flushed", "id": "none", "position": 0}
    second.send()
    assert client.kinds()[2:] == ["response"]
    first.send(final=False)
    assert client.kinds()[3:] == ["response"]
    first.close()
    assert client.said[5:] == [
        {"type": "flushed", "id": "one", "position": 1},
        {"type": "flushed", "id": "two", "position": 2},
        {"type": "flushed", "id": "", "position": 2},
    ]
    assert client.stream.in_flight == 0


async def test_what_is_in_flight_is_measured() -> None:
    client = Conversation()
    client.open("manual")
    client.stream.on_binary(bytes(400))
    entry = {"name": "IN", "datatype": "FP32", "shape": [1], "data": [0.5]}
    client.say("step", inputs=[entry])
    await settle()
    assert client.stream.in_flight == 2
    assert 400 < client.stream.in_flight_bytes < 600
    for call in list(client.gateway.waiting):
        call.send()
    assert client.stream.in_flight == client.stream.in_flight_bytes == 0
