"""A link to no engine: keeps what it is asked, and answers when the test says so."""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from typing import Any

from streamgate.core.ids import OwnerNumber, RequestNumber
from streamgate.errors import Code, EndReason, Failure
from streamgate.link.contract import (
    Needs,
    OnAnyEnd,
    OnHandOver,
    OnReservation,
    OnSnapshot,
    OnWarning,
)
from streamgate.model.config import DirectStrategy, ModelConfig, SequenceBatching
from streamgate.model.request import Request, Response, SequenceKey
from streamgate.model.snapshot import Snapshot
from streamgate.model.statistics import Duration, Histogram, ModelStatistics, SlotTable
from tests.session.plain_models import config_of, spec

Sink = Callable[[Response], None]
NOTHING = Histogram((), (0,), 0.0)


def sequence_config(**changes: Any) -> ModelConfig:
    fields = {"scheduling": SequenceBatching(DirectStrategy(), 4), **changes}
    return config_of(spec("I", 4), **fields)


@dataclass(eq=False)
class FakeLink:
    """Implements `ModelLink`. Requests are numbered from 1, in the order of `submitted`."""

    config: ModelConfig = field(default_factory=sequence_config)
    version: str = "1"
    submitted: list[tuple[Request, Sink, OwnerNumber, int]] = field(default_factory=list)
    reserved: list[tuple[SequenceKey, OwnerNumber, OnReservation]] = field(default_factory=list)
    cancelled: list[RequestNumber] = field(default_factory=list)
    paused: list[RequestNumber] = field(default_factory=list)
    hung_up: list[OwnerNumber] = field(default_factory=list)
    touched: list[SequenceKey] = field(default_factory=list)
    ended: list[tuple[SequenceKey, EndReason, bool]] = field(default_factory=list)
    on_end: OnAnyEnd = lambda key, reason, place: None
    on_warning: OnWarning = lambda key, warning: None
    says_ready: bool = True

    def submit(
        self, request: Request, sink: Sink, owner: OwnerNumber, position: int
    ) -> RequestNumber:
        self.submitted.append((request, sink, owner, position))
        return RequestNumber(len(self.submitted))

    def reserve(self, sequence: SequenceKey, owner: OwnerNumber, on_answer: OnReservation) -> None:
        self.reserved.append((sequence, owner, on_answer))

    def cancel(self, number: RequestNumber) -> None:
        self.cancelled.append(number)

    def pause(self, numbers: Sequence[RequestNumber]) -> None:
        self.paused.extend(numbers)

    def resume(self, numbers: Sequence[RequestNumber]) -> None:
        for number in numbers:
            self.paused.remove(number)

    def touch(self, sequence: SequenceKey) -> None:
        self.touched.append(sequence)

    def hang_up(self, owner: OwnerNumber) -> None:
        self.hung_up.append(owner)

    def end_sequence(self, sequence: SequenceKey, reason: EndReason, *, drain: bool) -> None:
        self.ended.append((sequence, reason, drain))

    def watch_sequences(self, on_end: OnAnyEnd, on_warning: OnWarning) -> None:
        self.on_end = on_end
        self.on_warning = on_warning

    def needs_for(self, request: Request) -> Needs:
        raise AssertionError

    def needs_of(self, number: RequestNumber) -> Needs:
        raise AssertionError

    async def is_ready(self) -> bool:
        return self.says_ready

    def statistics(self) -> ModelStatistics:
        nothing = Duration()
        return ModelStatistics(
            self.config.name,
            self.version,
            *(0, 0, 0),
            *(nothing,) * 6,
            batches=(),
            failures={},
            pending=0,
            occupancy=NOTHING,
            step_time=NOTHING,
        )

    def slot_tables(
        self, limit: int, only: Collection[SequenceKey] | None = None
    ) -> Sequence[SlotTable]:
        raise AssertionError

    @property
    def positions(self) -> list[int]:
        return [position for *_, position in self.submitted]

    def answer(self, place: int, *, final: bool = True) -> None:
        request, sink, _, position = self.submitted[place]
        sink(Response(request, "m", self.version, final=final, position=position))

    def refuse(self, place: int) -> None:
        """As the scheduler does on arrival."""
        request, sink, _, _ = self.submitted[place]
        failure = Failure(Code.UNAVAILABLE, "no")
        sink(Response(request, "m", self.version, failure=failure, admitted=False))


@dataclass(eq=False)
class FakeMovableLink(FakeLink):
    """Implements `MovableLink`."""

    restored: list[tuple[SequenceKey, OwnerNumber, Snapshot, OnReservation]] = field(
        default_factory=list
    )
    handed_over: list[tuple[SequenceKey, OnHandOver]] = field(default_factory=list)
    asked: list[tuple[SequenceKey, OnHandOver]] = field(default_factory=list)
    on_snapshot: OnSnapshot = lambda key, snapshot, hibernates: None

    def restore(
        self,
        sequence: SequenceKey,
        owner: OwnerNumber,
        snapshot: Snapshot,
        on_answer: OnReservation,
    ) -> None:
        self.restored.append((sequence, owner, snapshot, on_answer))

    def hand_over(self, sequence: SequenceKey, on_answer: OnHandOver) -> None:
        self.handed_over.append((sequence, on_answer))

    def take_snapshot(self, sequence: SequenceKey, on_answer: OnHandOver) -> None:
        self.asked.append((sequence, on_answer))

    def watch_snapshots(self, on_snapshot: OnSnapshot) -> None:
        self.on_snapshot = on_snapshot
