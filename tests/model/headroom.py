"""What must hold where no instance may have more sequences than it can serve in time."""

from typing import Any

from streamgate.core.commands import Rejection, SlotTaken
from streamgate.core.ids import InstanceIndex, Ns
from tests.model.moves import MovingAudit
from tests.model.records import Asked


class PacedAudit(MovingAudit):
    """Knows the `limit` of each instance, which the test may change when all is told."""

    def __init__(self, *rest: Any) -> None:
        super().__init__(*rest)
        self.limit = self.slots

    def has_room(self) -> bool:
        free = [index for (index, _), tenancy in self.seats.items() if tenancy is None]
        return any(self.roll.takes(index) and self.is_roomy(index) for index in free)

    def is_roomy(self, index: InstanceIndex) -> bool:
        return len(self.tenancies_on(index)) < self.limit

    def reason_against(self, asked: Asked) -> Rejection | None:
        reason = super().reason_against(asked)
        if reason is not Rejection.SLOTS_TAKEN:
            return reason
        has_slots = any(
            tenancy is None and self.roll.takes(index) for (index, _), tenancy in self.seats.items()
        )
        is_slow = has_slots or self.limit < self.slots
        return Rejection.NO_HEADROOM if is_slow else Rejection.SLOTS_TAKEN

    def told_slots(self, reason: Rejection) -> int:
        if reason is Rejection.NO_HEADROOM:
            return sum(tenancy is not None for tenancy in self.seats.values())
        return super().told_slots(reason)

    def saw_taken(self, taken: SlotTaken, now: Ns) -> None:
        passed_on = self.left.get((taken.instance, taken.slot)) == taken.sequence
        assert passed_on or self.is_roomy(taken.instance), "more than can be served"
        super().saw_taken(taken, now)
