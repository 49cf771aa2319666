"""Every metric: its name, its unit and where it is read from.

Nothing is counted here. Front ends and engine count for themselves; a scrape turns snapshots
into Prometheus families. Names and help texts of the `nv_` families are Triton's, so that
existing dashboards work; `streamgate_` families are what Triton does not have.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Sequence

from prometheus_client import CollectorRegistry
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector
from prometheus_client.samples import Sample

from streamgate.model.statistics import ModelStatistics
from streamgate.observe.exposition import render_registry
from streamgate.observe.histograms import histogram_family

Read = Callable[[ModelStatistics], float]

_COUNTERS: Sequence[tuple[str, str, Read]] = (
    (
        "nv_inference_request_success",
        "Number of successful inference requests, all batch sizes",
        lambda model: model.success.count,
    ),
    (
        "nv_inference_count",
        "Number of inferences performed (does not include cached requests)",
        lambda model: model.inference_count,
    ),
    (
        "nv_inference_exec_count",
        "Number of model executions performed (does not include cached requests)",
        lambda model: model.execution_count,
    ),
    (
        "nv_inference_request_duration_us",
        "Cumulative inference request duration in microseconds (includes cached requests)",
        lambda model: model.success.total_ns // 1000,
    ),
    (
        "nv_inference_queue_duration_us",
        "Cumulative inference queuing duration in microseconds (includes cached requests)",
        lambda model: model.queue.total_ns // 1000,
    ),
    (
        "nv_inference_compute_input_duration_us",
        "Cumulative compute input duration in microseconds (does not include cached requests)",
        lambda model: model.compute_input.total_ns // 1000,
    ),
    (
        "nv_inference_compute_infer_duration_us",
        "Cumulative compute inference duration in microseconds (does not include cached requests)",
        lambda model: model.compute_infer.total_ns // 1000,
    ),
    (
        "nv_inference_compute_output_duration_us",
        (
            "Cumulative inference compute output duration in microseconds "
            "(does not include cached requests)"
        ),
        lambda model: model.compute_output.total_ns // 1000,
    ),
)


ALWAYS_SHOWN = "slots_taken"
"""The reason for which reservations are refused that is worth an alarm: shown before it happens."""

_MOVES = (
    ("restored", "Slots that were given to sequences that came with their state"),
    ("left", "Sequences that left without an end, to live elsewhere or to hibernate"),
    ("parked", "Sequences that made way for others and wait for a slot again"),
)


class ModelCollector(Collector):
    """Prometheus families of all ready models. `read` is called at each scrape."""

    def __init__(self, read: Callable[[], Sequence[ModelStatistics]]) -> None:
        self._read = read

    def collect(self) -> Iterable[Metric]:
        models = self._read()
        yield from self._counters(models)
        yield from self._failures(models)
        pending = GaugeMetricFamily(
            "nv_inference_pending_request_count",
            "Instantaneous number of pending requests awaiting execution per-model.",
        )
        for model in models:
            pending.samples.append(_sample(pending.name, model, model.pending))
        yield pending
        yield histogram_family(
            "streamgate_step_rows",
            "Requests (not null rows) per executed step",
            ((_labels(model), model.occupancy) for model in models),
        )
        yield histogram_family(
            "streamgate_step_duration_seconds",
            "Duration of executed steps in seconds",
            ((_labels(model), model.step_time) for model in models),
        )
        yield from self._instances(models)
        yield from self._sequences(models)

    def _counters(self, models: Sequence[ModelStatistics]) -> Iterator[Metric]:
        for name, text, read in _COUNTERS:
            family = _plain_counter(name, text)
            for model in models:
                family.samples.append(_sample(name, model, read(model)))
            yield family

    def _failures(self, models: Sequence[ModelStatistics]) -> Iterator[Metric]:
        name = "nv_inference_request_failure"
        family = _plain_counter(name, "Number of failed inference requests, all batch sizes")
        for model in models:
            for reason, count in model.failures.items():
                family.samples.append(_sample(name, model, count, {"reason": reason}))
        yield family

    def _instances(self, models: Sequence[ModelStatistics]) -> Iterator[Metric]:
        for name, text, field in (
            ("streamgate_instances", "Model instances", "count"),
            ("streamgate_instances_working", "Model instances that are not lost", "working"),
            (
                "streamgate_instances_hung",
                "Model instances that hang in a step (streamgate.step_timeout_seconds) or a hook",
                "hung",
            ),
        ):
            gauge = GaugeMetricFamily(name, text)
            for model in models:
                gauge.samples.append(_sample(name, model, getattr(model.instances, field)))
            yield gauge
        for name, text, field in (
            ("streamgate_instance_losses", "Model instances that were lost", "losses"),
            ("streamgate_instance_restarts", "Lost instances that were loaded again", "restarts"),
            (
                "streamgate_state_canary_violations",
                "Rows of state that were found spoiled (streamgate.state_canary)",
                "violations",
            ),
        ):
            counter = CounterMetricFamily(name, text)
            for model in models:
                value = getattr(model.instances, field)
                counter.samples.append(_sample(f"{name}_total", model, value))
            yield counter

    def _reservations(self, models: Sequence[ModelStatistics]) -> Iterator[Metric]:
        granted = CounterMetricFamily(
            "streamgate_reservations_granted", "Slots that were reserved before a START came"
        )
        refused = CounterMetricFamily(
            "streamgate_reservations_refused", "Reservations that were refused, by reason"
        )
        for model in models:
            reservations = model.reservations
            reasons = dict(reservations.refused)
            if model.sequences is not None:
                reasons = {ALWAYS_SHOWN: 0} | reasons
            elif not reservations.granted and not reasons:
                continue
            name = f"{granted.name}_total"
            granted.samples.append(_sample(name, model, reservations.granted))
            for reason, count in reasons.items():
                name = f"{refused.name}_total"
                refused.samples.append(_sample(name, model, count, {"reason": reason}))
        yield granted
        yield refused

    def _sequences(self, models: Sequence[ModelStatistics]) -> Iterator[Metric]:
        stateful = [(model, model.sequences) for model in models if model.sequences is not None]
        gauges = (
            ("streamgate_sequence_slots", "Sequence slots, all instances together", "slots"),
            ("streamgate_sequences_active", "Sequences that hold a slot", "active"),
            ("streamgate_sequences_backlog", "Sequences that wait for a slot", "backlog"),
            ("streamgate_streams_headroom", "Sequences that would be let in now", "headroom"),
        )
        for name, text, field in gauges:
            gauge = GaugeMetricFamily(name, text)
            for model, sequences in stateful:
                gauge.samples.append(_sample(name, model, getattr(sequences, field)))
            yield gauge
        started = CounterMetricFamily("streamgate_sequences_started", "Sequences that got a slot")
        ended = CounterMetricFamily("streamgate_sequences_ended", "Sequences that ended, by reason")
        for model, sequences in stateful:
            started.samples.append(
                _sample("streamgate_sequences_started_total", model, sequences.started)
            )
            for reason, count in sequences.ended.items():
                ended.samples.append(
                    _sample(
                        "streamgate_sequences_ended_total", model, count, {"reason": reason.value}
                    )
                )
        yield started
        yield ended
        for field, text in _MOVES:
            moves = CounterMetricFamily(f"streamgate_sequences_{field}", text)
            for model, sequences in stateful:
                name = f"streamgate_sequences_{field}_total"
                moves.samples.append(_sample(name, model, getattr(sequences, field)))
            yield moves
        yield from self._reservations(models)
        yield histogram_family(
            "streamgate_slot_wait_seconds",
            "Time from a sequence's START to its slot in seconds",
            ((_labels(model), sequences.slot_wait) for model, sequences in stateful),
        )


def render(models: Sequence[ModelStatistics]) -> bytes:
    """The families of these models in Prometheus' text format."""
    registry = CollectorRegistry()
    registry.register(ModelCollector(lambda: models))
    return render_registry(registry)


def _plain_counter(name: str, text: str) -> Metric:
    """A counter whose samples are not called `_total`, as Triton's are not."""
    return Metric(name, text, "counter")


_NO_LABEL_LETTER = re.compile(r"[^a-zA-Z0-9_]")


def _labels(model: ModelStatistics) -> dict[str, str]:
    tags = {f"_{_NO_LABEL_LETTER.sub('_', key)}": value for key, value in model.metric_tags.items()}
    return {"model": model.name, "version": model.version, **tags}


def _sample(
    name: str, model: ModelStatistics, value: float, labels: dict[str, str] | None = None
) -> Sample:
    return Sample(name, {**_labels(model), **(labels or {})}, float(value))
