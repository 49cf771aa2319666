"""The metrics of all processes of a server as one scrape."""

import asyncio
from collections.abc import Sequence
from typing import Any, Final

from prometheus_client import CollectorRegistry

from streamgate.observe.exposition import render_registry
from streamgate.observe.families import Family, Merged
from streamgate.server.processes.keeper import Keeper
from streamgate.server.processes.messages import PeerLostError
from streamgate.server.processes.tree import ProcessView, view_of

SCRAPE_SECONDS: Final = 2.0
"""How long a process may take to tell its metrics: one that does not is left out this time."""

PROCESS_GAUGES: Final = (
    ("streamgate_process_up", "Whether the process runs and gives signs of life", "is_alive"),
    ("streamgate_process_ready", "Whether the process serves", "is_ready"),
    ("streamgate_process_accepting", "Whether the process lets in what is new", "is_accepting"),
)


async def scrape(keepers: Sequence[Keeper]) -> bytes:
    """What all processes count, in Prometheus' text format.

    What is counted about models is summed up over the engines; all else bears the label `process`.
    """
    answers = await asyncio.gather(*(_asked(keeper) for keeper in keepers))
    merged = Merged()
    merged.add_sum(supervised([view_of(keeper, draining=False) for keeper in keepers]))
    for keeper, answer in zip(keepers, answers, strict=True):
        if answer is not None:
            merged.add_sum([Family(*each) for each in answer["summed"]])
            merged.add([Family(*each) for each in answer["process"]], {"process": keeper.name})
    registry = CollectorRegistry()
    registry.register(merged)
    return render_registry(registry)


def supervised(views: Sequence[ProcessView]) -> list[Family]:
    """What the supervisor knows of its processes."""
    families = [
        Family(
            name,
            "gauge",
            text,
            [(name, {"process": view.name}, float(getattr(view, field))) for view in views],
        )
        for name, text, field in PROCESS_GAUGES
    ]
    name = "streamgate_process_restarts"
    text = "How often the process was started again"
    samples = [(f"{name}_total", {"process": view.name}, float(view.restarts)) for view in views]
    return [*families, Family(name, "counter", text, samples)]


async def _asked(keeper: Keeper) -> Any:
    try:
        return await keeper.ask("metrics", seconds=SCRAPE_SECONDS)
    except (PeerLostError, TimeoutError):
        return None
