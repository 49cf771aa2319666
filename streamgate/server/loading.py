"""From a model as the repository has it to runtimes that are ready to serve, all or none."""

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Protocol

from streamgate.backend.contract import (
    Backend,
    LoadContext,
    ModelServer,
    Session,
    SessionLostError,
)
from streamgate.engine.device_turns import DeviceTurns
from streamgate.engine.host import Host
from streamgate.engine.instances import LoadInstance
from streamgate.engine.runtime import ModelRuntime
from streamgate.errors import BackendError, Code, StreamGateError
from streamgate.link.contract import ModelLink
from streamgate.model.config import Instance
from streamgate.repository.repository import ModelSource, VersionSource
from streamgate.session.model_server import ModelServers

log = logging.getLogger(__name__)

FindBackend = Callable[[str], Backend]

_STATUS_WORDS = {
    Code.UNKNOWN: "Unknown",
    Code.INTERNAL: "Internal",
    Code.NOT_FOUND: "Not found",
    Code.INVALID_ARG: "Invalid argument",
    Code.UNAVAILABLE: "Unavailable",
    Code.UNSUPPORTED: "Unsupported",
    Code.ALREADY_EXISTS: "Already exists",
    Code.CANCELLED: "Cancelled",
}


class LoadedModel(ModelLink, Protocol):
    """A loaded model version in the hands of whoever loaded it: an engine's, or an ensemble."""

    def drain(self) -> None:
        """Accept no new sequences and no stateless requests from now on."""

    async def wait_idle(self) -> None:
        """Wait until no request is under way and no sequence lives. May wait long: bound it."""

    async def close(self, timeout_seconds: float) -> None:
        """End every sequence, wait at most so long for what runs, and free everything."""

    def discard(self) -> None:
        """Give it up; it never served."""


@dataclass(frozen=True, slots=True)
class LoadedVersions:
    """What came of loading a model's versions, by number. With failures, nothing may serve."""

    models: dict[int, LoadedModel] = field(default_factory=dict)
    failures: dict[int, StreamGateError] = field(default_factory=dict)


def reason_of(error: StreamGateError) -> str:
    """An error as the repository index gives the reason of a version that is UNAVAILABLE."""
    return f"{_STATUS_WORDS[error.code]}: {error.message}"


async def load_versions(
    source: ModelSource,
    find_backend: FindBackend,
    host: Host,
    servers: ModelServers,
    turns: DeviceTurns | None = None,
) -> LoadedVersions:
    """Load all versions of a source, beside each other.

    Where one can't even be read, none is loaded: nothing could come of it. When this is cancelled,
    what was loaded is closed again.
    """
    loaded = LoadedVersions()
    for number, failure in source.failures.items():
        loaded.failures[int(number)] = failure
    if loaded.failures:
        return loaded
    loads = [
        asyncio.create_task(_load(version, find_backend, host, servers, turns))
        for version in source.versions
    ]
    try:
        results = await asyncio.gather(*loads, return_exceptions=True)
    except asyncio.CancelledError:
        for load in loads:
            if load.done() and not load.cancelled() and load.exception() is None:
                load.result().discard()
        raise
    for version, result in zip(source.versions, results, strict=True):
        if isinstance(result, BaseException):
            loaded.failures[int(version.version)] = as_told(result)
        else:
            loaded.models[int(version.version)] = result
    return loaded


async def _load(
    version: VersionSource,
    find_backend: FindBackend,
    host: Host,
    servers: ModelServers,
    turns: DeviceTurns | None,
) -> ModelRuntime:
    backend = await asyncio.to_thread(find_backend, version.config.backend)
    runtime = ModelRuntime(version.config, version.version, host, turns=turns)
    try:
        await runtime.load(loader(backend, version, partial(servers.open, runtime)))
    except BaseException:
        runtime.discard()
        raise
    return runtime


def loader(
    backend: Backend, version: VersionSource, open_server: Callable[[str], ModelServer]
) -> LoadInstance:
    """How each instance of a version is loaded."""

    def load(instance: Instance, on_lost: Callable[[SessionLostError], None]) -> Session:
        # The session closes its server; where none comes of it, nobody else does.
        server = open_server(instance.name)
        try:
            return backend.load(
                LoadContext(version.config, version.files, instance, server, on_lost)
            )
        except BaseException:
            server.close()
            raise

    return load


def as_told(error: BaseException) -> StreamGateError:
    """What a backend raised, as a client is told it."""
    if isinstance(error, StreamGateError):
        return error
    if not isinstance(error, Exception):
        raise error
    log.error("loading failed with an unknown exception", exc_info=error)
    return BackendError(f"{type(error).__name__}: {error}")
