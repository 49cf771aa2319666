"""An engine that can be lost: runs running hashes step by step, when the test says so."""

from collections import deque
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from functools import partial

import numpy as np

from streamgate.core.ids import OwnerNumber, RequestNumber
from streamgate.errors import Code, EndReason, Failure
from streamgate.link.contract import (
    UNSTARTED,
    Needs,
    OnAnyEnd,
    OnHandOver,
    OnReservation,
    OnSnapshot,
    OnWarning,
)
from streamgate.model.config import ModelConfig
from streamgate.model.datatypes import DataType
from streamgate.model.request import Request, Response, SequenceKey
from streamgate.model.snapshot import Snapshot
from streamgate.model.statistics import ModelStatistics, SlotTable
from streamgate.model.tensor import Tensor
from tests.durable.models import mix
from tests.engine.play_host import PlayHost
from tests.session.fake_link import FakeLink

Sink = Callable[[Response], None]


def value_of(request: Request) -> int:
    return int(request.inputs[0].array.item())


def request_of(key: SequenceKey, value: int, *, start: bool = False, end: bool = False) -> Request:
    tensor = Tensor.of("I", np.array([value], np.int64), DataType.INT64)
    return Request("m", "1", inputs=[tensor], sequence=key, start=start, end=end)


@dataclass(eq=False)
class _Asked:
    """A request in the engine. `sent` counts its responses."""

    number: RequestNumber
    request: Request
    sink: Sink
    owner: OwnerNumber
    position: int
    sent: int = 0
    is_paused: bool = False

    @property
    def results(self) -> int:
        """How many it has: none to two, behind which an empty one closes it."""
        return value_of(self.request) % 3


@dataclass(eq=False)
class _Lives:
    """A sequence in the engine, `kept` after its step at `position`."""

    key: SequenceKey
    owner: OwnerNumber
    awaits_start: bool = False
    kept: int = 0
    position: int = -1
    queue: deque[_Asked] = field(default_factory=deque)
    has_end: bool = False
    closing: EndReason | None = None
    on_left: OnHandOver | None = None
    on_restored: OnReservation | None = None

    @property
    def is_open(self) -> bool:
        return self.closing is None and not self.has_end


