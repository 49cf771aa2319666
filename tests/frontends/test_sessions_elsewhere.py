"""Sessions that go on at another server: sequences over WebSocket, and who is not let in."""

import json
import random
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from streamgate.frontends.sockets.taped import tape
from tests.durable.models import decoupled_hashes, hashes, write_decoupled, write_graph
from tests.durable.resuming import ResumingClient
from tests.durable.test_cut_wires import outputs_of, sequence_of
from tests.frontends.mortal_houses import Houses, mortal_houses
from tests.model.settings import LONG
from tests.waiting import until

pytestmark = pytest.mark.timeout(1800 if LONG else 300)

VALUES = random.Random(7).choices(range(1000), k=40)
DEATHS = 60 if LONG else 3


@pytest_asyncio.fixture
async def houses(tmp_path: Path) -> AsyncIterator[Houses]:
    write_graph(tmp_path, slots=16, parameters={"streamgate.snapshot_steps": "8"})
    write_decoupled(tmp_path)
    async with mortal_houses([tmp_path], count=3) as made:
        yield made
        for socket in made.clients:
            socket.transport.abort()
            await socket.wait_closed()


async def heard_of(
    houses: Houses, messages: Sequence[str | bytes], dies_after: Sequence[int] = ()
) -> tuple[int, list[Any]]:
    life = houses.begin("websocket", dies_after)
    url = f"ws://127.0.0.1:{houses.wire.port}/v1/sequence"
    client = ResumingClient(url, messages, pause_seconds=0.001)
    await client.run()
    assert client.close_code == 1000
    assert client.restarts == 1
    return life.writes, client.heard


def cut_often(monkeypatch: pytest.MonkeyPatch) -> None:
    """What was told before is forgotten whenever that is possible, and not much is kept."""
    monkeypatch.setattr(tape, "CUT_BYTES", 500)
    monkeypatch.setattr(tape, "CUT_AGAIN_BYTES", 1)


@pytest.mark.parametrize("is_cut", [False, True], ids=["whole", "cut"])
async def test_a_sequence_goes_on_wherever_its_server_dies(
    houses: Houses, monkeypatch: pytest.MonkeyPatch, *, is_cut: bool
) -> None:
    if is_cut:
        cut_often(monkeypatch)
    messages = sequence_of("hash", VALUES)
    expected = {place: [each] for place, each in enumerate(hashes(VALUES))}
    writes, _ = await heard_of(houses, messages)
    for number in random.Random(3).sample(range(1, writes), DEATHS):
        _, heard = await heard_of(houses, messages, [number, 10])
        assert outputs_of(heard) == expected, number
        kinds = [message["type"] for message in heard if message["type"] != "response"]
        assert kinds == ["opened", "flushed", "ended"]
        assert heard[-1]["positions"] == len(VALUES)
    assert houses.taken > 0


async def test_so_does_one_of_a_decoupled_model(houses: Houses) -> None:
    messages = sequence_of("hash_decoupled", VALUES)
    expected = dict(enumerate(decoupled_hashes(VALUES)))
    writes, _ = await heard_of(houses, messages)
    for number in random.Random(4).sample(range(1, writes), DEATHS):
        _, heard = await heard_of(houses, messages, [number, 10])
        assert outputs_of(heard) == expected, number


async def opened_at(houses: Houses, query: str = "") -> ClientConnection:
    """A connection to whoever serves."""
    return await connected(houses, houses.wire.port, query)


async def connected(houses: Houses, port: int | None, query: str = "") -> ClientConnection:
    socket = await connect(f"ws://127.0.0.1:{port}/v1/sequence{query}")
    houses.clients.append(socket)
    return socket


async def refusal_of(houses: Houses, query: str) -> tuple[int, str]:
    with pytest.raises(InvalidStatus) as refusal:
        await opened_at(houses, query)
    body = refusal.value.response.body
    return refusal.value.response.status_code, (body or b"").decode()


async def begun(houses: Houses, values: Sequence[int]) -> tuple[ClientConnection, str]:
    """A session with so many steps that were answered, and its token."""
    socket = await opened_at(houses)
    opening, *frames = sequence_of("hash", values)[: len(values) + 1]
    await socket.send(opening)
    token = json.loads(await socket.recv())["resume"]["token"]
    for frame in frames:
        await socket.send(frame)
        await socket.recv()
    return socket, str(token)


