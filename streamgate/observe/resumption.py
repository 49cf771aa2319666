"""Sessions that were cut off from their clients: how many wait, and what became of the others."""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from streamgate.observe.exposition import render_registry

_SHOWN_ENDS = ("expired",)
"""Reasons that are shown before they happen."""


@dataclass(frozen=True, slots=True)
class ResumeCounts:
    """`detached` and `detached_bytes` are of now, the others since the start. `ended` counts
    detached sessions that were never resumed, by reason; `refused` those who wanted to resume and
    were not let, by reason."""

    detached: int = 0
    detached_bytes: int = 0
    detachments: int = 0
    resumed: int = 0
    taken_over: int = 0
    relayed: int = 0
    ended: Mapping[str, int] = field(default_factory=dict)
    refused: Mapping[str, int] = field(default_factory=dict)
    from_elsewhere: int = 0


def together(one: ResumeCounts, other: ResumeCounts) -> ResumeCounts:
    """What became of both kinds of sessions."""
    return ResumeCounts(
        one.detached + other.detached,
        one.detached_bytes + other.detached_bytes,
        one.detachments + other.detachments,
        one.resumed + other.resumed,
        one.taken_over + other.taken_over,
        one.relayed + other.relayed,
        Counter(one.ended) + Counter(other.ended),
        Counter(one.refused) + Counter(other.refused),
        one.from_elsewhere + other.from_elsewhere,
    )


class ResumeCollector(Collector):
    """Prometheus families of sessions that clients resume. `read` is called at each scrape."""

    def __init__(self, read: Callable[[], ResumeCounts]) -> None:
        self._read = read

    def collect(self) -> Iterable[Metric]:
        counts = self._read()
        yield GaugeMetricFamily(
            "streamgate_sessions_detached",
            "Sessions without a connection, which their clients may resume",
            counts.detached,
        )
        yield GaugeMetricFamily(
            "streamgate_sessions_detached_bytes",
            "Bytes of messages that are kept for them",
            counts.detached_bytes,
        )
        for name, text, value in (
            ("detachments", "Sessions that lost their connection", counts.detachments),
            ("resumed", "Sessions that were resumed", counts.resumed),
            (
                "taken_over",
                "Those among the resumed that were still connected otherwise",
                counts.taken_over,
            ),
            (
                "relayed",
                "Connections that were relayed to the process that has their session",
                counts.relayed,
            ),
            (
                "from_elsewhere",
                "Sessions of processes that are gone, taken from the session store",
                counts.from_elsewhere,
            ),
        ):
            yield CounterMetricFamily(f"streamgate_sessions_{name}", text, value)
        ended = CounterMetricFamily(
            "streamgate_sessions_detached_ended",
            "Detached sessions that ended without being resumed, by reason",
            labels=["reason"],
        )
        for reason, count in (dict.fromkeys(_SHOWN_ENDS, 0) | dict(counts.ended)).items():
            ended.add_metric([reason], count)
        yield ended
        refused = CounterMetricFamily(
            "streamgate_sessions_resume_refused",
            "Attempts to resume that were refused, by reason",
            labels=["reason"],
        )
        for reason, count in counts.refused.items():
            refused.add_metric([reason], count)
        yield refused


def render_resumption(counts: ResumeCounts) -> bytes:
    """The families in Prometheus' text format."""
    registry = CollectorRegistry()
    registry.register(ResumeCollector(lambda: counts))
    return render_registry(registry)
