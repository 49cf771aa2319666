"""Instances that are lost: their requests are answered, they are loaded again, others go on."""

import asyncio
import threading
from collections.abc import Callable
from dataclasses import replace

import pytest

from streamgate.backend.contract import (
    LoadContext,
    ModelRequest,
    SessionLostError,
    lose,
)
from streamgate.backend.fake import Fail, FakeBackend, Lose, Plan
from streamgate.backend.fake.layout import Layout
from streamgate.backend.fake.request import FakeRequestSession
from streamgate.backend.fake.tensor import FakeTensorSession
from streamgate.engine.instances import RestartPolicy
from streamgate.errors import BackendError, Code, EndReason, Failure
from streamgate.model.config import ModelConfig
from streamgate.model.datatypes import DataType
from streamgate.model.request import FLAG_SEQUENCE_END, Request, Response
from streamgate.model.tensor import Tensor
from tests.backend.fake_models import stateless_config
from tests.engine.house import Client, House, hashes, open_house, samples
from tests.engine.test_engine_sequences import (
    DIRECT,
    OLDEST,
    ONE_INSTANCE,
    TWO_INSTANCES,
    request_model,
    tensor_model,
)
from tests.waiting import until

DEAD = Failure(Code.INTERNAL, "Stub process 'fake_0' is not healthy.")
AT_ONCE = RestartPolicy(delays_ns=(0,))
IMPATIENT = RestartPolicy(delays_ns=(0, 60_000_000_000), patience_ns=50_000_000)


class Mortal(FakeBackend):
    """Keeps what it loaded; each load after the first waits for `go` and fails `failing` times."""

    def __init__(self, plan: Plan | None = None, failing: int = 0) -> None:
        super().__init__(plan)
        self.contexts: list[LoadContext] = []
        self.sessions: list[FakeTensorSession | FakeRequestSession] = []
        self.failing = failing
        self.go = threading.Event()
        self.go.set()

    def load(self, context: LoadContext) -> FakeTensorSession | FakeRequestSession:
        again = any(context.instance == earlier.instance for earlier in self.contexts)
        self.contexts.append(context)
        assert self.go.wait(10) or not again
        if again and self.failing:
            self.failing -= 1
            raise BackendError("not yet")
        session = super().load(context)
        self.sessions.append(session)
        return session


class Promising(FakeRequestSession):
    """Answers nothing by itself, but keeps the requests."""

    requests: list[ModelRequest]

    def execute(self, requests: "list[ModelRequest]") -> None:  # type: ignore[override]
        self.requests = getattr(self, "requests", []) + list(requests)


def losses(house: House) -> tuple[int, int, int, int]:
    instances = house.runtime.statistics().instances
    return instances.count, instances.working, instances.losses, instances.restarts


async def failure_of(client: Client, place: int) -> Failure | None:
    """What failed, and how: whatever fails in these tests is lost, and says so."""
    async with asyncio.timeout(10):
        response = await client.answers[place]
    assert response.lost == (response.failure is not None)
    return response.failure


@pytest.mark.parametrize("config", [tensor_model(), tensor_model(OLDEST)], ids=["direct", "oldest"])
async def test_sequences_whose_states_are_in_the_arena_go_on(config: ModelConfig) -> None:
    backend = Mortal(Plan({2: Lose()}))
    async with open_house(config, restarts=AT_ONCE, backend=backend) as house:
        client = Client(house.connect(), 5)
        for step in range(5):
            client.send(samples(step), start=step == 0)
        assert await failure_of(client, 2) == DEAD
        client.history.pop(2)  # its step never was
        responses = await client.collect()
        assert hashes(responses[:2] + responses[3:]) == client.expected()
        assert house.ended == []
        assert losses(house) == (1, 1, 1, 1)
        assert backend.sessions[0]._closed
        assert await house.runtime.is_ready()


async def test_sequences_that_the_model_keeps_itself_end_with_their_instance() -> None:
    async with open_house(request_model(), Plan({1: Lose()}), AT_ONCE) as house:
        client = Client(house.connect(), 5)
        for step in range(4):
            client.send(samples(step), start=step == 0)
        lost = "sequence 5 of model 'fake' ended: the model instance that held its state was lost"
        assert await failure_of(client, 1) == DEAD
        assert await failure_of(client, 2) == Failure(Code.UNAVAILABLE, lost)
        assert await failure_of(client, 3) == Failure(Code.UNAVAILABLE, lost)
        await until(lambda: house.ended == [(5, EndReason.ENGINE_LOST)])
        client.send(samples(9))
        late = await failure_of(client, 4)
        assert late is not None
        assert late.message.endswith("(sequence 5 ended: engine_lost)")
        again = Client(house.connect(), 5)
        again.send(samples(7), start=True, end=True)
        assert hashes(await again.collect()) == again.expected()


