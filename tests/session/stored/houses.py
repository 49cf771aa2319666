"""Servers in this process over one session store, which may be killed as a process would be."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from streamgate.server.server import Server
from streamgate.server.settings import Settings
from streamgate.session.gateway import Gateway
from streamgate.session.stored.takeover import StoredSequences
from streamgate.snapshot.redis_store import RedisStore
from tests.durable.house import Client
from tests.snapshot.redis_server import RedisServer
from tests.waiting import until


class House:
    """One server. `key` parameters of a client's steps are its own."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self.client = Client.of(server.gateway)

    @property
    def stored(self) -> StoredSequences:
        stored = self.server._stored
        assert stored is not None
        return stored

    @property
    def metered(self) -> Gateway:
        """What its front ends see, for who brings no key."""
        front_ends = self.server._front_ends
        assert front_ends is not None
        return front_ends._gateway

    def streams(self, tenant: str) -> int:
        """How many streams a tenant has there."""
        front_ends = self.server._front_ends
        assert front_ends is not None
        (found,) = [each for each in front_ends.tenants() if each.name == tenant]
        return found.streams

    async def write(self) -> RedisStore:
        """Wait until all is written that was to be. Returns the store."""
        store = self.stored.store
        assert isinstance(store, RedisStore)
        await until(lambda: not store.health().waiting_bytes and not store._dirty)
        return store

    async def die(self) -> None:
        """It writes no more and shows no life, as if it were killed; but it does not know."""
        store = await self.write()
        for task in store._tasks:
            task.cancel()
        store._tasks = []
        await store._client.delete(f"streamgate:alive:{store._owner}")


@asynccontextmanager
async def houses(
    redis: RedisServer, repository: Path, count: int = 2, **changes: Any
) -> AsyncIterator[list[House]]:
    servers: list[Server] = []
    made: list[House] = []
    try:
        for _ in range(count):
            settings = Settings(
                [repository],
                host="127.0.0.1",
                http_port=0,
                allow_grpc=False,
                allow_metrics=False,
                allow_websocket=False,
                exit_timeout_seconds=0.5,
                session_store=redis.url,
                **changes,
            )
            server = Server(settings)
            await server.start()
            servers.append(server)
        made += [House(server) for server in servers]
        yield made
    finally:
        for house in made:
            house.client.connection.close(abort=True)
        for server in servers:
            await server.stop()
