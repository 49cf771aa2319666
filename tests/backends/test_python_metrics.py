"""A model's own metrics: the rules of `pb_utils.MetricFamily`, and what a scrape shows."""

import gc
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from prometheus_client import REGISTRY, generate_latest

from streamgate_python import metrics
from streamgate_python.errors import TritonModelException
from streamgate_python.metric_store import EXPOSED
from streamgate_python.metrics import MetricFamily
from streamgate_python.process.channel import Channel, ChannelError, pair
from streamgate_python.process.metrics import HeldMetrics, RemoteMetrics
from streamgate_python.process.side import Side

COUNTER, GAUGE, HISTOGRAM = MetricFamily.COUNTER, MetricFamily.GAUGE, MetricFamily.HISTOGRAM


@pytest.fixture(params=["here", "in a worker"], autouse=True)
def _store(request: pytest.FixtureRequest) -> Iterator[None]:
    """Where the metrics are made: in the gateway, or as in a worker process."""
    if request.param == "here":
        yield
        return
    kept, handed = pair()
    gateway, worker = Channel(kept), Channel(handed)
    held = HeldMetrics(("m", "1", "m_0"))

    def serve() -> None:
        while True:
            try:
                _, question, operation, name, *details = gateway.receive().header
            except ChannelError:
                return
            value, refusal = None, None
            try:
                value = held.do(operation, name, details)
            except TritonModelException as error:
                refusal = ["INTERNAL", str(error)]
            if question is not None:
                gateway.send(["answer", question, value, refusal])

    serving = threading.Thread(target=serve)
    serving.start()
    metrics.keep_metrics_in(RemoteMetrics(Side(worker, on_gone=lambda: None)))
    yield
    metrics.keep_metrics_in(EXPOSED)
    gc.collect()
    worker.shut_down()
    serving.join(20)
    gateway.close()
    worker.close()


def scraped(name: str) -> list[str]:
    # A worker waits for the answer to this, and so for all that it did before.
    MetricFamily("t_settled", "d", GAUGE)
    text = generate_latest(REGISTRY).decode()
    return [line for line in text.splitlines() if line.startswith(name)]


def test_a_counter_is_exposed_under_its_own_name() -> None:
    family = MetricFamily("t_requests", "Requests seen", COUNTER)
    metric = family.Metric(labels={"model": "m", "a": "b"})
    metric.increment(2)
    metric.increment(0.5)
    assert metric.value() == 2.5
    assert scraped("t_requests") == ['t_requests{a="b",model="m"} 2.5']


def test_arguments_by_name_and_no_labels() -> None:
    family = MetricFamily(name="t_named", description="d", kind=GAUGE)
    family.Metric().set(3)
    assert scraped("t_named") == ["t_named 3.0"]


def test_a_gauge_goes_up_and_down() -> None:
    family = MetricFamily("t_gauge", "d", GAUGE)
    metric = family.Metric({})
    metric.set(5)
    metric.increment(-7.5)
    assert metric.value() == -2.5


def test_a_histogram() -> None:
    family = MetricFamily("t_histogram", "d", HISTOGRAM)
    metric = family.Metric(labels={"x": "y"}, buckets=[0.1, 1, 10])
    for value in (0.05, 0.1, 5, 50):
        metric.observe(value)
    assert scraped("t_histogram") == [
        't_histogram_bucket{le="0.1",x="y"} 2.0',
        't_histogram_bucket{le="1.0",x="y"} 2.0',
        't_histogram_bucket{le="10.0",x="y"} 3.0',
        't_histogram_bucket{le="+Inf",x="y"} 4.0',
        't_histogram_sum{x="y"} 55.15',
        't_histogram_count{x="y"} 4.0',
    ]


def test_same_name_and_labels_share_the_value() -> None:
    one, other = MetricFamily("t_shared", "d", COUNTER), MetricFamily("t_shared", "e", COUNTER)
    first, second = one.Metric({"a": "1", "b": "2"}), other.Metric({"b": "2", "a": "1"})
    first.increment(1)
    second.increment(2)
    assert first.value() == second.value() == 3
    assert other.Metric({"a": "2"}).value() == 0


def test_another_kind_under_the_same_name() -> None:
    family = MetricFamily("t_kind", "d", COUNTER)
    with pytest.raises(TritonModelException, match="already exists with different type"):
        MetricFamily("t_kind", "d", GAUGE)
    del family
    MetricFamily("t_kind", "d", GAUGE)


@pytest.mark.parametrize(
    ("kind", "operation", "text"),
    [
        (COUNTER, lambda m: m.set(1), "TRITONSERVER_METRIC_KIND_COUNTER does not support Set"),
        (COUNTER, lambda m: m.observe(1), "KIND_COUNTER does not support Observe"),
        (
            COUNTER,
            lambda m: m.increment(-1),
            (
                "TRITONSERVER_METRIC_KIND_COUNTER can only be incremented monotonically by "
                "non-negative values."
            ),
        ),
        (GAUGE, lambda m: m.observe(1), "KIND_GAUGE does not support Observe"),
        (HISTOGRAM, lambda m: m.increment(1), "KIND_HISTOGRAM does not support Increment"),
        (HISTOGRAM, lambda m: m.value(), "KIND_HISTOGRAM does not support Value"),
    ],
)
def test_what_a_kind_can_not_do(kind: Any, operation: Any, text: str) -> None:
    family = MetricFamily("t_cannot", "d", kind)
    metric = family.Metric(buckets=[1.0] if kind is HISTOGRAM else None)
    with pytest.raises(TritonModelException, match=text):
        operation(metric)


@pytest.mark.parametrize(
    ("kind", "arguments", "text"),
    [
        (COUNTER, {"labels": [1]}, "Labels must be a dictionary"),
        (COUNTER, {"buckets": [1.0]}, "Unexpected buckets found"),
        (HISTOGRAM, {}, "Missing required buckets"),
        (HISTOGRAM, {"buckets": (1.0,)}, "Buckets must be a list"),
        (HISTOGRAM, {"buckets": [2.0, 1.0]}, "Buckets must be in rising order"),
    ],
)
def test_wrong_arguments(kind: Any, arguments: dict[str, Any], text: str) -> None:
    family = MetricFamily("t_wrong", "d", kind)
    with pytest.raises(TritonModelException, match=text):
        family.Metric(**arguments)


def test_a_name_that_is_no_metric_name() -> None:
    with pytest.raises(TritonModelException, match="Error when creating MetricFamily"):
        MetricFamily("", "d", COUNTER)


def test_a_metric_ends_with_its_family() -> None:
    family = MetricFamily("t_gone", "d", COUNTER)
    metric = family.Metric()
    del family
    gc.collect()
    with pytest.raises(TritonModelException, match="'MetricFamily' has been deleted"):
        metric.increment(1)
    assert scraped("t_gone") == []


def test_a_family_stays_while_another_object_has_its_name() -> None:
    one, other = MetricFamily("t_stays", "d", COUNTER), MetricFamily("t_stays", "d", COUNTER)
    one.Metric().increment(4)
    del one
    gc.collect()
    assert other.Metric().value() == 4
