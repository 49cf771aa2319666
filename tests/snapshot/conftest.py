"""Stores of each kind for the same tests."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import pytest_asyncio

from streamgate.snapshot.contract import SessionStore
from streamgate.snapshot.memory import MemoryShelf, MemoryStore
from streamgate.snapshot.redis_store import RedisLimits, RedisStore
from tests.snapshot.redis_server import RedisServer

ALIVE_SECONDS = 0.3


class Shop:
    """Makes stores over the same shelf, each for another owner."""

    def __init__(self, server: RedisServer | None) -> None:
        self._server = server
        self._shelf = MemoryShelf()
        self._stores: list[SessionStore] = []

    async def store(self, owner: str) -> SessionStore:
        store: SessionStore
        if self._server is None:
            store = MemoryStore(self._shelf, owner)
        else:
            limits = RedisLimits(alive_seconds=ALIVE_SECONDS)
            store = RedisStore(self._server.url, owner, limits)
        await store.start()
        self._stores.append(store)
        return store

    async def die(self, store: SessionStore, owner: str) -> None:
        """As if its process were killed: it writes no more, and does not say goodbye."""
        if isinstance(store, RedisStore):
            for task in store._tasks:
                task.cancel()
        else:
            self._shelf.owners.discard(owner)

    async def close(self) -> None:
        for store in self._stores:
            await store.close(1)


@pytest.fixture(scope="session")
def redis_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    server = RedisServer(tmp_path_factory.mktemp("redis"))
    server.start()
    yield server
    server.kill()


@pytest.fixture
def own_server(tmp_path: Path) -> Iterator[RedisServer]:
    """A server that the test may kill: nothing of it outlives that."""
    server = RedisServer(tmp_path)
    server.start()
    yield server
    server.kill()


@pytest_asyncio.fixture(params=["memory", "redis"])
async def shop(request: pytest.FixtureRequest) -> AsyncIterator[Shop]:
    server = request.getfixturevalue("redis_server") if request.param == "redis" else None
    shop = Shop(server)
    yield shop
    await shop.close()
