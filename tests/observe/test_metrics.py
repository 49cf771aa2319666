"""The families that a scrape shows: names, types, labels and numbers."""

from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, Metric
from prometheus_client.core import CounterMetricFamily
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.registry import Collector

from streamgate.errors import EndReason
from streamgate.model.statistics import (
    Duration,
    Histogram,
    ModelStatistics,
    ReservationStatistics,
    SequenceStatistics,
)
from streamgate.observe.exposition import render_registry
from streamgate.observe.metrics import render

NOTHING = Histogram((), (0,), 0.0)


def statistics(**changes: Any) -> ModelStatistics:
    """Of a model whose every number is another one."""
    fields: dict[str, Any] = {
        "name": "m",
        "version": "3",
        "last_inference_ms": 1,
        "inference_count": 11,
        "execution_count": 12,
        "success": Duration(13, 14_999),
        "fail": Duration(15, 16_000),
        "queue": Duration(17, 18_000),
        "compute_input": Duration(19, 20_000),
        "compute_infer": Duration(21, 22_000),
        "compute_output": Duration(23, 24_000),
        "batches": (),
        "failures": {"REJECTED": 25, "CANCELED": 26, "BACKEND": 27, "OTHER": 0},
        "pending": 28,
        "occupancy": Histogram((1.0, 4.0), (2, 3, 4), 40.0),
        "step_time": Histogram((0.5,), (1, 2), 3.25),
    }
    return ModelStatistics(**(fields | changes))


SEQUENCES = SequenceStatistics(
    slots=31,
    active=32,
    backlog=33,
    started=34,
    ended={EndReason.IDLE: 35, EndReason.CLIENT_END: 36},
    slot_wait=Histogram((0.001, 60.0), (37, 38, 0), 39.5),
    headroom=46,
)


def families_of(*models: ModelStatistics) -> dict[str, Metric]:
    """By the name that stands on the wire."""
    text = render(models).decode()
    return {family.name: family for family in text_string_to_metric_families(text)}


def only_value(family: Metric) -> float:
    (sample,) = family.samples
    assert sample.labels == {"model": "m", "version": "3"}
    return sample.value


def test_reservations_are_those_of_models_that_can_have_some() -> None:
    asked = ReservationStatistics(41, {"slots_taken": 42, "stopping": 43})
    families = families_of(
        statistics(name="plain"),
        statistics(name="s", sequences=SEQUENCES),
        statistics(name="t", sequences=SEQUENCES, reservations=asked),
        statistics(name="e", reservations=ReservationStatistics(44, {"model_refused": 45})),
    )
    granted = families["streamgate_reservations_granted"].samples
    assert [(each.labels["model"], each.value) for each in granted] == [
        ("s", 0),
        ("t", 41),
        ("e", 44),
    ]
    refused = families["streamgate_reservations_refused"].samples
    assert {each.name for each in refused} == {"streamgate_reservations_refused_total"}
    assert [(each.labels["model"], each.labels["reason"], each.value) for each in refused] == [
        ("s", "slots_taken", 0),
        ("t", "slots_taken", 42),
        ("t", "stopping", 43),
        ("e", "model_refused", 45),
    ]


# Facts 8.2. The parser gives each counter's samples a `_total`, which these don't have.
@pytest.mark.parametrize(
    ("name", "kind", "value", "text"),
    [
        (
            "nv_inference_request_success",
            "counter",
            13,
            "Number of successful inference requests, all batch sizes",
        ),
        (
            "nv_inference_count",
            "counter",
            11,
            "Number of inferences performed (does not include cached requests)",
        ),
        (
            "nv_inference_exec_count",
            "counter",
            12,
            "Number of model executions performed (does not include cached requests)",
        ),
        (
            "nv_inference_request_duration_us",
            "counter",
            14,
            "Cumulative inference request duration in microseconds (includes cached requests)",
        ),
        (
            "nv_inference_queue_duration_us",
            "counter",
            18,
            "Cumulative inference queuing duration in microseconds (includes cached requests)",
        ),
        (
            "nv_inference_compute_input_duration_us",
            "counter",
            20,
            "Cumulative compute input duration in microseconds (does not include cached requests)",
        ),
        (
            "nv_inference_compute_infer_duration_us",
            "counter",
            22,
            (
                "Cumulative compute inference duration in microseconds "
                "(does not include cached requests)"
            ),
        ),
        (
            "nv_inference_compute_output_duration_us",
            "counter",
            24,
            (
                "Cumulative inference compute output duration in microseconds "
                "(does not include cached requests)"
            ),
        ),
        (
            "nv_inference_pending_request_count",
            "gauge",
            28,
            "Instantaneous number of pending requests awaiting execution per-model.",
        ),
    ],
)
def test_tritons_metrics_have_tritons_names(name: str, kind: str, value: int, text: str) -> None:
    family = families_of(statistics())[name]
    assert family.type == kind
    assert family.documentation == text
    assert only_value(family) == value
    lines = render([statistics()]).decode().splitlines()
    assert f'{name}{{model="m",version="3"}} {value}.0' in lines
    assert f"# TYPE {name} {kind}" in lines
    assert f"# HELP {name} {text}" in lines


