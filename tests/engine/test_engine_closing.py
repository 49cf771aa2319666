"""Sessions are closed whatever happens to who loads or closes them."""

import asyncio
import gc
import threading
import weakref

import pytest

from streamgate.backend.contract import LoadContext
from streamgate.backend.fake import Block, FakeBackend, Plan
from streamgate.backend.fake.tensor import FakeTensorSession
from streamgate.engine.arena import Arena
from streamgate.engine.host import AsyncioHost
from streamgate.engine.runtime import ModelRuntime
from streamgate.errors import BackendError
from streamgate.model.config import DirectStrategy, Instance, InstanceKind, SequenceBatching
from streamgate.session.gateway import ServerInfo
from streamgate.session.local import LocalGateway
from streamgate.session.routing import READY, ModelTable, Route, VersionState
from tests.backend.fake_models import fake_config
from tests.engine.house import FILES, Client, NoModels, samples
from tests.waiting import until

CONFIG = fake_config(
    scheduling=SequenceBatching(DirectStrategy(), 4, max_idle_ns=60_000_000_000),
    instances=(Instance("fake_0", InstanceKind.CPU),),
)


class Sessions:
    """Loads fake sessions and keeps them; the first waits for `go` before it is there."""

    def __init__(self, plan: Plan | None = None) -> None:
        self.backend = FakeBackend(plan)
        self.loaded: list[FakeTensorSession] = []
        self.begun = threading.Event()
        self.go = threading.Event()

    def load(self, instance: Instance, on_lost: object) -> FakeTensorSession:
        self.begun.set()
        assert self.go.wait(10)
        session = self.backend.load(LoadContext(CONFIG, FILES, instance))
        assert isinstance(session, FakeTensorSession)
        self.loaded.append(session)
        return session

    def all_closed(self) -> bool:
        return bool(self.loaded) and all(session._closed for session in self.loaded)


def runtime_here() -> ModelRuntime:
    return ModelRuntime(CONFIG, "1", AsyncioHost(asyncio.get_running_loop()))


async def test_a_session_whose_step_outlasts_the_closing_is_closed_behind_it() -> None:
    block = Block()
    sessions = Sessions(Plan({0: block}))
    sessions.go.set()
    runtime = runtime_here()
    await runtime.load(sessions.load)
    table = ModelTable()
    table.set("fake", 1, VersionState(READY, route=Route(runtime)))
    client = Client(LocalGateway(table, NoModels(), ServerInfo("s", "1", ())).connect(), 7)
    client.send(samples(1), start=True)
    await asyncio.to_thread(block.entered.wait, 10)
    await runtime.close(0.01)
    assert not sessions.all_closed()
    block.release.set()
    await until(sessions.all_closed)


async def test_a_load_that_is_given_up_closes_what_it_has_loaded() -> None:
    sessions = Sessions()
    runtime = runtime_here()
    loading = asyncio.create_task(runtime.load(sessions.load))
    await asyncio.to_thread(sessions.begun.wait, 10)
    loading.cancel()
    with pytest.raises(asyncio.CancelledError):
        await loading
    runtime.discard()
    sessions.go.set()
    await until(sessions.all_closed)


async def test_a_session_that_can_not_be_used_is_closed() -> None:
    class Odd:
        closed = False

        def close(self) -> None:
            self.closed = True

    odd = Odd()
    runtime = runtime_here()
    with pytest.raises(BackendError, match="made a Odd"):
        await runtime.load(lambda instance, on_lost: odd)  # type: ignore[arg-type, return-value]
    runtime.discard()
    await until(lambda: odd.closed)


async def test_states_need_no_memory_once_their_model_is_closed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Whoever still has the runtime: what was loaded at the start is never looked at by the garbage
    collector again."""
    arenas: list[weakref.ref[Arena]] = []
    laying_out = Arena.__init__

    def lay_out(arena: Arena, *arguments: object, **options: object) -> None:
        laying_out(arena, *arguments, **options)  # type: ignore[arg-type]
        arenas.append(weakref.ref(arena))

    monkeypatch.setattr(Arena, "__init__", lay_out)
    sessions = Sessions()
    sessions.go.set()
    runtime = runtime_here()
    await runtime.load(sessions.load)
    (arena,) = arenas
    assert arena() is not None
    gc.disable()
    try:
        await runtime.close(10)
        await until(sessions.all_closed)
        assert arena() is None
    finally:
        gc.enable()
