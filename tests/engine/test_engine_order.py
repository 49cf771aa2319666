"""`preserve_ordering`: answers leave in the order of their requests, whoever is done first."""

import asyncio
from collections.abc import Sequence
from typing import Any

from streamgate.backend.contract import LoadContext, ModelRequest
from streamgate.backend.fake import Block, FakeBackend, Plan
from streamgate.backend.fake.layout import Layout
from streamgate.backend.fake.request import FakeRequestSession
from streamgate.core.ids import Ns, RequestNumber
from streamgate.engine.live import LiveRequest
from streamgate.engine.order import AnswerOrder, order_for
from streamgate.errors import Code, Failure
from streamgate.model.config import DynamicBatching, OldestStrategy, QueuePolicy, SequenceBatching
from streamgate.model.datatypes import DataType
from streamgate.model.request import Request, Response
from streamgate.model.tensor import Tensor
from streamgate.session.gateway import Call
from tests.backend.fake_models import fake_config, request_config
from tests.engine.house import House, open_house, samples
from tests.engine.test_engine_sequences import TWO_INSTANCES
from tests.waiting import until

IN_ORDER = fake_config(
    states=(),
    controls=(),
    scheduling=DynamicBatching((1,), preserve_ordering=True),
    max_batch_size=1,
    instances=TWO_INSTANCES,
)


class Told:
    """What was answered, in the order in which it left."""

    def __init__(self, house: House) -> None:
        self.house = house
        self.connection = house.connect()
        self.left: list[str] = []
        self.failures: dict[str, Failure | None] = {}

    def ask(self, name: str, **fields: Any) -> Call:
        tensor = Tensor("INPUT", DataType.INT16, (1, 1), raw=samples(1))

        def sink(response: Response) -> None:
            assert response.final
            self.left.append(name)
            self.failures[name] = response.failure

        request = Request("fake", inputs=[tensor], id=name, **fields)
        return self.connection.submit(request, sink)


async def test_a_quick_instance_waits_for_a_slow_one() -> None:
    block = Block()
    async with open_house(IN_ORDER, Plan({("fake_0", 0): block})) as house:
        told = Told(house)
        for name in ("first", "second", "third"):
            told.ask(name)
        await until(lambda: len(house.plan.steps) == 3)
        assert block.entered.is_set()
        assert told.left == []
        assert house.runtime.statistics().success.count == 0
        block.release.set()
        await until(lambda: told.left == ["first", "second", "third"])


async def test_without_it_the_quick_one_is_first() -> None:
    block = Block()
    config = fake_config(
        states=(),
        controls=(),
        scheduling=DynamicBatching((1,)),
        max_batch_size=1,
        instances=TWO_INSTANCES,
    )
    async with open_house(config, Plan({("fake_0", 0): block})) as house:
        told = Told(house)
        for name in ("first", "second", "third"):
            told.ask(name)
        await until(lambda: told.left == ["second", "third"])
        block.release.set()
        await until(lambda: told.left == ["second", "third", "first"])


async def test_who_cancels_has_no_turn_to_wait_for_and_holds_up_nobody() -> None:
    block = Block()
    async with open_house(IN_ORDER, Plan({("fake_0", 0): block})) as house:
        told = Told(house)
        calls = {name: told.ask(name) for name in ("first", "second", "third", "fourth")}
        await until(lambda: len(house.plan.steps) == 4)
        calls["third"].cancel()
        assert told.left == ["third"]
        assert told.failures["third"] == Failure(Code.CANCELLED, "")
        calls["first"].cancel()
        assert told.left == ["third", "first", "second", "fourth"]
        block.release.set()


async def test_a_request_that_fails_waits_for_its_turn() -> None:
    block = Block()
    config = fake_config(
        states=(),
        controls=(),
        scheduling=DynamicBatching(
            (1,),
            preserve_ordering=True,
            default_policy=QueuePolicy(default_timeout_ns=20_000_000, max_queue_size=2),
        ),
        max_batch_size=1,
        instances=TWO_INSTANCES[:1],
    )
    async with open_house(config, Plan({0: block})) as house:
        told = Told(house)
        told.ask("first")
        await asyncio.to_thread(block.entered.wait, 10)
        for name in ("late", "later", "refused"):
            told.ask(name)
        await until(lambda: told.left == ["refused"])
        await until(lambda: house.runtime.statistics().pending == 0)
        assert told.left == ["refused"]
        block.release.set()
        await until(lambda: told.left == ["refused", "first", "late", "later"])
        assert told.failures["late"] == Failure(Code.UNAVAILABLE, "Request timeout expired")


OLDEST = SequenceBatching(
    OldestStrategy(1, preserve_ordering=True), slots=1, max_idle_ns=60_000_000_000
)


async def test_sequences_answer_in_the_order_in_which_their_steps_began() -> None:
    block = Block()
    config = fake_config(scheduling=OLDEST, instances=TWO_INSTANCES)
    async with open_house(config, Plan({("fake_0", 0): block})) as house:
        told = Told(house)
        told.ask("slow", sequence=1, start=True, end=True)
        # It waits for a slot, and so holds up nobody.
        await asyncio.to_thread(block.entered.wait, 10)
        told.ask("quick", sequence=2, start=True)
        told.ask("waits", sequence=3, start=True, end=True)
        told.ask("quicker", sequence=2, end=True)
        await until(lambda: len(house.plan.steps) == 4)
        assert told.left == []
        block.release.set()
        await until(lambda: told.left == ["slow", "quick", "quicker", "waits"])


class Silent(FakeRequestSession):
    """Keeps what it is asked, for the test to answer."""

    requests: list[ModelRequest]

    def execute(self, requests: Sequence[ModelRequest]) -> None:
        self.requests += requests


class SilentBackend(FakeBackend):
    def load(self, context: LoadContext) -> Silent:
        self.session = Silent(Layout(context.config), context.instance.name, self.plan)
        self.session.requests = []
        return self.session


async def test_answers_that_come_after_their_steps_keep_the_order_too() -> None:
    backend = SilentBackend()
    config = request_config(
        controls=(),
        scheduling=DynamicBatching((1,), preserve_ordering=True),
        instances=TWO_INSTANCES[:1],
    )
    async with open_house(config, backend=backend) as house:
        told = Told(house)
        told.ask("first")
        told.ask("second")
        await until(lambda: len(backend.session.requests) == 2)
        first, second = backend.session.requests
        second.reply.send((), final=True)
        await asyncio.sleep(0.02)
        assert told.left == []
        first.reply.send((), final=True)
        await until(lambda: told.left == ["first", "second"])


def test_decoupled_models_are_not_held_up() -> None:
    """The responses of one request would wait for the last of another."""
    scheduling = DynamicBatching((1,), preserve_ordering=True)
    config = request_config(controls=(), scheduling=scheduling, decoupled=True)
    assert order_for(config)[0] is None


def test_a_request_that_runs_again_keeps_its_turn() -> None:
    order = AnswerOrder()
    one, other = [
        LiveRequest(RequestNumber(number), Request("m"), print, print, Ns(0), 0)
        for number in (1, 2)
    ]
    order.enter(one)
    order.enter(other)
    order.enter(one)
    answer = Response(Request("m"), "m", "1")
    assert order.answer(other, answer, "BACKEND") == []
    assert [live for live, _, _ in order.answer(one, answer, "BACKEND")] == [one, other]
    assert order.leave(one) == []
