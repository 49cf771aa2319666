"""The engine's side of one connection: a front end's requests and sequences here."""

import asyncio
import logging
from collections.abc import Callable, Coroutine, Iterator
from dataclasses import replace
from functools import partial
from typing import Any, Final, Protocol

from streamgate.core.ids import OwnerNumber, RequestNumber
from streamgate.errors import Code, EndReason, EndWarning, Failure, StreamGateError
from streamgate.link.channel import Channel
from streamgate.link.contract import movable
from streamgate.link.exports import ExportedModel, Held
from streamgate.link.messages import (
    Answered,
    AskReady,
    Cancel,
    Ended,
    EndSequence,
    HandedOver,
    HandOver,
    HangUp,
    Pause,
    Ready,
    Refused,
    Reserve,
    Restore,
    Snapped,
    TakeSnapshot,
    Touch,
    Warned,
    WatchSnapshots,
)
from streamgate.link.steps import Step, encode_result
from streamgate.model.request import Response
from streamgate.model.snapshot import Snapshot

log = logging.getLogger(__name__)

UNREAD_BYTES_MAX: Final = 2**25
"""What a front end may leave unread before the models that answer it are held up."""

_OWNERS_PER_PEER: Final = 2**40
"""Front ends number their connections; engines tell those of different front ends apart."""


class Models(Protocol):
    """What the engine exports."""

    def exported(self, number: int) -> ExportedModel | None: ...


class Counts:
    """Answers of models that have left, and what was refused because it came too late, or by
    somebody who had lost a sequence."""

    answers = 0
    stale_steps = 0
    misplaced_steps = 0


