"""Several front ends of one engine: a sequence's requests may come to any of them."""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import numpy as np
import pytest

from streamgate.errors import Code, EndReason, StreamGateError
from streamgate.link.addresses import Address, UnixAddress
from streamgate.link.client import EngineLink
from streamgate.link.server import LinkServer
from streamgate.model.datatypes import DataType
from streamgate.model.request import Request, Response, SequenceKey
from streamgate.model.tensor import Tensor
from streamgate.session.gateway import ServerInfo
from streamgate.session.remote import RemoteGateway
from tests.durable.house import Client
from tests.durable.models import hashes, write_graph
from tests.link.house import PATIENT, LinkHouse, link_house
from tests.link.pair import engine
from tests.waiting import until

WAIT_SECONDS = 20.0


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    write_graph(tmp_path / "models")
    return tmp_path / "models"


@asynccontextmanager
async def front_end(path: Path, *addresses: Address) -> AsyncIterator[RemoteGateway]:
    links = [EngineLink(address, heartbeat=PATIENT) for address in addresses]
    gateway = RemoteGateway(links, ServerInfo(path.name, "0", ()))
    gateway.join_peers(path)
    gateway.start()
    try:
        async with asyncio.timeout(WAIT_SECONDS):
            for link in links:
                link.start()
                await link.wait_connected()
        yield gateway
    finally:
        await gateway.close()
        for link in links:
            await link.stop()


@asynccontextmanager
async def two_front_ends(
    house: LinkHouse, folder: Path
) -> AsyncIterator[tuple[RemoteGateway, RemoteGateway]]:
    async with (
        front_end(folder / "peers" / "one", house.address) as one,
        front_end(folder / "peers" / "two", house.address) as two,
    ):
        yield one, two


async def test_each_request_may_come_to_another_front_end(repository: Path, tmp_path: Path) -> None:
    async with link_house(repository, tmp_path) as house, two_front_ends(house, tmp_path) as ends:
        values = range(10)
        answers = []
        for value in values:
            # As unary calls do it: a connection each, which the sequence outlives.
            client = Client.of(ends[value % 2])
            answers.append(
                await client.step("hash", 7, value, start=value == 0, end=value == values[-1])
            )
            client.connection.close(abort=False)
        assert answers == [[each] for each in hashes(values)]
        await until(lambda: house.server.sequences == 0)


async def test_requests_that_come_at_once_keep_their_order(
    repository: Path, tmp_path: Path
) -> None:
    async with link_house(repository, tmp_path) as house, two_front_ends(house, tmp_path) as ends:
        await Client.of(ends[0]).step("hash", "s", 0, start=True)
        client = Client.of(ends[1])
        sent = [client.send("hash", "s", value) for value in range(1, 40)]
        async with asyncio.timeout(WAIT_SECONDS):
            found = [(await each)[-1] for each in sent]
        assert [int(each.outputs[0].array.item()) for each in found] == hashes(range(40))[1:]
        assert [each.position for each in found] == list(range(1, 40))


async def test_a_sequence_that_nobody_holds_is_refused_as_ever(
    repository: Path, tmp_path: Path
) -> None:
    async with link_house(repository, tmp_path) as house, two_front_ends(house, tmp_path) as ends:
        (response,) = await Client.of(ends[1]).ask("hash", 5, 1)
        assert response.failure is not None
        assert response.failure.code is Code.INVALID_ARG
        embedded = await Client.of(house.models.gateway).ask("hash", 5, 1)
        assert response.failure == embedded[0].failure


async def test_a_request_that_does_not_fit_is_refused_at_once(
    repository: Path, tmp_path: Path
) -> None:
    async with link_house(repository, tmp_path) as house, two_front_ends(house, tmp_path) as ends:
        await Client.of(ends[0]).step("hash", 5, 1, start=True)
        wrong = Request("hash", sequence=5, inputs=[Tensor.of("X", np.zeros(1), DataType.FP64)])
        with pytest.raises(StreamGateError, match="unexpected inference input 'X'"):
            ends[1].connect().submit(wrong, lambda _: None)


async def test_ends_go_to_who_began(repository: Path, tmp_path: Path) -> None:
    async with link_house(repository, tmp_path) as house, two_front_ends(house, tmp_path) as ends:
        client = Client.of(ends[0])
        await client.step("hash", 5, 1, start=True)
        ends[1].connect().end_sequence("hash", "", 5)
        await until(lambda: client.ends)
        assert client.ends == [("hash", 5, EndReason.CLIENT_END)]


async def test_the_loss_of_the_front_end_that_holds_it_is_told(
    repository: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    async with link_house(repository, tmp_path) as house, two_front_ends(house, tmp_path) as ends:
        await Client.of(ends[0]).step("hash", 5, 1, start=True)
        client = Client.of(ends[1])
        await client.step("hash", 5, 1)
        await ends[0].close()
        answers: list[Response] = await client.ask("hash", 5, 1)
        assert answers[-1].failure is not None
        assert answers[-1].failure.code is Code.UNAVAILABLE


async def test_an_id_lives_once_though_there_are_several_engines(tmp_path: Path) -> None:
    async with (
        engine(tmp_path / "a") as a,
        engine(tmp_path / "b") as b,
        front_end(tmp_path / "peers" / "one", a.address, b.address) as one,
        front_end(tmp_path / "peers" / "two", b.address, a.address) as two,
    ):

        def starts() -> list[SequenceKey]:
            return [request.sequence for there in (a, b) for request, *_ in there.fake.submitted]

        keys = list(range(1, 13))
        for gateway in (one, two):
            before = len(starts())
            for key in keys:
                tensor = Tensor.of("I", np.zeros((1, 4), np.float32), DataType.FP32)
                request = Request("m", inputs=[tensor], sequence=key, start=True)
                gateway.connect().submit(request, lambda _: None)
            await until(lambda: len(starts()) == before + len(keys))  # noqa: B023
        ended = [end for there in (a, b) for end in there.fake.ended]
        assert sorted(ended, key=lambda end: int(end[0])) == [
            (key, EndReason.SUPERSEDED, True) for key in keys
        ]


async def test_who_holds_a_sequence_is_found_while_no_engine_is_there(
    repository: Path, tmp_path: Path
) -> None:
    async with AsyncExitStack() as stack:
        house = await stack.enter_async_context(link_house(repository, tmp_path))
        one, two = await stack.enter_async_context(two_front_ends(house, tmp_path))
        await Client.of(one).step("hash", 5, 0, start=True)
        await house.server.stop()
        client = Client.of(two)
        await until(lambda: not two._engines[0].is_connected)
        await until(lambda: not one._engines[0].is_connected)
        answer = client.send("hash", 5, 1)
        again = LinkServer(house.models.table, house.models.gateway, heartbeat=PATIENT)
        await asyncio.sleep(0.05)
        assert isinstance(house.address, UnixAddress)
        again.listen_unix(house.address.path)
        stack.push_async_callback(again.stop)
        async with asyncio.timeout(WAIT_SECONDS):
            (response,) = await answer
        assert response.failure is None
        assert int(response.outputs[0].array.item()) == hashes([0, 1])[1]
