"""Which models of this process have a log in front of them, and what is kept in it."""

from streamgate.engine.host import Host
from streamgate.link.contract import movable
from streamgate.model.config import Execution, ModelConfig
from streamgate.server.loading import LoadedModel
from streamgate.session.durable.link import DurableLink


def durable_link(model: LoadedModel, host: Host, *, alone: bool = True) -> DurableLink | None:
    """The log in front of a model that was loaded; None where nothing would be gained.

    An ensemble has none: its models do. Nor has a model without sequences, unless its requests may
    have to be run again because a process that runs it is lost. It is not `alone` where front ends
    in other processes have logs, too: they see to what stalls.
    """
    config = model.config
    if config.ensemble is not None:
        return None
    if not config.stateful and config.execution is not Execution.PROCESS:
        return None
    link = DurableLink(
        config, model.version, host, keeps_log=_keeps_log(config, alone), watches_stalls=alone
    )
    link.add_place(movable(model))
    return link


def _keeps_log(config: ModelConfig, alone: bool) -> bool:
    """Whether there is anything to recover from: what runs in this process is lost with it."""
    durability = config.durability
    return (
        config.execution is Execution.PROCESS
        or durability.hibernate_ns > 0
        or (alone and durability.stall_ns > 0)
    )
