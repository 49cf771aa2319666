"""All metrics of a process, as a scrape wants them."""

from prometheus_client import REGISTRY

from streamgate.observe.exposition import render_registry
from streamgate.observe.metrics import render
from streamgate.session.gateway import Gateway


async def gateway_metrics(gateway: Gateway) -> bytes:
    """Those of all ready models and of this process. Metrics that Python models define for
    themselves live in the process's registry."""
    models = await gateway.statistics("", "")
    return render(models) + render_registry(REGISTRY)
