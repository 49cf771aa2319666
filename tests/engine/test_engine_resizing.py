"""Instance groups that grow and shrink while sequences live."""

import asyncio
from collections.abc import Callable
from dataclasses import replace

import pytest

from streamgate.backend.contract import LoadContext, Session, SessionLostError
from streamgate.errors import BackendError, EndReason, StreamGateError
from streamgate.model.config import Instance, InstanceKind
from tests.backend.fake_models import stateless_config
from tests.engine.house import FILES, Client, House, hashes, open_house, samples
from tests.engine.test_engine_losses import AT_ONCE, Mortal
from tests.engine.test_engine_sequences import DIRECT, ONE_INSTANCE, request_model
from tests.waiting import until

OnLost = Callable[[SessionLostError], None]
GROUP = tuple(Instance(f"fake_{number}", InstanceKind.CPU) for number in range(4))


async def resize(house: House, backend: Mortal, count: int, grace_seconds: float = 30.0) -> None:
    config = replace(house.runtime.config, instances=GROUP[:count])
    await house.runtime.resize(
        config,
        lambda instance, on_lost: backend.load(
            LoadContext(config, FILES, instance, on_lost=on_lost)
        ),
        grace_seconds,
    )


def slots(house: House) -> int:
    sequences = house.runtime.statistics().sequences
    assert sequences is not None
    return sequences.slots


def instances(house: House) -> int:
    return house.runtime.statistics().instances.count


async def test_a_group_grows_and_shrinks_while_sequences_live() -> None:
    backend = Mortal()
    config = request_model(replace(DIRECT, slots=1), max_batch_size=1, instances=GROUP[:1])
    async with open_house(config, backend=backend) as house:
        connection = house.connect()
        clients = [Client(connection, key) for key in range(1, 5)]
        for client in clients[:3]:
            client.send(samples(1), start=True)
        await until(clients[0].answers[0].done)
        await resize(house, backend, 3)
        for client in clients[:3]:
            await client.collect()
        assert slots(house) == 3
        # Two have to go; each with the end of its sequence, which goes on as if nothing were.
        await resize(house, backend, 1)
        clients[3].send(samples(1), start=True)
        for client in clients[1:3]:
            client.send(samples(2))
            client.send(samples(3), end=True)
            assert hashes(await client.collect()) == client.expected()
        await until(lambda: instances(house) == 1)
        assert slots(house) == 1
        assert not clients[3].answers[0].done()
        await until(lambda: [each._closed for each in backend.sessions] == [False, True, True])
        clients[0].send(samples(4), end=True)
        assert hashes(await clients[0].collect()) == clients[0].expected()
        assert hashes(await clients[3].collect()) == clients[3].expected()
        assert {reason for _, reason in house.ended} == {EndReason.CLIENT_END}


async def test_what_stays_for_too_long_is_preempted_and_told_so() -> None:
    backend = Mortal()
    async with open_house(request_model(instances=GROUP[:2]), backend=backend) as house:
        clients = [Client(house.connect(), key) for key in (1, 2)]
        for client in clients:
            client.send(samples(1), start=True)
            await client.collect()
        await resize(house, backend, 1, grace_seconds=0.05)
        await until(lambda: house.ended == [(2, EndReason.PREEMPTED)])
        await until(lambda: instances(house) == 1)
        clients[0].send(samples(2))
        assert hashes(await clients[0].collect()) == clients[0].expected()


async def test_an_instance_that_was_to_go_stays_with_its_sequences() -> None:
    backend = Mortal()
    async with open_house(request_model(instances=GROUP[:2]), backend=backend) as house:
        clients = [Client(house.connect(), key) for key in (1, 2)]
        for client in clients:
            client.send(samples(1), start=True)
            await client.collect()
        await resize(house, backend, 1)
        await resize(house, backend, 2)
        clients[1].send(samples(2), end=True)
        assert hashes(await clients[1].collect()) == clients[1].expected()
        assert instances(house) == 2
        assert len(backend.contexts) == 2


