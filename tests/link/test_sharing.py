"""Large tensors go through the arenas of a connection, as they are and in order; what can't, goes
over the socket."""

import asyncio
import gc
import random
import socket
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from streamgate.core.ids import OwnerNumber
from streamgate.link.addresses import TcpAddress
from streamgate.link.arena import Arena
from streamgate.link.channel import Channel, Heartbeat
from streamgate.link.client import EngineLink
from streamgate.link.messages import GivenBack, Mapped
from streamgate.model.datatypes import DataType
from streamgate.model.request import Request, Response
from streamgate.model.snapshot import Snapshot
from streamgate.model.tensor import Tensor
from streamgate.session.gateway import Connection, ServerInfo
from streamgate.session.remote import RemoteGateway
from tests.link.echo import SIZE, EchoLink, body_of, send
from tests.link.house import PATIENT
from tests.link.pair import WAIT_SECONDS, Engine, FrontEnd, engine
from tests.session.plain_models import config_of, spec
from tests.waiting import until

MIB = 2**20


def channel_of(link: EngineLink) -> Channel:
    assert link._channel is not None
    return link._channel


def there_of(house: Engine) -> Channel:
    ((channel, _),) = house.server._peers.values()
    return channel


def arena_of(channel: Channel) -> Arena:
    assert channel.sharing._arena is not None
    return channel.sharing._arena


async def until_shared(house: Engine, front: FrontEnd) -> None:
    """Both have said that they have mapped what the other offers."""
    both = channel_of(front.link).socket, there_of(house).socket
    await until(lambda: all(each.arena is not None for each in both))


def raw_of(response: Response) -> bytes:
    assert response.failure is None, response.failure
    return bytes(response.outputs[0].raw)


def descriptors() -> int:
    """How many this process has open."""
    return sum(1 for _ in Path("/proc/self/fd").iterdir())


class Puts:
    """Counts what both sides put into arenas, and how often there was no room."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.sizes: list[int] = []
        self.refused = 0
        real = Arena.put

        def put(arena: Arena, body: Any) -> tuple[int, int] | None:
            place = real(arena, body)
            if place is None:
                self.refused += 1
            else:
                self.sizes.append(place[1])
            return place

        monkeypatch.setattr(Arena, "put", put)


async def test_large_tensors_go_through_arenas_both_ways(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    puts = Puts(monkeypatch)
    async with engine(tmp_path, EchoLink()) as there:
        here = await there.connect()
        await until_shared(there, here)
        for number in range(20):
            send(here, number, body_of(number))
            send(here, number, body_of(number, 100))
        await until(lambda: len(here.responses) == 40)
        assert puts.sizes == [SIZE] * 40
        # In order, the small ones behind the large ones.
        assert [(each.request.id, len(raw_of(each))) for each in here.responses] == [
            (str(number), size) for number in range(20) for size in (SIZE, 100)
        ]
        assert all(
            raw_of(each) == body_of(int(each.request.id), each.outputs[0].shape[0])
            for each in here.responses
        )
        assert arena_of(there_of(there)).held_bytes >= 20 * SIZE
        here.responses.clear()
        await until(lambda: not arena_of(there_of(there)).held_bytes)
        await until(lambda: not arena_of(channel_of(here.link)).held_bytes)


async def test_what_a_model_holds_is_not_written_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The arena fills, and the rest goes over the socket."""
    puts = Puts(monkeypatch)
    model = EchoLink(holds=True)
    async with engine(tmp_path, model) as there:
        here = await there.connect(arena_bytes=2 * MIB)
        await until_shared(there, here)
        for number in range(30):
            send(here, number, body_of(number))
        await until(lambda: len(here.responses) == 30)
        assert puts.refused
        assert arena_of(channel_of(here.link)).held_bytes > MIB
        for number, request in enumerate(model.held):
            assert bytes(request.inputs[0].raw) == body_of(number)
        model.held.clear()
        await until(lambda: not arena_of(channel_of(here.link)).held_bytes)


