"""Ready sequences for the tests of line-ups."""

from collections.abc import Hashable

from streamgate.core.events import Submit
from streamgate.core.ids import InstanceIndex, Ns, RequestNumber, SlotIndex
from streamgate.core.sequence import Pending, Sequence
from streamgate.core.slots import Slot


def ready(slot: int, arrived_at: int = 0, signature: Hashable = None) -> Sequence:
    """A sequence in this slot with one request waiting."""
    sequence = Sequence(slot + 1, slot + 1, Ns(arrived_at))
    sequence.slot = Slot(InstanceIndex(0), SlotIndex(slot))
    sequence.slot.renew()
    event = Submit(RequestNumber(slot + 1), sequence.key, signature=signature)
    sequence.queue.append(Pending(event, sequence, False, Ns(arrived_at)))
    return sequence


def keys(chosen: list[Sequence]) -> list[int | str]:
    return [sequence.key for sequence in chosen]
