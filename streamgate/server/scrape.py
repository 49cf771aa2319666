"""All metrics of a process, as a scrape wants them."""

from collections.abc import Mapping, Sequence

from prometheus_client import REGISTRY

from streamgate.model.statistics import Histogram, TenantStatistics
from streamgate.observe.durability import durability_of, render_durability
from streamgate.observe.exposition import render_registry
from streamgate.observe.metrics import render
from streamgate.observe.resumption import ResumeCounts, render_resumption
from streamgate.observe.speech import render_speech
from streamgate.observe.store import StoreFigures, render_store
from streamgate.observe.tenants import render_tenants
from streamgate.session.gateway import Gateway


async def gateway_metrics(
    gateway: Gateway,
    resume_counts: ResumeCounts | None = None,
    tenants: Sequence[TenantStatistics] = (),
    store: StoreFigures | None = None,
    speech_lags: Mapping[str, Histogram] | None = None,
) -> bytes:
    """Those of all ready models and of their lost sequences, of sessions that clients resume, of
    tenants, of the session store, of speech, and of this process. Metrics that Python models define
    for themselves live in the process's registry."""
    models = await gateway.statistics("", "")
    resumption = b"" if resume_counts is None else render_resumption(resume_counts)
    durability = render_durability(durability_of(models))
    rendered = render(models) + durability + resumption + render_tenants(tenants)
    rendered += render_store(store) + render_speech(speech_lags or {})
    return rendered + render_registry(REGISTRY)
