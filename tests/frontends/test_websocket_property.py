"""Random messages to a stream, without sockets."""

import asyncio
import json
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from streamgate.errors import Code, EndReason, Failure
from streamgate.model.datatypes import DataType
from tests.frontends.fake_gateway import (
    FakeCall,
    FakeGateway,
    FakeModel,
    identity,
    int32,
    model_config,
)
from tests.frontends.websocket_client import integers
from tests.frontends.websocket_conversation import Conversation, Message, settle

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
