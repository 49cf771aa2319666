"""`pb_utils.MetricFamily`: a model's own metrics, in prometheus_client's default registry.

Names are exposed exactly as the model gives them, as Triton does (prometheus_client's own
counters would be renamed `*_total`). Families of one name share their values over all models;
a family disappears with the last `MetricFamily` object of its name.
"""

import enum
import threading
from bisect import bisect_left
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from math import inf, isinf
from typing import ClassVar, Final, final

from prometheus_client import REGISTRY
from prometheus_client.metrics_core import Metric as Exposed
from prometheus_client.registry import Collector

from streamgate_python.errors import TritonModelException

Labels = tuple[tuple[str, str], ...]


class MetricKind(enum.IntEnum):
    """What a metric can do: only rise, be set, or collect observations."""

    COUNTER = 0
    GAUGE = 1
    HISTOGRAM = 2


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
class _ModelMetrics(Collector):
    """All models' families. `lock` guards everything in them; it is held for no callback."""

    def __init__(self) -> None:
        # Reentrant: the collector may free a MetricFamily while one of these is changed.
        self.lock = threading.RLock()
        self._families: dict[str, _Family] = {}
        self._registered = False

    def open(self, name: str, description: str, kind: MetricKind) -> _Family:
        with self.lock:
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
            return family

    def release(self, family: _Family) -> None:
        with self.lock:
            family.handles -= 1
            if family.handles == 0:
                del self._families[family.name]

    def collect(self) -> Iterable[Exposed]:
        with self.lock:
            # A copy: exposing may free a MetricFamily, which takes its family away.
            return [family.expose() for family in [*self._families.values()]]

    def describe(self) -> Iterable[Exposed]:
        """Nothing: the families are not known when the collector is registered."""
        return []


_metrics: Final = _ModelMetrics()


class _Life:
    """Whether a MetricFamily object is still there; its metrics end with it."""

    __slots__ = ("ended",)

    def __init__(self) -> None:
        self.ended = False


@final
class Metric:
    """One series of a family. Made by `MetricFamily.Metric`."""

    __slots__ = ("_kind", "_life", "_series")

    def __init__(self, kind: MetricKind, series: _Series, life: _Life) -> None:
        self._kind = kind
        self._series = series
        self._life = life

    def increment(self, value: float) -> None:
        """Add to a counter (never a negative number) or to a gauge."""
        with _metrics.lock:
            self._check("Increment", {MetricKind.COUNTER, MetricKind.GAUGE})
            if self._kind is MetricKind.COUNTER and value < 0:
                raise TritonModelException(
                    "Failed to increment metric value: TRITONSERVER_METRIC_KIND_COUNTER can only "
                    "be incremented monotonically by non-negative values."
                )
            self._series.value += value

    def set(self, value: float) -> None:
        """Set a gauge."""
        with _metrics.lock:
            self._check("Set", {MetricKind.GAUGE})
            self._series.value = float(value)

    def observe(self, value: float) -> None:
        """Add an observation to a histogram."""
        with _metrics.lock:
            self._check("Observe", {MetricKind.HISTOGRAM})
            series = self._series
            series.counts[bisect_left(series.bounds, value)] += 1
            series.value += value

    def value(self) -> float:
        """The value of a counter or gauge."""
        with _metrics.lock:
            self._check("Value", {MetricKind.COUNTER, MetricKind.GAUGE})
            return self._series.value

    def _check(self, operation: str, kinds: Collection[MetricKind]) -> None:
        if self._life.ended:
            raise TritonModelException(
                "Invalid metric operation as the corresponding 'MetricFamily' has been deleted. "
                "The 'MetricFamily' object should be deleted AFTER its corresponding 'Metric' "
                "objects have been deleted."
            )
        if self._kind not in kinds:
            verbs = {"Increment": "increment", "Set": "set", "Observe": "observe", "Value": "get"}
            raise TritonModelException(
                f"Failed to {verbs[operation]} metric value: "
                f"TRITONSERVER_METRIC_KIND_{self._kind.name} does not support {operation}"
            )


@final
class MetricFamily:
    """A named metric of one kind. The same name and kind again is the same family.

    Raises TritonModelException when the name is taken by another kind or is no metric name.
    """

    COUNTER: ClassVar = MetricKind.COUNTER
    GAUGE: ClassVar = MetricKind.GAUGE
    HISTOGRAM: ClassVar = MetricKind.HISTOGRAM

    def __init__(self, name: str, description: str, kind: MetricKind) -> None:
        self._life = _Life()
        self._family: _Family | None = None
        self._family = _metrics.open(name, description, MetricKind(kind))

    def Metric(  # noqa: N802 - the name is Triton's
        self, labels: Mapping[str, str] | None = None, buckets: Sequence[float] | None = None
    ) -> Metric:
        """The series with these labels; metrics with the same labels share their value.

        Raises TritonModelException for labels that are no dict, and unless a histogram, and only
        a histogram, has `buckets`: a list of upper bounds in rising order.
        """
        assert self._family is not None
        if labels is not None and not isinstance(labels, dict):
            raise TritonModelException("Failed to create metric. Labels must be a dictionary.")
        kind = self._family.kind
        bounds = _bounds(kind, buckets)
        key = tuple(sorted((str(name), str(value)) for name, value in (labels or {}).items()))
        with _metrics.lock:
            series = self._family.series.get(key)
            if series is None:
                series = self._family.series[key] = _Series(bounds, [0] * (len(bounds) + 1))
        return Metric(kind, series, self._life)

    def __del__(self) -> None:
        self._life.ended = True
        if self._family is not None:
            _metrics.release(self._family)


def _bounds(kind: MetricKind, buckets: Sequence[float] | None) -> tuple[float, ...]:
    if buckets is None:
        if kind is MetricKind.HISTOGRAM:
            raise TritonModelException("Failed to create metric. Missing required buckets.")
        return ()
    if not isinstance(buckets, list):
        raise TritonModelException("Failed to create metric. Buckets must be a list.")
    if kind is not MetricKind.HISTOGRAM:
        raise TritonModelException("Failed to create metric. Unexpected buckets found.")
    bounds = tuple(float(bound) for bound in buckets)
    if list(bounds) != sorted(set(bounds)):
        raise TritonModelException(
            f"Failed to create metric. Buckets must be in rising order, found {buckets}."
        )
    return bounds