async def test_a_sequence_that_has_not_begun_waits_for_its_instance() -> None:
    backend = Mortal()
    async with open_house(request_model(), restarts=AT_ONCE, backend=backend) as house:
        backend.go.clear()
        backend.contexts[0].on_lost(SessionLostError("gone"))
        await until(lambda: losses(house)[2] == 1)
        assert not await house.runtime.is_ready()
        client = Client(house.connect(), 5)
        client.send(samples(1), start=True, end=True)
        await until(lambda: house.runtime.statistics().pending == 1)
        backend.go.set()
        assert hashes(await client.collect()) == client.expected()
        await until(lambda: house.ended == [(5, EndReason.CLIENT_END)])
        assert await house.runtime.is_ready()


async def test_other_instances_go_on_and_take_new_sequences() -> None:
    backend = Mortal()
    config = request_model(instances=TWO_INSTANCES)
    async with open_house(config, restarts=AT_ONCE, backend=backend) as house:
        connection = house.connect()
        first, second, *others = [Client(connection, key) for key in range(1, 7)]
        for client in (first, second):
            client.send(samples(1), start=True)
            await client.collect()
        backend.go.clear()
        lost = next(each for each in backend.contexts if each.instance.name == "fake_0")
        lost.on_lost(SessionLostError("gone"))
        await until(lambda: house.ended == [(1, EndReason.ENGINE_LOST)])
        assert await house.runtime.is_ready()
        for client in (second, *others[:3]):
            client.send(samples(2), start=client is not second, end=True)
            assert hashes(await client.collect()) == client.expected()
        backend.go.set()
        await until(lambda: losses(house) == (2, 2, 1, 1))


async def test_a_restart_that_fails_is_tried_again() -> None:
    backend = Mortal(Plan({0: Lose()}), failing=2)
    async with open_house(tensor_model(), restarts=AT_ONCE, backend=backend) as house:
        client = Client(house.connect(), 5)
        client.send(samples(1), start=True)
        client.send(samples(2))
        assert await failure_of(client, 0) == DEAD
        assert await failure_of(client, 1) is None
        assert losses(house) == (1, 1, 1, 1)
        assert len(backend.contexts) == 4


async def test_nobody_waits_for_ever_for_an_instance_that_stays_away() -> None:
    """Sequences end, what waits is rejected, and what comes is refused at once."""
    backend = Mortal(Plan({0: Lose()}), failing=1)
    async with open_house(tensor_model(), restarts=IMPATIENT, backend=backend) as house:
        client, late = Client(house.connect(), 5), Client(house.connect(), 6)
        away = "model 'fake' has no instance for this request: it was lost and is not back yet"
        client.send(samples(1), start=True)
        client.send(samples(2))
        assert await failure_of(client, 0) == DEAD
        assert await failure_of(client, 1) == Failure(Code.UNAVAILABLE, away)
        await until(lambda: house.ended == [(5, EndReason.ENGINE_LOST)])
        late.send(samples(1), start=True)
        assert await failure_of(late, 0) == Failure(Code.UNAVAILABLE, away)
        assert len(house.route.positions) == 0


async def test_a_word_of_an_old_session_means_nothing() -> None:
    backend = Mortal(Plan({0: Lose()}))
    async with open_house(tensor_model(), restarts=AT_ONCE, backend=backend) as house:
        client = Client(house.connect(), 5)
        client.send(samples(1), start=True)
        await client.collect()
        await until(lambda: losses(house) == (1, 1, 1, 1))
        backend.contexts[0].on_lost(SessionLostError("old news"))
        client.history.clear()
        client.send(samples(2), start=True)
        responses = await client.collect()
        assert hashes(responses[1:]) == client.expected()
        assert losses(house) == (1, 1, 1, 1)


async def test_a_session_that_is_lost_while_it_is_loaded_is_loaded_again() -> None:
    backend = Mortal()
    async with open_house(tensor_model(), restarts=AT_ONCE, backend=backend) as house:
        backend.go.clear()
        backend.contexts[0].on_lost(SessionLostError("gone"))
        await until(lambda: len(backend.contexts) == 2)
        backend.contexts[1].on_lost(SessionLostError("gone again"))
        backend.go.set()
        await until(lambda: losses(house) == (1, 1, 2, 2))


async def test_stateless_requests_wait_for_the_instance() -> None:
    backend = Mortal(Plan({0: Lose()}))
    config = stateless_config(instances=ONE_INSTANCE)
    async with open_house(config, restarts=AT_ONCE, backend=backend) as house:
        backend.go.clear()
        client = Client(house.connect(), 0)
        for value in (1, 2, 3):
            client.send(samples(value))
        assert await failure_of(client, 0) == DEAD
        assert not client.answers[1].done()
        assert house.runtime.statistics().pending == 2
        backend.go.set()
        assert [response.failure for response in (await client.collect())[1:]] == [None, None]


