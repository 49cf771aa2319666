"""The front end's end of a link: a connection to one engine, made again whenever it is lost."""

import asyncio
import itertools
import logging
import random
import secrets
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, Final, TypeVar

from streamgate.errors import Code, Failure, StreamGateError
from streamgate.link.addresses import Address
from streamgate.link.blocks import ARENA_BYTES
from streamgate.link.channel import Channel, Heartbeat
from streamgate.link.fence import Fences
from streamgate.link.frames import Body
from streamgate.link.greeting import Handlers, introduce
from streamgate.link.lanes import Call
from streamgate.link.losses import Cause, Deaths, Loss, is_stopped
from streamgate.link.messages import (
    Answered,
    AskIndex,
    AskOwner,
    AskSlots,
    AskStatistics,
    Done,
    Ended,
    Export,
    HandedOver,
    Index,
    Load,
    ModelLine,
    Owner,
    Peers,
    Ready,
    Refused,
    Slots,
    Snapped,
    Statistics,
    Supersede,
    Table,
    Unload,
    Warned,
    Welcome,
    Withdrawn,
)
from streamgate.link.refusals import Refusals
from streamgate.link.remote_model import ClientCounts, RemoteModel
from streamgate.link.steps import Result
from streamgate.model.request import SequenceKey
from streamgate.model.snapshot import Snapshot
from streamgate.model.statistics import ModelStatistics, SlotTable
from streamgate.session.gateway import ModelIndexEntry, ServerInfo

log = logging.getLogger(__name__)

T = TypeVar("T")

ANSWER_SECONDS: Final = 10.0
"""How long an engine may take over a question."""

FENCES_MAX: Final = 4
"""Connections of one engine that were given up and are listened to."""

LOAD_SECONDS: Final = 3_600.0
"""How long loading a model may take."""

BACKOFF_SECONDS: Final = (0.02, 0.1)
"""Between attempts to connect: first and longest."""


