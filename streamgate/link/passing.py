"""A link that passes everything on to another: what stands in front of one begins as this."""

from collections.abc import Callable, Collection, Sequence

from streamgate.core.ids import OwnerNumber, RequestNumber
from streamgate.errors import EndReason
from streamgate.link.contract import ModelLink, Needs, OnAnyEnd, OnReservation, OnWarning
from streamgate.model.config import ModelConfig
from streamgate.model.request import Request, Response, SequenceKey
from streamgate.model.statistics import ModelStatistics, SlotTable


class PassingLink:
    """Implements `streamgate.link.contract.ModelLink` by another such link."""

    def __init__(self, link: ModelLink) -> None:
        self._behind = link

    @property
    def config(self) -> ModelConfig:
        return self._behind.config

    @config.setter
    def config(self, config: ModelConfig) -> None:
        self._behind.config = config

    @property
    def version(self) -> str:
        return self._behind.version

    @version.setter
    def version(self, version: str) -> None:
        self._behind.version = version

    def submit(
        self,
        request: Request,
        sink: Callable[[Response], None],
        owner: OwnerNumber,
        position: int,
    ) -> RequestNumber:
        return self._behind.submit(request, sink, owner, position)

    def reserve(self, sequence: SequenceKey, owner: OwnerNumber, on_answer: OnReservation) -> None:
        self._behind.reserve(sequence, owner, on_answer)

    def cancel(self, number: RequestNumber) -> None:
        self._behind.cancel(number)

    def pause(self, numbers: Sequence[RequestNumber]) -> None:
        self._behind.pause(numbers)

    def resume(self, numbers: Sequence[RequestNumber]) -> None:
        self._behind.resume(numbers)

    def touch(self, sequence: SequenceKey) -> None:
        self._behind.touch(sequence)

    def hang_up(self, owner: OwnerNumber) -> None:
        self._behind.hang_up(owner)

    def end_sequence(self, sequence: SequenceKey, reason: EndReason, *, drain: bool) -> None:
        self._behind.end_sequence(sequence, reason, drain=drain)

    def needs_for(self, request: Request) -> Needs:
        return self._behind.needs_for(request)

    def needs_of(self, number: RequestNumber) -> Needs:
        return self._behind.needs_of(number)

    def watch_sequences(self, on_end: OnAnyEnd, on_warning: OnWarning) -> None:
        self._behind.watch_sequences(on_end, on_warning)

    async def is_ready(self) -> bool:
        return await self._behind.is_ready()

    def statistics(self) -> ModelStatistics:
        return self._behind.statistics()

    def slot_tables(
        self, limit: int, only: Collection[SequenceKey] | None = None
    ) -> Sequence[SlotTable]:
        return self._behind.slot_tables(limit, only)