async def test_what_a_lost_instance_still_owed_is_answered_once() -> None:
    """A decoupled model may answer after its step; what it has not answered fails, and what comes
    of the old session afterwards is dropped."""
    sessions: list[Promising] = []
    contexts: list[LoadContext] = []

    class PromisingBackend(FakeBackend):
        def load(self, context: LoadContext) -> Promising:
            contexts.append(context)
            session = Promising(Layout(context.config), context.instance.name, self.plan)
            sessions.append(session)
            return session

    config = request_model(decoupled=True)
    async with open_house(config, restarts=AT_ONCE, backend=PromisingBackend()) as house:
        got: list[Response] = []
        connection = house.connect()
        for key in (5, 6):
            tensor = Tensor("INPUT", DataType.INT16, (1, 1), raw=samples(1))
            request = Request("fake", inputs=[tensor], sequence=key, start=True, end=key == 6)
            connection.submit(request, got.append)
        await until(lambda: len(getattr(sessions[0], "requests", ())) >= 2)
        first, _ = [each for each in sessions[0].requests if not each.null]
        first.reply.send((), final=False)
        await until(lambda: len(got) == 1)
        contexts[0].on_lost(SessionLostError(DEAD.message))
        await until(lambda: len(got) == 3)
        assert [(response.failure, response.final, response.lost) for response in got] == [
            (None, False, False),
            (DEAD, True, True),
            (DEAD, True, True),
        ]
        first.reply.finish()
        await until(lambda: losses(house) == (1, 1, 1, 1))
        assert len(got) == 3


class Dying(FakeRequestSession):
    """Ends with any END. It is another thread that says so first."""

    def execute(self, requests: "list[ModelRequest]") -> None:  # type: ignore[override]
        for request in requests:
            if request.flags & FLAG_SEQUENCE_END:
                witness = threading.Thread(target=lose, args=(request.reply, DEAD))
                witness.start()
                witness.join()
                raise SessionLostError(DEAD.message)
        super().execute(requests)


async def test_the_loss_of_a_last_step_is_told_before_its_sequence_is_over() -> None:
    """Whoever could run it again elsewhere would else take the sequence for ended."""

    class DyingBackend(FakeBackend):
        def load(self, context: LoadContext) -> Dying:
            return Dying(Layout(context.config), context.instance.name, self.plan)

    async with open_house(request_model(), restarts=AT_ONCE, backend=DyingBackend()) as house:
        told: list[object] = []
        house.ended = told  # type: ignore[assignment]
        connection = house.connect()
        # Steps are quick, so the engine comes to wait for them on the spot.
        for step in range(30):
            tensor = Tensor("INPUT", DataType.INT16, (1, 1), raw=samples(1))
            request = Request("fake", inputs=[tensor], sequence=5, start=step == 0, end=step == 29)
            connection.submit(request, lambda response: told.append(response.lost))
            async with asyncio.timeout(10):
                while len(told) <= step:  # noqa: ASYNC110 - the sink is all there is
                    await asyncio.sleep(0)
        await until(lambda: len(told) == 31)
        assert told == [*[False] * 29, True, (5, EndReason.CLIENT_END)]


def test_the_back_off_ends_at_its_last_delay() -> None:
    policy = RestartPolicy()
    assert [policy.delay_ns(attempt) / 1e9 for attempt in range(8)] == [
        *(0, 0.1, 0.5, 2, 5),
        *(10, 10, 10),
    ]


@pytest.mark.parametrize(
    ("config", "ends"),
    [(tensor_model, []), (request_model, [(5, EndReason.ENGINE_LOST)])],
    ids=["kept", "gone"],
)
async def test_a_lost_step_is_no_error_of_its_sequence(
    config: Callable[..., ModelConfig], ends: list[tuple[int, EndReason]]
) -> None:
    """Though errors end them: this one is none of theirs."""
    model = config(replace(DIRECT, end_on_error=True))
    async with open_house(model, Plan({0: Lose()}), AT_ONCE) as house:
        client = Client(house.connect(), 5)
        client.send(samples(1), start=True)
        assert await failure_of(client, 0) == DEAD
        await until(lambda: losses(house) == (1, 1, 1, 1))
        assert house.ended == ends


async def test_a_step_that_fails_is_not_lost() -> None:
    async with open_house(tensor_model(), Plan({0: Fail()})) as house:
        client = Client(house.connect(), 5)
        client.send(samples(1), start=True)
        (response,) = await client.collect()
        assert response.failure is not None
        assert not response.lost
