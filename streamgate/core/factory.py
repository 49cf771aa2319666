"""The scheduler that a model's configuration asks for."""

from functools import partial
from typing import assert_never

from streamgate.core.batching import BatchRules
from streamgate.core.direct import DirectLineup
from streamgate.core.gate import Gate
from streamgate.core.headroom import Headroom
from streamgate.core.lineup import Lineup
from streamgate.core.oldest import OldestLineup
from streamgate.core.scheduler import Scheduler
from streamgate.core.sequences import SequenceScheduler
from streamgate.core.stateless import StatelessScheduler
from streamgate.model.config import (
    DefaultScheduling,
    DirectStrategy,
    DynamicBatching,
    Ensemble,
    OldestStrategy,
    Scheduling,
    SequenceBatching,
)


def create_scheduler(
    scheduling: Scheduling, max_batch_size: int, instances: int, gate: Gate | None = None
) -> Scheduler:
    """A scheduler for `instances` instances of a model.

    `max_batch_size` 0 is a model without a batch dimension. The configuration is taken to be
    valid; requests of more rows than a step may have must be refused before they come here. `gate`
    gives the turns on devices that are shared; None for no such.
    """
    assert max_batch_size >= 0
    assert instances >= 1
    match scheduling:
        case DefaultScheduling():
            queue = DynamicBatching(default_policy=scheduling.policy)
            return StatelessScheduler(queue, BatchRules(), max(1, max_batch_size), instances, gate)
        case DynamicBatching():
            rules = BatchRules(max_batch_size, scheduling.preferred_sizes, scheduling.max_delay_ns)
            return StatelessScheduler(scheduling, rules, max(1, max_batch_size), instances, gate)
        case SequenceBatching():
            slots = _slots(scheduling, max_batch_size)
            new_lineup = partial(_lineup, scheduling, slots, max_batch_size)
            headroom = _headroom(scheduling, slots, max_batch_size)
            return SequenceScheduler(scheduling, slots, instances, new_lineup, headroom, gate)
        case Ensemble():
            raise AssertionError("an ensemble schedules nothing: its models do")
        case _:
            assert_never(scheduling)


def _slots(scheduling: SequenceBatching, max_batch_size: int) -> int:
    """Slots of one instance. The rows of a positional step are its slots, so that a model without
    a batch dimension has one."""
    if isinstance(scheduling.strategy, DirectStrategy) and max_batch_size == 0:
        return 1
    assert scheduling.slots >= 1
    return scheduling.slots


def _headroom(scheduling: SequenceBatching, slots: int, max_batch_size: int) -> Headroom | None:
    """Admission by what can be served in time, where the model has a pace."""
    if scheduling.pace_ns == 0:
        return None
    rows, delay_ns = max(1, max_batch_size), scheduling.strategy.max_delay_ns
    if isinstance(scheduling.strategy, OldestStrategy):
        rows = max(1, BatchRules(rows, scheduling.strategy.preferred_sizes).full_rows)
    return Headroom(scheduling.pace_ns, rows, delay_ns, slots)


def _lineup(scheduling: SequenceBatching, slots: int, max_batch_size: int) -> Lineup:
    match scheduling.strategy:
        case DirectStrategy():
            return DirectLineup(scheduling.strategy, slots)
        case OldestStrategy() as oldest:
            return OldestLineup(
                BatchRules(max_batch_size, oldest.preferred_sizes, oldest.max_delay_ns)
            )
        case _:
            assert_never(scheduling.strategy)
