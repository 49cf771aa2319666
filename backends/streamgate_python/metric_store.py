"""Where the values of models' metrics are: in prometheus_client's default registry.

Names are exposed exactly as the model gives them, as Triton does (prometheus_client's own
counters would be renamed `*_total`). Families of one name share their values over all models,
those in worker processes included; a family disappears with the last that opened it.
"""

import enum
import threading
from bisect import bisect_left
from collections.abc import Iterable
from dataclasses import dataclass, field
from math import inf, isinf
from typing import Protocol, final

from prometheus_client import REGISTRY
from prometheus_client.metrics_core import Metric as Exposed
from prometheus_client.registry import Collector

from streamgate_python.errors import TritonModelException

Labels = tuple[tuple[str, str], ...]
"""The labels of a series, sorted by name."""


class MetricKind(enum.IntEnum):
    """What a metric can do: only rise, be set, or collect observations."""

    COUNTER = 0
    GAUGE = 1
    HISTOGRAM = 2


class MetricStore(Protocol):
    """The families and their series, by name and labels. From any thread.

    Whoever uses one checks first what its kind allows; a family is used only while it is open.
    """

    def open(self, name: str, description: str, kind: MetricKind) -> None:
        """Make the family, or share it. Raises TritonModelException when it has another kind, and
        for what is no metric name."""

    def release(self, name: str) -> None:
        """Undo one `open`."""

    def add_series(self, name: str, labels: Labels, bounds: tuple[float, ...]) -> None:
        """Show a series of the family; one that is there stays as it is."""

    def increment(self, name: str, labels: Labels, amount: float) -> None:
        """Add to a counter or gauge."""

    def set(self, name: str, labels: Labels, value: float) -> None:
        """Set a gauge."""

    def observe(self, name: str, labels: Labels, value: float) -> None:
        """Add an observation to a histogram."""

    def value(self, name: str, labels: Labels) -> float:
        """The value of a counter or gauge."""


@dataclass(slots=True)
class _Series:
    """The values of one set of labels. `counts` has one more entry than `bounds`."""

    bounds: tuple[float, ...] = ()
    counts: list[int] = field(default_factory=list)
    value: float = 0.0


@dataclass(slots=True)
class _Family:
    name: str
    description: str
    kind: MetricKind
    series: dict[Labels, _Series] = field(default_factory=dict)
    handles: int = 0

    def expose(self) -> Exposed:
        exposed = Exposed(self.name, self.description, self.kind.name.lower())
        for labels, series in self.series.items():
            named = dict(labels)
            if self.kind is not MetricKind.HISTOGRAM:
                exposed.add_sample(self.name, named, series.value)
                continue
            total = 0
            for bound, count in zip((*series.bounds, inf), series.counts, strict=True):
                total += count
                limit = {"le": "+Inf" if isinf(bound) else repr(bound)}
                exposed.add_sample(f"{self.name}_bucket", named | limit, total)
            exposed.add_sample(f"{self.name}_sum", named, series.value)
            exposed.add_sample(f"{self.name}_count", named, total)
        return exposed


@final
class ExposedMetrics(Collector):
    """The families of all models of this server, as a scrape shows them."""

    def __init__(self) -> None:
        # Reentrant: the collector may free a MetricFamily while one of these is changed.
        self._lock = threading.RLock()
        self._families: dict[str, _Family] = {}
        self._registered = False

    def open(self, name: str, description: str, kind: MetricKind) -> None:
        with self._lock:
            family = self._families.get(name)
            if family is None:
                family = _Family(name, description, kind)
                try:
                    family.expose()
                except ValueError as error:
                    raise TritonModelException(
                        f"Error when creating MetricFamily: {error}"
                    ) from None
                self._families[name] = family
            elif family.kind is not kind:
                raise TritonModelException(
                    "Error when creating MetricFamily: Family name already exists with different "
                    f"type: '{name}' is a {family.kind.name}"
                )
            family.handles += 1
            if not self._registered:
                REGISTRY.register(self)
                self._registered = True

    def release(self, name: str) -> None:
        with self._lock:
            family = self._families[name]
            family.handles -= 1
            if family.handles == 0:
                del self._families[name]

    def add_series(self, name: str, labels: Labels, bounds: tuple[float, ...]) -> None:
        with self._lock:
            series = self._families[name].series
            if labels not in series:
                series[labels] = _Series(bounds, [0] * (len(bounds) + 1))

    def increment(self, name: str, labels: Labels, amount: float) -> None:
        with self._lock:
            self._families[name].series[labels].value += amount

    def set(self, name: str, labels: Labels, value: float) -> None:
        with self._lock:
            self._families[name].series[labels].value = value

    def observe(self, name: str, labels: Labels, value: float) -> None:
        with self._lock:
            series = self._families[name].series[labels]
            series.counts[bisect_left(series.bounds, value)] += 1
            series.value += value

    def value(self, name: str, labels: Labels) -> float:
        with self._lock:
            return self._families[name].series[labels].value

    def collect(self) -> Iterable[Exposed]:
        with self._lock:
            # A copy: exposing may free a MetricFamily, which takes its family away.
            return [family.expose() for family in [*self._families.values()]]

    def describe(self) -> Iterable[Exposed]:
        """Nothing: the families are not known when the collector is registered."""
        return []


EXPOSED = ExposedMetrics()
