"""The whole engine over the fake in virtual time: gateway, connections, scheduler, runners, arena.

Every method is something that clients, models or time do. What comes of it goes to the diary.
"""

import asyncio
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial
from typing import Any, cast

import numpy as np

from streamgate.backend.contract import LoadContext, Session, SessionLostError
from streamgate.core.commands import Step
from streamgate.core.ids import InstanceIndex, OwnerNumber, RequestNumber
from streamgate.core.sequences import SequenceScheduler
from streamgate.engine.instances import RestartPolicy
from streamgate.engine.live import LiveRequest
from streamgate.engine.runtime import ModelRuntime
from streamgate.errors import BackendError, EndReason, Failure, StreamGateError
from streamgate.link.contract import Listener, ModelLink
from streamgate.model.config import Instance, InstanceKind, ModelConfig
from streamgate.model.datatypes import DataType
from streamgate.model.request import Request, Response, SequenceKey
from streamgate.model.statistics import ModelStatistics
from streamgate.model.tensor import Tensor
from streamgate.session.connection import OpenCall, SessionConnection
from streamgate.session.gateway import ServerInfo
from streamgate.session.local import LocalGateway
from streamgate.session.routing import READY, ModelTable, Route, VersionState
from tests.engine.house import NoModels
from tests.simulation.diary import (
    Answered,
    Asked,
    Cancelled,
    Diary,
    Dispatched,
    Draining,
    EndAsked,
    Ended,
    Gone,
    HungUp,
    Paused,
    Resized,
    SlotAnswered,
    SlotAsked,
    Warned,
)
from tests.simulation.virtual_host import VirtualHost, VirtualLoop, VirtualWorker
from tests.simulation.watched_model import FILES, Desk

CLOSE_SECONDS = 10.0
GRACE_NS = 60
LOOP_TURNS = 6
"""What it takes to hear of a future of another thread."""
ROUNDS_MAX = 10_000
RESTARTS = RestartPolicy(delays_ns=(0, 50), healthy_ns=1_000, patience_ns=120)


def instances(count: int) -> tuple[Instance, ...]:
    return tuple(Instance(f"fake_{index}", InstanceKind.CPU) for index in range(count))


