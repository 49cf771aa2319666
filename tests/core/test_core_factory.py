import pytest

from streamgate.core.factory import create_scheduler
from streamgate.core.sequences import SequenceScheduler
from streamgate.core.stateless import StatelessScheduler
from streamgate.model.config import (
    DefaultScheduling,
    DirectStrategy,
    DynamicBatching,
    OldestStrategy,
    Scheduling,
    SequenceBatching,
)


@pytest.mark.parametrize(
    ("scheduling", "kind"),
    [
        (DefaultScheduling(), StatelessScheduler),
        (DynamicBatching((4,)), StatelessScheduler),
        (SequenceBatching(DirectStrategy(), 4), SequenceScheduler),
        (SequenceBatching(OldestStrategy(4), 4), SequenceScheduler),
    ],
)
@pytest.mark.parametrize("max_batch_size", [0, 4])
def test_each_scheduling_has_its_scheduler(
    scheduling: Scheduling, kind: type, max_batch_size: int
) -> None:
    assert isinstance(create_scheduler(scheduling, max_batch_size, 1), kind)


def test_unbatched_direct_model_has_one_slot_an_instance() -> None:
    """Facts 4.3: with max_batch_size 0 there is a single slot per instance."""
    direct = SequenceBatching(DirectStrategy(), 4)
    assert create_scheduler(direct, 0, 3).statistics().slots == 3
    assert create_scheduler(direct, 4, 3).statistics().slots == 12


def test_unbatched_oldest_model_keeps_its_candidates() -> None:
    oldest = SequenceBatching(OldestStrategy(3), 3)
    assert create_scheduler(oldest, 0, 2).statistics().slots == 6


@pytest.mark.parametrize(
    ("max_batch_size", "instances", "slots"), [(-1, 1, 4), (4, 0, 4), (4, 1, 0)]
)
def test_nonsense_is_refused(max_batch_size: int, instances: int, slots: int) -> None:
    with pytest.raises(AssertionError):
        create_scheduler(SequenceBatching(OldestStrategy(slots), slots), max_batch_size, instances)
