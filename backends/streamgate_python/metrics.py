"""`pb_utils.MetricFamily`: a model's own metrics, and what they allow."""

from collections.abc import Collection, Mapping, Sequence
from typing import ClassVar, final

from streamgate_python.errors import TritonModelException
from streamgate_python.metric_store import EXPOSED, Labels, MetricKind, MetricStore


class _Stores:
    """Where the metrics of this process's models are: here, unless it is a worker process."""

    current: MetricStore = EXPOSED


def keep_metrics_in(store: MetricStore) -> None:
    """Metric families that are made from now on are kept there."""
    _Stores.current = store


class _Life:
    """Whether a MetricFamily object is still there; its metrics end with it."""

    __slots__ = ("ended",)

    def __init__(self) -> None:
        self.ended = False


@final
class Metric:
    """One series of a family. Made by `MetricFamily.Metric`."""

    __slots__ = ("_kind", "_labels", "_life", "_name", "_store")

    def __init__(
        self, store: MetricStore, name: str, kind: MetricKind, labels: Labels, life: _Life
    ) -> None:
        self._store = store
        self._name = name
        self._kind = kind
        self._labels = labels
        self._life = life

    def increment(self, value: float) -> None:
        """Add to a counter (never a negative number) or to a gauge."""
        self._check("Increment", {MetricKind.COUNTER, MetricKind.GAUGE})
        if self._kind is MetricKind.COUNTER and value < 0:
            raise TritonModelException(
                "Failed to increment metric value: TRITONSERVER_METRIC_KIND_COUNTER can only "
                "be incremented monotonically by non-negative values."
            )
        self._store.increment(self._name, self._labels, float(value))

    def set(self, value: float) -> None:
        """Set a gauge."""
        self._check("Set", {MetricKind.GAUGE})
        self._store.set(self._name, self._labels, float(value))

    def observe(self, value: float) -> None:
        """Add an observation to a histogram."""
        self._check("Observe", {MetricKind.HISTOGRAM})
        self._store.observe(self._name, self._labels, float(value))

    def value(self) -> float:
        """The value of a counter or gauge."""
        self._check("Value", {MetricKind.COUNTER, MetricKind.GAUGE})
        return self._store.value(self._name, self._labels)

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
        self._is_open = False
        self._store = _Stores.current
        self._name = name
        self._kind = MetricKind(kind)
        self._store.open(name, description, self._kind)
        self._is_open = True

    def Metric(  # noqa: N802 - the name is Triton's
        self, labels: Mapping[str, str] | None = None, buckets: Sequence[float] | None = None
    ) -> Metric:
        """The series with these labels; metrics with the same labels share their value.

        Raises TritonModelException for labels that are no dict, and unless a histogram, and only
        a histogram, has `buckets`: a list of upper bounds in rising order.
        """
        if labels is not None and not isinstance(labels, dict):
            raise TritonModelException("Failed to create metric. Labels must be a dictionary.")
        bounds = _bounds(self._kind, buckets)
        key = tuple(sorted((str(name), str(value)) for name, value in (labels or {}).items()))
        self._store.add_series(self._name, key, bounds)
        return Metric(self._store, self._name, self._kind, key, self._life)

    def __del__(self) -> None:
        self._life.ended = True
        if self._is_open:
            self._store.release(self._name)


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
