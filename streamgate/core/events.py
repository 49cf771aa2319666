"""What can happen to a scheduler. Plain values: a trace of them can be kept and replayed."""

from collections.abc import Hashable

from streamgate.core.ids import (
    NO_OWNER,
    Generation,
    InstanceIndex,
    OwnerNumber,
    RequestNumber,
    SlotIndex,
    StepNumber,
)
from streamgate.core.value import value
from streamgate.errors import EndReason
from streamgate.model.request import SequenceKey


@value
class Submit:
    """A request arrived.

    `rows` is the size of its batch dimension. Requests whose `signature` differs can't share a
    batch (it stands for the shapes of inputs that may vary and the set of optional inputs).
    """

    request: RequestNumber
    sequence: SequenceKey = 0
    start: bool = False
    end: bool = False
    rows: int = 1
    signature: Hashable = None
    priority: int = 0
    timeout_ns: int = 0
    owner: OwnerNumber = NO_OWNER


@value
class Reserve:
    """Give this sequence a slot now, before its START comes, or refuse: a reservation never waits.

    `request` numbers it as if it were one. The START of this ID that comes next begins what is
    reserved, whoever sends it; until then the slot is held as by any sequence that is idle.
    """

    request: RequestNumber
    sequence: SequenceKey
    owner: OwnerNumber = NO_OWNER


@value
class Restore:
    """A sequence comes from elsewhere, with its state: it takes a slot or waits for one, as a START
    does, and lives from now on. Its requests may follow at once.

    `request` numbers it as if it were one, and is what `SlotTaken` says. A pace or a full backlog
    refuses none: it was let in once. An old sequence of its ID that is to end is waited for.
    """

    request: RequestNumber
    sequence: SequenceKey
    owner: OwnerNumber = NO_OWNER


@value
class Arrived:
    """The state that this number stands for is in the slot that `SlotTaken` named for it, or can't
    be: then its sequence is over. No step of it starts before."""

    request: RequestNumber
    failed: bool = False


@value
class HandOver:
    """Let an open sequence leave after what it has queued: `Leave` follows, or `HandOverRefused`.
    Requests that come for it meanwhile are rejected (moved), a START waits until it has gone.

    `request` numbers it as if it were one.
    """

    request: RequestNumber
    sequence: SequenceKey


@value
class Copied:
    """The state of a sequence that was to leave or be evicted is copied: it goes, unless it is to
    stay after all. `request` numbers its return, if it has to wait for a slot right here."""

    instance: InstanceIndex
    slot: SlotIndex
    generation: Generation
    request: RequestNumber


@value
class NotCopied:
    """The state of a sequence that was to leave or be evicted could not be had: it stays where it
    is, for some time or, if `for_ever`, until its end."""

    instance: InstanceIndex
    slot: SlotIndex
    generation: Generation
    for_ever: bool


@value
class Hibernate:
    """From now on sequences may be evicted when somebody waits for a slot: those that were idle for
    `idle_ns`, and such that have had a slot for `turn_ns`. `core.turns` has the rules."""

    idle_ns: int
    turn_ns: int


@value
class Completed:
    """A step came back; whether its rows succeeded or failed is the engine's affair.

    `rescheduled` are requests that the model wants to run again (iterative sequences): each is the
    next of its sequence, or is rejected if it was cancelled or its sequence ended meanwhile.
    `ended` are those whose sequence the model declared over, which is a CLIENT_END. `failed` are
    those that were answered with an error, if that matters: where an error ends the sequence.
    """

    step: StepNumber
    rescheduled: frozenset[RequestNumber] = frozenset()
    ended: frozenset[RequestNumber] = frozenset()
    failed: frozenset[RequestNumber] = frozenset()
    outside_ns: int = 0


@value
class TurnCame:
    """It is this instance's turn on the device that it shares with others: the gate is to be asked
    again."""

    instance: InstanceIndex


@value
class Cancel:
    """The client no longer wants this request. Unknown or finished requests are ignored."""

    request: RequestNumber


@value
class Pause:
    """Start none of these requests until they are resumed: their client does not read what it
    gets. What stands behind one of them in its sequence waits with it.

    Unknown requests are ignored. One that runs goes on. Stateless models, whose requests have
    nothing to wait for, go on with all.
    """

    requests: tuple[RequestNumber, ...]


@value
class Resume:
    """The client of these requests reads again."""

    requests: tuple[RequestNumber, ...]


@value
class Touch:
    """Somebody is at work for this sequence elsewhere: if it is idle, then only from now on."""

    sequence: SequenceKey


@value
class HangUp:
    """A connection is gone: cancel what it asked for and end the sequences that it owns.

    A sequence is owned by the connection that its newest request came over.
    """

    owner: OwnerNumber


@value
class EndSequence:
    """End a live sequence without running the model: after what it has queued when `drain`, else
    at once (queued requests are cancelled). Unknown sequences are ignored.

    Where a new sequence of the ID waits for the end of an old one, the old one is meant.
    """

    sequence: SequenceKey
    reason: EndReason
    drain: bool = True


@value
class InstanceLost:
    """An instance stopped working: nothing runs on it until it is back, and nothing new goes there.

    The step that ran on it is over, as if completed; no `Completed` follows. What its sequences
    keep in the instance is gone with it, and they end (engine_lost), unless it `keeps_states`
    elsewhere: then they go on when it is back. It is waited for during `patience_ns`; then its
    sequences end anyway and, while no other instance is left, whatever waits is rejected.
    An instance that is away already is not lost again.
    """

    instance: InstanceIndex
    keeps_states: bool
    patience_ns: int


@value
class InstanceBack:
    """An instance that was lost works again."""

    instance: InstanceIndex


@value
class Resize:
    """These instances, at least one, are to serve from now on; new ones are ready to.

    Those left out take no new sequences and go when their last one has ended; what lives on them
    after `grace_ns` is preempted. An instance that has gone must not be named again.
    """

    instances: tuple[InstanceIndex, ...]
    grace_ns: int


@value
class Drain:
    """Accept no new sequences and no stateless requests; live sequences may go on to their END."""


@value
class Close:
    """The model is going away: refuse everything new, fail everything queued, end all sequences.

    Steps in flight still complete.
    """

    reason: EndReason = EndReason.DRAINED


Event = (
    Submit
    | Reserve
    | Restore
    | Arrived
    | HandOver
    | Copied
    | NotCopied
    | Hibernate
    | Completed
    | TurnCame
    | Cancel
    | Pause
    | Resume
    | Touch
    | HangUp
    | EndSequence
    | InstanceLost
    | InstanceBack
    | Resize
    | Drain
    | Close
)
