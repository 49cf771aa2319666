"""The least that Python can do with these messages: the limit to hold a server's figures against.

A bare `grpc.aio` server that parses each request, answers with its first input as the first
output of the model's configuration, and serialises. No queue, no batch, no model, no check. The
same over HTTP with aiohttp. It answers enough of the other calls for perf_analyzer to run.

    python -m benchmarks.echo_server --model-repository benchmarks/models
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import re
import sys
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any, Final

import grpc
from aiohttp import web
from google.protobuf import json_format, text_format

from benchmarks.server_process import (
    HOST,
    POLL_SECONDS,
    ROOT,
    ServerFailedError,
    ServerProcess,
    launch,
    terminate,
)
from streamgate._proto import grpc_service_pb2 as wire
from streamgate._proto import model_config_pb2 as configuration

SERVICE: Final = "inference.GRPCInferenceService"
LENGTH: Final = "Inference-Header-Content-Length"
TEXT_KEYS: Final = frozenset({"name", "version"})
READY: Final = "echo ready"
START_LIMIT_SECONDS: Final = 30.0
MESSAGE_SIZE_OPTIONS: Final = (
    ("grpc.max_receive_message_length", -1),
    ("grpc.max_send_message_length", -1),
)


class Models:
    """The configurations of a repository and how often each model was asked."""

    def __init__(self, repository: Path) -> None:
        self.configs: dict[str, Any] = {}
        self.counts: dict[str, int] = {}
        for path in sorted(repository.glob("*/config.pbtxt")):
            config = text_format.Parse(path.read_text(), configuration.ModelConfig())
            config.name = path.parent.name
            self.configs[config.name] = config
            self.counts[config.name] = 0

    def metadata(self, name: str) -> wire.ModelMetadataResponse:
        config = self.configs[name]
        answer = wire.ModelMetadataResponse(name=name, versions=["1"], platform=config.backend)
        for entries, tensors in ((config.input, answer.inputs), (config.output, answer.outputs)):
            for entry in entries:
                datatype = configuration.DataType.Name(entry.data_type).removeprefix("TYPE_")
                batch = [-1] if config.max_batch_size else []
                tensors.add(name=entry.name, datatype=datatype, shape=[*batch, *entry.dims])
        return answer

    def statistics(self, name: str) -> wire.ModelStatisticsResponse:
        answer = wire.ModelStatisticsResponse()
        for model in [name] if name else list(self.configs):
            count = self.counts[model]
            entry = answer.model_stats.add(
                name=model, version="1", inference_count=count, execution_count=count
            )
            entry.inference_stats.success.count = count
            entry.inference_stats.queue.count = count  # perf_analyzer looks for growth here
        return answer


class GrpcEcho:
    """The RPCs, one method each, by their names in small letters."""

    def __init__(self, models: Models) -> None:
        self._models = models
        self._outputs = {name: config.output[0].name for name, config in models.configs.items()}

    async def server_live(self, request: Any, _: Any) -> Any:
        return wire.ServerLiveResponse(live=True)

    async def server_ready(self, request: Any, _: Any) -> Any:
        return wire.ServerReadyResponse(ready=True)

    async def model_ready(self, request: Any, _: Any) -> Any:
        return wire.ModelReadyResponse(ready=request.name in self._models.configs)

    async def server_metadata(self, request: Any, _: Any) -> Any:
        return wire.ServerMetadataResponse(
            name="echo", version="0", extensions=["sequence", "statistics", "model_configuration"]
        )

    async def model_metadata(self, request: Any, _: Any) -> Any:
        return self._models.metadata(request.name)

    async def model_config(self, request: Any, _: Any) -> Any:
        return wire.ModelConfigResponse(config=self._models.configs[request.name])

    async def model_statistics(self, request: Any, _: Any) -> Any:
        return self._models.statistics(request.name)

    async def model_infer(self, request: Any, _: Any) -> Any:
        response = wire.ModelInferResponse()
        self._fill(request, response)
        return response

    async def model_stream_infer(self, requests: AsyncIterator[Any], context: Any) -> None:
        while (request := await context.read()) is not grpc.aio.EOF:
            response = wire.ModelStreamInferResponse()
            self._fill(request, response.infer_response)
            response.infer_response.parameters["triton_final_response"].bool_param = True
            await context.write(response)

    def _fill(self, request: Any, response: Any) -> None:
        name = request.model_name
        self._models.counts[name] += 1
        response.model_name = name
        response.model_version = "1"
        response.id = request.id
        tensor = request.inputs[0]
        response.outputs.add(name=self._outputs[name], datatype=tensor.datatype, shape=tensor.shape)
        response.raw_output_contents.append(request.raw_input_contents[0])

    def handlers(self) -> grpc.GenericRpcHandler:
        service = wire.DESCRIPTOR.services_by_name["GRPCInferenceService"]
        handlers = {}
        for method in service.methods:
            behaviour = getattr(self, _snake(method.name), None)
            if behaviour is None:
                continue
            build = (
                grpc.stream_stream_rpc_method_handler
                if method.client_streaming
                else grpc.unary_unary_rpc_method_handler
            )
            handlers[method.name] = build(
                behaviour,
                request_deserializer=getattr(wire, method.input_type.name).FromString,
                response_serializer=getattr(wire, method.output_type.name).SerializeToString,
            )
        return grpc.method_handlers_generic_handler(SERVICE, handlers)


class HttpEcho:
    """The same over HTTP, with the binary tensor extension."""

    def __init__(self, models: Models) -> None:
        self._models = models

    def application(self) -> web.Application:
        application = web.Application(client_max_size=2**30)
        model = "/v2/models/{name}"
        application.add_routes(
            [
                web.get("/v2/health/live", self._healthy),
                web.get("/v2/health/ready", self._healthy),
                web.get(model + "/ready", self._healthy),
                web.get("/v2", self._server),
                web.get(model, self._metadata),
                web.get(model + "/config", self._config),
                web.get(model + "/stats", self._statistics),
                web.post(model + "/infer", self._infer),
            ]
        )
        return application

    async def _healthy(self, _: web.Request) -> web.Response:
        return web.Response()

    async def _server(self, _: web.Request) -> web.Response:
        extensions = ["binary_tensor_data", "sequence", "statistics", "model_configuration"]
        return web.json_response({"name": "echo", "version": "0", "extensions": extensions})

    async def _metadata(self, request: web.Request) -> web.Response:
        metadata = self._models.metadata(request.match_info["name"])
        tensors = {
            kind: [
                {"name": entry.name, "datatype": entry.datatype, "shape": list(entry.shape)}
                for entry in entries
            ]
            for kind, entries in (("inputs", metadata.inputs), ("outputs", metadata.outputs))
        }
        return web.json_response(
            {"name": metadata.name, "versions": ["1"], "platform": metadata.platform, **tensors}
        )

    async def _config(self, request: web.Request) -> web.Response:
        config = self._models.configs[request.match_info["name"]]
        return web.json_response(
            _numbers(
                json_format.MessageToDict(
                    config,
                    preserving_proto_field_name=True,
                    always_print_fields_with_no_presence=True,
                )
            )
        )

    async def _statistics(self, request: web.Request) -> web.Response:
        statistics = self._models.statistics(request.match_info["name"])
        return web.json_response(
            _numbers(
                json_format.MessageToDict(
                    statistics,
                    preserving_proto_field_name=True,
                    always_print_fields_with_no_presence=True,
                )
            )
        )

    async def _infer(self, request: web.Request) -> web.Response:
        name = request.match_info["name"]
        body = await request.read()
        cut = int(request.headers.get(LENGTH, len(body)))
        header = json.loads(body[:cut])
        tensor = header["inputs"][0]
        self._models.counts[name] += 1
        output = {
            "name": self._models.configs[name].output[0].name,
            "datatype": tensor["datatype"],
            "shape": tensor["shape"],
            "parameters": {"binary_data_size": len(body) - cut},
        }
        answer = {"model_name": name, "model_version": "1", "outputs": [output]}
        encoded = json.dumps(answer).encode()
        return web.Response(
            body=encoded + body[cut:],
            headers={LENGTH: str(len(encoded)), "Content-Type": "application/octet-stream"},
        )


def _snake(name: str) -> str:
    return re.sub(r"(?<!^)([A-Z])", r"_\1", name).lower()


def _numbers(value: Any) -> Any:
    """protobuf's JSON writes 64-bit integers as text; Triton's does not."""
    match value:
        case dict():
            return {
                key: entry if key in TEXT_KEYS else _numbers(entry) for key, entry in value.items()
            }
        case list():
            return [_numbers(entry) for entry in value]
        case str() if value.lstrip("-").isdigit():
            return int(value)
        case _:
            return value


@contextlib.contextmanager
def echo_server(repository: Path, scratch: Path) -> Iterator[ServerProcess]:
    """Run the echo server in a process of its own, for the models of `repository`."""
    log = scratch / "echo.log"
    command = [sys.executable, "-m", "benchmarks.echo_server", f"--model-repository={repository}"]
    process = launch(command, log, {"PYTHONUNBUFFERED": "1", "PYTHONPATH": str(ROOT)})
    starting = ServerProcess("echo", f"grpcio {grpc.__version__}", process, log, grpc="")
    try:
        deadline = time.monotonic() + START_LIMIT_SECONDS
        while READY not in (text := log.read_text(errors="replace")):
            if not starting.is_alive() or time.monotonic() > deadline:
                raise ServerFailedError(f"echo server did not start:\n{starting.log_tail()}")
            time.sleep(POLL_SECONDS)
        line = next(line for line in text.splitlines() if line.startswith(READY))
        addresses = dict(word.split("=", 1) for word in line.removeprefix(READY).split())
        yield ServerProcess(
            starting.name, starting.version, process, log, addresses["grpc"], addresses["http"]
        )
    finally:
        terminate(process)


async def serve(repository: Path) -> None:
    models = Models(repository)
    server = grpc.aio.server(options=MESSAGE_SIZE_OPTIONS)
    server.add_generic_rpc_handlers((GrpcEcho(models).handlers(),))
    grpc_port = server.add_insecure_port(f"{HOST}:0")
    await server.start()
    runner = web.AppRunner(HttpEcho(models).application(), access_log=None)
    await runner.setup()
    site = web.TCPSite(runner, HOST, 0)
    await site.start()
    http_port = runner.addresses[0][1]
    print(f"{READY} grpc={HOST}:{grpc_port} http={HOST}:{http_port}", flush=True)
    await server.wait_for_termination()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Echo server: the limit for a Python gateway.")
    parser.add_argument("--model-repository", type=Path, required=True)
    asyncio.run(serve(parser.parse_args().model_repository))
