"""All metrics of a process, as a scrape wants them."""

from collections.abc import Sequence

from prometheus_client import REGISTRY

from streamgate.model.statistics import TenantStatistics
from streamgate.observe.exposition import render_registry
from streamgate.observe.metrics import render
from streamgate.observe.resumption import ResumeCounts, render_resumption
from streamgate.observe.tenants import render_tenants
from streamgate.session.gateway import Gateway


async def gateway_metrics(
    gateway: Gateway,
    resume_counts: ResumeCounts | None = None,
    tenants: Sequence[TenantStatistics] = (),
) -> bytes:
    """Those of all ready models, of sessions that clients resume, of tenants, and of this process.
    Metrics that Python models define for themselves live in the process's registry."""
    models = await gateway.statistics("", "")
    resumption = b"" if resume_counts is None else render_resumption(resume_counts)
    rendered = render(models) + resumption + render_tenants(tenants)
    return rendered + render_registry(REGISTRY)
