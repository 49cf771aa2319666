"""What tenants have and were refused, in Prometheus' text format: by name, never by key."""

from collections.abc import Sequence

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from streamgate.model.statistics import TenantStatistics
from streamgate.observe.exposition import render_registry


def render_tenants(tenants: Sequence[TenantStatistics]) -> bytes:
    """The families of these tenants; nothing for none."""
    registry = CollectorRegistry()
    registry.register(TenantCollector(tenants))
    return render_registry(registry) if tenants else b""


class TenantCollector(Collector):
    """Prometheus families of these tenants."""

    def __init__(self, tenants: Sequence[TenantStatistics]) -> None:
        self._tenants = tenants

    def collect(self) -> Sequence[Metric]:
        streams = GaugeMetricFamily(
            "streamgate_tenant_streams", "Live sequences and reservations", labels=("tenant",)
        )
        admitted = CounterMetricFamily(
            "streamgate_tenant_admitted",
            "Sequences, and requests outside of sequences, that were let in",
            labels=("tenant",),
        )
        refused = CounterMetricFamily(
            "streamgate_tenant_refused",
            "Sequences and requests that were refused for a limit, by the limit",
            labels=("tenant", "limit"),
        )
        received = CounterMetricFamily(
            "streamgate_tenant_received_bytes",
            "Bytes of requests and audio that came",
            labels=("tenant",),
        )
        pauses = CounterMetricFamily(
            "streamgate_tenant_pauses",
            "Times that a client was not read for a while, as it sent more than its rate",
            labels=("tenant",),
        )
        for tenant in self._tenants:
            streams.add_metric((tenant.name,), tenant.streams)
            admitted.add_metric((tenant.name,), tenant.admitted)
            received.add_metric((tenant.name,), tenant.received_bytes)
            pauses.add_metric((tenant.name,), tenant.pauses)
            for limit, count in tenant.refused.items():
                refused.add_metric((tenant.name, limit), count)
        return [streams, admitted, refused, received, pauses]
