"""Slots that are asked for before there is anything to send: who waits for which answer."""

from streamgate.core.commands import ReservationRefused, Reserved
from streamgate.core.ids import RequestNumber
from streamgate.engine.counters import Counters
from streamgate.engine.recent_ends import RecentEnds
from streamgate.engine.rejections import refusal_for
from streamgate.link.contract import OnReservation
from streamgate.model.request import SequenceKey


class Bookings:
    """The reservations of one model version that are not answered yet."""

    def __init__(self, model: str, counters: Counters, recent_ends: RecentEnds) -> None:
        self._model = model
        self._counters = counters
        self._recent_ends = recent_ends
        self._asked: dict[RequestNumber, tuple[SequenceKey, OnReservation]] = {}

    def note(self, number: RequestNumber, sequence: SequenceKey, on_answer: OnReservation) -> None:
        """The scheduler is asked for one."""
        self._asked[number] = (sequence, on_answer)

    def answer(self, command: Reserved | ReservationRefused) -> None:
        """It has answered."""
        sequence, answer = self._asked.pop(command.request)
        if isinstance(command, Reserved):
            self._recent_ends.forget(sequence)
            self._counters.reservations += 1
            answer(None)
        else:
            self._counters.refuse_reservation(command.reason.value)
            answer(refusal_for(command.reason, self._model, sequence, command.slots))
