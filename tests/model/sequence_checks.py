"""What must hold for sequences between events: nobody waits in vain, for a step or for ever."""

from typing import TYPE_CHECKING

from streamgate.core.ids import Ns
from tests.model.records import Seen, Tenancy

if TYPE_CHECKING:
    from tests.model.sequence_audit import SequenceAudit


def check_work(audit: "SequenceAudit", held: list[Tenancy], wake_at: Ns | None) -> None:
    """A free instance with something ready runs it at once, or when the delay is over."""
    for tenancy in held:
        key = audit.keys[tenancy.key]
        queued = next((seen for seen in key.log if seen.state == "queued"), None)
        if tenancy.seat[0] in audit.roll.away or (queued is not None and queued.paused):
            continue
        if audit.is_held(tenancy):
            continue
        if queued and key.running is None and audit.busy[tenancy.seat[0]] is None:
            assert audit.delays, "a free instance and a ready request"
            assert wake_at is not None


def check_roll(audit: "SequenceAudit", held: list[Tenancy], wake_at: Ns | None, now: Ns) -> None:
    """Nobody waits in vain: not for an instance, and not beyond a sequence's lifetime."""
    for index in audit.roll.leaving:
        busy = audit.busy[index] is not None
        assert busy or audit.tenancies_on(index), "it has nothing left and does not go"
    for index in audit.roll.given_up:
        assert not audit.tenancies_on(index), "it waits for an instance that was given up"
    if audit.roll.is_deserted:
        keys = {tenancy.key for tenancy in held}
        waiting = [seen for seen in audit.waiting_starts() if seen.key not in keys]
        assert not waiting, "it waits though nobody is left"
    for tenancy in held:
        running = audit.keys[tenancy.key].running is not None
        if running or audit.keys[tenancy.key].muddled:
            continue
        deadline = audit.roll.leaving.get(tenancy.seat[0])
        assert deadline is None or now < deadline, "it stays beyond its instance's time"
        if audit.batching.max_lifetime_ns:
            assert now < tenancy.born_at + audit.batching.max_lifetime_ns, "it lives too long"
            assert wake_at is not None


def check_impatience(peers: list[Seen], now: Ns, lateness_ns: int) -> None:
    """The most impatient one of a sequence that is timed out has waited for so long."""
    assert any(
        peer.event.timeout_ns and 0 <= now - peer.arrived_at - peer.event.timeout_ns <= lateness_ns
        for peer in peers
        if peer.state in {"queued", "rejected"}
    )
