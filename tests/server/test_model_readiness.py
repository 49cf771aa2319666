"""A model's own `is_ready`, as clients and other models see it, over real sockets."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import numpy as np
import pytest
import tritonclient.grpc.aio as grpcclient
import tritonclient.http.aio as httpclient

from streamgate.server.server import Server
from streamgate.server.settings import Settings
from tests.server.calling_models import HEADER, caller, config
from tests.server.model_house import WAIT_SECONDS, Gates, Models

pytestmark = pytest.mark.timeout(60)

# `execute` sets what `is_ready` does from then on.
MODEL = """
    says = 1

    def execute(self, requests):
        responses = []
        for request in requests:
            self.says = value_of(request)
            model_gates.enter("execute")
            responses.append(out(self.says))
        return responses

    def is_ready(self):
        model_gates.enter("is_ready")
        if self.says == 2:
            raise ValueError("out of order")
        return {0: False, 1: True, 3: "yes"}[self.says]
"""


@dataclass
class Clients:
    """Both clients of one server."""

    http: httpclient.InferenceServerClient
    grpc: grpcclient.InferenceServerClient

    async def are_told(self, name: str = "m", version: str = "") -> list[bool]:
        """What each is told of a model's readiness."""
        return [
            await self.http.is_model_ready(name, version),
            await self.grpc.is_model_ready(name, version),
        ]

    async def are_told_in_the_end(self, told: list[bool]) -> None:
        """Where the bounds are so narrow that a busy machine may miss them."""
        async with asyncio.timeout(WAIT_SECONDS):
            while await self.are_told() != told:
                pass

    async def say(self, value: int, name: str = "m") -> int:
        tensor = httpclient.InferInput("IN", [1], "INT32")
        tensor.set_data_from_numpy(np.array([value], np.int32))
        outputs = [httpclient.InferRequestedOutput("OUT")]
        answer = await self.http.infer(name, [tensor], outputs=outputs)
        return int(answer.as_numpy("OUT")[0])


@asynccontextmanager
async def serving(models: Models) -> AsyncIterator[Clients]:
    server = Server(
        Settings(
            [models.directory],
            host="127.0.0.1",
            http_port=0,
            grpc_port=0,
            metrics_port=0,
            websocket_port=0,
        )
    )
    ports = await server.start()
    http = httpclient.InferenceServerClient(f"127.0.0.1:{ports.http}")
    grpc = grpcclient.InferenceServerClient(f"127.0.0.1:{ports.grpc}")
    try:
        yield Clients(http, grpc)
    finally:
        await http.close()
        await grpc.close()
        await server.stop()


async def test_a_model_says_whether_it_is_ready(
    models: Models, caplog: pytest.LogCaptureFixture
) -> None:
    models.write("m", config=config(), code=HEADER + MODEL)
    models.write("plain")
    async with serving(models) as clients:
        assert await clients.are_told() == [True, True]
        await clients.say(0)
        assert await clients.are_told() == [False, False]
        assert await clients.are_told(version="1") == [False, False]
        # It is still served, and so are others.
        assert await clients.say(1) == 1
        assert await clients.are_told() == [True, True]
        assert await clients.are_told("plain") == [True, True]
        assert await clients.are_told("nobody") == [False, False]
        for wrong, reason in (
            (2, "ValueError: out of order"),
            (3, "is_ready must return a bool, found type '<class 'str'>'"),
        ):
            caplog.clear()
            await clients.say(wrong)
            assert await clients.are_told() == [False, False]
            told = [record.getMessage() for record in caplog.records]
            assert [text for text in told if text.startswith("model instance 'm_0_0'")] == [
                text for text in told if f"'m_0_0' is not ready: {reason}" in text
            ]
            assert any(reason in text for text in told)
            await clients.say(1)
            assert await clients.are_told() == [True, True]


async def test_other_models_are_told_too(models: Models) -> None:
    models.write("m", config=config(), code=HEADER + MODEL)
    caller(models, "return out(int(pb_utils.is_model_ready('m')))")
    async with serving(models) as clients:
        assert await clients.say(1, "caller") == 1
        await clients.say(0)
        assert await clients.say(1, "caller") == 0


async def test_one_instance_that_is_not_ready_is_enough(models: Models) -> None:
    models.write("m", config=config(instances=2), code=HEADER + MODEL)
    async with serving(models) as clients:
        assert await clients.are_told() == [True, True]
        await clients.say(0)
        assert await clients.are_told() == [False, False]


async def test_a_busy_model_is_as_ready_as_it_last_was(
    models: Models, gates: Gates, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("streamgate.engine.readiness.BUSY_SECONDS", 0.05)
    models.write("m", config=config(), code=HEADER + MODEL)
    async with serving(models) as clients:
        for says, was in ((0, True), (1, False)):
            assert await clients.are_told() == [was, was]
            gates.close("execute")
            step = asyncio.create_task(clients.say(says))
            await gates.wait_entered("execute")
            # `is_ready` can't be asked: the answer that it would give is not known yet.
            assert await clients.are_told() == [was, was]
            gates.open("execute")
            await step
            await clients.are_told_in_the_end([not was, not was])


async def test_a_model_that_does_not_answer_is_not_ready(
    models: Models, gates: Gates, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("streamgate.engine.readiness.BUSY_SECONDS", 0.05)
    monkeypatch.setattr("streamgate.engine.readiness.ANSWER_SECONDS", 0.2)
    models.write("m", config=config(), code=HEADER + MODEL)
    async with serving(models) as clients:
        gates.close("is_ready")
        assert await clients.are_told() == [False, False]
        gates.open("is_ready")
        await clients.are_told_in_the_end([True, True])
