"""Every RPC but inference: readiness, metadata, configuration, statistics, the repository.

Shared memory, tracing and log settings are not offered. Their RPCs answer as a server does on
which they are off: nothing is registered, nothing can be, and unregistering succeeds, as clients
call it before they begin.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final, TypeVar, final

from google.protobuf.message import DecodeError, Message

from streamgate._proto import grpc_service_pb2 as pb
from streamgate._proto import model_config_pb2
from streamgate.errors import Code, StreamGateError
from streamgate.frontends.kserve_grpc.decode import UNPARSABLE
from streamgate.frontends.kserve_grpc.parameters import invalid
from streamgate.frontends.unserved import SHARED_MEMORY_DISABLED
from streamgate.model.statistics import Duration, ModelStatistics
from streamgate.model.tensor import TensorSpec
from streamgate.session.gateway import Gateway

Method = Callable[[bytes], Awaitable[bytes]]
RequestT = TypeVar("RequestT", bound=Message)

_CHOICE: Final = "parameter_choice"
_FILE_PREFIX: Final = "file:"


@final
class ControlMethods:
    """The control RPCs, by name, over one gateway."""

    def __init__(self, gateway: Gateway, is_draining: Callable[[], bool]) -> None:
        self._gateway = gateway
        self._is_draining = is_draining

    def is_ready(self) -> bool:
        return self._gateway.is_ready() and not self._is_draining()

    def methods(self) -> Mapping[str, Method]:
        """Bytes in, bytes out. Each raises StreamGateError for what the client must be told."""
        return {
            "ServerLive": _method(pb.ServerLiveRequest, self._server_live),
            "ServerReady": _method(pb.ServerReadyRequest, self._server_ready),
            "ModelReady": _method(pb.ModelReadyRequest, self._model_ready),
            "ServerMetadata": _method(pb.ServerMetadataRequest, self._server_metadata),
            "ModelMetadata": _method(pb.ModelMetadataRequest, self._model_metadata),
            "ModelConfig": _method(pb.ModelConfigRequest, self._model_config),
            "ModelStatistics": _method(pb.ModelStatisticsRequest, self._model_statistics),
            "RepositoryIndex": _method(pb.RepositoryIndexRequest, self._repository_index),
            "RepositoryModelLoad": _method(pb.RepositoryModelLoadRequest, self._load),
            "RepositoryModelUnload": _method(pb.RepositoryModelUnloadRequest, self._unload),
            **_absent_extensions(),
        }

    async def _server_live(self, _request: pb.ServerLiveRequest) -> pb.ServerLiveResponse:
        return pb.ServerLiveResponse(live=self._gateway.is_live())

    async def _server_ready(self, _request: pb.ServerReadyRequest) -> pb.ServerReadyResponse:
        return pb.ServerReadyResponse(ready=self.is_ready())

    async def _model_ready(self, request: pb.ModelReadyRequest) -> pb.ModelReadyResponse:
        ready = await self._gateway.is_model_ready(request.name, request.version)
        return pb.ModelReadyResponse(ready=ready)

    async def _server_metadata(
        self, _request: pb.ServerMetadataRequest
    ) -> pb.ServerMetadataResponse:
        info = self._gateway.server_info()
        return pb.ServerMetadataResponse(
            name=info.name, version=info.version, extensions=info.extensions
        )

    async def _model_metadata(self, request: pb.ModelMetadataRequest) -> pb.ModelMetadataResponse:
        info = self._gateway.model(request.name, request.version)
        config = info.config
        return pb.ModelMetadataResponse(
            name=config.name,
            versions=[info.version] if request.version else info.versions,
            platform=config.platform or config.backend,
            inputs=[_tensor_metadata(spec, batches=config.batches) for spec in config.inputs],
            outputs=[_tensor_metadata(spec, batches=config.batches) for spec in config.outputs],
        )

    async def _model_config(self, request: pb.ModelConfigRequest) -> pb.ModelConfigResponse:
        info = self._gateway.model(request.name, request.version)
        config = model_config_pb2.ModelConfig.FromString(info.config.wire)
        return pb.ModelConfigResponse(config=config)

    async def _model_statistics(
        self, request: pb.ModelStatisticsRequest
    ) -> pb.ModelStatisticsResponse:
        models = await self._gateway.statistics(request.name, request.version)
        return pb.ModelStatisticsResponse(model_stats=[_statistics(model) for model in models])

    async def _repository_index(
        self, request: pb.RepositoryIndexRequest
    ) -> pb.RepositoryIndexResponse:
        _refuse_repository_name(request.repository_name)
        entries = await self._gateway.repository_index(ready_only=request.ready)
        index = pb.RepositoryIndexResponse()
        for entry in entries:
            index.models.add(
                name=entry.name, version=entry.version, state=entry.state, reason=entry.reason
            )
        return index

    async def _load(self, request: pb.RepositoryModelLoadRequest) -> pb.RepositoryModelLoadResponse:
        _refuse_repository_name(request.repository_name)
        config, files = _load_parameters(request.parameters)
        await self._gateway.load_model(request.model_name, config, files)
        return pb.RepositoryModelLoadResponse()

    async def _unload(
        self, request: pb.RepositoryModelUnloadRequest
    ) -> pb.RepositoryModelUnloadResponse:
        _refuse_repository_name(request.repository_name)
        dependents = False
        if "unload_dependents" in request.parameters:
            parameter = request.parameters["unload_dependents"]
            if parameter.WhichOneof(_CHOICE) != "bool_param":
                raise invalid(
                    "invalid value type for 'unload_dependents' parameter, expected bool_param."
                )
            dependents = parameter.bool_param
        await self._gateway.unload_model(request.model_name, unload_dependents=dependents)
        return pb.RepositoryModelUnloadResponse()


def _method(
    request_type: type[RequestT], method: Callable[[RequestT], Awaitable[Message]]
) -> Method:
    async def call(data: bytes) -> bytes:
        try:
            request = request_type.FromString(data)
        except DecodeError:
            raise StreamGateError(Code.INTERNAL, UNPARSABLE) from None
        return (await method(request)).SerializeToString()

    return call


def _refuse_repository_name(name: str) -> None:
    if name:
        raise StreamGateError(Code.UNSUPPORTED, "'repository_name' specification is not supported")


def _load_parameters(
    parameters: Mapping[str, pb.ModelRepositoryParameter],
) -> tuple[str | None, Mapping[str, bytes]]:
    """The configuration override and the override files, by path below the model directory."""
    config: str | None = None
    files: dict[str, bytes] = {}
    for key, parameter in parameters.items():
        is_file = key.startswith(_FILE_PREFIX)
        if not is_file and key != "config":
            raise invalid(f"unrecognized load parameter '{key}'.")
        expected = "bytes_param" if is_file else "string_param"
        if parameter.WhichOneof(_CHOICE) != expected:
            raise invalid(f"invalid value type for load parameter '{key}', expected {expected}.")
        if is_file:
            files[key.removeprefix(_FILE_PREFIX)] = parameter.bytes_param
        else:
            config = parameter.string_param
    return config, files


def _tensor_metadata(spec: TensorSpec, *, batches: bool) -> pb.ModelMetadataResponse.TensorMetadata:
    shape = (-1, *spec.shape) if batches else spec.shape
    return pb.ModelMetadataResponse.TensorMetadata(
        name=spec.name, datatype=spec.datatype.value, shape=shape
    )


def _duration(duration: Duration) -> pb.StatisticDuration:
    return pb.StatisticDuration(count=duration.count, ns=duration.total_ns)


def _statistics(model: ModelStatistics) -> pb.ModelStatistics:
    """Response caching and statistics by response are not served: their fields stay 0."""
    return pb.ModelStatistics(
        name=model.name,
        version=model.version,
        last_inference=model.last_inference_ms,
        inference_count=model.inference_count,
        execution_count=model.execution_count,
        inference_stats=pb.InferStatistics(
            success=_duration(model.success),
            fail=_duration(model.fail),
            queue=_duration(model.queue),
            compute_input=_duration(model.compute_input),
            compute_infer=_duration(model.compute_infer),
            compute_output=_duration(model.compute_output),
            cache_hit=pb.StatisticDuration(),
            cache_miss=pb.StatisticDuration(),
        ),
        batch_stats=[
            pb.InferBatchStatistics(
                batch_size=batch.batch_size,
                compute_input=_duration(batch.compute_input),
                compute_infer=_duration(batch.compute_infer),
                compute_output=_duration(batch.compute_output),
            )
            for batch in model.batches
        ],
    )


def _absent_extensions() -> Mapping[str, Method]:
    """The RPCs of extensions that are off."""

    def refuse(request_type: type[RequestT], message: str) -> Method:
        async def method(_request: RequestT) -> Message:
            raise StreamGateError(Code.UNSUPPORTED, message)

        return _method(request_type, method)

    def nothing(request_type: type[RequestT], response_type: type[Message]) -> Method:
        async def method(_request: RequestT) -> Message:
            return response_type()

        return _method(request_type, method)

    def status(kind: str, request_type: type[Any], response_type: type[Message]) -> Method:
        async def method(request: Any) -> Message:
            if request.name:
                raise StreamGateError(
                    Code.NOT_FOUND,
                    f"Unable to find {kind} shared memory region: '{request.name}'",
                )
            return response_type()

        return _method(request_type, method)

    return {
        "SystemSharedMemoryStatus": status(
            "system", pb.SystemSharedMemoryStatusRequest, pb.SystemSharedMemoryStatusResponse
        ),
        "SystemSharedMemoryRegister": refuse(
            pb.SystemSharedMemoryRegisterRequest, SHARED_MEMORY_DISABLED
        ),
        "SystemSharedMemoryUnregister": nothing(
            pb.SystemSharedMemoryUnregisterRequest, pb.SystemSharedMemoryUnregisterResponse
        ),
        "CudaSharedMemoryStatus": status(
            "cuda", pb.CudaSharedMemoryStatusRequest, pb.CudaSharedMemoryStatusResponse
        ),
        "CudaSharedMemoryRegister": refuse(
            pb.CudaSharedMemoryRegisterRequest, SHARED_MEMORY_DISABLED
        ),
        "CudaSharedMemoryUnregister": nothing(
            pb.CudaSharedMemoryUnregisterRequest, pb.CudaSharedMemoryUnregisterResponse
        ),
        "TraceSetting": refuse(
            pb.TraceSettingRequest, "trace settings are not supported by this server"
        ),
        "LogSettings": refuse(
            pb.LogSettingsRequest, "log settings can't be read or changed over this server's RPCs"
        ),
    }
