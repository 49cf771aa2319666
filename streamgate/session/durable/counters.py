"""What is counted about the durability of one model version."""

from collections.abc import Collection
from typing import Final

from streamgate.engine.counters import Buckets
from streamgate.model.statistics import DurabilityStatistics
from streamgate.session.durable.lane import Lane

RECOVERY_SECONDS: Final = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
LAG_SECONDS: Final = (0.0, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)


class DurabilityCounters:
    """Owned by the event loop's thread."""

    def __init__(self) -> None:
        self.recovered = 0
        self.lost = 0
        self.moved = 0
        self.quarantined = 0
        self.retried = 0
        self.replayed_steps = 0
        self.suppressed_results = 0
        self.stale_results = 0
        self.stale_snapshots = 0
        self.mismatches = 0
        self.outgrown = 0
        self.snapshots = 0
        self.snapshot_bytes = 0
        self.hibernations = 0
        self.recovery_seconds = Buckets(RECOVERY_SECONDS)
        self.stalls = 0
        self.lag_seconds = Buckets(LAG_SECONDS)

    def read(self, lanes: Collection[Lane], stalled: int) -> DurabilityStatistics:
        """All that was counted, and what is kept of these lanes, so many of which have stalled."""
        logs = [tenancy.log for lane in lanes for tenancy in lane.tenancies]
        kept = [log.snapshot.size_bytes for log in logs if log.snapshot is not None]
        hibernated = [lane.hibernated_bytes for lane in lanes if lane.hibernated_bytes]
        return DurabilityStatistics(
            recovered=self.recovered,
            lost=self.lost,
            moved=self.moved,
            quarantined=self.quarantined,
            retried=self.retried,
            replayed_steps=self.replayed_steps,
            suppressed_results=self.suppressed_results,
            stale_results=self.stale_results,
            stale_snapshots=self.stale_snapshots,
            mismatches=self.mismatches,
            outgrown=self.outgrown,
            snapshots=self.snapshots,
            snapshot_bytes=self.snapshot_bytes,
            hibernations=self.hibernations,
            recovering=sum(lane.is_recovering for lane in lanes),
            hibernated=len(hibernated),
            hibernated_bytes=sum(hibernated),
            log_bytes=sum(log.size_bytes for log in logs),
            snapshot_bytes_kept=sum(kept),
            recovery_seconds=self.recovery_seconds.read(),
            stalls=self.stalls,
            stalled=stalled,
            lag_seconds=self.lag_seconds.read(),
        )