async def test_who_is_not_let_in(houses: Houses) -> None:
    houses.begin("websocket")
    socket, token = await begun(houses, VALUES[:5])
    ended, over = await begun(houses, VALUES[:2])
    await ended.close(1000)
    other = houses.ports[(houses.serving + 1) % 3].websocket
    with pytest.raises(InvalidStatus) as refusal:
        await connected(houses, other, f"?resume={token}")
    assert refusal.value.response.status_code == 503
    assert b"lives at another server" in (refusal.value.response.body or b"")
    houses.kill()
    with pytest.raises(ConnectionClosed):
        await socket.recv()
    forged = token[:30] + ("A" if token[30] != "A" else "B") + token[31:]
    status, text = await refusal_of(houses, f"?resume={forged}")
    assert (status, "the resume token is not valid" in text) == (400, True)
    status, text = await refusal_of(houses, f"?resume={over}")
    assert (status, "is over (ended)" in text) == (404, True)
    status, text = await refusal_of(houses, f"?resume={token}&last_event=7")
    assert (status, "the session has sent 6 events" in text) == (400, True)
    # It waits here now, and nothing is lost by that.
    socket = await opened_at(houses, f"?resume={token}&last_event=4")
    assert json.loads(await socket.recv())["received"]["messages"] == 6
    again = [json.loads(await socket.recv()) for _ in range(2)]
    assert [message["event"] for message in again] == [5, 6]
    await socket.send(sequence_of("hash", VALUES)[6])
    answer = json.loads(await socket.recv())
    assert answer["outputs"][0]["data"] == [hashes(VALUES)[5]]
    await socket.close()


async def test_who_was_cut_off_is_told_and_tells_nothing_more(houses: Houses) -> None:
    """A server that lives and does not know that it is taken for dead."""
    houses.begin("websocket")
    old = await connected(houses, houses.ports[houses.serving].websocket)
    await old.send(sequence_of("hash", VALUES)[0])
    token = json.loads(await old.recv())["resume"]["token"]
    store = houses.stores[houses.serving]
    houses.shelf.owners.discard(store.life.name)
    houses.serving = (houses.serving + 1) % 3
    houses.wire.lead_to(houses.ports[houses.serving].websocket or 0)
    new = await opened_at(houses, f"?resume={token}&last_event=1")
    assert json.loads(await new.recv())["type"] == "resumed"
    await old.send(sequence_of("hash", VALUES)[1])
    told = json.loads(await old.recv())
    assert told["type"] == "error"
    with pytest.raises(ConnectionClosed):
        await old.recv()
    assert old.close_code == 4409
    await new.send(sequence_of("hash", VALUES)[1])
    answer = json.loads(await new.recv())
    assert (answer["event"], answer["outputs"][0]["data"]) == (2, hashes(VALUES)[:1])
    await new.close()


async def test_who_comes_back_to_one_that_was_cut_off_is_led_on(houses: Houses) -> None:
    """It would go on from what is not stored, and never will be."""
    houses.begin("websocket")
    old = houses.ports[houses.serving].websocket
    socket, token = await begun(houses, VALUES[:3])
    houses.shelf.owners.discard(houses.stores[houses.serving].life.name)
    houses.serving = (houses.serving + 1) % 3
    houses.wire.lead_to(houses.ports[houses.serving].websocket or 0)
    new = await opened_at(houses, f"?resume={token}&last_event=4")
    assert json.loads(await new.recv())["received"]["messages"] == 4
    with pytest.raises(InvalidStatus) as refusal:
        await connected(houses, old, f"?resume={token}&last_event=4")
    assert refusal.value.response.status_code == 503
    assert b"lives at another server" in (refusal.value.response.body or b"")
    await socket.close()


async def test_a_session_that_outgrows_its_tape_goes_on_and_is_kept_no_more(
    houses: Houses, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tape, "TAPE_BYTES", 1_000)
    houses.begin("websocket")
    socket, token = await begun(houses, VALUES)
    houses.kill()
    with pytest.raises(ConnectionClosed):
        await socket.recv()
    status, text = await refusal_of(houses, f"?resume={token}&last_event=1")
    assert status == 404
    assert "state lost: the session was kept no more" in text


async def test_one_that_is_cut_outgrows_nothing(
    houses: Houses, monkeypatch: pytest.MonkeyPatch
) -> None:
    cut_often(monkeypatch)
    monkeypatch.setattr(tape, "TAPE_BYTES", 1_000)
    houses.begin("websocket")
    _, token = await begun(houses, VALUES)
    houses.kill()
    socket = await opened_at(houses, f"?resume={token}&last_event={len(VALUES)}")
    greeting = json.loads(await socket.recv())
    assert greeting["received"] == {"messages": 1 + len(VALUES), "bytes": 8 * len(VALUES)}
    last = json.loads(await socket.recv())
    assert (last["event"], last["position"]) == (1 + len(VALUES), len(VALUES) - 1)
    await socket.send(sequence_of("hash", [7])[1])
    answer = json.loads(await socket.recv())
    assert answer["outputs"][0]["data"] == [hashes([*VALUES, 7])[-1]]


async def test_two_that_come_at_once_get_one_session(houses: Houses) -> None:
    houses.begin("websocket")
    _, token = await begun(houses, VALUES[:5])
    taken = houses.taken
    houses.kill()
    first = await opened_at(houses, f"?resume={token}&last_event=6")
    second = await opened_at(houses, f"?resume={token}&last_event=6")
    assert houses.taken == taken + 1
    assert json.loads(await second.recv())["type"] == "resumed"
    await until(lambda: first.close_code is not None)
    assert first.close_code == 4409
    await second.close()