class Peer:
    """A front end that has introduced itself, until its connection is over."""

    def __init__(
        self, number: int, channel: Channel, peer_path: str, models: Models, counts: Counts
    ) -> None:
        self.peer_path = peer_path
        self._base = number * _OWNERS_PER_PEER
        self._channel = channel
        self._models = models
        self._counts = counts
        self._requests: dict[int, tuple[ExportedModel, RequestNumber]] = {}
        self._held: set[Held] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._is_congested = False
        self.handlers: dict[type, Callable[[Any], None]] = {
            Step: self._step,
            Cancel: self._cancel,
            Pause: self._pause,
            Touch: self._touch,
            HangUp: self._hang_up,
            EndSequence: self._end_sequence,
            Reserve: self._reserve,
            Restore: self._restore,
            HandOver: self._hand_over,
            TakeSnapshot: self._take_snapshot,
            WatchSnapshots: self._watch_snapshots,
            AskReady: self._ask_ready,
        }
        channel.socket.on_drained = self._drained

    @property
    def sequences(self) -> int:
        """How many live here."""
        return len(self._held)

    def send(self, message: object) -> None:
        self._channel.send(message)

    def answer(self, number: int, question: Coroutine[Any, Any, object]) -> None:
        """Send the message that this results in, or why there is none."""

        async def ask() -> None:
            try:
                self._channel.send(await question)
            except StreamGateError as error:
                self._channel.send(Refused(number, error.failure))
            except Exception:
                log.exception("a front end's question could not be answered")
                failure = Failure(Code.INTERNAL, "the engine could not answer; its log tells why")
                self._channel.send(Refused(number, failure))

        task = asyncio.ensure_future(ask())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def leave(self) -> None:
        """The connection is over: so is all that the front end had here."""
        for task in list(self._tasks):
            task.cancel()
        for model, owner in {(held.model, held.owner) for held in self._held}:
            model.route.link.hang_up(owner)
        for model, number in list(self._requests.values()):
            model.route.link.cancel(number)

    # -- steps

    def refuse_late(self, _: Step) -> None:
        """One that came after the front end was given up: it has been told, and is lost to it."""
        self._counts.stale_steps += 1

    def _step(self, step: Step) -> None:
        model = self._models.exported(step.model)
        request = step.request
        if model is None:
            failure = Failure(Code.UNAVAILABLE, "the model has gone")
            self._refuse(step, failure, lost=True)
            return
        config = model.route.config
        request.model, request.version = config.name, model.route.version
        request.passed_recorder = True
        owner, held = OwnerNumber(self._base + step.owner), None
        if request.sequence and config.stateful:
            held = self._sequence_of(step, model, owner)
            if held is None and request.sequence in model.route.positions:
                self._counts.stale_steps += 1
                text = f"sequence {request.sequence} of model '{config.name}' is somebody else's"
                self._refuse(step, Failure(Code.UNAVAILABLE, text))
                return
            if held is not None and step.position < held.next_position:
                self._counts.misplaced_steps += 1
                self._refuse(step, _misplaced(step, held))
                return
        if held is not None:
            # Positions of steps that were cancelled before they ran stay empty in a replay.
            held.next_position = step.position + 1
            held.owner = owner
        number = model.route.submit_checked(
            request,
            partial(self._respond, step.number, held),
            owner,
            held.listener if held is not None else None,
            step.position,
        )
        self._requests[step.number] = model, number
        if self._is_congested:
            model.route.link.pause((number,))

    def _sequence_of(self, step: Step, model: ExportedModel, owner: OwnerNumber) -> Held | None:
        """Which of this front end's sequences a step is of; a START begins one. None for a step of
        one that does not live."""
        key = step.request.sequence
        if not step.request.start:
            newest = model.newest(key)
            is_its = newest is not None and newest.peer is self and newest.epoch == step.epoch
            return newest if is_its else None
        newest = model.newest_of(self, key)
        if newest is not None and newest.epoch >= step.epoch:
            if newest.epoch > step.epoch or newest.started:
                return None
            newest.started = True
            return newest
        return self._hold(Held(model, self, key, step.epoch, owner, started=True))

    def _hold(self, held: Held) -> Held:
        self._held.add(held)
        return held.model.add(held, self._ended, self._warn)

    def _respond(self, number: int, held: Held | None, response: Response) -> None:
        if response.final:
            self._requests.pop(number, None)
            if held is not None and not response.admitted and response.request.start:
                self._forget_start(held)
            if response.failure is None:
                self._counts.answers += 1
        self._send_result(number, response)

    def _forget_start(self, held: Held) -> None:
        """A START that was not admitted began nothing; a reservation waits on for another."""
        if held.reserved:
            held.started, held.next_position = False, 0
        else:
            self._let_go(held)

    def _refuse(self, step: Step, failure: Failure, *, lost: bool = False) -> None:
        request = step.request
        response = Response(
            *(request, request.model, request.version),
            failure=failure,
            admitted=False,
            position=step.position,
            lost=lost,
            ran=False,
        )
        self._send_result(step.number, response)

    def _send_result(self, number: int, response: Response) -> None:
        try:
            self._channel.send_frame(*encode_result(number, response))
        except (TypeError, ValueError, OverflowError, StreamGateError) as error:
            log.error("a response of model '%s' can't be sent: %s", response.model, error)
            failure = Failure(Code.INTERNAL, f"the response can't be sent to a front end: {error}")
            instead = replace(response, outputs=(), failure=failure, parameters={}, empty=False)
            self._channel.send_frame(*encode_result(number, instead))
        if self._channel.socket.unsent_bytes > UNREAD_BYTES_MAX and not self._is_congested:
            self._is_congested = True
            for model, numbers in self._by_model():
                model.route.link.pause(numbers)

    def _drained(self) -> None:
        if self._is_congested:
            self._is_congested = False
            for model, numbers in self._by_model():
                model.route.link.resume(numbers)

    def _by_model(self) -> Iterator[tuple[ExportedModel, list[RequestNumber]]]:
        numbers: dict[ExportedModel, list[RequestNumber]] = {}
        for model, number in self._requests.values():
            numbers.setdefault(model, []).append(number)
        yield from numbers.items()

    def _cancel(self, cancel: Cancel) -> None:
        model, number = self._requests.get(cancel.number, (None, RequestNumber(0)))
        if model is not None:
            model.route.link.cancel(number)

    def _pause(self, pause: Pause) -> None:
        for number in pause.numbers:
            model, known = self._requests.get(number, (None, RequestNumber(0)))
            if model is not None and pause.on:
                model.route.link.pause((known,))
            elif model is not None:
                model.route.link.resume((known,))

    # -- sequences

    def _touch(self, touch: Touch) -> None:
        model = self._models.exported(touch.model)
        if model is not None and model.newest_of(self, touch.sequence) is not None:
            model.route.link.touch(touch.sequence)

    def _hang_up(self, hang_up: HangUp) -> None:
        model = self._models.exported(hang_up.model)
        if model is not None:
            model.route.link.hang_up(OwnerNumber(self._base + hang_up.owner))

    def _end_sequence(self, end: EndSequence) -> None:
        model = self._models.exported(end.model)
        held = model.oldest_of(self, end.sequence) if model is not None else None
        if model is not None and held is not None and held.epoch <= end.epoch:
            model.route.link.end_sequence(end.sequence, end.reason, drain=end.drain)

    def _reserve(self, reserve: Reserve) -> None:
        model = self._models.exported(reserve.model)
        if model is None:
            self.send(Answered(reserve.number, _GONE))
            return
        owner = OwnerNumber(self._base + reserve.owner)
        held = Held(model, self, reserve.sequence, reserve.epoch, owner, False, True)
        self._hold(held)

        def answered(failure: Failure | None) -> None:
            if failure is not None:
                held.reserved = False
                if not held.started:
                    self._let_go(held)
            self.send(Answered(reserve.number, failure))

        try:
            model.route.reserve(reserve.sequence, owner, held.listener, answered)
        except StreamGateError as error:
            answered(error.failure)

    def _restore(self, restore: Restore) -> None:
        model = self._models.exported(restore.model)
        if model is None:
            self.send(Answered(restore.number, _GONE))
            return
        owner = OwnerNumber(self._base + restore.owner)
        held = Held(model, self, restore.sequence, restore.epoch, owner, started=True)
        held.next_position = restore.snapshot.position + 1
        self._hold(held)

        def answered(failure: Failure | None) -> None:
            if failure is not None:
                self._let_go(held)
            self.send(Answered(restore.number, failure))

        try:
            model.route.restore(restore.sequence, owner, held.listener, restore.snapshot, answered)
        except StreamGateError as error:
            answered(error.failure)

    def _hand_over(self, hand_over: HandOver) -> None:
        model = self._models.exported(hand_over.model)
        held = model.newest_of(self, hand_over.sequence) if model is not None else None
        if model is None or held is None or held.epoch != hand_over.epoch:
            self.send(HandedOver(hand_over.number, _NOT_HERE))
            return

        def answered(outcome: Snapshot | Failure) -> None:
            if isinstance(outcome, Snapshot):
                self._let_go(held)
            if not self._send_snapshot(HandedOver(hand_over.number, outcome)):
                self._lose(held)
                self.send(HandedOver(hand_over.number, _TOO_STRANGE))

        try:
            model.route.hand_over(hand_over.sequence, answered)
        except StreamGateError as error:
            answered(error.failure)

    def _take_snapshot(self, take: TakeSnapshot) -> None:
        model = self._models.exported(take.model)
        held = model.newest_of(self, take.sequence) if model is not None else None
        if model is None or held is None or held.epoch != take.epoch:
            self.send(HandedOver(take.number, _NOT_HERE))
            return

        def answered(outcome: Snapshot | Failure) -> None:
            if not self._send_snapshot(HandedOver(take.number, outcome)):
                self.send(HandedOver(take.number, _TOO_STRANGE))

        try:
            movable(model.route.link).take_snapshot(take.sequence, answered)
        except StreamGateError as error:
            answered(error.failure)

    def _let_go(self, held: Held) -> None:
        self._held.discard(held)
        held.model.remove(held)

    def _watch_snapshots(self, watch: WatchSnapshots) -> None:
        model = self._models.exported(watch.model)
        if model is not None:
            model.watch()

    def _ended(self, held: Held, reason: EndReason) -> None:
        self._held.discard(held)
        self.send(Ended(held.model.number, held.epoch, held.key, reason, not held.started))

    def warn(self, warning: EndWarning) -> None:
        """All that this front end has here will end soon."""
        for held in self._held:
            self._warn(held, warning)

    def _warn(self, held: Held, warning: EndWarning) -> None:
        self.send(Warned(held.model.number, held.epoch, held.key, warning))

    def snapped(self, held: Held, snapshot: Snapshot, *, has_left: bool) -> None:
        """A snapshot of this front end's sequence was taken."""
        if has_left:
            self._held.discard(held)
        message = Snapped(held.model.number, held.epoch, held.key, snapshot, has_left)
        if not self._send_snapshot(message) and has_left:
            self._lose(held)

    def _send_snapshot(self, message: object) -> bool:
        """Whether it could be sent: a model's states may be of any type and size."""
        try:
            self.send(message)
        except (TypeError, ValueError, OverflowError) as error:
            log.error("a snapshot can't be sent to a front end: %s", error)
            return False
        return True

    def _lose(self, held: Held) -> None:
        """It has left, and can't be sent: its state is lost."""
        reason = EndReason.ENGINE_LOST
        self.send(Ended(held.model.number, held.epoch, held.key, reason, unstarted=False))

    def _ask_ready(self, ask: AskReady) -> None:
        model = self._models.exported(ask.model)
        self.answer(ask.number, _ready(ask.number, model))


async def _ready(number: int, model: ExportedModel | None) -> Ready:
    return Ready(number, model is not None and await model.route.link.is_ready())


def _misplaced(step: Step, held: Held) -> Failure:
    text = (
        f"step {step.position} of sequence {held.key} does not follow: step {held.next_position} "
        "or a later one was expected"
    )
    return Failure(Code.INTERNAL, text)


_TOO_STRANGE: Final = Failure(Code.INTERNAL, "the snapshot can't be sent to a front end")
_GONE: Final = Failure(Code.UNAVAILABLE, "the model has gone")
_NOT_HERE: Final = Failure(Code.NOT_FOUND, "the sequence does not live here")
