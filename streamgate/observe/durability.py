"""What became of sequences whose engine was lost, in Prometheus' text format."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from streamgate.model.statistics import DurabilityStatistics, ModelStatistics
from streamgate.observe.exposition import render_registry
from streamgate.observe.histograms import histogram_family

_COUNTERS: Final = (
    ("sequences_recovered", "Sequences that went on after what ran them was lost", "recovered"),
    ("sequences_lost", "Sequences that could not go on when what ran them was lost", "lost"),
    ("sequences_moved", "Sequences that went to another engine or instance", "moved"),
    ("sequences_quarantined", "Sequences a step of which costs an engine each time", "quarantined"),
    ("requests_retried", "Requests outside of sequences that were run again", "retried"),
    ("replayed_steps", "Steps that were run again", "replayed_steps"),
    ("suppressed_results", "Their results that clients had already", "suppressed_results"),
    ("replay_mismatches", "Those among them that were not the same as before", "mismatches"),
    ("stale_results", "Results of sequences that live elsewhere by now", "stale_results"),
    ("stale_snapshots", "Snapshots of sequences that live elsewhere by now", "stale_snapshots"),
    ("logs_outgrown", "Sequences whose log outgrew its bound", "outgrown"),
    ("snapshots", "Snapshots of sequences that were taken", "snapshots"),
    ("snapshot_bytes", "Bytes of these snapshots", "snapshot_bytes"),
    ("stream_stalls", "Times that a sequence's results stopped while it had input", "stalls"),
    ("hibernations", "Sequences that gave their slot away while they were idle", "hibernations"),
)

_GAUGES: Final = (
    ("sequences_recovering", "Sequences that wait until they can go on", "recovering"),
    ("streams_stalled", "Sequences that have stalled and not got on yet", "stalled"),
    ("sequences_hibernated", "Sequences that live without a slot", "hibernated"),
    ("log_bytes", "Bytes of inputs that are kept to be run again", "log_bytes"),
    ("snapshot_bytes_kept", "Bytes of snapshots that are kept", "snapshot_bytes_kept"),
    ("hibernated_bytes", "Those among them of hibernated sequences", "hibernated_bytes"),
)

_HISTOGRAMS: Final = (
    (
        "recovery_seconds",
        "Time from a loss to the next result, or until the state is back, in seconds",
        "recovery_seconds",
    ),
    (
        "stream_lag_seconds",
        "How long live sequences wait for the result that is due, looked at each second",
        "lag_seconds",
    ),
)

Statistics = Mapping[tuple[str, str], DurabilityStatistics]
"""By model and version."""


class DurabilityCollector(Collector):
    """Prometheus families of these models."""

    def __init__(self, statistics: Statistics) -> None:
        self._statistics = statistics

    def collect(self) -> Iterable[Metric]:
        labels = ("model", "version")
        for name, text, field in _COUNTERS:
            counter = CounterMetricFamily(f"streamgate_{name}", text, labels=labels)
            for key, each in self._statistics.items():
                counter.add_metric(key, getattr(each, field))
            yield counter
        for name, text, field in _GAUGES:
            gauge = GaugeMetricFamily(f"streamgate_{name}", text, labels=labels)
            for key, each in self._statistics.items():
                gauge.add_metric(key, getattr(each, field))
            yield gauge
        for name, text, field in _HISTOGRAMS:
            yield histogram_family(
                f"streamgate_{name}",
                text,
                (
                    (dict(zip(labels, key, strict=True)), getattr(each, field))
                    for key, each in self._statistics.items()
                ),
            )


def durability_of(models: Sequence[ModelStatistics]) -> Statistics:
    """What is known of it in the statistics of models."""
    return {
        (model.name, model.version): model.durability
        for model in models
        if model.durability is not None
    }


def render_durability(statistics: Statistics) -> bytes:
    """The families of these models; nothing for none."""
    registry = CollectorRegistry()
    registry.register(DurabilityCollector(statistics))
    return render_registry(registry) if statistics else b""
