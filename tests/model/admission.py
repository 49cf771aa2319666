"""What must hold when a request arrives: who is let in, and why not."""

from streamgate.core.commands import Rejection
from streamgate.model.config import SequenceBatching
from tests.model.records import Key, Seen


def check_admission(
    seen: Seen,
    key: Key,
    reason: Rejection | None,
    batching: SequenceBatching,
    stopping: bool,
    closed: bool,
) -> None:
    """`reason` is why it was refused, None where it was let in."""
    event = seen.event
    expected: Rejection | None = None
    if event.rows > 1:
        expected = Rejection.BATCH_IN_SEQUENCE
    elif not event.sequence and not batching.iterative:
        expected = Rejection.NO_CORRELATION_ID
    elif closed or (stopping and seen.starts and not seen.promised):
        expected = Rejection.STOPPING
    elif seen.deserted and seen.starts and not seen.promised:
        expected = Rejection.INSTANCE_AWAY
    elif not key.open and not key.muddled and not seen.starts and not batching.iterative:
        expected = Rejection.MISSING_START
    if expected is not None:
        assert reason is expected
    elif reason is Rejection.MISSING_START:
        assert not seen.starts
        assert key.muddled or batching.iterative
    elif reason is Rejection.MOVED:
        assert not seen.starts
        assert key.muddled
    elif reason is Rejection.QUEUE_FULL:
        assert batching.max_pending > 0
    elif reason is Rejection.NO_HEADROOM:
        assert batching.pace_ns > 0
        assert seen.starts
        assert not seen.promised
    elif reason is Rejection.BACKLOG_FULL:
        assert batching.max_backlog > 0
        assert seen.starts
    else:
        assert reason is None or (reason is Rejection.STOPPING and stopping)