async def test_a_group_that_can_not_grow_stays_as_it_is() -> None:
    backend = Mortal()
    config = request_model()
    async with open_house(config, backend=backend) as house:

        def load(instance: Instance, on_lost: object) -> Session:
            if instance.name == "fake_2":
                raise BackendError("no room")
            return backend.load(LoadContext(config, FILES, instance))

        client = Client(house.connect(), 5)
        client.send(samples(1), start=True)
        await client.collect()
        with pytest.raises(BackendError, match="no room"):
            await house.runtime.resize(replace(config, instances=GROUP[:3]), load, 1.0)
        assert (instances(house), slots(house)) == (1, 4)
        assert house.runtime.config is config
        await until(lambda: [each._closed for each in backend.sessions] == [False, True])
        client.send(samples(2), end=True)
        assert hashes(await client.collect()) == client.expected()


async def test_a_lost_instance_that_is_to_go_does_not_come_back() -> None:
    backend = Mortal()
    async with open_house(
        request_model(instances=GROUP[:2]), restarts=AT_ONCE, backend=backend
    ) as house:
        backend.go.clear()
        lost = next(each for each in backend.contexts if each.instance.name == "fake_1")
        lost.on_lost(SessionLostError("gone"))
        await until(lambda: house.runtime.statistics().instances.working == 1)
        await resize(house, backend, 1)
        assert instances(house) == 1
        backend.go.set()
        client = Client(house.connect(), 5)
        client.send(samples(1), start=True, end=True)
        assert hashes(await client.collect()) == client.expected()
        await until(lambda: len(backend.sessions) == 3)
        await until(lambda: backend.sessions[2]._closed)
        lost.on_lost(SessionLostError("gone again"))
        backend.contexts[2].on_lost(SessionLostError("gone again"))
        await asyncio.sleep(0.02)
        statistics = house.runtime.statistics().instances
        assert (statistics.losses, statistics.restarts) == (1, 0)
        assert len(backend.contexts) == 3


async def test_stateless_models_grow_and_shrink_between_requests() -> None:
    backend = Mortal()
    async with open_house(stateless_config(instances=ONE_INSTANCE), backend=backend) as house:
        client = Client(house.connect(), 0)
        for count in (3, 1, 2):
            await resize(house, backend, count)
            for value in range(6):
                client.send(samples(value))
            assert [each.failure for each in await client.collect()] == [None] * len(client.answers)
            await until(lambda: instances(house) == len(house.runtime.config.instances))


async def test_an_instance_that_has_gone_is_not_loaded_again() -> None:
    backend = Mortal()
    config = request_model(instances=GROUP[:2])
    async with open_house(config, restarts=AT_ONCE, backend=backend) as house:
        await resize(house, backend, 1)
        await until(lambda: instances(house) == 1)
        gone = next(each for each in backend.contexts if each.instance.name == "fake_1")
        gone.on_lost(SessionLostError("gone"))
        client = Client(house.connect(), 5)
        client.send(samples(1), start=True, end=True)
        assert hashes(await client.collect()) == client.expected()
        assert house.runtime.statistics().instances.losses == 0


async def test_an_instance_that_is_lost_before_it_is_known_takes_nothing() -> None:
    backend = Mortal()
    config = request_model(replace(DIRECT, slots=1), max_batch_size=1, instances=GROUP[:1])
    async with open_house(config, restarts=AT_ONCE, backend=backend) as house:

        def load(instance: Instance, on_lost: OnLost) -> Session:
            is_new = len(backend.contexts) == 1
            session = backend.load(LoadContext(config, FILES, instance, on_lost=on_lost))
            if is_new:
                backend.go.clear()
                on_lost(SessionLostError("at once"))
            return session

        await house.runtime.resize(replace(config, instances=GROUP[:2]), load, 30)
        clients = [Client(house.connect(), key) for key in (1, 2)]
        for client in clients:
            client.send(samples(1), start=True)
        await clients[0].collect()
        assert house.runtime.statistics().pending == 1
        backend.go.set()
        assert hashes(await clients[1].collect()) == clients[1].expected()


async def test_a_group_that_grows_while_it_is_unloaded_leaves_nothing_open() -> None:
    backend = Mortal()
    config = request_model(instances=GROUP[:1])
    async with open_house(config, backend=backend) as house:
        growing = asyncio.ensure_future(resize(house, backend, 3))
        await house.runtime.close(10)
        with pytest.raises(StreamGateError, match="is being unloaded"):
            await growing
        await until(lambda: all(session._closed for session in backend.sessions))
        assert len(backend.sessions) == 3
