"""The words in which a scheduler's refusal is told. Texts are Triton's, where it has one."""

from collections.abc import Mapping
from typing import Final

from streamgate.core.commands import Reject, Rejection
from streamgate.engine.recent_ends import RecentEnds
from streamgate.errors import Code, EndReason, Failure
from streamgate.model.request import Request, SequenceKey

_TOLD: Final[Mapping[Rejection, tuple[Code, str]]] = {
    Rejection.NO_CORRELATION_ID: (
        Code.INVALID_ARG,
        "inference request to model '{model}' must specify a non-zero or non-empty correlation ID",
    ),
    Rejection.MISSING_START: (
        Code.INVALID_ARG,
        (
            "inference request for sequence {sequence} to model '{model}' must specify the START "
            "flag on the first request of the sequence"
        ),
    ),
    Rejection.BATCH_IN_SEQUENCE: (
        Code.INVALID_ARG,
        (
            "inference request to model '{model}' must specify batch-size 1 due to requirements of "
            "sequence batcher"
        ),
    ),
    Rejection.QUEUE_FULL: (Code.UNAVAILABLE, "[request id: {id}] Exceeds maximum queue size"),
    Rejection.BACKLOG_FULL: (
        Code.UNAVAILABLE,
        "model '{model}' has no free sequence slot and its backlog of sequences is full",
    ),
    Rejection.TIMEOUT: (Code.UNAVAILABLE, "Request timeout expired"),
    Rejection.SEQUENCE_TIMEOUT: (
        Code.UNAVAILABLE,
        "timeout of the corresponding sequence has been expired",
    ),
    Rejection.STOPPING: (
        Code.UNAVAILABLE,
        "Server is stopping, scheduler for model has stopped accepting new inference requests",
    ),
    Rejection.CANCELLED: (Code.CANCELLED, ""),
    Rejection.SEQUENCE_ENDED: (
        Code.CANCELLED,
        "sequence {sequence} of model '{model}' ended ({end}) before this request ran",
    ),
    Rejection.INSTANCE_LOST: (
        Code.UNAVAILABLE,
        (
            "sequence {sequence} of model '{model}' ended: the model instance that held its state "
            "was lost"
        ),
    ),
    Rejection.INSTANCE_AWAY: (
        Code.UNAVAILABLE,
        "model '{model}' has no instance for this request: it was lost and is not back yet",
    ),
    Rejection.SLOTS_TAKEN: (Code.UNAVAILABLE, "all {slots} slots of model '{model}' are taken"),
    Rejection.SEQUENCE_LIVES: (
        Code.ALREADY_EXISTS,
        "sequence {sequence} of model '{model}' lives already: no other can be reserved",
    ),
    Rejection.NOTHING_TO_RESERVE: (
        Code.INVALID_ARG,
        "model '{model}' has no sequences of its clients' naming: no slot can be reserved",
    ),
    Rejection.NO_HEADROOM: (
        Code.UNAVAILABLE,
        (
            "model '{model}' can't keep the pace of one more stream beside the {slots} that it "
            "serves; try again soon"
        ),
    ),
    Rejection.RESTORE_FAILED: (
        Code.UNAVAILABLE,
        "sequence {sequence} of model '{model}' ended: its state could not be restored",
    ),
    Rejection.MOVED: (
        Code.UNAVAILABLE,
        "sequence {sequence} of model '{model}' is leaving for elsewhere",
    ),
}


LOST: Final = frozenset(
    (
        Rejection.INSTANCE_LOST,
        Rejection.INSTANCE_AWAY,
        Rejection.RESTORE_FAILED,
        Rejection.MOVED,
    )
)
"""Reasons that are no fault of the request: it may be run again elsewhere, or later."""


def rejection_of(
    command: Reject, request: Request, recent_ends: RecentEnds
) -> tuple[Failure, bool]:
    """What the client of a request is told that will not run, and whether it is lost."""
    reason, end = command.reason, command.end
    lost = reason in LOST
    if reason is Rejection.MISSING_START:
        end = recent_ends.reason_of(request.sequence)
        lost = recent_ends.is_lost(request.sequence)
    return failure_for(reason, request, end, command.served), lost


def failure_for(
    reason: Rejection, request: Request, end: EndReason | None = None, served: int = 0
) -> Failure:
    """What the client is told when the scheduler answers with this reason; `end` is why the
    sequence ended, if it did, `served` how many others leave no room for it."""
    code, text = _TOLD[reason]
    told = text.format(
        model=request.model,
        sequence=request.sequence,
        id=request.id or "<id_unknown>",
        end=end.value if end is not None else "",
        slots=served,
    )
    if reason is Rejection.MISSING_START and end is not None:
        told += f" (sequence {request.sequence} ended: {end.value})"
    return Failure(code, told)


def refusal_for(reason: Rejection, model: str, sequence: SequenceKey, slots: int = 0) -> Failure:
    """What a client is told whose reservation is refused for this reason; `slots` is how many of
    them are taken."""
    code, text = _TOLD[reason]
    return Failure(code, text.format(model=model, sequence=sequence, slots=slots, id="", end=""))


def restore_failure_for(reason: Rejection, model: str, sequence: SequenceKey) -> Failure:
    """What is told to who wanted to restore a sequence and is refused for this reason."""
    if reason is Rejection.SEQUENCE_LIVES:
        text = f"sequence {sequence} of model '{model}' lives already: it can't be restored"
        return Failure(Code.ALREADY_EXISTS, text)
    return refusal_for(reason, model, sequence)
