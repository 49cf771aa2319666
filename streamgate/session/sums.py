"""Counters of several engines as those of one."""

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

from streamgate.model.statistics import (
    BatchStatistics,
    DurabilityStatistics,
    Histogram,
    ModelStatistics,
    SlotTable,
    SlotView,
)

_NEWEST: Final = frozenset(("last_inference_ms",))
_SAME: Final = frozenset(("name", "version", "metric_tags"))


def sum_statistics(of_engines: Iterable[Iterable[ModelStatistics]]) -> list[ModelStatistics]:
    """One for each model version, in the order of names and versions."""
    sums: dict[tuple[str, str], ModelStatistics] = {}
    for statistics in of_engines:
        for each in statistics:
            key = each.name, each.version
            sums[key] = each if key not in sums else _sum(sums[key], each)
    return [sums[key] for key in sorted(sums, key=lambda key: (key[0], _number(key[1])))]


def sum_durability(
    one: DurabilityStatistics | None, other: DurabilityStatistics | None
) -> DurabilityStatistics | None:
    """What was recovered at two places."""
    total: DurabilityStatistics | None = _sum(one, other)
    return total


def join_slot_tables(
    of_engines: Iterable[tuple[str, Iterable[SlotTable]]], limit: int
) -> list[SlotTable]:
    """One for each model version, with instances by the names of their engines where there are
    several; at most `limit` slots are shown of all."""
    joined: dict[tuple[str, str], SlotTable] = {}
    engines = list(of_engines)
    for engine, tables in engines:
        for table in tables:
            prefix = f"{engine}/" if len(engines) > 1 else ""
            own = replace(table, views=tuple(_named(view, prefix) for view in table.views))
            key = table.name, table.version
            joined[key] = own if key not in joined else _join(joined[key], own)
    shown = []
    for table in joined.values():
        views = table.views[: max(0, limit)]
        limit -= len(views)
        hidden = len(table.views) - len(views)
        shown.append(replace(table, views=views, left_out=table.left_out + hidden))
    return shown


def _named(view: SlotView, prefix: str) -> SlotView:
    return replace(view, instance=prefix + view.instance) if prefix else view


def _join(one: SlotTable, other: SlotTable) -> SlotTable:
    return replace(
        one,
        slots=one.slots + other.slots,
        taken=one.taken + other.taken,
        backlog=one.backlog + other.backlog,
        views=one.views + other.views,
        left_out=one.left_out + other.left_out,
    )


def _sum(one: Any, other: Any) -> Any:
    """Of two values of one kind; what is None has nothing to add."""
    if one is None or other is None:
        return one if other is None else other
    if isinstance(one, Histogram):
        return _sum_histograms(one, other)
    if isinstance(one, Mapping):
        keys = dict.fromkeys((*one, *other))
        return {key: _sum(one.get(key), other.get(key)) for key in keys}
    if isinstance(one, tuple):
        return _sum_batches(one, other)
    if dataclasses.is_dataclass(one) and not isinstance(one, type):
        return replace(one, **_sums_of_fields(one, other))
    return one + other


def _sums_of_fields(one: Any, other: Any) -> dict[str, Any]:
    sums: dict[str, Any] = {}
    for each in dataclasses.fields(one):
        mine, theirs = getattr(one, each.name), getattr(other, each.name)
        if each.name in _NEWEST:
            sums[each.name] = max(mine, theirs)
        elif each.name not in _SAME:
            sums[each.name] = _sum(mine, theirs)
    return sums


def _sum_histograms(one: Histogram, other: Histogram) -> Histogram:
    if one.bounds != other.bounds:
        # One of them has not counted anything yet.
        return one if sum(one.counts) >= sum(other.counts) else other
    counts = tuple(map(sum, zip(one.counts, other.counts, strict=True)))
    return Histogram(one.bounds, counts, one.total + other.total)


def _sum_batches(
    one: Sequence[BatchStatistics], other: Sequence[BatchStatistics]
) -> tuple[BatchStatistics, ...]:
    sums = {each.batch_size: each for each in one}
    for each in other:
        known = sums.get(each.batch_size)
        if known is None:
            sums[each.batch_size] = each
        else:
            sums[each.batch_size] = BatchStatistics(
                each.batch_size,
                _sum(known.compute_input, each.compute_input),
                _sum(known.compute_infer, each.compute_infer),
                _sum(known.compute_output, each.compute_output),
            )
    return tuple(sums[size] for size in sorted(sums))


def _number(version: str) -> int:
    return int(version) if version.isdecimal() else 0
