"""A server of running hashes in this process, and clients that talk to it without a wire."""

import asyncio
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from streamgate.errors import EndReason
from streamgate.model.datatypes import DataType
from streamgate.model.request import ParameterValue, Request, Response, SequenceKey
from streamgate.model.tensor import Tensor
from streamgate.server.server import Server
from streamgate.server.settings import Settings
from streamgate.session.gateway import Connection, Gateway

WAIT_SECONDS = 20.0


@dataclass
class Client:
    """One connection to a gateway; `ends` are those of its sequences: model, ID, reason."""

    gateway: Gateway
    connection: Connection
    ends: list[tuple[str, SequenceKey, EndReason]]

    @classmethod
    def of(cls, gateway: Gateway) -> "Client":
        ends: list[tuple[str, SequenceKey, EndReason]] = []
        return cls(gateway, gateway.connect(lambda *end: ends.append(end)), ends)

    async def step(
        self,
        model: str,
        key: SequenceKey,
        value: int,
        *,
        start: bool = False,
        end: bool = False,
        **parameters: ParameterValue,
    ) -> list[int]:
        """The outputs of one step. Fails for one that the server answers with a failure."""
        responses = await self.ask(
            model, key, value, start=start, end=end, version="", **parameters
        )
        assert responses[-1].failure is None, responses[-1].failure
        return [int(response.outputs[0].array.item()) for response in responses if response.outputs]

    async def ask(
        self,
        model: str,
        key: SequenceKey,
        value: int,
        *,
        start: bool = False,
        end: bool = False,
        version: str = "",
        **parameters: ParameterValue,
    ) -> list[Response]:
        """All responses to one step."""
        async with asyncio.timeout(WAIT_SECONDS):
            return await self.send(
                model, key, value, start=start, end=end, version=version, **parameters
            )

    def send(
        self,
        model: str,
        key: SequenceKey,
        value: int,
        *,
        start: bool = False,
        end: bool = False,
        version: str = "",
        **parameters: ParameterValue,
    ) -> "asyncio.Future[list[Response]]":
        """As `ask`, for who has more to send before the answer comes."""
        done: asyncio.Future[list[Response]] = asyncio.get_running_loop().create_future()
        responses: list[Response] = []

        def sink(response: Response) -> None:
            responses.append(response)
            if response.final:
                done.set_result(responses)

        batches = self.gateway.model(model, "").config.batches
        shape = (1, 1) if batches else (1,)
        tensor = Tensor.of("IN", np.full(shape, value, np.int64), DataType.INT64)
        request = Request(
            model,
            version,
            inputs=[tensor],
            parameters=parameters,
            sequence=key,
            start=start,
            end=end,
        )
        self.connection.submit(request, sink)
        return done

    async def sequence(
        self, model: str, key: SequenceKey, values: Iterable[int]
    ) -> list[list[int]]:
        """The outputs of a whole sequence, step by step."""
        values = list(values)
        last = len(values) - 1
        return [
            await self.step(model, key, value, start=index == 0, end=index == last)
            for index, value in enumerate(values)
        ]


@dataclass
class DurableHouse:
    """A running server."""

    server: Server
    clients: list[Client] = field(default_factory=list)

    def client(self) -> Client:
        client = Client.of(self.server.gateway)
        self.clients.append(client)
        return client


@asynccontextmanager
async def durable_house(repository: Path, **changes: Any) -> AsyncIterator[DurableHouse]:
    settings = Settings(
        [repository],
        host="127.0.0.1",
        http_port=0,
        allow_grpc=False,
        allow_metrics=False,
        allow_websocket=False,
        **changes,
    )
    server = Server(settings)
    await server.start()
    house = DurableHouse(server)
    try:
        yield house
    finally:
        for client in house.clients:
            client.connection.close(abort=True)
        await server.stop()
