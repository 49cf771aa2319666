"""The dialect's rules, without sockets: what may come when, and what is answered."""

import asyncio
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streamgate.errors import Code, EndReason, Failure
from streamgate.frontends.websocket.stream import SequenceStream
from streamgate.model.config import ControlInput, ControlKind, DirectStrategy, SequenceBatching
from streamgate.model.datatypes import DataType
from tests.frontends.fake_gateway import (
    FakeCall,
    FakeConnection,
    FakeGateway,
    FakeModel,
    accumulate,
    identity,
    int32,
    model_config,
)
from tests.frontends.websocket_client import floats, integers

Message = dict[str, Any]


class Conversation:
    """A stream on a gateway in memory, and everything that it said."""

    def __init__(self, gateway: FakeGateway | None = None) -> None:
        self.gateway = gateway or FakeGateway()
        self.said: list[Message] = []
        self.frames: list[bytes] = []
        self.closed: list[tuple[int, str]] = []
        self.stream = SequenceStream(
            self.gateway, self._keep, lambda code, reason: self.closed.append((code, reason))
        )

    def _keep(self, message: str | bytes) -> None:
        if isinstance(message, bytes):
            self.frames.append(message)
        else:
            self.said.append(json.loads(message))

    @property
    def connection(self) -> FakeConnection:
        return self.gateway.connections[-1]

    def say(self, kind: str, **fields: Any) -> None:
        self.stream.on_text(json.dumps({"type": kind, **fields}))

    def open(self, model: str, **fields: Any) -> None:
        self.say("open", model=model, **fields)

    async def frame(self, *values: int) -> None:
        """A step of INT32 values, and time for the model to answer."""
        self.stream.on_binary(integers(*values))
        await settle()

    def waiting(self, place: int = 0) -> FakeCall:
        """A request that waits for the test's answer."""
        return self.gateway.waiting[place]

    def end_sequence(self, reason: EndReason) -> None:
        """As the engine tells it."""
        assert self.connection.on_sequence_end is not None
        request = self.connection.calls[-1].request
        self.connection.on_sequence_end(request.model, request.sequence, reason)

    def kinds(self) -> list[str]:
        return [message["type"] for message in self.said]


async def settle() -> None:
    """Let the models of the gateway in memory answer."""
    for _ in range(4):
        await asyncio.sleep(0)


def values(message: Message) -> list[Any]:
    (output,) = message["outputs"]
    found: list[Any] = output["data"]
    return found


def error(code: str, message: str) -> Message:
    return {"type": "error", "code": code, "message": message}


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


MODELS = st.sampled_from(["sequence", "burst", "identity_INT32", "manual_sequence", "x"])
SOME = st.one_of(st.none(), st.booleans(), st.integers(-3, 2**65), st.text(max_size=3))
ENTRY = st.fixed_dictionaries(
    {},
    optional={
        "name": st.sampled_from(["IN", "X"]),
        "datatype": st.sampled_from(["INT32", "FP16"]) | SOME,
        "shape": st.just([1]) | SOME,
        "data": st.just([2]) | SOME,
    },
)
TEXTS = st.one_of(
    st.fixed_dictionaries({"type": st.just("open"), "model": MODELS}),
    st.fixed_dictionaries(
        {"type": st.just("open"), "model": MODELS},
        optional={
            "sequence_id": SOME,
            "outputs": st.just(["OUT"]) | SOME,
            "input": ENTRY | SOME,
            "parameters": st.dictionaries(st.text(max_size=2), SOME, max_size=2) | SOME,
            "output_format": st.sampled_from(["json", "binary"]) | SOME,
        },
    ),
    st.fixed_dictionaries({"type": st.sampled_from(["last", "end", "flush", "begin"])}),
    st.fixed_dictionaries({"type": st.just("flush"), "id": SOME}),
    st.fixed_dictionaries(
        {"type": st.just("step"), "inputs": st.lists(ENTRY, max_size=2) | SOME},
        optional={"last": SOME},
    ),
    SOME,
).map(json.dumps)
ACTIONS = st.one_of(
    TEXTS,
    st.text(max_size=5),
    st.sampled_from([integers(1), integers(2), b"", b"abc"]),
    st.sampled_from(["answer", "refuse", "turn", "idle"]).map(lambda name: (name,)),
)


@given(st.lists(ACTIONS, max_size=25), st.booleans())
@settings(max_examples=150, deadline=None)
def test_random_messages_never_crash_it_and_every_step_has_one_final_answer(
    actions: list[Any], opens: bool
) -> None:
    asyncio.run(_converse(actions, opens=opens))


def _burst(call: FakeCall) -> None:
    """Two responses and an error, then the final flag alone."""
    call.send(int32("OUT", 1), final=False)
    call.fail(Failure(Code.INTERNAL, "boom"), final=False)
    call.send(int32("OUT", 2), final=False)
    call.close()


async def _converse(actions: list[Any], *, opens: bool) -> None:
    gateway = FakeGateway()
    sequence = model_config("sequence", DataType.INT32, sequences=True)
    gateway.models["sequence"] = FakeModel(sequence, identity)
    burst = model_config("burst", DataType.INT32, decoupled=True)
    gateway.models["burst"] = FakeModel(burst, _burst)
    client = Conversation(gateway)
    if opens:
        client.open("manual_sequence")
    for action in actions:
        if isinstance(action, bytes):
            client.stream.on_binary(action)
        elif isinstance(action, str):
            client.stream.on_text(action)
        else:
            await _act(client, action[0])
    await settle()
    while client.gateway.waiting:
        client.waiting().send()
        await settle()
    taken = len(client.gateway.requests)
    finals = sorted(
        message["position"] for message in _all_said(client) if message.get("final") is True
    )
    assert finals == list(range(taken))
    assert client.stream.in_flight == client.stream.in_flight_bytes == 0
    assert len(client.closed) <= 1
    assert client.stream.is_over is bool(client.closed)
    assert client.kinds().count("ended") == len(client.closed)
    if client.closed:
        assert client.said[-1]["type"] == "ended"
        assert client.said[-1]["positions"] == taken
    client.stream.on_gone()


def _all_said(client: Conversation) -> list[Message]:
    heads = [json.loads(f[4 : 4 + int.from_bytes(f[:4], "little")]) for f in client.frames]
    return client.said + heads


async def _act(client: Conversation, name: str) -> None:
    if name == "turn":
        await settle()
    elif name == "idle" and client.connection.calls and not client.gateway.waiting:
        client.end_sequence(EndReason.IDLE)
    elif name == "answer" and client.gateway.waiting:
        client.waiting().send()
    elif name == "refuse" and client.gateway.waiting:
        client.waiting().fail(Failure(Code.UNAVAILABLE, "no"), admitted=False)