class SimulatedHouse:
    front: Callable[[ModelLink], ModelLink] = staticmethod(lambda link: link)
    """What stands between route and engine: nothing, but for those who test such a thing."""

    def __init__(self, config: ModelConfig, *, lateness_ns: int = 0, later: bool = False) -> None:
        self.config = config
        self.host = VirtualHost(lateness_ns)
        self.loop = VirtualLoop(self.host)
        self.diary = Diary(self.host.now)
        self.desk = Desk(config, self.diary, later)
        self.asked = 0
        self.slots_asked = 0
        self.failing_loads = 0
        self.calls: dict[int, OpenCall] = {}
        self.connections: list[tuple[int, SessionConnection]] = []
        self.runtime = ModelRuntime(config, "1", self.host, RESTARTS)
        self._told: list[tuple[int, SequenceKey, EndReason]] = []
        self._on_lost: dict[int, Callable[[SessionLostError], None]] = {}
        self._connected = 0
        self._closed = False
        self._resizing: asyncio.Task[None] | None = None
        self._watch_steps()
        self.host.quick = True
        self.loop.complete(self.runtime.load(self._load), self.host.run_ready)
        self.host.quick = False
        link = self.front(self.runtime)
        self.route = Route(link)
        self._watch_answers()
        link.watch_sequences(self._on_end, self.route.positions.warn)
        table = ModelTable()
        table.set(config.name, 1, VersionState(READY, route=self.route))
        self._gateway = LocalGateway(table, NoModels(), ServerInfo("test", "0", ()))
        self._gateway.start()

    def _watch_answers(self) -> None:
        """Nothing comes behind a last answer. A connection would not let its client see it."""
        submit = self.route.submit

        def watched(
            request: Request,
            sink: Callable[[Response], None],
            owner: OwnerNumber,
            listener: Listener | None,
        ) -> RequestNumber:
            is_over = False

            def receive(response: Response) -> None:
                nonlocal is_over
                assert not is_over, "an answer behind the last"
                is_over = response.final
                sink(response)

            return submit(request, receive, owner, listener)

        self.route.submit = watched  # type: ignore[method-assign]

    # -- what clients do

    def connect(self) -> int:
        """A new connection, the last of `connections`."""
        self._connected += 1
        number = self._connected
        connection = self._gateway.connect(
            lambda _, key, reason: self._told.append((number, key, reason)),
            lambda _, key, warning: self.diary.note(
                Warned(number, key, round(warning.seconds_left * 1e9))
            ),
        )
        self.connections.append((number, connection))
        return number

    def ask(
        self,
        connection: int,
        key: SequenceKey,
        *,
        start: bool = False,
        end: bool = False,
        samples: int = 1,
        timeout_us: int = 0,
    ) -> int:
        """A request over one of `connections`; its payload is its number, `samples` times."""
        self.asked += 1
        number = self.asked
        index, session = self.connections[connection]
        payload = np.full(samples, number, "<i2").tobytes()
        shape = (1, samples) if self.config.batches else (samples,)
        request = Request(
            "fake",
            inputs=[Tensor("INPUT", DataType.INT16, shape, raw=payload)],
            sequence=key,
            start=start,
            end=end,
            id=str(number),
            timeout_us=timeout_us,
        )
        self.note_asked(Asked(number, key, start, end, payload, timeout_us * 1000, index))
        self.calls[number] = session.submit(request, partial(self._answer, number))
        return number

    def note_asked(self, asked: Asked) -> None:
        self.diary.note(asked)

    def reserve(self, connection: int, key: SequenceKey) -> None:
        """Ask over one of `connections` for a slot, for a sequence that is to come."""
        self.slots_asked += 1
        number = self.slots_asked
        index, session = self.connections[connection]
        self.diary.note(SlotAsked(number, key, index))

        def answer(failure: Failure | None) -> None:
            self.diary.note(SlotAnswered(number, failure, at_once=False))

        try:
            session.ask_to_reserve("fake", "", key, answer)
        except StreamGateError as error:
            self.diary.note(SlotAnswered(number, error.failure, at_once=True))

    def cancel(self, number: int) -> None:
        self.diary.note(Cancelled(number))
        self.calls[number].cancel()

    def hang_up(self, connection: int, *, abort: bool) -> None:
        """Lose or close one of `connections`; a new one takes its place."""
        index, session = self.connections[connection]
        self.diary.note(HungUp(index, abort))
        session.close(abort=abort)
        self.connect()
        self.connections[connection] = self.connections.pop()

    def pause(self, connection: int, *, paused: bool) -> None:
        """One of `connections` stops to read, or goes on."""
        index, session = self.connections[connection]
        self.diary.note(Paused(index, paused))
        if paused:
            session.pause()
        else:
            session.resume()

    def end_sequence(self, connection: int, key: SequenceKey) -> None:
        self.diary.note(EndAsked(key))
        self.connections[connection][1].end_sequence("fake", "", key)

    # -- what models do

    @property
    def workers(self) -> list[VirtualWorker]:
        """Those that have something to do."""
        return [worker for worker in self.host.workers if worker.jobs]

    def lose(self, pick: int, *, steps_survive: bool) -> None:
        """A session is lost, and told so at once; a step that it has got may still come back."""
        index = sorted(self.desk.open)[pick % len(self.desk.open)]
        error = SessionLostError(self.desk.failure().message)
        self.desk.lose(index, error)
        if steps_survive:
            self.desk.dead.discard(index)
        self._on_lost[index](error)

    def keep_promise(self, pick: int) -> None:
        """A model that answers later sends a response."""
        promises = self.desk.promises
        place = pick % len(promises)
        if not promises[place][1].keep():
            del promises[place]

    # -- what the server does

    def resize(self, count: int) -> None:
        """Begin to serve with so many instances, unless that is going on already."""
        if self._resizing is None:
            self._resizing = self.loop.create_task(self._resize(count))
            self.turn()

    async def _resize(self, count: int) -> None:
        config = replace(self.config, instances=instances(count))
        with suppress(StreamGateError):
            await self.runtime.resize(config, self._load, GRACE_NS / 1e9)
            self.diary.note(Resized(count, GRACE_NS))
        self._resizing = None

    def turn(self) -> None:
        """The loop does what it has to do, coroutines too."""
        self.host.run_ready()
        for _ in range(LOOP_TURNS):
            if self._resizing is None:
                return
            self.loop.turn()
            self.host.run_ready()

    def drain(self) -> None:
        self.diary.note(Draining(closes=False))
        self.runtime.drain()

    def close(self) -> None:
        """Close the runtime; whatever waits for time or for a model goes on meanwhile."""
        self.diary.note(Draining(closes=True))
        self._closed = True
        self.loop.complete(self.runtime.close(CLOSE_SECONDS), self._go_on)
        while self._resizing is not None:
            self._go_on()

    def come_to_rest(self) -> None:
        """Silence: nobody asks, all steps come back, all promises are kept, all timers run out."""
        for place in range(len(self.connections)):
            self.pause(place, paused=False)
        for _ in range(ROUNDS_MAX):
            self.turn()
            if not self._do_something() and self._resizing is None:
                at = self.host.next_timer_at()
                if at is None:
                    return
                self.host.pass_time(max(0, at - self.host.now()))
        raise AssertionError("it never comes to rest")

    def statistics(self) -> ModelStatistics:
        return self.runtime.statistics()

    def check_free(self) -> None:
        """Nothing that a request or a sequence held is held any more."""
        runtime = self.runtime
        scheduler = runtime._scheduler
        assert isinstance(scheduler, SequenceScheduler)
        assert not runtime._lives
        assert not runtime._steps
        assert not runtime._bookings._asked
        moves = runtime._moves
        for left in (moves._coming, moves._going, moves._copies, moves._hand_overs):
            assert not left
        assert not runtime.places._positions
        assert not runtime.places._places
        assert not runtime.places._ending
        assert self.statistics().instances.violations == 0
        assert not scheduler._requests
        assert not scheduler._tenancies.coming
        assert not scheduler._tenancies.going
        assert not scheduler._running
        assert not list(scheduler._roster)
        assert not scheduler._roster._owned
        assert self._closed or scheduler.wake_at() is None
        assert self.host.next_timer_at() is None
        assert not self.route.positions.keys()
        assert not self._closed or not self.desk.open, "a session that was never closed"
        assert not any(connection._calls for _, connection in self.connections)

    def discard(self) -> None:
        """Free what the test's own machinery holds."""
        self.loop.close()

    def _go_on(self) -> None:
        self._do_something()
        self.turn()

    def _do_something(self) -> bool:
        workers = self.workers
        if workers:
            workers[0].do_one()
        elif self.desk.promises:
            self.keep_promise(0)
        else:
            return False
        return True

    # -- what is watched

    def _watch_steps(self) -> None:
        instances = self.runtime._instances
        run = instances.run

        def watched(index: InstanceIndex, step: Step, lives: Sequence[LiveRequest | None]) -> None:
            rows = tuple(
                (int(live.request.id), row.start, row.end)
                for row, live in zip(step.rows, lives, strict=True)
                if live is not None
            )
            self.diary.note(Dispatched(index, rows))
            run(index, step, lives)

        remove = instances.remove

        def watched_remove(index: InstanceIndex) -> None:
            self.diary.note(Gone(index))
            remove(index)

        setattr(instances, "run", watched)  # noqa: B010 - a method
        setattr(instances, "remove", watched_remove)  # noqa: B010 - a method

    def _load(self, instance: Instance, on_lost: Callable[[SessionLostError], None]) -> Session:
        if self._on_lost and self.failing_loads:
            self.failing_loads -= 1
            raise BackendError("not yet")
        # Names come again, indexes don't.
        index = int(cast("Any", on_lost).args[0].index)
        self._on_lost[index] = on_lost
        return self.desk.load(LoadContext(self.config, FILES, instance), index)

    def _answer(self, number: int, response: Response) -> None:
        self.diary.note(Answered(number, response))

    def _on_end(self, key: SequenceKey, reason: EndReason, place: int) -> None:
        told = len(self._told)
        ended = Ended(key, reason, place)
        self.diary.note(ended)
        self.route.positions.end(key, reason, place)
        ended.told = self._told[told:]
