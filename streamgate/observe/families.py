"""Metrics of several processes as one: families as plain values, and what becomes of them."""

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple, final

from prometheus_client import Metric
from prometheus_client.registry import Collector
from prometheus_client.samples import Sample as PrometheusSample

Sample = tuple[str, dict[str, str], float]
"""Its name, labels and value."""


class Family(NamedTuple):
    """What Prometheus calls a family: one metric with all its samples. Plain values throughout."""

    name: str
    type: str
    text: str
    samples: list[Sample]


def families_of(metrics: Iterable[Metric]) -> list[Family]:
    """What a collector gives, as values that can be sent."""
    return [
        Family(
            metric.name,
            metric.type,
            metric.documentation,
            [(each.name, dict(each.labels), float(each.value)) for each in metric.samples],
        )
        for metric in metrics
    ]


@final
class Merged(Collector):
    """Families of several processes. A collector itself."""

    def __init__(self) -> None:
        self._heads: dict[str, Family] = {}
        self._values: dict[str, dict[tuple[str, tuple[tuple[str, str], ...]], float]] = {}

    def add(self, families: Sequence[Family], labels: Mapping[str, str]) -> None:
        """Of one process: each sample gets these labels."""
        for family in families:
            samples: list[Sample] = [
                (name, {**own, **labels}, value) for name, own, value in family.samples
            ]
            self.add_sum([family._replace(samples=samples)])

    def add_sum(self, families: Sequence[Family]) -> None:
        """Samples of the same name and labels are summed up."""
        for family in families:
            self._heads.setdefault(family.name, family)
            values = self._values.setdefault(family.name, {})
            for name, labels, value in family.samples:
                key = name, tuple(labels.items())
                values[key] = values.get(key, 0.0) + value

    def collect(self) -> Iterable[Metric]:
        for name, head in self._heads.items():
            metric = Metric(name, head.text, head.type)
            metric.samples = [
                PrometheusSample(sample, dict(labels), value)
                for (sample, labels), value in self._values[name].items()
            ]
            yield metric
