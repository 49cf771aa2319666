"""Metrics of several processes as one."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.parser import text_string_to_metric_families

from streamgate.observe.exposition import render_registry
from streamgate.observe.families import Family, Merged, families_of


def of_process(number: int) -> list[Family]:
    registry = CollectorRegistry()
    words = Counter("words", "Words", ["model"], registry=registry)
    words.labels("m").inc(number)
    Gauge("slots", "Slots", registry=registry).set(number)
    wait = Histogram("wait", "Wait", buckets=(1.0, 2.0), registry=registry)
    for value in range(number):
        wait.observe(value)
    return families_of(registry.collect())


def rendered(merged: Merged) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    registry = CollectorRegistry()
    registry.register(merged)
    text = render_registry(registry).decode()
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if not sample.name.endswith("_created")
    }


def test_the_same_samples_are_summed_up() -> None:
    merged = Merged()
    merged.add_sum(of_process(1))
    merged.add_sum(of_process(3))
    assert rendered(merged) == {
        ("words_total", frozenset({("model", "m")})): 4,
        ("slots", frozenset()): 4,
        ("wait_bucket", frozenset({("le", "1.0")})): 3,
        ("wait_bucket", frozenset({("le", "2.0")})): 4,
        ("wait_bucket", frozenset({("le", "+Inf")})): 4,
        ("wait_count", frozenset()): 4,
        ("wait_sum", frozenset()): 3,
    }


def test_labelled_samples_stand_beside_each_other() -> None:
    merged = Merged()
    merged.add(of_process(1), {"process": "a"})
    merged.add(of_process(2), {"process": "b"})
    values = rendered(merged)
    assert values["slots", frozenset({("process", "a")})] == 1
    assert values["slots", frozenset({("process", "b")})] == 2
    assert values["words_total", frozenset({("model", "m"), ("process", "b")})] == 2
