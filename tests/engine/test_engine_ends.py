"""Sequences that end though nobody ended them: too old, idle after a warning, or after an error."""

import asyncio
from collections.abc import Sequence
from dataclasses import replace

import pytest

from streamgate.backend.contract import LoadContext, ModelRequest
from streamgate.backend.fake import Block, Fail, FakeBackend, Plan
from streamgate.backend.fake.layout import Layout
from streamgate.backend.fake.request import FakeRequestSession
from streamgate.errors import Code, EndReason, EndWarning, Failure, WarningCause
from streamgate.model.config import ModelConfig
from streamgate.model.datatypes import DataType
from streamgate.model.request import Request, Response, SequenceKey
from streamgate.model.tensor import Tensor
from tests.engine.house import Client, hashes, open_house, samples
from tests.engine.test_engine_sequences import DIRECT, OLDEST, request_model, tensor_model
from tests.waiting import until

MS = 1_000_000


def ended(reason: str) -> Failure:
    """What a request gets that was queued when its sequence ended."""
    text = f"sequence 5 of model 'fake' ended ({reason}) before this request ran"
    return Failure(Code.CANCELLED, text)


async def test_a_sequence_that_is_too_old_ends_behind_its_running_step() -> None:
    block = Block()
    config = tensor_model(replace(DIRECT, max_lifetime_ns=50 * MS))
    async with open_house(config, Plan({0: block})) as house:
        client = Client(house.connect(), 5)
        client.send(samples(1), start=True)
        await asyncio.to_thread(block.entered.wait, 10)
        client.send(samples(2))
        # The step holds the sequence up beyond its lifetime.
        await asyncio.sleep(0.1)
        assert house.ended == []
        block.release.set()
        first, second = await client.collect()
        assert hashes([first]) == client.expected()[:1]
        assert second.failure == ended("lifetime")
        await until(lambda: house.ended == [(5, EndReason.LIFETIME)])


async def test_a_client_is_warned_before_its_sequence_ends_as_idle() -> None:
    config = tensor_model(replace(OLDEST, max_idle_ns=60 * MS, idle_warning_ns=40 * MS))
    async with open_house(config) as house:
        news: list[object] = []

        def warned(model: str, key: SequenceKey, warning: EndWarning) -> None:
            news.append((model, key))
            assert warning.cause is WarningCause.IDLE
            assert 0 < warning.seconds_left <= 0.04

        connection = house.gateway.connect(
            lambda model, key, reason: news.append((model, key, reason)), warned
        )
        client = Client(connection, 5)
        client.send(samples(1), start=True)
        await client.collect()
        await until(lambda: len(news) == 2)
        assert news == [("fake", 5), ("fake", 5, EndReason.IDLE)]


@pytest.mark.parametrize("config", [tensor_model(OLDEST), request_model(DIRECT)])
async def test_a_failed_step_ends_its_sequence_where_that_is_asked_for(config: ModelConfig) -> None:
    assert config.sequences is not None
    config = replace(config, scheduling=replace(config.sequences, end_on_error=True))
    async with open_house(config, Plan({1: Fail("bad")})) as house:
        client = Client(house.connect(), 5)
        for step in range(3):
            client.send(samples(step), start=step == 0)
        first, failed, late = await client.collect()
        assert hashes([first]) == client.expected()[:1]
        assert failed.failure == Failure(Code.INTERNAL, "bad")
        assert late.failure == ended("error")
        await until(lambda: house.ended == [(5, EndReason.ERROR)])


class Slow(FakeRequestSession):
    """Keeps what it is asked, for the test to answer."""

    requests: list[ModelRequest]

    def execute(self, requests: Sequence[ModelRequest]) -> None:
        self.requests += [each for each in requests if not each.null]


class SlowBackend(FakeBackend):
    def load(self, context: LoadContext) -> Slow:
        self.session = Slow(Layout(context.config), context.instance.name, self.plan)
        self.session.requests = []
        return self.session


async def test_an_error_after_the_step_ends_the_sequence_that_it_belongs_to() -> None:
    backend = SlowBackend()
    config = request_model(replace(OLDEST, end_on_error=True), decoupled=True)
    async with open_house(config, backend=backend) as house:
        connection = house.connect()
        got: list[Response] = []
        # The second START supersedes the first, whose request is still to be answered.
        for _ in range(2):
            tensor = Tensor("INPUT", DataType.INT16, (1, 1), raw=samples(1))
            request = Request("fake", inputs=[tensor], sequence=5, start=True)
            connection.submit(request, got.append)
        await until(lambda: len(backend.session.requests) == 2)
        await until(lambda: house.ended == [(5, EndReason.SUPERSEDED)])
        first, second = backend.session.requests
        first.reply.send((), Failure(Code.INTERNAL, "late"), final=True)
        await until(lambda: len(got) == 1)
        assert house.ended == [(5, EndReason.SUPERSEDED)]
        second.reply.send((), Failure(Code.INTERNAL, "later"), final=True)
        await until(lambda: house.ended[1:] == [(5, EndReason.ERROR)])
        assert [response.failure for response in got] == [
            Failure(Code.INTERNAL, "late"),
            Failure(Code.INTERNAL, "later"),
        ]


async def test_a_sequence_whose_answers_still_come_is_not_idle() -> None:
    backend = SlowBackend()
    config = request_model(replace(OLDEST, max_idle_ns=200 * MS), decoupled=True)
    async with open_house(config, backend=backend) as house:
        got: list[Response] = []
        tensor = Tensor("INPUT", DataType.INT16, (1, 1), raw=samples(1))
        request = Request("fake", inputs=[tensor], sequence=5, start=True)
        house.connect().submit(request, got.append)
        await until(lambda: len(backend.session.requests) == 1)
        reply = backend.session.requests[0].reply
        for count in range(1, 9):
            await asyncio.sleep(0.05)
            reply.send((), final=count == 8)
            await until(lambda: len(got) == count)  # noqa: B023 - called before the next round
        # Twice the limit after its step, and still there.
        assert house.ended == []
        await until(lambda: house.ended == [(5, EndReason.IDLE)])
