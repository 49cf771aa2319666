"""Sequences that are kept outside of their process: what was written, refused and taken over."""

from collections.abc import Iterable
from dataclasses import dataclass

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from streamgate.observe.exposition import render_registry


@dataclass(frozen=True, slots=True)
class StoreFigures:
    """`is_up` and `waiting_bytes` are of now, the others since the start."""

    is_up: bool
    waiting_bytes: int
    writes: int
    refused_writes: int
    reconnects: int
    fenced: int
    resumed: int
    repeated: int
    unkept: int


class StoreCollector(Collector):
    """Prometheus families of a session store."""

    def __init__(self, figures: StoreFigures) -> None:
        self._figures = figures

    def collect(self) -> Iterable[Metric]:
        figures = self._figures
        for name, text, value in (
            ("up", "Whether the store could be written to last time", int(figures.is_up)),
            ("waiting_bytes", "Bytes that are to be written yet", figures.waiting_bytes),
        ):
            yield GaugeMetricFamily(f"streamgate_session_store_{name}", text, value)
        for name, text, value in (
            ("writes", "Writes of a sequence that were stored or refused", figures.writes),
            (
                "refused_writes",
                "Writes that were refused as another server has the sequence",
                figures.refused_writes,
            ),
            ("reconnects", "Times that the store came back", figures.reconnects),
            ("sequences_fenced", "Sequences that another server has taken", figures.fenced),
            ("sequences_resumed", "Sequences of others that were taken over", figures.resumed),
            ("repeated", "Requests that came again and were not run again", figures.repeated),
            (
                "sequences_unkept",
                "Sequences that are kept no more, and can't be taken over",
                figures.unkept,
            ),
        ):
            yield CounterMetricFamily(f"streamgate_session_store_{name}", text, value)


def render_store(figures: StoreFigures | None) -> bytes:
    """The families in Prometheus' text format; nothing where there is no store."""
    if figures is None:
        return b""
    registry = CollectorRegistry()
    registry.register(StoreCollector(figures))
    return render_registry(registry)
