"""Several engines as one gateway: whose models are served where, and what of them is shown."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from streamgate.errors import Code, StreamGateError
from streamgate.link.client import EngineLink
from streamgate.model.config import Instance, InstanceKind
from streamgate.model.request import Request, Response
from streamgate.session.gateway import ServerInfo
from streamgate.session.remote import RemoteGateway
from streamgate.session.routing import READY, UNAVAILABLE, Route, VersionState
from tests.link.house import PATIENT
from tests.link.pair import Engine, engine
from tests.session.fake_link import FakeMovableLink, sequence_config
from tests.session.plain_models import zeros
from tests.waiting import until

WAIT_SECONDS = 20.0


@dataclass
class Front:
    gateway: RemoteGateway
    links: list[EngineLink]
    responses: list[Response] = field(default_factory=list)

    def send(self, key: int, *, start: bool = False) -> None:
        request = Request("m", inputs=[zeros("I", 1, 4)], sequence=key, start=start)
        self.gateway.connect().submit(request, self.responses.append)


@asynccontextmanager
async def front_of(*engines: Engine) -> AsyncIterator[Front]:
    links = [EngineLink(each.address, heartbeat=PATIENT) for each in engines]
    gateway = RemoteGateway(links, ServerInfo("front end", "0", ()))
    gateway.start()
    assert not gateway.is_ready()
    for link in links:
        link.start()
    async with asyncio.timeout(WAIT_SECONDS):
        for link in links:
            await link.wait_connected()
    yield Front(gateway, links)
    await gateway.close()
    for link in links:
        await link.stop()


@asynccontextmanager
async def engines(folder: Path, count: int) -> AsyncIterator[list[Engine]]:
    async with AsyncExitStack() as stack:
        yield [await stack.enter_async_context(engine(folder / str(n))) for n in range(count)]


def keys_at(there: Engine) -> list[object]:
    return [request.sequence for request, *_ in there.fake.submitted]


async def test_sequences_are_spread_and_counters_summed(tmp_path: Path) -> None:
    async with engines(tmp_path, 2) as (one, two), front_of(one, two) as front:
        assert front.gateway.is_ready()
        for key in range(1, 41):
            front.send(key, start=True)
        await until(lambda: len(keys_at(one)) + len(keys_at(two)) == 40)
        assert min(len(keys_at(one)), len(keys_at(two))) >= 10
        assert len(await front.gateway.statistics("m", "")) == 1
        assert front.gateway.model("m", "").versions == ["1"]
        with pytest.raises(StreamGateError, match="is not available"):
            await front.gateway.statistics("x", "")


async def test_nothing_new_goes_to_an_engine_that_is_going(tmp_path: Path) -> None:
    async with engines(tmp_path, 2) as (one, two), front_of(one, two) as front:
        one.server._gateway.stop_admission()  # type: ignore[attr-defined]
        one.server.say_live()
        await until(lambda: not front.links[0].is_live)
        for key in range(1, 9):
            front.send(key, start=True)
        await until(lambda: len(keys_at(two)) == 8)
        assert keys_at(one) == []
        assert front.gateway.is_ready()


async def test_a_model_of_another_kind_takes_over(tmp_path: Path) -> None:
    async with engines(tmp_path, 2) as (one, two), front_of(one, two) as front:
        newer = FakeMovableLink(sequence_config(parameters={"new": "1"}))
        one.table.set("m", 1, VersionState(READY, route=Route(newer)))
        await until(lambda: front.gateway.model("m", "").config.parameters)
        for key in range(1, 9):
            front.send(key, start=True)
        await until(lambda: len(newer.submitted) == 8)
        assert keys_at(two) == []


async def test_other_instances_are_no_other_model(tmp_path: Path) -> None:
    async with engines(tmp_path, 1) as (one,), front_of(one) as front:
        front.send(1, start=True)
        await until(lambda: keys_at(one) == [1])
        instances = (Instance("m_0", InstanceKind.CPU), Instance("m_1", InstanceKind.CPU))
        one.fake.config = sequence_config(instances=instances)
        one.route.renew_config()
        one.table.set("m", 1, VersionState(READY, route=one.route))
        await until(lambda: front.gateway.model("m", "").config.instances == instances)
        front.send(1)
        await until(lambda: keys_at(one) == [1, 1])


async def test_while_all_engines_are_away_sequences_wait(tmp_path: Path) -> None:
    async with AsyncExitStack() as stack:
        first = await stack.enter_async_context(engine(tmp_path))
        front = await stack.enter_async_context(front_of(first))
        front.send(1, start=True)
        await until(lambda: keys_at(first) == [1])
        await first.server.stop()
        await until(lambda: not front.links[0].is_connected)
        assert not front.gateway.is_ready()
        front.send(1)
        front.send(2, start=True)
        with pytest.raises(StreamGateError) as raised:
            await front.gateway.statistics("", "")
        assert raised.value.code is Code.UNAVAILABLE
        assert front.responses == []
        async with engine(tmp_path) as again:
            await until(lambda: len(keys_at(again)) == 3)
            # From the log: the START, and the step that came meanwhile.
            assert sorted(map(str, keys_at(again))) == ["1", "1", "2"]
            assert again.fake.submitted[keys_at(again).index(1)][0].start
            assert front.gateway.is_ready()


async def test_a_version_that_one_engine_serves_is_served(tmp_path: Path) -> None:
    async with engines(tmp_path, 2) as (one, two), front_of(one, two) as front:
        one.table.set("m", 1, VersionState(UNAVAILABLE, "Internal: no"))
        await until(lambda: not front.links[0].lines[0].versions[0].model)
        assert front.gateway.is_ready()
        front.send(1, start=True)
        await until(lambda: keys_at(two) == [1])
        index = await front.gateway.repository_index(ready_only=False)
        assert [(each.name, each.state) for each in index] == [("m", READY)]
        two.table.set("m", 1, VersionState(UNAVAILABLE, "Internal: no"))
        await until(lambda: not front.gateway.is_ready())
        with pytest.raises(StreamGateError, match="has no available versions"):
            front.send(2, start=True)
