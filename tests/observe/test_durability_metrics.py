"""The families of sequences whose engine was lost."""

from dataclasses import fields, replace
from typing import Any

from prometheus_client.parser import text_string_to_metric_families

from streamgate.model.statistics import DurabilityStatistics, Histogram
from streamgate.observe.durability import durability_of, render_durability
from tests.observe.test_metrics import statistics


def test_each_number_is_shown_once() -> None:
    numbers = [each.name for each in fields(DurabilityStatistics) if each.type is int]
    values_of: dict[str, Any] = {name: place for place, name in enumerate(numbers, start=1)}
    told = replace(
        DurabilityStatistics(
            recovery_seconds=Histogram((0.5, 1.0), (2, 3, 1), 4.5),
            lag_seconds=Histogram((0.0,), (7, 1), 0.5),
        ),
        **values_of,
    )
    text = render_durability({("m", "1"): told}).decode()
    samples = [
        sample for family in text_string_to_metric_families(text) for sample in family.samples
    ]
    assert {sample.labels["model"] for sample in samples} == {"m"}
    recovery = [each.value for each in samples if each.name.startswith("streamgate_recovery")]
    assert recovery == [2, 5, 6, 6, 4.5]
    lags = [each.value for each in samples if each.name.startswith("streamgate_stream_lag")]
    assert lags == [7, 8, 8, 0.5]
    values = [each.value for each in samples if "_seconds" not in each.name]
    assert sorted(values) == [*range(1, len(numbers) + 1)]


def test_models_without_a_log_have_none() -> None:
    assert durability_of([statistics()]) == {}
    assert render_durability({}) == b""
