"""What one model version counts while it runs. Owned by the engine's thread."""

import bisect
import time
from collections.abc import Sequence

from streamgate.core.scheduler import SchedulerStatistics
from streamgate.engine.live import LiveRequest
from streamgate.engine.tensor_runner import Outcome
from streamgate.errors import EndReason
from streamgate.model.config import ModelConfig
from streamgate.model.statistics import (
    BatchStatistics,
    Duration,
    Histogram,
    InstanceStatistics,
    ModelStatistics,
    ReservationStatistics,
    SequenceStatistics,
)

FAILURE_REASONS = ("REJECTED", "CANCELED", "BACKEND", "OTHER")
ROW_BOUNDS = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0)
STEP_SECONDS = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0)
WAIT_SECONDS = (0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 10.0, 60.0)


class Tally:
    """A count and a sum of nanoseconds."""

    __slots__ = ("count", "total_ns")

    def __init__(self) -> None:
        self.count = 0
        self.total_ns = 0

    def add(self, duration_ns: int, count: int = 1) -> None:
        self.count += count
        self.total_ns += duration_ns * count

    def read(self) -> Duration:
        return Duration(self.count, self.total_ns)


class Buckets:
    """A histogram in the making."""

    __slots__ = ("_bounds", "_counts", "_total")

    def __init__(self, bounds: tuple[float, ...]) -> None:
        self._bounds = bounds
        self._counts = [0] * (len(bounds) + 1)
        self._total = 0.0

    def add(self, value: float) -> None:
        self._counts[bisect.bisect_left(self._bounds, value)] += 1
        self._total += value

    def add_many(self, value: float, count: int) -> None:
        self._counts[bisect.bisect_left(self._bounds, value)] += count
        self._total += value * count

    def read(self) -> Histogram:
        return Histogram(self._bounds, tuple(self._counts), self._total)


class Counters:
    """All counters of one model version; `read` makes the snapshot that others see.

    What counts as what follows Triton (facts 8.1) but for its defects: an error response is a
    failure, whoever made it.
    """

    def __init__(self, config: ModelConfig, version: str) -> None:
        self._config = config
        self._version = version
        self.last_inference_ms = 0
        self.inferences = 0
        self.executions = 0
        self.success = Tally()
        self.fail = Tally()
        self.queue = Tally()
        self.compute = (Tally(), Tally(), Tally())
        self.batches: dict[int, tuple[Tally, Tally, Tally]] = {}
        self.failures = dict.fromkeys(FAILURE_REASONS, 0)
        self.occupancy = Buckets(ROW_BOUNDS)
        self.step_time = Buckets(STEP_SECONDS)
        self.slot_wait = Buckets(WAIT_SECONDS)
        self.reservations = 0
        self.reservations_refused: dict[str, int] = {}
        self.sequences_started = 0
        self.sequences_restored = 0
        self.sequences_left = 0
        self.sequences_parked = 0
        self.sequences_ended = dict.fromkeys(EndReason, 0)

    def refuse_reservation(self, reason: str) -> None:
        """Count a reservation that was refused."""
        self.reservations_refused[reason] = self.reservations_refused.get(reason, 0) + 1

    def count_step(self, outcome: Outcome, lives: Sequence[LiveRequest | None]) -> None:
        """Count a step and, for each of its requests, the time in the queue and in the model."""
        real = [live for live in lives if live is not None]
        self.executions += 1
        self.last_inference_ms = time.time_ns() // 1_000_000
        self.occupancy.add(len(real))
        self.step_time.add((outcome.ended_ns - outcome.started_ns) / 1e9)
        phases = (
            outcome.input_ns - outcome.started_ns,
            outcome.output_ns - outcome.input_ns,
            outcome.ended_ns - outcome.output_ns,
        )
        size = sum(row.rows for row in outcome.step.rows)
        batch = self.batches.get(size)
        if batch is None:
            batch = self.batches[size] = (Tally(), Tally(), Tally())
        for tally, duration in zip(batch, phases, strict=True):
            tally.add(duration)
        if outcome.failure is not None:
            return
        failed = {live for live, response in outcome.responses if response.failure is not None}
        served = [live for live in real if live not in failed]
        for live in served:
            self.inferences += live.request.rows
            self.queue.add(outcome.started_ns - live.arrived_ns)
        for tally, duration in zip(self.compute, phases, strict=True):
            tally.add(duration, len(served))

    def count_ensemble_run(self, rows: int, queue_ns: int, compute_ns: int) -> None:
        """Count a request that an ensemble has served, its models' time as time of computing."""
        self.executions += 1
        self.inferences += rows
        self.success.add(queue_ns + compute_ns)
        self.queue.add(queue_ns)
        batch = self.batches.setdefault(rows, (Tally(), Tally(), Tally()))
        for tallies in (batch, self.compute):
            for tally, duration in zip(tallies, (0, compute_ns, 0), strict=True):
                tally.add(duration)

    def count_failure(self, reason: str, duration_ns: int) -> None:
        self.fail.add(duration_ns)
        self.failures[reason] += 1

    def _headroom(self, scheduler: SchedulerStatistics) -> int:
        """How many more sequences would be let in: none where the model's limit is reached."""
        limit = self._config.max_streams
        if not limit:
            return scheduler.headroom
        live = scheduler.active_sequences + scheduler.backlog_sequences
        return max(0, min(scheduler.headroom, limit - live))

    def read(
        self, scheduler: SchedulerStatistics, instances: InstanceStatistics
    ) -> ModelStatistics:
        """A snapshot of everything."""
        sequences = None
        if self._config.sequences is not None:
            sequences = SequenceStatistics(
                scheduler.slots,
                scheduler.active_sequences,
                scheduler.backlog_sequences,
                self.sequences_started,
                dict(self.sequences_ended),
                self.slot_wait.read(),
                self._headroom(scheduler),
                self.sequences_restored,
                self.sequences_left,
                self.sequences_parked,
            )
        compute_input, compute_infer, compute_output = self.compute
        batches = [
            BatchStatistics(size, tallies[0].read(), tallies[1].read(), tallies[2].read())
            for size, tallies in sorted(self.batches.items())
        ]
        return ModelStatistics(
            self._config.name,
            self._version,
            self.last_inference_ms,
            self.inferences,
            self.executions,
            self.success.read(),
            self.fail.read(),
            self.queue.read(),
            compute_input.read(),
            compute_infer.read(),
            compute_output.read(),
            batches=tuple(batches),
            failures=dict(self.failures),
            pending=scheduler.pending,
            occupancy=self.occupancy.read(),
            step_time=self.step_time.read(),
            instances=instances,
            sequences=sequences,
            reservations=ReservationStatistics(self.reservations, dict(self.reservations_refused)),
            metric_tags=self._config.metric_tags,
        )
