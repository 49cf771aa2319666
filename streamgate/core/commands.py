"""What a scheduler can ask its engine for. Plain values in, plain values out."""

import enum

from streamgate.core.ids import (
    NO_GENERATION,
    NO_REQUEST,
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
    RESTORE_FAILED = "restore_failed"
    MOVED = "moved"


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
class RestoreRefused:
    """A sequence can't be restored here; nothing is kept of it."""

    request: RequestNumber
    reason: Rejection


@value
class SlotTaken:
    """A sequence got its slot, `waited_ns` after its START arrived, or by a reservation at once.

    `restores`: its state is that of this `Restore` or `Copied`, and is to be put there now;
    `Arrived` answers.
    """

    sequence: SequenceKey
    instance: InstanceIndex
    slot: SlotIndex
    generation: Generation
    waited_ns: Ns
    restores: RequestNumber = NO_REQUEST


@value
class SequenceEnded:
    """A sequence is over, for this reason. `slot` is NO_SLOT and `instance` NO_INSTANCE when it
    never had a slot.

    Issued once for each START that was admitted, and for each granted reservation whose START has
    not come. When a row with `end` runs, this follows that step's completion; the slot may be taken
    again at once. `place` tells it from others of the same ID that live: so many have older STARTs.
    `reserved`: its START had not come. `restores`: nor had its state, which has this number.
    """

    sequence: SequenceKey
    instance: InstanceIndex
    slot: SlotIndex
    generation: Generation
    reason: EndReason
    place: int = 0
    reserved: bool = False
    restores: RequestNumber = NO_REQUEST


@value
class Leave:
    """Copy the state of this sequence, which hands over: nothing of it is queued or runs. `Copied`
    or `NotCopied` answers."""

    request: RequestNumber
    sequence: SequenceKey
    instance: InstanceIndex
    slot: SlotIndex
    generation: Generation


@value
class Evict:
    """The same for one whose slot is wanted by others. None of its steps is under way."""

    sequence: SequenceKey
    instance: InstanceIndex
    slot: SlotIndex
    generation: Generation


@value
class HandOverRefused:
    """There is no such sequence that is open, or it has ended before it could leave."""

    request: RequestNumber


@value
class SequenceLeft:
    """A sequence is not here any more, as it handed over, or (`request` 0) was evicted. It did not
    end. Its slot may be taken again at once."""

    request: RequestNumber
    sequence: SequenceKey
    instance: InstanceIndex
    slot: SlotIndex
    generation: Generation


@value
class SequenceParked:
    """A sequence was evicted and has requests: it waits for a slot again, to which it returns with
    the copied state. Its slot may be taken again at once."""

    sequence: SequenceKey
    instance: InstanceIndex
    slot: SlotIndex
    generation: Generation


@value
class SequenceStays:
    """The copy of this sequence's state is not needed: it goes on where it is, or is over."""

    instance: InstanceIndex
    slot: SlotIndex
    generation: Generation


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
    | RestoreRefused
    | SlotTaken
    | SequenceEnded
    | Leave
    | Evict
    | HandOverRefused
    | SequenceLeft
    | SequenceParked
    | SequenceStays
    | IdleWarning
    | InstanceGone
)
