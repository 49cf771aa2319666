"""A worker's metrics: they are kept by the gateway, which exposes them.

A worker that dies takes no family away. What it held stays until an instance of the same name is
loaded again and has opened its own, so that no counter starts anew because a process crashed.
"""

import threading
from collections import Counter
from typing import Any, Final, final

from streamgate.errors import StreamGateError
from streamgate_python.errors import TritonModelException
from streamgate_python.metric_store import EXPOSED, Labels, MetricKind
from streamgate_python.process.side import Side

Instance = tuple[str, str, str]
"""A model's name, its version and the instance's name."""


@final
class RemoteMetrics:
    """A worker's `MetricStore`. Only what has an answer is waited for."""

    def __init__(self, side: Side) -> None:
        self._side = side

    def open(self, name: str, description: str, kind: MetricKind) -> None:
        try:
            self._side.ask("metric", "open", name, description, int(kind))
        except StreamGateError as error:
            raise TritonModelException(error.message) from None

    def release(self, name: str) -> None:
        self._side.tell(["metric", None, "release", name])

    def add_series(self, name: str, labels: Labels, bounds: tuple[float, ...]) -> None:
        self._side.tell(["metric", None, "add_series", name, labels, bounds])

    def increment(self, name: str, labels: Labels, amount: float) -> None:
        self._side.tell(["metric", None, "increment", name, labels, amount])

    def set(self, name: str, labels: Labels, value: float) -> None:
        self._side.tell(["metric", None, "set", name, labels, value])

    def observe(self, name: str, labels: Labels, value: float) -> None:
        self._side.tell(["metric", None, "observe", name, labels, value])

    def value(self, name: str, labels: Labels) -> float:
        return float(self._side.ask("metric", "value", name, labels))


class _Orphans:
    """The families that lost workers held, by instance."""

    lock: Final = threading.Lock()
    held: Final[dict[Instance, Counter[str]]] = {}


@final
class HeldMetrics:
    """What one worker holds, in the gateway. For one thread at a time."""

    def __init__(self, instance: Instance) -> None:
        self._instance = instance
        self._held: Counter[str] = Counter()

    def do(self, operation: str, name: str, details: list[Any]) -> float | None:
        """What a worker asks of its metrics. Raises TritonModelException for what it can't have,
        LookupError, TypeError or ValueError for nonsense."""
        if operation == "open":
            description, kind = details
            EXPOSED.open(name, description, MetricKind(kind))
            self._held[name] += 1
            return None
        if not self._held[name]:
            raise LookupError(f"no metric family '{name}' is open")
        if operation == "release":
            self._held[name] -= 1
            EXPOSED.release(name)
            return None
        labels = tuple((str(key), str(value)) for key, value in details[0])
        if operation == "value":
            return EXPOSED.value(name, labels)
        given = details[1]
        match operation:
            case "add_series":
                EXPOSED.add_series(name, labels, tuple(float(bound) for bound in given))
            case "increment":
                EXPOSED.increment(name, labels, float(given))
            case "set":
                EXPOSED.set(name, labels, float(given))
            case "observe":
                EXPOSED.observe(name, labels, float(given))
            case _:
                raise ValueError(f"an unknown operation '{operation}'")
        return None

    def loaded(self) -> None:
        """The instance is loaded, with its own families: those that its last worker left go."""
        with _Orphans.lock:
            orphans = _Orphans.held.pop(self._instance, None)
        if orphans is not None:
            _release(orphans)

    def end(self, *, lost: bool) -> None:
        """The worker is gone."""
        held, self._held = self._held, Counter()
        if not lost:
            _release(held)
            return
        with _Orphans.lock:
            orphans = _Orphans.held.setdefault(self._instance, Counter())
        orphans += held


def _release(held: Counter[str]) -> None:
    for name in held.elements():
        EXPOSED.release(name)