class EngineLink:
    """One engine. `on_change` is called whenever its models, their states or the connection have
    changed; after a loss, before anything on it is told so."""

    def __init__(
        self,
        address: Address,
        *,
        incarnation: str = "",
        peer_path: str = "",
        secret: bytes = b"",
        heartbeat: Heartbeat | None = None,
        arena_bytes: int = ARENA_BYTES,
        deaths: Deaths | None = None,
    ) -> None:
        """On this machine, large inputs go through an arena of so many bytes; 0 is none. `deaths`:
        what is told of how engines ended; without it, it was their own fault."""
        self.address = address
        self.name = str(address)
        """What tells it from others, for good."""
        self.models: dict[int, RemoteModel] = {}
        """What the engine exports on this connection, by number."""
        self.lines: Sequence[ModelLine] = ()
        """Its whole table, as it was when it was lost if it is."""
        self.peers: Sequence[str] = ()
        """Where front ends are reached, as it knew them last."""
        self.info: ServerInfo | None = None
        self.engine_incarnation = ""
        self.is_connected = False
        """Whether the engine's table is known and up to date."""
        self.is_live = False
        """Connected, and the engine itself says so."""
        self.calls: dict[int, tuple[RemoteModel, Call]] = {}
        self.counts = ClientCounts()
        self.loss: Loss | None = None
        """Why it was lost last, while it is."""
        self.on_change: Callable[[], None] = lambda: None
        self.on_lost: Callable[[str], None] = lambda _: None
        self.incarnation = incarnation or secrets.token_hex(8)
        self.peer_path = peer_path
        """Where the engine tells other front ends that this one is reached. Before `start`."""
        self._secret = secret
        self._heartbeat = heartbeat or Heartbeat()
        self._arena_bytes = arena_bytes
        self._deaths = deaths
        self._pid = 0
        self._numbers = itertools.count(1)
        self._answers: dict[int, tuple[RemoteModel, Callable[[Failure | None], None]]] = {}
        self._hand_overs: dict[int, tuple[RemoteModel, Callable[[Snapshot | Failure], None]]] = {}
        self._questions: dict[int, asyncio.Future[Any]] = {}
        self._channel: Channel | None = None
        self._fences = Fences(FENCES_MAX)
        self._over = asyncio.Event()
        self._first_table = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    # -- life

    def start(self) -> None:
        """Connect, now and whenever the connection is lost."""
        self._task = asyncio.create_task(self._keep_connected())

    async def stop(self) -> None:
        """Hang up; what is under way is answered as lost. Idempotent."""
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
        if self._channel is not None:
            self._channel.close()
            self._lost("it is being closed", Loss(Cause.OUTSIDE))
        self._fences.close()

    async def wait_connected(self) -> None:
        """Until the engine's table is known. May wait long: bound it."""
        while not self.is_connected:
            await self._first_table.wait()

    async def _keep_connected(self) -> None:
        delay = BACKOFF_SECONDS[0]
        trouble = ""
        while True:
            try:
                await self._connect()
            except (OSError, TimeoutError, StreamGateError) as error:
                if str(error) != trouble:
                    trouble = str(error)
                    log.info("the engine at %s can't be reached: %r", self.address, error)
                await asyncio.sleep(delay * random.uniform(0.5, 1.0))
                delay = min(2 * delay, BACKOFF_SECONDS[1])
                continue
            delay = BACKOFF_SECONDS[0]
            await self._over.wait()

    async def _connect(self) -> None:
        self._over.clear()
        self._first_table.clear()
        me = self.incarnation, self.peer_path
        await introduce(
            *(self.address, me, self._secret, self._heartbeat, self._adopt, self.lost),
            arena_bytes=self._arena_bytes,
        )

    def _adopt(self, channel: Channel, welcome: Welcome) -> Handlers:
        self._channel = channel
        self._pid = channel.peer_pid
        self.loss = None
        channel.on_silent = partial(self._give_up, channel)
        self.info, self.engine_incarnation = welcome.info, welcome.incarnation
        return self._handlers()

    def _handlers(self) -> Handlers:
        return {
            Result: self._result,
            Export: self._export,
            Table: self._table,
            Withdrawn: self._withdrawn,
            Peers: self._note_peers,
            Answered: self._answered,
            HandedOver: self._handed_over,
            Ended: lambda ended: self._of_model(ended, RemoteModel.ended),
            Warned: lambda warned: self._of_model(warned, RemoteModel.warned),
            Snapped: lambda snapped: self._of_model(snapped, RemoteModel.snapped),
            Refused: self._refused,
            **dict.fromkeys((Ready, Statistics, Slots, Index, Done, Owner), self._told),
        }

    # -- for the models

    def next_number(self) -> int:
        return next(self._numbers)

    def send(self, message: object) -> None:
        """Does nothing when the connection is lost."""
        if self._channel is not None:
            self._channel.send(message)

    def send_frame(self, header: tuple[Any, ...], bodies: Sequence[Body]) -> None:
        if self._channel is not None:
            self._channel.send_frame(header, bodies)

    def soon(self, call: Callable[[], None]) -> None:
        asyncio.get_running_loop().call_soon(call)

    def expect_answer(self, model: RemoteModel, on_answer: Callable[[Failure | None], None]) -> int:
        number = self.next_number()
        self._answers[number] = model, on_answer
        return number

    def answer_soon(self, number: int, failure: Failure) -> None:
        """In the engine's place."""
        self.soon(lambda: self._answered(Answered(number, failure)))

    def expect_hand_over(
        self, model: RemoteModel, on_answer: Callable[[Snapshot | Failure], None]
    ) -> int:
        number = self.next_number()
        self._hand_overs[number] = model, on_answer
        return number

    # -- questions

    async def ask(
        self,
        question: Callable[[int], object],
        answer: type[T],
        seconds: float = ANSWER_SECONDS,
    ) -> T:
        """Put a question, made for its number. Raises StreamGateError: what the engine says, or
        UNAVAILABLE when it is lost or does not answer in time."""
        if not self.is_connected:
            raise StreamGateError(Code.UNAVAILABLE, "the engine is not connected")
        number = self.next_number()
        future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._questions[number] = future
        try:
            self.send(question(number))
            async with asyncio.timeout(seconds):
                told = await future
        except TimeoutError:
            text = f"the engine gave no answer within {seconds:g} s"
            raise StreamGateError(Code.UNAVAILABLE, text) from None
        finally:
            self._questions.pop(number, None)
        if not isinstance(told, answer):
            text = f"the engine answered with a {type(told).__name__}"
            raise StreamGateError(Code.INTERNAL, text)
        return told

    async def statistics(self, name: str, version: str) -> Sequence[ModelStatistics]:
        """As `Gateway.statistics`."""
        told = await self.ask(lambda number: AskStatistics(number, name, version), Statistics)
        for each in told.statistics:
            for model in self._models_of(each.name, each.version):
                model.note_statistics(each)
        return told.statistics

    async def slots(self, name: str, version: str) -> Sequence[SlotTable]:
        """As `Gateway.slots`."""
        told = await self.ask(lambda number: AskSlots(number, name, version), Slots)
        for each in told.tables:
            for model in self._models_of(each.name, each.version):
                model.note_slots((each,))
        return told.tables

    async def index(self, *, ready_only: bool) -> Sequence[ModelIndexEntry]:
        """As `Gateway.repository_index`."""
        told = await self.ask(lambda number: AskIndex(number, ready_only), Index)
        return told.entries

    async def load(self, name: str, config: str | None, files: Mapping[str, bytes]) -> None:
        """As `Gateway.load_model`."""
        await self.ask(lambda number: Load(number, name, config, files), Done, LOAD_SECONDS)

    async def unload(self, name: str, *, unload_dependents: bool) -> None:
        """As `Gateway.unload_model`."""
        await self.ask(lambda number: Unload(number, name, unload_dependents), Done)

    async def owner_of(self, name: str, sequence: SequenceKey, seconds: float) -> str:
        """Where the front end is reached that holds the log of a sequence; "" for none."""
        told = await self.ask(lambda number: AskOwner(number, name, sequence), Owner, seconds)
        return told.peer_path

    def supersede(self, name: str, sequence: SequenceKey) -> None:
        """What other front ends have of this ID there ends."""
        self.send(Supersede(name, sequence))

    def _models_of(self, name: str, version: str) -> list[RemoteModel]:
        return [
            model
            for model in self.models.values()
            if model.is_ready_there and (model.config.name, model.version) == (name, version)
        ]

    # -- what the engine says

    def _result(self, result: Result) -> None:
        model, call = self.calls.get(result.number, (None, None))
        if model is None or call is None:
            self.counts.stale.note_result(None)
            return
        model.receive(call, result)

    def _of_model(self, message: Any, told: Callable[[RemoteModel, Any], None]) -> None:
        model = self.models.get(message.model)
        if model is None:
            self.counts.stale_news += 1
            return
        told(model, message)

    def _export(self, export: Export) -> None:
        model = self.models.get(export.model)
        if model is None:
            self.models[export.model] = RemoteModel(
                self, export.model, export.version, export.config
            )
        else:
            model.config = export.config

    def _table(self, table: Table) -> None:
        ready = {version.model for line in table.models for version in line.versions}
        for number, model in self.models.items():
            model.is_ready_there = number in ready
        self.lines = table.models
        self.is_live = table.live
        self.is_connected = True
        self.on_change()
        self._first_table.set()

    def _note_peers(self, peers: Peers) -> None:
        self.peers = peers.paths

    def _withdrawn(self, withdrawn: Withdrawn) -> None:
        model = self.models.pop(withdrawn.model, None)
        if model is not None:
            model.close()
            self.on_change()
            self._fail([model])

    def _answered(self, answered: Answered) -> None:
        _, on_answer = self._answers.pop(answered.number, (None, None))
        if on_answer is not None:
            on_answer(answered.failure)

    def _handed_over(self, handed_over: HandedOver) -> None:
        _, on_answer = self._hand_overs.pop(handed_over.number, (None, None))
        if on_answer is not None:
            on_answer(handed_over.outcome)

    def _told(self, message: Any) -> None:
        future = self._questions.pop(message.number, None)
        if future is not None and not future.done():
            future.set_result(message)

    def _refused(self, refused: Refused) -> None:
        future = self._questions.pop(refused.number, None)
        if future is not None and not future.done():
            future.set_exception(StreamGateError(refused.failure.code, refused.failure.message))

    # -- loss

    def _give_up(self, channel: Channel, why: str) -> None:
        """Whoever is silent may go on all the same, and not know that it was given up."""
        models = {number: model.name_and_version for number, model in self.models.items()}
        questions = {
            number: model.name_and_version
            for number, (model, _) in (*self.calls.items(), *self._hand_overs.items())
        }
        refusals = Refusals(self.name, self.counts.stale, models, questions)
        self._fences.put(channel, self._handlers().keys(), refusals.noted(), refusals.tell)
        is_outside = self._pid and is_stopped(self._pid)
        self._tell_lost(why, Loss(Cause.OUTSIDE if is_outside else Cause.UNEXPLAINED))

    def lost(self, why: str) -> None:
        """The channel's end, once the engine is known."""
        deaths = self._deaths if self._pid else None
        self._tell_lost(why, deaths.loss_of(self._pid) if deaths else Loss(Cause.ITS_OWN))

    def _tell_lost(self, why: str, loss: Loss) -> None:
        log.warning("the engine at %s is lost: %s", self.address, why)
        self.counts.losses += 1
        self._lost(why, loss)

    def _lost(self, why: str, loss: Loss) -> None:
        self._channel = None
        self.loss = loss
        self.is_connected = self.is_live = False
        self._first_table.clear()
        models = list(self.models.values())
        self.models.clear()
        for model in models:
            model.close()
        self.on_change()
        self._fail(models)
        questions, self._questions = self._questions, {}
        for future in questions.values():
            if not future.done():
                future.set_exception(StreamGateError(Code.UNAVAILABLE, "the engine was lost"))
        self._over.set()
        self.on_lost(why)

    def _fail(self, models: Sequence[RemoteModel]) -> None:
        """Answer and end all that these models had."""
        gone = set(models)
        failure = Failure(Code.UNAVAILABLE, "the engine that ran the model was lost")
        for number, (model, on_answer) in list(self._answers.items()):
            if model in gone:
                del self._answers[number]
                _tell(on_answer, failure)
        for number, (model, on_handed) in list(self._hand_overs.items()):
            if model in gone:
                del self._hand_overs[number]
                _tell(on_handed, failure)
        calls: dict[RemoteModel, list[Call]] = {model: [] for model in models}
        for number, (model, call) in list(self.calls.items()):
            if model in gone:
                del self.calls[number]
                calls[model].append(call)
        for model in models:
            model.lose(calls[model])


def _tell(told: Callable[[Failure], None], failure: Failure) -> None:
    """All must be told of a loss, whatever becomes of one."""
    try:
        told(failure)
    except Exception:
        log.exception("news of a lost engine could not be taken")
