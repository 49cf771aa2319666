"""Reloads that bring nothing new but instance groups: done in place, so that sequences live on."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial

from streamgate.engine.runtime import ModelRuntime
from streamgate.model.config import Execution, ModelConfig
from streamgate.repository.repository import ModelSource, VersionSource
from streamgate.server.loading import FindBackend, as_told, loader
from streamgate.server.retiring import Served
from streamgate.session.model_server import ModelServers
from streamgate.session.routing import ModelTable, Route


@dataclass(frozen=True, slots=True)
class Resizing:
    """A version that serves and is to go on with other instances."""

    number: int
    route: Route
    runtime: ModelRuntime
    version: VersionSource
    before: Served

    @property
    def served(self) -> Served:
        """What is in service afterwards: the files are those of before, which are equal."""
        return self.before

    async def apply(
        self, find_backend: FindBackend, servers: ModelServers, grace_seconds: float
    ) -> None:
        """Raises StreamGateError where it fails; then the version serves as before."""
        try:
            backend = await asyncio.to_thread(find_backend, self.version.config.backend)
            load = loader(backend, self.version, partial(servers.open, self.runtime))
            await self.runtime.resize(self.version.config, load, grace_seconds)
        except Exception as error:
            raise as_told(error) from error
        self.route.renew_config()


def find_resizings(
    source: ModelSource, table: ModelTable, served: Mapping[Route, Served]
) -> list[Resizing]:
    """How to get to a source from what serves by resizing alone. Empty where that can't be done."""
    state = table.get(source.name)
    if state is None or source.failures:
        return []
    if state.ready() != [int(version.version) for version in source.versions]:
        return []
    resizings = []
    for version in source.versions:
        number = int(version.version)
        route = table.route_of(source.name, number)
        assert route is not None
        old = served[route]
        if not isinstance(old.model, ModelRuntime) or old.source.body != source.body:
            return []
        if not _differs_in_instances(version.config, old.model.config):
            return []
        before = next(each for each in old.source.versions if each.version == version.version)
        renewed = replace(version, files=before.files)
        resizings.append(Resizing(number, route, old.model, renewed, old))
    return resizings


def _differs_in_instances(new: ModelConfig, old: ModelConfig) -> bool:
    """Whether nothing else is new.

    Where several instances run in processes and one does not, those that there are stay as they
    are. But a decoupled model's way to slow clients is another in a process.
    """
    same = replace(old, instances=new.instances, json=new.json, wire=new.wire)
    if Execution.INLINE not in (new.execution, old.execution) and not new.decoupled:
        same = replace(same, execution=new.execution)
    return same == new and old.instances != new.instances
