"""Counters of several engines add up; slots stand side by side."""

from dataclasses import replace

from streamgate.errors import EndReason
from streamgate.model.statistics import (
    BatchStatistics,
    DurabilityStatistics,
    Duration,
    Histogram,
    InstanceStatistics,
    ModelStatistics,
    SequenceStatistics,
    SlotTable,
    SlotView,
)
from streamgate.session.sums import join_slot_tables, sum_durability, sum_statistics
from tests.session.fake_link import FakeLink

BOUNDS = (1.0, 2.0)


def statistics(version: str = "1", **changes: object) -> ModelStatistics:
    return replace(FakeLink(version=version).statistics(), **changes)  # type: ignore[arg-type]


def batch(size: int, count: int) -> BatchStatistics:
    return BatchStatistics(size, *(Duration(count, 10 * count),) * 3)


def sequences(active: int, ended: int) -> SequenceStatistics:
    return SequenceStatistics(
        4, active, 0, 9, {EndReason.IDLE: ended}, Histogram(BOUNDS, (1, 2, 3), 4.0)
    )


def view(slot: int) -> SlotView:
    return SlotView("m_0", slot, 1, slot, False, *(0.0,) * 3, 1, 0, False, 0)


def table(*slots: int, left_out: int = 0) -> SlotTable:
    return SlotTable("m", "1", 4, len(slots) + left_out, 1, tuple(map(view, slots)), left_out)


def test_all_counters_are_sums_and_the_last_moment_is_the_latest() -> None:
    one = statistics(
        last_inference_ms=5,
        inference_count=2,
        success=Duration(1, 100),
        failures={"OTHER": 1},
        batches=(batch(1, 1), batch(4, 2)),
        occupancy=Histogram(BOUNDS, (1, 0, 2), 5.0),
        instances=InstanceStatistics(2, 1, 1),
        sequences=sequences(1, 2),
    )
    other = statistics(
        last_inference_ms=3,
        inference_count=3,
        success=Duration(2, 200),
        failures={"OTHER": 1, "REJECTED": 4},
        batches=(batch(2, 1), batch(4, 1)),
        occupancy=Histogram(BOUNDS, (0, 1, 1), 2.0),
        instances=InstanceStatistics(2, 2),
        sequences=sequences(3, 1),
    )
    (found,) = sum_statistics([[one], [other]])
    assert found.last_inference_ms == 5
    assert found.inference_count == 5
    assert found.success == Duration(3, 300)
    assert found.failures == {"OTHER": 2, "REJECTED": 4}
    assert found.batches == (batch(1, 1), batch(2, 1), batch(4, 3))
    assert found.occupancy == Histogram(BOUNDS, (1, 1, 3), 7.0)
    assert found.instances == InstanceStatistics(4, 3, 1)
    assert found.sequences is not None
    assert (found.sequences.slots, found.sequences.active) == (8, 4)
    assert found.sequences.ended == {EndReason.IDLE: 3}
    assert found.sequences.slot_wait == Histogram(BOUNDS, (2, 4, 6), 8.0)


def test_versions_are_told_apart_and_in_order() -> None:
    found = sum_statistics([[statistics("10"), statistics("9")], [statistics("9")]])
    assert [each.version for each in found] == ["9", "10"]


def test_what_one_engine_has_not_is_the_others() -> None:
    one, other = statistics(), statistics(sequences=sequences(1, 1))
    assert sum_statistics([[one], [other]])[0].sequences == sequences(1, 1)
    assert sum_statistics([[other], [one]])[0].sequences == sequences(1, 1)


def test_what_was_recovered_at_two_places() -> None:
    one = DurabilityStatistics(recovered=1, recovery_seconds=Histogram(BOUNDS, (1, 0, 0), 0.5))
    other = DurabilityStatistics(recovered=2, lost=1)
    total = sum_durability(one, other)
    assert total == replace(one, recovered=3, lost=1)
    assert sum_durability(None, one) == one
    assert sum_durability(None, None) is None


def test_slots_stand_side_by_side_under_the_names_of_their_engines() -> None:
    (joined,) = join_slot_tables([("a", [table(0, 1)]), ("b", [table(0, left_out=2)])], 100)
    assert (joined.slots, joined.taken, joined.backlog, joined.left_out) == (8, 5, 2, 2)
    assert [(each.instance, each.slot) for each in joined.views] == [
        ("a/m_0", 0),
        ("a/m_0", 1),
        ("b/m_0", 0),
    ]
    (alone,) = join_slot_tables([("a", [table(0)])], 100)
    assert alone == table(0)


def test_only_so_many_slots_are_shown_of_all() -> None:
    other = replace(table(0, 1), name="n")
    shown = join_slot_tables([("a", [table(0, 1, 2), other])], 4)
    assert [len(each.views) for each in shown] == [3, 1]
    assert [each.left_out for each in shown] == [0, 1]
