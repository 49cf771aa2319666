"""What is counted about models and sequences: plain snapshots, read by front ends and metrics."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from streamgate.errors import EndReason
from streamgate.model.request import SequenceKey


@dataclass(frozen=True, slots=True)
class Duration:
    """How often something happened and how long it took in all, in nanoseconds."""

    count: int = 0
    total_ns: int = 0


@dataclass(frozen=True, slots=True)
class Histogram:
    """`counts[i]` observations were <= `bounds[i]`, the last count is of those above all bounds.

    Counts are per bucket, not cumulative.
    """

    bounds: tuple[float, ...]
    counts: tuple[int, ...]
    total: float


@dataclass(frozen=True, slots=True)
class BatchStatistics:
    """Steps of one batch size (null rows of a direct batch included, as in Triton)."""

    batch_size: int
    compute_input: Duration
    compute_infer: Duration
    compute_output: Duration


@dataclass(frozen=True, slots=True)
class SequenceStatistics:
    """The slot table of one model version, all instances together.

    `slot_wait` is the time from START to a slot in seconds, 0 for one that was reserved; `ended`
    counts ends by reason. Reserved sequences are active. `headroom` is how many more would be let
    in now: the free slots, or less where a pace is to be kept. `restored` counts the slots that
    were given to sequences that came with their state, `left` those who went without an end, to
    live elsewhere, `parked` those who made way for others and wait for a slot right here.
    """

    slots: int
    active: int
    backlog: int
    started: int
    ended: Mapping[EndReason, int]
    slot_wait: Histogram
    headroom: int = 0
    restored: int = 0
    left: int = 0
    parked: int = 0


@dataclass(frozen=True, slots=True)
class ReservationStatistics:
    """Slots that clients asked for before they had anything to send: how often they got one, and
    how often not, by reason ("slots_taken", "stopping", ...)."""

    granted: int = 0
    refused: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class InstanceStatistics:
    """The instances of one model version: those that there are and those of them that work now,
    and how often one was lost and loaded again since the version was loaded. `violations` counts
    the rows of state that the canary found spoiled; so many are `hung` in a step or hook now."""

    count: int = 0
    working: int = 0
    losses: int = 0
    restarts: int = 0
    violations: int = 0
    hung: int = 0


@dataclass(frozen=True, slots=True)
class DurabilityStatistics:
    """What became of a model version's sequences when what ran them was lost or they moved.

    `recovered`, `lost` and `moved` count sequences, `quarantined` those that ended because one of
    their steps was under way each time that an engine was lost, `retried` requests of no sequence
    that were run again. `replayed_steps` were run again, whose `suppressed_results` clients had
    had already; `mismatches` of these were others than those before. `stale_results` and
    `stale_snapshots` came from incarnations that did not count any more. `outgrown` counts logs
    that were freed, `snapshots` and `snapshot_bytes` what was taken, `hibernations` how often a
    sequence lost its slot while it was idle.

    Now: so many sequences are `recovering` or `hibernated`, and so much is kept of inputs
    (`log_bytes`) and of snapshots (`snapshot_bytes_kept`; `hibernated_bytes` of them are those of
    the hibernated). `recovery_seconds`: from a loss to the next result, or until the state is back.

    `stalls` counts how often results of a sequence stopped while it had input; so many are
    `stalled` now. `lag_seconds`: how long the oldest request of each live sequence had waited for
    its last result (0: there was none), each time that was looked at, every second at least.
    """

    recovered: int = 0
    lost: int = 0
    moved: int = 0
    quarantined: int = 0
    retried: int = 0
    replayed_steps: int = 0
    suppressed_results: int = 0
    stale_results: int = 0
    stale_snapshots: int = 0
    mismatches: int = 0
    outgrown: int = 0
    snapshots: int = 0
    snapshot_bytes: int = 0
    hibernations: int = 0
    recovering: int = 0
    hibernated: int = 0
    hibernated_bytes: int = 0
    log_bytes: int = 0
    snapshot_bytes_kept: int = 0
    recovery_seconds: Histogram = Histogram((), (0,), 0.0)
    stalls: int = 0
    stalled: int = 0
    lag_seconds: Histogram = Histogram((), (0,), 0.0)


@dataclass(frozen=True, slots=True)
class SlotView:
    """Who is in one slot: the `sequence` that holds it, for `held_seconds` by now.

    `generation` tells the tenancies of one slot apart. `steps` of it are over, `queued` wait and
    one `is_running` perhaps; `position` is that of its newest request, -1 for none. Nothing of it
    was asked for or over for `idle_seconds`; `lag_seconds` is how long the oldest request waits
    that is not over, 0 where there is none. `is_reserved`: its START has not come. `state_bytes`
    are those of the states that the engine keeps, 0 before the first step.
    """

    instance: str
    slot: int
    generation: int
    sequence: SequenceKey
    is_reserved: bool
    held_seconds: float
    idle_seconds: float
    lag_seconds: float
    steps: int
    queued: int
    is_running: bool
    state_bytes: int
    position: int = -1


@dataclass(frozen=True, slots=True)
class SlotTable:
    """The slots of one model version: how many there are, how many are `taken`, by whom, and how
    many sequences wait for one. `left_out` more are taken than `views` shows."""

    name: str
    version: str
    slots: int
    taken: int
    backlog: int
    views: tuple[SlotView, ...]
    left_out: int = 0


@dataclass(frozen=True, slots=True)
class ModelStatistics:
    """Counters of one model version since it was loaded. Failures before admission are nowhere.

    `occupancy` is a histogram of real rows per step, `step_time` of step durations in seconds.
    `failures` counts failed requests by reason: REJECTED, CANCELED, BACKEND, OTHER.
    """

    name: str
    version: str
    last_inference_ms: int
    inference_count: int
    execution_count: int
    success: Duration
    fail: Duration
    queue: Duration
    compute_input: Duration
    compute_infer: Duration
    compute_output: Duration
    batches: tuple[BatchStatistics, ...]
    failures: Mapping[str, int]
    pending: int
    occupancy: Histogram
    step_time: Histogram
    instances: InstanceStatistics = InstanceStatistics()
    sequences: SequenceStatistics | None = None
    reservations: ReservationStatistics = field(default_factory=ReservationStatistics)
    metric_tags: Mapping[str, str] = field(default_factory=dict)
    durability: DurabilityStatistics | None = None


@dataclass(frozen=True, slots=True)
class TenantStatistics:
    """One tenant's use of the server since it started.

    `streams` are its live sequences and reservations, `admitted` the sequences and the requests
    outside of sequences that were let in, `refused` those that were not, by the limit that was
    reached. `pauses` counts how often it sent more than its rate and was not read for a while.
    """

    name: str
    streams: int
    admitted: int
    refused: Mapping[str, int]
    received_bytes: int
    pauses: int