async def test_arenas_are_gone_through_many_times(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    puts = Puts(monkeypatch)
    dice = random.Random(5)
    async with engine(tmp_path, EchoLink(), arena_bytes=2 * MIB) as there:
        here = await there.connect(arena_bytes=2 * MIB)
        await until_shared(there, here)
        held: list[Response] = []
        for number in range(300):
            send(here, number, body_of(number, dice.randint(1, 400_000)))
            if dice.random() < 0.3:
                await until(lambda: here.responses)
                held += here.responses
                here.responses.clear()
            if len(held) > 8:
                for response in (held.pop(dice.randrange(len(held))) for _ in range(6)):
                    body = body_of(int(response.request.id), response.outputs[0].shape[0])
                    assert raw_of(response) == body
                del response
        assert sum(puts.sizes) > 8 * MIB
        assert all(
            raw_of(each) == body_of(int(each.request.id), each.outputs[0].shape[0]) for each in held
        )


async def test_the_last_that_holds_an_input_may_be_a_thread(tmp_path: Path) -> None:
    model = EchoLink(holds=True)
    async with engine(tmp_path, model) as there:
        here = await there.connect()
        await until_shared(there, here)
        send(here, 1, body_of(1))
        await until(lambda: here.responses)
        array = model.held[0].inputs[0].array
        model.held.clear()
        here.responses.clear()
        kept = [array]
        del array
        assert arena_of(channel_of(here.link)).held_bytes
        thread = threading.Thread(target=kept.clear)
        thread.start()
        await until(lambda: not arena_of(channel_of(here.link)).held_bytes)
        thread.join()


async def test_results_live_on_when_the_connection_does_not(tmp_path: Path) -> None:
    async with engine(tmp_path, EchoLink()) as there:
        here = await there.connect()
        await until_shared(there, here)
        for number in range(3):
            send(here, number, body_of(number))
        await until(lambda: len(here.responses) == 3)
        arrays = [each.outputs[0].array for each in here.responses]
        here.responses.clear()
        await there.links.pop().stop()
        await there.server.stop()
        for number, array in enumerate(arrays):
            assert array.tobytes() == body_of(number)


async def test_a_new_connection_has_arenas_of_its_own(tmp_path: Path) -> None:
    """What a peer holds of an old one is not written over by what comes over the new one."""
    model = EchoLink(holds=True)
    async with engine(tmp_path, model) as there:
        here = await there.connect()
        await until_shared(there, here)
        send(here, 1, body_of(1))
        await until(lambda: here.responses)
        channel_of(here.link).lose("the test wants it")
        async with asyncio.timeout(WAIT_SECONDS):
            await here.link.wait_connected()
        (remote,) = here.link.models.values()
        anew = FrontEnd(here.link, remote)
        await until(lambda: there.server.peers == 1 and there_of(there).is_open)
        await until_shared(there, anew)
        for number in range(2, 6):
            send(anew, number, body_of(number))
        await until(lambda: len(anew.responses) == 4)
        for number, request in enumerate(model.held, 1):
            assert bytes(request.inputs[0].raw) == body_of(number)
        assert raw_of(here.responses[0]) == body_of(1)


async def test_what_a_model_writes_over_later_was_sent_as_it_was(tmp_path: Path) -> None:
    async with engine(tmp_path) as there:
        here = await there.connect()
        await until_shared(there, here)
        here.send(1, start=True)
        await until(lambda: there.fake.submitted)
        request, sink, *_ = there.fake.submitted[0]
        array = np.full((3, 100_000), 5, np.float32)
        sink(Response(request, "m", "1", [Tensor.of("O", array, DataType.FP32)], final=False))
        array[:] = 6
        wide = np.arange(200_000, dtype=np.float32).reshape(2, -1)[:, ::2]
        sink(Response(request, "m", "1", [Tensor.of("O", wide, DataType.FP32)], final=True))
        await until(lambda: len(here.responses) == 2)
        first, second = (each.outputs[0] for each in here.responses)
        assert np.array_equal(first.array, np.full((3, 100_000), 5, np.float32))
        assert np.array_equal(second.array, wide)


async def test_large_snapshots_go_through_the_arena_and_give_it_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    puts = Puts(monkeypatch)
    state = np.arange(100_000, dtype=np.float64)
    async with engine(tmp_path) as there:
        here = await there.connect()
        await until_shared(there, here)
        here.model.restore(1, OwnerNumber(1), Snapshot(3, "s", {"S": state}), lambda _: None)
        await until(lambda: there.fake.restored)
        assert np.array_equal(there.fake.restored[0][2].states["S"], state)
        assert puts.sizes == [state.nbytes]
        await until(lambda: not arena_of(channel_of(here.link)).held_bytes)


async def test_over_tcp_all_goes_over_the_socket(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    puts = Puts(monkeypatch)
    async with engine(tmp_path, EchoLink(), secret=b"secret") as there:
        address = TcpAddress("127.0.0.1", there.server.listen_tcp(TcpAddress("127.0.0.1", 0)))
        link = EngineLink(address, secret=b"secret", heartbeat=PATIENT)
        there.links.append(link)
        link.start()
        async with asyncio.timeout(WAIT_SECONDS):
            await link.wait_connected()
        (model,) = link.models.values()
        here = FrontEnd(link, model)
        for number in range(3):
            send(here, number, body_of(number))
        await until(lambda: len(here.responses) == 3)
        assert [raw_of(each) for each in here.responses] == [body_of(each) for each in range(3)]
        assert puts.sizes == []


@pytest.mark.parametrize("ours", [0, MIB])
@pytest.mark.parametrize("theirs", [0, MIB])
async def test_each_side_may_do_without(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ours: int, theirs: int
) -> None:
    puts = Puts(monkeypatch)
    async with engine(tmp_path, EchoLink(), arena_bytes=theirs) as there:
        here = await there.connect(arena_bytes=ours)
        sockets = channel_of(here.link).socket, there_of(there).socket
        await until(lambda: [each.arena is not None for each in sockets] == [ours > 0, theirs > 0])
        send(here, 1, body_of(1))
        await until(lambda: here.responses)
        assert raw_of(here.responses[0]) == body_of(1)
        assert len(puts.sizes) == (ours > 0) + (theirs > 0)


async def test_an_arena_that_can_not_be_mapped_is_not_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    puts = Puts(monkeypatch)
    monkeypatch.setattr("streamgate.link.sharing.map_lent", lambda *_: None)
    async with engine(tmp_path, EchoLink()) as there:
        here = await there.connect()
        send(here, 1, body_of(1))
        await until(lambda: here.responses)
        assert raw_of(here.responses[0]) == body_of(1)
        assert puts.sizes == []


@pytest.mark.parametrize("place", [(0, 10), (4096, 20_000), (0, 2**40), (-4096, 8), ("x", 1), (1,)])
async def test_who_names_what_is_no_block_is_lost(tmp_path: Path, place: tuple[Any, ...]) -> None:
    """One block is held there, at 0; the arena has no more than 20,000 bytes."""
    async with engine(tmp_path, EchoLink(holds=True)) as there:
        here = await there.connect(arena_bytes=20_000)
        await until_shared(there, here)
        send(here, 1, body_of(1, 17_000))
        await until(lambda: here.responses)
        losses: list[str] = []
        here.link.on_lost = losses.append

        class Lying:
            def put(self, body: object) -> Any:
                return place

            def give_back(self, begins: object) -> None: ...

        channel_of(here.link).socket.arena = Lying()
        send(here, 2, body_of(2))
        await until(lambda: losses)
        assert len(there.fake.held) == 1  # type: ignore[attr-defined]


@pytest.mark.parametrize("message", [GivenBack((0,)), GivenBack((77, 4096)), Mapped()])
async def test_who_gives_back_what_was_not_lent_is_lost(tmp_path: Path, message: object) -> None:
    async with engine(tmp_path, EchoLink(), arena_bytes=0) as there:
        here = await there.connect()
        losses: list[str] = []
        here.link.on_lost = losses.append
        channel_of(here.link).send(message)
        await until(lambda: losses)


async def test_a_peer_that_gives_back_what_it_has_not_is_lost(tmp_path: Path) -> None:
    async with engine(tmp_path, EchoLink()) as there:
        here = await there.connect()
        await until_shared(there, here)
        losses: list[str] = []
        here.link.on_lost = losses.append
        channel_of(here.link).send(GivenBack((4096,)))
        await until(lambda: losses)


async def test_models_are_held_up_when_arena_and_socket_are_full(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("streamgate.link.peer.UNREAD_BYTES_MAX", 100_000)
    async with engine(tmp_path, arena_bytes=2 * MIB) as there:
        here = await there.connect()
        await until_shared(there, here)
        here.send(1, start=True)
        await until(lambda: there.fake.submitted)
        ear = channel_of(here.link).socket
        asyncio.get_running_loop().remove_reader(ear._socket)
        request, sink, *_ = there.fake.submitted[0]
        sent = 0
        while not there.fake.paused:
            output = Tensor("O", DataType.UINT8, (SIZE,), raw=body_of(sent))
            sink(Response(request, "m", "1", [output], final=False))
            sent += 1
        assert arena_of(there_of(there)).held_bytes > MIB
        assert sent < 30
        asyncio.get_running_loop().add_reader(ear._socket, ear._read)
        await until(lambda: len(here.responses) == sent)
        await until(lambda: not there.fake.paused)
        assert [raw_of(each) for each in here.responses] == [body_of(each) for each in range(sent)]


async def test_descriptors_that_nobody_wants_are_closed(tmp_path: Path) -> None:
    """Whoever sends many has none of them kept open here."""
    async with engine(tmp_path, EchoLink()) as there:
        open_before = descriptors()
        rude = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        rude.connect(str(there.path))
        reading, writing = socket.socketpair()
        for _ in range(5):
            socket.send_fds(rude, [b"\x08\0\0\0\x01\0\0\0"[:1]], [reading.fileno()] * 3)
            await asyncio.sleep(0)
        rude.close()
        reading.close()
        writing.close()
        await until(lambda: descriptors() <= open_before)


async def test_who_was_given_up_has_its_large_frames_refused_and_nothing_is_said_to_it(
    tmp_path: Path,
) -> None:
    """Its blocks stay lent: to give them back would end the listening."""
    async with engine(tmp_path, heartbeat=Heartbeat(0.2, 1_000.0)) as there:
        here = await there.connect()
        await until_shared(there, here)
        here.send(1, start=True)
        await until(lambda: there.fake.submitted)
        old, zombie = channel_of(here.link), there_of(there)
        request, sink, *_ = there.fake.submitted[0]
        # It is given up and does not hear of it, neither this way nor by a new connection.
        assert here.link._task is not None
        here.link._task.cancel()
        asyncio.get_running_loop().remove_reader(zombie.socket._socket)
        old.on_silent("the test wants it")
        for number in range(4):
            output = Tensor("O", DataType.UINT8, (SIZE,), raw=body_of(number))
            sink(Response(request, "m", "1", [output], final=False))
        await until(lambda: here.link.counts.stale.results == 4)
        assert old.is_open
        assert arena_of(zombie).held_bytes >= 4 * SIZE
        asyncio.get_running_loop().add_reader(zombie.socket._socket, zombie.socket._read)
        await until(lambda: not zombie.is_open and not old.is_open)


async def test_a_result_is_given_back_without_the_collector(tmp_path: Path) -> None:
    """A front end has its call, which has its sink, which is mostly the front end's own."""

    class Caller:
        def __init__(self, connection: Connection) -> None:
            self.response: Response | None = None
            tensor = Tensor("I", DataType.UINT8, (SIZE,), raw=body_of(3))
            self.call = connection.submit(Request("m", inputs=[tensor]), self.receive)

        def receive(self, response: Response) -> None:
            self.response = response

    config = config_of(spec("I", -1, datatype=DataType.UINT8), max_batch=0)
    async with engine(tmp_path, EchoLink(config)) as there:
        here = await there.connect()
        await until_shared(there, here)
        gateway = RemoteGateway([here.link], ServerInfo("front end", "0", ()))
        gateway.start()
        gc.collect()
        gc.disable()
        try:
            caller = Caller(gateway.connect())
            await until(lambda: caller.response)
            assert caller.response is not None
            assert raw_of(caller.response) == body_of(3)
            assert arena_of(there_of(there)).held_bytes
            caller = Caller(gateway.connect())
            await until(lambda: caller.response)
            await until(lambda: arena_of(there_of(there)).held_bytes < 2 * SIZE)
        finally:
            gc.enable()
        await gateway.close()
