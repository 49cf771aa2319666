"""What a scheduler can ask its engine for. Plain values in, plain values out."""

import enum

from streamgate.core.ids import (
    NO_GENERATION,
    NO_SLOT,
    Generation,
    InstanceIndex,
    Ns,
    RequestNumber,
    SlotIndex,
    StepNumber,
)
from streamgate.core.value import value
from streamgate.errors import EndReason
from streamgate.model.request import SequenceKey


class Rejection(enum.Enum):
    """Why a request is answered without the device, or a reservation refused. The engine has the
    wire text of each."""

    NO_CORRELATION_ID = "no_correlation_id"
    MISSING_START = "missing_start"
    BATCH_IN_SEQUENCE = "batch_in_sequence"
    QUEUE_FULL = "queue_full"
    BACKLOG_FULL = "backlog_full"
    TIMEOUT = "timeout"
    SEQUENCE_TIMEOUT = "sequence_timeout"
    STOPPING = "stopping"
    CANCELLED = "cancelled"
    SEQUENCE_ENDED = "sequence_ended"
    INSTANCE_LOST = "instance_lost"
    INSTANCE_AWAY = "instance_away"
    SLOTS_TAKEN = "slots_taken"
    SEQUENCE_LIVES = "sequence_lives"
    NOTHING_TO_RESERVE = "nothing_to_reserve"
    NO_HEADROOM = "no_headroom"


@value
class Row:
    """One row of a step: a request and where its state lives.

    A null row (`request` 0) fills a gap of a positional batch: it keeps the slot's state as it is,
    and its answer is dropped. `start` means that the slot's state begins anew with this row.
    """

    request: RequestNumber
    slot: SlotIndex = NO_SLOT
    generation: Generation = NO_GENERATION
    sequence: SequenceKey = 0
    start: bool = False
    end: bool = False
    rows: int = 1


@value
class Step:
    """One execution on one instance. Positional steps have row i in slot i."""

    number: StepNumber
    instance: InstanceIndex
    rows: tuple[Row, ...]


@value
class Run:
    """Execute this step; answer with Completed when the model gave it back."""

    step: Step


@value
class Reject:
    """Answer this request: it will not run. `admitted` is false when it was refused on arrival.

    `end` is why its sequence ended, where that is the reason, `served` how many streams there are,
    where they leave no room for one more.
    """

    request: RequestNumber
    reason: Rejection
    admitted: bool
    end: EndReason | None = None
    served: int = 0


@value
class Reserved:
    """A reservation is granted: `SlotTaken` has said which slot."""

    request: RequestNumber


@value
class ReservationRefused:
    """A reservation is refused; nothing is held for it. `slots` is how many there are, where they
    are all taken, or how many are, where no more streams can be served."""

    request: RequestNumber
    reason: Rejection
    slots: int = 0


@value
class SlotTaken:
    """A sequence got its slot, `waited_ns` after its START arrived, or by a reservation at once."""

    sequence: SequenceKey
    instance: InstanceIndex
    slot: SlotIndex
    generation: Generation
    waited_ns: Ns


@value
class SequenceEnded:
    """A sequence is over, for this reason. `slot` is NO_SLOT and `instance` NO_INSTANCE when it
    never had a slot.

    Issued once for each START that was admitted, and for each granted reservation whose START has
    not come. When a row with `end` runs, this follows that step's completion; the slot may be taken
    again at once. `place` tells it from others of the same ID that live: so many have older STARTs.
    `reserved`: its START had not come.
    """

    sequence: SequenceKey
    instance: InstanceIndex
    slot: SlotIndex
    generation: Generation
    reason: EndReason
    place: int = 0
    reserved: bool = False


@value
class IdleWarning:
    """A sequence will end as idle in `left_ns` unless something of it comes."""

    sequence: SequenceKey
    instance: InstanceIndex
    slot: SlotIndex
    generation: Generation
    left_ns: Ns


@value
class InstanceGone:
    """An instance that was to go has nothing left: close it. It is never named again."""

    instance: InstanceIndex


Command = (
    Run
    | Reject
    | Reserved
    | ReservationRefused
    | SlotTaken
    | SequenceEnded
    | IdleWarning
    | InstanceGone
)