def test_failures_are_counted_by_reason() -> None:
    family = families_of(statistics())["nv_inference_request_failure"]
    assert (family.type, family.documentation) == (
        "counter",
        "Number of failed inference requests, all batch sizes",
    )
    assert {sample.labels["reason"]: sample.value for sample in family.samples} == {
        "REJECTED": 25,
        "CANCELED": 26,
        "BACKEND": 27,
        "OTHER": 0,
    }


def test_no_name_of_tritons_has_a_total() -> None:
    lines = render([statistics(sequences=SEQUENCES)]).decode().splitlines()
    assert any("nv_" in line for line in lines)
    assert not any("nv_" in line and "_total" in line for line in lines)


def test_sequences_have_metrics_of_their_own() -> None:
    families = families_of(statistics(sequences=SEQUENCES))
    assert only_value(families["streamgate_sequence_slots"]) == 31
    assert only_value(families["streamgate_sequences_active"]) == 32
    assert only_value(families["streamgate_sequences_backlog"]) == 33
    assert only_value(families["streamgate_streams_headroom"]) == 46
    assert only_value(families["streamgate_sequences_started"]) == 34
    ended = families["streamgate_sequences_ended"]
    assert {sample.labels["reason"]: sample.value for sample in ended.samples} == {
        "idle": 35,
        "client_end": 36,
    }
    assert {sample.name for sample in ended.samples} == {"streamgate_sequences_ended_total"}
    assert families["streamgate_slot_wait_seconds"].type == "histogram"


def test_a_stateless_model_has_none_of_these() -> None:
    families = families_of(statistics())
    for name, family in families.items():
        if "sequence" in name or "slot" in name:
            assert family.samples == []


def test_models_and_versions_are_told_apart() -> None:
    family = families_of(
        statistics(), statistics(version="4", inference_count=1), statistics(name="n")
    )["nv_inference_count"]
    found = [(s.labels["model"], s.labels["version"], s.value) for s in family.samples]
    assert found == [("m", "3", 11), ("m", "4", 1), ("n", "3", 11)]


def test_tags_are_labels_with_an_underscore() -> None:
    odd = 'say "hi"\n\\'
    tagged = statistics(name=odd, metric_tags={"team": "a", "my-tag": odd})
    (sample,) = families_of(tagged)["nv_inference_count"].samples
    assert sample.labels == {"model": odd, "version": "3", "_team": "a", "_my_tag": odd}


def test_nothing_is_loaded() -> None:
    assert all(family.samples == [] for family in families_of().values())


def test_the_buckets_of_a_histogram_are_cumulative() -> None:
    family = families_of(statistics())["streamgate_step_rows"]
    assert family.type == "histogram"
    assert [
        (sample.name.removeprefix("streamgate_step_rows_"), sample.labels.get("le"), sample.value)
        for sample in family.samples
    ] == [
        ("bucket", "1.0", 2),
        ("bucket", "4.0", 5),
        ("bucket", "+Inf", 9),
        ("count", None, 9),
        ("sum", None, 40),
    ]


@st.composite
def histograms(draw: st.DrawFn) -> Histogram:
    bounds = sorted(draw(st.sets(st.floats(1e-6, 1e6), max_size=6)))
    counts = draw(
        st.lists(st.integers(0, 2**40), min_size=len(bounds) + 1, max_size=len(bounds) + 1)
    )
    return Histogram(tuple(bounds), tuple(counts), draw(st.floats(0, 1e12)))


@given(histograms())
def test_every_histogram_is_one_for_prometheus(histogram: Histogram) -> None:
    family = families_of(statistics(step_time=histogram))["streamgate_step_duration_seconds"]
    by_kind: dict[str, list[Any]] = {"bucket": [], "count": [], "sum": []}
    for sample in family.samples:
        by_kind[sample.name.rpartition("_")[2]].append(sample)
    values = [sample.value for sample in by_kind["bucket"]]
    edges = [float(sample.labels["le"]) for sample in by_kind["bucket"]]
    assert values == sorted(values)
    assert edges == [*histogram.bounds, float("inf")]
    assert [sample.value for sample in by_kind["count"]] == values[-1:] == [sum(histogram.counts)]
    assert [sample.value for sample in by_kind["sum"]] == [histogram.total]


def test_counters_of_python_models_are_headed_by_their_own_names() -> None:
    class OfAModel(Collector):
        def collect(self) -> Iterator[Metric]:
            plain = Metric("words_heard", "Words", "counter")
            plain.add_sample("words_heard", {"language": "de"}, 3)
            yield plain
            usual = CounterMetricFamily("chunks", "Chunks", value=2)
            yield usual

    registry = CollectorRegistry()
    registry.register(OfAModel())
    lines = render_registry(registry).decode().splitlines()
    assert "# TYPE words_heard counter" in lines
    assert 'words_heard{language="de"} 3.0' in lines
    assert "# TYPE chunks_total counter" in lines
    assert "chunks_total 2.0" in lines
