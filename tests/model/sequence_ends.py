"""What must hold when a sequence ends, or is warned that it will."""

from streamgate.core.commands import IdleWarning, SequenceEnded
from streamgate.core.ids import Ns
from streamgate.errors import EndReason
from streamgate.model.config import SequenceBatching
from tests.model.records import Tenancy
from tests.model.roll import Roll

OF_ITS_OWN = (EndReason.LIFETIME, EndReason.ENGINE_LOST, EndReason.PREEMPTED, EndReason.ERROR)
"""Reasons for which a sequence ends though nobody asked for it."""


def check_end(
    ended: SequenceEnded,
    tenancy: Tenancy,
    now: Ns,
    batching: SequenceBatching,
    roll: Roll,
    lateness_ns: int,
) -> None:
    """It had its reason."""
    match ended.reason:
        case EndReason.IDLE:
            idle_at = tenancy.idle_since + batching.max_idle_ns
            assert idle_at <= now, "idle too early"
            assert tenancy.unsure or now <= idle_at + lateness_ns, "idle too late"
            if batching.idle_warning_ns and not tenancy.unsure:
                assert tenancy.warned_of == tenancy.idle_since, "idle without a warning"
        case EndReason.LIFETIME:
            assert batching.max_lifetime_ns > 0
            assert now >= tenancy.asked_at + batching.max_lifetime_ns, "it could have lived longer"
        case EndReason.ERROR:
            assert tenancy.failed, "nothing of it has failed"
        case EndReason.ENGINE_LOST:
            given_up = ended.instance in roll.given_up
            is_gone = given_up or ended.instance in roll.away or tenancy.failed
            assert is_gone, "its instance and its state are there"
            assert given_up or tenancy.started, "it had nothing to lose"
        case EndReason.PREEMPTED:
            assert tenancy.preempted, "its instance still had time"


def check_warning(
    warning: IdleWarning, tenancy: Tenancy, now: Ns, batching: SequenceBatching, lateness_ns: int
) -> None:
    """It is warned once while it is idle, and in time."""
    assert (tenancy.key, tenancy.generation) == (warning.sequence, warning.generation)
    assert tenancy.unsure or tenancy.warned_of != tenancy.idle_since, "warned twice"
    tenancy.warned_of = tenancy.idle_since
    if tenancy.unsure:
        return
    end_at = tenancy.idle_since + batching.max_idle_ns
    assert warning.left_ns == end_at - now
    assert 0 <= batching.idle_warning_ns - warning.left_ns <= lateness_ns, "at another moment"
