"""The words in which a scheduler's refusal is told. Texts are Triton's, where it has one."""

from streamgate.core.commands import Rejection
from streamgate.errors import Code, Failure
from streamgate.model.request import Request


def failure_for(reason: Rejection, request: Request) -> Failure:
    """What the client is told when the scheduler answers with this reason."""
    model = request.model
    match reason:
        case Rejection.NO_CORRELATION_ID:
            return Failure(
                Code.INVALID_ARG,
                f"inference request to model '{model}' must specify a non-zero or non-empty "
                "correlation ID",
            )
        case Rejection.MISSING_START:
            return Failure(
                Code.INVALID_ARG,
                f"inference request for sequence {request.sequence} to model '{model}' must "
                "specify the START flag on the first request of the sequence",
            )
        case Rejection.BATCH_IN_SEQUENCE:
            return Failure(
                Code.INVALID_ARG,
                f"inference request to model '{model}' must specify batch-size 1 due to "
                "requirements of sequence batcher",
            )
        case Rejection.QUEUE_FULL:
            request_id = request.id or "<id_unknown>"
            return Failure(
                Code.UNAVAILABLE, f"[request id: {request_id}] Exceeds maximum queue size"
            )
        case Rejection.BACKLOG_FULL:
            return Failure(
                Code.UNAVAILABLE,
                f"model '{model}' has no free sequence slot and its backlog of sequences is full",
            )
        case Rejection.TIMEOUT:
            return Failure(Code.UNAVAILABLE, "Request timeout expired")
        case Rejection.SEQUENCE_TIMEOUT:
            return Failure(
                Code.UNAVAILABLE, "timeout of the corresponding sequence has been expired"
            )
        case Rejection.STOPPING:
            return Failure(
                Code.UNAVAILABLE,
                "Server is stopping, scheduler for model has stopped accepting new inference "
                "requests",
            )
        case Rejection.CANCELLED:
            return Failure(Code.CANCELLED, "")
        case Rejection.SEQUENCE_ENDED:
            return Failure(
                Code.CANCELLED,
                f"sequence {request.sequence} of model '{model}' ended before this request ran",
            )
        case Rejection.INSTANCE_LOST:
            return Failure(
                Code.UNAVAILABLE,
                f"sequence {request.sequence} of model '{model}' ended: the model instance that "
                "held its state was lost",
            )
        case Rejection.INSTANCE_AWAY:
            return Failure(
                Code.UNAVAILABLE,
                f"model '{model}' has no instance for this request: it was lost and is not back "
                "yet",
            )
