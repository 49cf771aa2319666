"""Who is in which slot, as others may see it: read from the scheduler, changed by nobody."""

from collections.abc import Collection

from streamgate.core.ids import Ns
from streamgate.core.scheduler import Scheduler, SlotHolder
from streamgate.engine.instances import Instances
from streamgate.model.request import SequenceKey
from streamgate.model.statistics import SlotTable, SlotView


def read_slot_table(
    name: str,
    version: str,
    scheduler: Scheduler,
    instances: Instances,
    now: Ns,
    limit: int,
    only: Collection[SequenceKey] | None,
) -> SlotTable:
    """The table of one model version with at most `limit` views, of these IDs if they are given."""
    statistics = scheduler.statistics()
    holders = scheduler.holders(limit if only is None else len(only), only)
    views = [_view(holder, instances, now) for holder in holders[:limit]]
    wanted = statistics.active_sequences if only is None else len(holders)
    return SlotTable(
        name,
        version,
        statistics.slots,
        statistics.active_sequences,
        statistics.backlog_sequences,
        tuple(sorted(views, key=lambda view: (view.instance, view.slot))),
        left_out=wanted - len(views),
    )


def _view(holder: SlotHolder, instances: Instances, now: Ns) -> SlotView:
    has_begun = holder.steps > 0 or holder.running
    is_busy = holder.running or holder.queued > 0
    return SlotView(
        instances.name_of(holder.instance),
        holder.slot,
        holder.generation,
        holder.sequence,
        holder.reserved,
        (now - holder.seated_at) / 1e9,
        0.0 if is_busy else (now - holder.active_at) / 1e9,
        0.0 if holder.waits_since is None else (now - holder.waits_since) / 1e9,
        holder.steps,
        holder.queued,
        holder.running,
        instances.state_bytes(holder.instance, holder.slot) if has_begun else 0,
    )