class FakePlace:
    """Implements `MovableLink`. A step is begun by `work`, and each of its responses takes one more
    call of it; what is refused or told comes when the host runs."""

    def __init__(self, config: ModelConfig, host: PlayHost, *, schema: str = "hash") -> None:
        self.config = config
        self.version = "1"
        self.schema = schema
        self.host = host
        self.is_away = False
        self.pins = False
        self.lives: dict[SequenceKey, deque[_Lives]] = {}
        self.stateless: deque[_Asked] = deque()
        self.restored = 0
        self.fails_restores = 0
        self.on_end: OnAnyEnd
        self.on_warning: OnWarning
        self.on_snapshot: OnSnapshot
        self._numbers = 0
        self._refusals: deque[Callable[[], None]] = deque()

    # -- the link

    def submit(
        self, request: Request, sink: Sink, owner: OwnerNumber, position: int
    ) -> RequestNumber:
        self._numbers += 1
        number = RequestNumber(self._numbers)
        asked = _Asked(number, request, sink, owner, position)
        key = request.sequence
        if self.is_away:
            self._later(asked, Failure(Code.UNAVAILABLE, "away"), admitted=False, lost=True)
        elif not key:
            self.stateless.append(asked)
        elif not self._let_in(asked):
            self._later(asked, Failure(Code.INVALID_ARG, "must START"), admitted=False)
        return number

    def _let_in(self, asked: _Asked) -> bool:
        key = asked.request.sequence
        line = self.lives.setdefault(key, deque())
        if asked.request.start:
            if line and line[-1].awaits_start:
                line[-1].awaits_start = False
            else:
                line.append(_Lives(key, asked.owner))
        newest = line[-1] if line else None
        if newest is None or newest.awaits_start or not newest.is_open:
            if not line:
                del self.lives[key]
            return False
        newest.queue.append(asked)
        newest.has_end = asked.request.end
        newest.owner = asked.owner
        return True

    def reserve(self, sequence: SequenceKey, owner: OwnerNumber, on_answer: OnReservation) -> None:
        if self.is_away or sequence in self.lives:
            failure = Failure(Code.UNAVAILABLE, "all slots are taken")
            self.host.call_soon(partial(on_answer, failure))
            return
        self.lives[sequence] = deque((_Lives(sequence, owner, awaits_start=True),))
        self.host.call_soon(partial(on_answer, None))

    def restore(
        self,
        sequence: SequenceKey,
        owner: OwnerNumber,
        snapshot: Snapshot,
        on_answer: OnReservation,
    ) -> None:
        failure = None
        if self.is_away:
            failure = Failure(Code.UNAVAILABLE, "away")
        elif self.fails_restores:
            self.fails_restores -= 1
            failure = Failure(Code.INTERNAL, "its process went")
        elif snapshot.schema != self.schema:
            failure = Failure(Code.INVALID_ARG, "another schema")
        elif sequence in self.lives:
            failure = Failure(Code.ALREADY_EXISTS, "it lives here")
        if failure is None:
            kept, position = int(snapshot.objects or b""), snapshot.position
            lives = _Lives(sequence, owner, False, kept, position, on_restored=on_answer)
            self.lives[sequence] = deque((lives,))
            self.restored += 1
            self.host.call_soon(partial(self._say_restored, lives, None))
        else:
            self.host.call_soon(partial(on_answer, failure))

    @staticmethod
    def _say_restored(lives: _Lives, failure: Failure | None) -> None:
        on_restored, lives.on_restored = lives.on_restored, None
        if on_restored is not None:
            on_restored(failure)

    def hand_over(self, sequence: SequenceKey, on_answer: OnHandOver) -> None:
        line = self.lives.get(sequence)
        failure = None
        if line is None:
            failure = Failure(Code.NOT_FOUND, "not here")
        elif self.pins:
            failure = Failure(Code.UNSUPPORTED, "pinned")
        if line is None or failure is not None:
            self.host.call_soon(partial(on_answer, failure or Failure(Code.NOT_FOUND, "")))
            return
        line[0].on_left = on_answer
        self.host.call_soon(partial(self._see_off, sequence))

    def take_snapshot(self, sequence: SequenceKey, on_answer: OnHandOver) -> None:
        self.host.call_soon(partial(on_answer, self._snapshot(self.lives[sequence][0])))

    def watch_snapshots(self, on_snapshot: OnSnapshot) -> None:
        self.on_snapshot = on_snapshot

    def watch_sequences(self, on_end: OnAnyEnd, on_warning: OnWarning) -> None:
        self.on_end = on_end
        self.on_warning = on_warning

    def cancel(self, number: RequestNumber) -> None:
        for line in list(self.lives.values()):
            for lives in list(line):
                for asked in list(lives.queue):
                    if asked.number == number:
                        self._cancel(lives, asked)
                        return

    def _cancel(self, lives: _Lives, asked: _Asked) -> None:
        lives.queue.remove(asked)
        if asked.request.end:
            lives.has_end = False
        ran = lives.position >= asked.position
        self._answer(asked, Failure(Code.CANCELLED, ""), ran=ran)
        if asked.request.start and not ran:
            self._abort(lives, EndReason.CLIENT_ABORT)
        else:
            self._rest(lives, ended=asked.request.end and ran)

    def pause(self, numbers: Sequence[RequestNumber]) -> None:
        self._pause(numbers, paused=True)

    def resume(self, numbers: Sequence[RequestNumber]) -> None:
        self._pause(numbers, paused=False)

    def _pause(self, numbers: Sequence[RequestNumber], *, paused: bool) -> None:
        for lives in self.all():
            for asked in lives.queue:
                if asked.number in numbers:
                    asked.is_paused = paused

    def touch(self, sequence: SequenceKey) -> None:
        """No sequence is ever idle for too long here."""

    def hang_up(self, owner: OwnerNumber) -> None:
        # What was refused before is told before the ends.
        self._say_refusals()
        for lives in self.all():
            if lives.owner == owner:
                self._abort(lives, EndReason.CLIENT_ABORT)

    def end_sequence(self, sequence: SequenceKey, reason: EndReason, *, drain: bool) -> None:
        self._say_refusals()
        line = self.lives.get(sequence)
        if line is None:
            return
        lives = line[0]
        if not drain:
            self._abort(lives, reason)
        elif lives.is_open:
            lives.closing = reason
            self._rest(lives)

    def needs_for(self, request: Request) -> Needs:
        return [[(self, "m_0")]]

    def needs_of(self, number: RequestNumber) -> Needs:
        return [[(self, f"m_0 for {number}")]]

    async def is_ready(self) -> bool:
        return not self.is_away

    def statistics(self) -> ModelStatistics:
        return FakeLink(self.config).statistics()

    def slot_tables(
        self, limit: int, only: Collection[SequenceKey] | None = None
    ) -> Sequence[SlotTable]:
        taken = len(self.lives)
        return [SlotTable("m", "1", 4, taken, 0, ())]

    # -- what the test makes it do

    def all(self) -> list[_Lives]:
        return [lives for line in self.lives.values() for lives in line]

    def ready(self) -> list[SequenceKey]:
        """The sequences that have something to do."""
        return [
            key
            for key, line in self.lives.items()
            if line[0].queue and not line[0].queue[0].is_paused
        ]

    def work(self, key: SequenceKey) -> None:
        """Begin the next step of a sequence, or send the next response of the one that runs."""
        lives = self.lives[key][0]
        asked = lives.queue[0]
        if lives.position < asked.position:
            lives.kept = mix(lives.kept, value_of(asked.request))
            lives.position = asked.position
            return
        if asked.sent < asked.results:
            result = mix(lives.kept, asked.sent)
            tensor = Tensor.of("O", np.array([result], np.int64), DataType.INT64)
            asked.sent += 1
            asked.sink(
                Response(
                    asked.request,
                    "m",
                    "1",
                    [tensor],
                    final=False,
                    position=asked.position,
                    index=asked.sent - 1,
                )
            )
            return
        lives.queue.popleft()
        asked.sink(
            Response(asked.request, "m", "1", empty=True, position=asked.position, index=asked.sent)
        )
        self._rest(lives, ended=asked.request.end)

    def finish(self) -> None:
        """Do all there is to do."""
        while ready := self.ready():
            self.work(ready[0])
            self.host.settle()

    def snapshot(self, key: SequenceKey) -> None:
        """Tell one that nobody asked for, if it can be taken now."""
        lives = self.lives[key][0]
        if self._is_quiet(lives):
            self.on_snapshot(key, self._snapshot(lives), False)

    def hibernate(self, key: SequenceKey) -> bool:
        """Give away the slot of a sequence that is idle."""
        lives = self.lives[key][0]
        if lives.queue or lives.awaits_start or len(self.lives[key]) > 1 or not lives.is_open:
            return False
        del self.lives[key]
        self.on_snapshot(key, self._snapshot(lives), True)
        return True

    def lose(self) -> None:
        """All that is kept here is gone. What has not begun, behind a START, waits on, as in the
        scheduler."""
        for key, line in list(self.lives.items()):
            lives = line.popleft()
            if not line:
                del self.lives[key]
            for asked in lives.queue:
                failure = Failure(Code.UNAVAILABLE, "lost")
                ran = lives.position >= asked.position
                self._answer(asked, failure, lost=True, ran=ran)
            if lives.on_restored is not None:
                self._say_restored(lives, Failure(Code.UNAVAILABLE, "lost on its way"))
                continue
            place = UNSTARTED if lives.awaits_start else 0
            self.on_end(key, EndReason.ENGINE_LOST, place)
        stateless, self.stateless = self.stateless, deque()
        for asked in stateless:
            self._answer(asked, Failure(Code.UNAVAILABLE, "lost"), lost=True)

    def answer_stateless(self) -> None:
        asked = self.stateless.popleft()
        asked.sink(Response(asked.request, "m", "1"))

    def lose_step(self, key: SequenceKey) -> None:
        """Lose what runs a sequence's step, but not its state."""
        asked = self.lives[key][0].queue.popleft()
        self._answer(asked, Failure(Code.UNAVAILABLE, "lost"), lost=True)

    # -- inside

    @staticmethod
    def _is_quiet(lives: _Lives) -> bool:
        """Whether no step is half done."""
        return not (lives.queue and lives.position >= lives.queue[0].position)

    def _snapshot(self, lives: _Lives) -> Snapshot:
        return Snapshot(lives.position, self.schema, objects=b"%d" % lives.kept)

    def _rest(self, lives: _Lives, *, ended: bool = False) -> None:
        """A step is done with: what is next?"""
        line = self.lives.get(lives.key)
        if line is None or lives is not line[0]:
            return
        if ended:
            self._end(lives, EndReason.CLIENT_END)
        elif not lives.queue and lives.closing is not None:
            self._end(lives, lives.closing)
        elif not lives.queue and len(line) > 1:
            self._end(lives, EndReason.SUPERSEDED)
        elif not lives.queue and lives.on_left is not None:
            self._see_off(lives.key)

    def _see_off(self, key: SequenceKey) -> None:
        line = self.lives.get(key)
        if line is None:
            return
        lives = line[0]
        if lives.on_left is None or lives.queue:
            return
        on_left, lives.on_left = lives.on_left, None
        del self.lives[key]
        on_left(self._snapshot(lives))

    def _abort(self, lives: _Lives, reason: EndReason) -> None:
        lives.closing = reason
        waiting, lives.queue = lives.queue, deque()
        for asked in waiting:
            ran = lives.position >= asked.position
            self._answer(asked, Failure(Code.CANCELLED, f"ended ({reason.value})"), ran=ran)
        self._end(lives, reason)

    def _end(self, lives: _Lives, reason: EndReason) -> None:
        line = self.lives.get(lives.key)
        if line is None or lives not in line:
            return
        place = line.index(lives)
        line.remove(lives)
        if not line:
            del self.lives[lives.key]
        if lives.on_left is not None:
            on_left, lives.on_left = lives.on_left, None
            self.host.call_soon(partial(on_left, Failure(Code.NOT_FOUND, "it has ended")))
        if lives.on_restored is not None:
            self._say_restored(lives, Failure(Code.UNAVAILABLE, f"it ended ({reason.value})"))
        else:
            self.on_end(lives.key, reason, UNSTARTED if lives.awaits_start else place)
        if line and not line[0].queue:
            self._rest(line[0])

    def _later(
        self, asked: _Asked, failure: Failure, *, admitted: bool, lost: bool = False
    ) -> None:
        answer = partial(self._answer, asked, failure, admitted=admitted, lost=lost, ran=False)
        self._refusals.append(answer)
        self.host.call_soon(self._say_refusals)

    def _say_refusals(self) -> None:
        while self._refusals:
            self._refusals.popleft()()

    @staticmethod
    def _answer(
        asked: _Asked,
        failure: Failure,
        *,
        admitted: bool = True,
        lost: bool = False,
        ran: bool = True,
    ) -> None:
        asked.sink(
            Response(
                asked.request,
                "m",
                "1",
                failure=failure,
                admitted=admitted,
                position=asked.position,
                index=asked.sent,
                lost=lost,
                ran=ran,
            )
        )
