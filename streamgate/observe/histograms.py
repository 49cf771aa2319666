"""Histograms of ours as Prometheus has them."""

import math
from collections.abc import Iterable

from prometheus_client.core import HistogramMetricFamily, Metric
from prometheus_client.samples import Sample

from streamgate.model.statistics import Histogram


def histogram_family(
    name: str, text: str, rows: Iterable[tuple[dict[str, str], Histogram]]
) -> Metric:
    """A family of histograms, each with its labels. Ours count per bucket, theirs cumulate."""
    family = HistogramMetricFamily(name, text)
    for labels, histogram in rows:
        cumulative = 0
        edges = [*histogram.bounds, math.inf]
        for bound, count in zip(edges, histogram.counts, strict=True):
            cumulative += count
            edge = {**labels, "le": "+Inf" if bound == math.inf else repr(bound)}
            family.samples.append(Sample(f"{name}_bucket", edge, float(cumulative)))
        family.samples.append(Sample(f"{name}_count", labels, float(cumulative)))
        family.samples.append(Sample(f"{name}_sum", labels, float(histogram.total)))
    return family
