"""Every end point but inference: health, metadata, configuration, statistics, the repository.

Shared memory, tracing and log settings are not offered. Their end points answer as a server does
on which they are off: nothing is registered, nothing can be, and unregistering succeeds, as
clients call it before they begin.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import asdict
from typing import Any, Final, final

from streamgate.errors import Code, StreamGateError
from streamgate.frontends.kserve_http.answer import (
    TEXT,
    Answer,
    error_answer,
    json_answer,
)
from streamgate.frontends.kserve_http.document import (
    Document,
    parse_object,
    wrong_type,
)
from streamgate.frontends.kserve_http.routes import Endpoint, Route
from streamgate.frontends.unserved import SHARED_MEMORY_DISABLED
from streamgate.model.statistics import Duration, ModelStatistics, SlotTable
from streamgate.model.tensor import TensorSpec
from streamgate.session.gateway import Gateway, ModelIndexEntry

Handler = Callable[[Route, bytes], Awaitable[Answer]]

_FILE_PREFIX: Final = "file:"
_OK: Final = Answer(content_type=TEXT)


@final
class ControlEndpoints:
    """The control end points over one gateway."""

    def __init__(self, gateway: Gateway, is_draining: Callable[[], bool]) -> None:
        self._gateway = gateway
        self._is_draining = is_draining

    def handlers(self) -> Mapping[Endpoint, Handler]:
        """Route and body in, answer out. Each raises StreamGateError for a refused request."""
        return {
            Endpoint.LIVE: self._live,
            Endpoint.READY: self._ready,
            Endpoint.MODEL_READY: self._model_ready,
            Endpoint.SERVER: self._server,
            Endpoint.MODEL: self._model,
            Endpoint.CONFIG: self._config,
            Endpoint.STATISTICS: self._statistics,
            Endpoint.SLOTS: self._slots,
            Endpoint.INDEX: self._index,
            Endpoint.LOAD: self._load,
            Endpoint.UNLOAD: self._unload,
            Endpoint.REGION_STATUS: _region_status,
            Endpoint.REGION_REGISTER: _region_register,
            Endpoint.REGION_UNREGISTER: _region_unregister,
            Endpoint.TRACE: _trace,
            Endpoint.LOGGING: _logging,
        }

    async def _live(self, _route: Route, _body: bytes) -> Answer:
        return _OK if self._gateway.is_live() else Answer(400, content_type=TEXT)

    async def _ready(self, _route: Route, _body: bytes) -> Answer:
        ready = self._gateway.is_ready() and not self._is_draining()
        return _OK if ready else Answer(400, content_type=TEXT)

    async def _model_ready(self, route: Route, _body: bytes) -> Answer:
        if await self._gateway.is_model_ready(route.name, route.version):
            return _OK
        return error_answer(400, "Model version not ready")

    async def _server(self, _route: Route, _body: bytes) -> Answer:
        info = self._gateway.server_info()
        return json_answer(
            {"name": info.name, "version": info.version, "extensions": list(info.extensions)}
        )

    async def _model(self, route: Route, _body: bytes) -> Answer:
        info = self._gateway.model(route.name, route.version)
        config = info.config
        return json_answer(
            {
                "name": config.name,
                "versions": [info.version] if route.version else list(info.versions),
                "platform": config.platform or config.backend,
                "inputs": [_tensor(spec, batches=config.batches) for spec in config.inputs],
                "outputs": [_tensor(spec, batches=config.batches) for spec in config.outputs],
            }
        )

    async def _config(self, route: Route, _body: bytes) -> Answer:
        config = self._gateway.model(route.name, route.version).config
        return Answer(pieces=(config.json.encode(),))

    async def _statistics(self, route: Route, _body: bytes) -> Answer:
        models = await self._gateway.statistics(route.name, route.version)
        return json_answer({"model_stats": [_statistics(model) for model in models]})

    async def _slots(self, route: Route, _body: bytes) -> Answer:
        tables = await self._gateway.slots(route.name, route.version)
        return json_answer({"models": [_slot_table(table) for table in tables]})

    async def _index(self, _route: Route, body: bytes) -> Answer:
        # The name of a repository in the path does not matter, in Triton neither.
        document = _optional_object(body)
        ready_only = document.get("ready", False)
        if not isinstance(ready_only, bool):
            raise StreamGateError(Code.INTERNAL, wrong_type("boolean"))
        entries = await self._gateway.repository_index(ready_only=ready_only)
        return json_answer([_index_entry(entry) for entry in entries])

    async def _load(self, route: Route, body: bytes) -> Answer:
        _refuse_repository_name(route)
        config, files = _load_parameters(_optional_object(body).get("parameters", {}))
        await self._gateway.load_model(route.name, config, files)
        return _OK

    async def _unload(self, route: Route, body: bytes) -> Answer:
        _refuse_repository_name(route)
        parameters = _optional_object(body).get("parameters")
        # Of any other type, it counts for nothing, as in Triton.
        dependents = isinstance(parameters, dict) and parameters.get("unload_dependents") is True
        await self._gateway.unload_model(route.name, unload_dependents=dependents)
        return _OK


def _optional_object(body: bytes) -> Document:
    return parse_object(body) if body else {}


def _refuse_repository_name(route: Route) -> None:
    if route.place:
        raise StreamGateError(Code.UNSUPPORTED, "'repository_name' specification is not supported")


def _load_parameters(parameters: object) -> tuple[str | None, Mapping[str, bytes]]:
    """The configuration override and the override files, by path below the model directory."""
    if not isinstance(parameters, dict):
        raise StreamGateError(Code.INTERNAL, "attempt to get members for non-object")
    config: str | None = None
    files: dict[str, bytes] = {}
    for key, value in parameters.items():
        is_file = key.startswith(_FILE_PREFIX)
        if not is_file and key != "config":
            raise StreamGateError(Code.INTERNAL, "unexpected error on creating Triton parameter")
        if not isinstance(value, str):
            raise StreamGateError(Code.INTERNAL, wrong_type("string"))
        if is_file:
            files[key.removeprefix(_FILE_PREFIX)] = _file_content(key, value)
        else:
            config = value
    return config, files


def _file_content(key: str, text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise StreamGateError(
            Code.INVALID_ARG, f"load parameter '{key}' is no base64: {error}"
        ) from None


def _index_entry(entry: ModelIndexEntry) -> dict[str, str]:
    shown = {"name": entry.name}
    if entry.version:
        shown["version"] = entry.version
    if entry.state:
        shown["state"] = entry.state
    if entry.reason:
        shown["reason"] = entry.reason
    return shown


def _tensor(spec: TensorSpec, *, batches: bool) -> dict[str, Any]:
    shape = [-1, *spec.shape] if batches else list(spec.shape)
    return {"name": spec.name, "datatype": spec.datatype.value, "shape": shape}


def _duration(duration: Duration) -> dict[str, int]:
    return {"count": duration.count, "ns": duration.total_ns}


def _statistics(model: ModelStatistics) -> dict[str, Any]:
    """Response caching and statistics by response are not served: they stay 0 and empty."""
    return {
        "name": model.name,
        "version": model.version,
        "last_inference": model.last_inference_ms,
        "inference_count": model.inference_count,
        "execution_count": model.execution_count,
        "inference_stats": {
            "success": _duration(model.success),
            "fail": _duration(model.fail),
            "queue": _duration(model.queue),
            "compute_input": _duration(model.compute_input),
            "compute_infer": _duration(model.compute_infer),
            "compute_output": _duration(model.compute_output),
            "cache_hit": _duration(Duration()),
            "cache_miss": _duration(Duration()),
        },
        "response_stats": {},
        "batch_stats": [
            {
                "batch_size": batch.batch_size,
                "compute_input": _duration(batch.compute_input),
                "compute_infer": _duration(batch.compute_infer),
                "compute_output": _duration(batch.compute_output),
            }
            for batch in model.batches
        ],
        "memory_usage": [],
    }


def _slot_table(table: SlotTable) -> dict[str, Any]:
    return {
        "name": table.name,
        "version": table.version,
        "slots": table.slots,
        "taken": table.taken,
        "backlog": table.backlog,
        "sequences": [asdict(view) for view in table.views],
        "left_out": table.left_out,
    }


async def _region_status(route: Route, _body: bytes) -> Answer:
    if route.name:
        raise StreamGateError(
            Code.NOT_FOUND, f"Unable to find {route.place} shared memory region: '{route.name}'"
        )
    return json_answer([])


async def _region_register(_route: Route, _body: bytes) -> Answer:
    raise StreamGateError(Code.UNSUPPORTED, SHARED_MEMORY_DISABLED)


async def _region_unregister(_route: Route, _body: bytes) -> Answer:
    return _OK


async def _trace(_route: Route, _body: bytes) -> Answer:
    raise StreamGateError(Code.UNSUPPORTED, "trace settings are not supported by this server")


async def _logging(_route: Route, _body: bytes) -> Answer:
    raise StreamGateError(
        Code.UNSUPPORTED, "log settings can't be read or changed over this server's HTTP"
    )
