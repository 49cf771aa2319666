"""What the gRPC front end costs: GrpcFrontEnd against the least that grpc.aio can do.

Peer: `bare`, a grpc.aio server that reads a message, parses it, builds the answer with protobuf
and writes it: one coroutine a stream, nothing else. Ours: GrpcFrontEnd over a gateway that
answers in the next turn of the loop. The model is the same in both: 16 floats in, 16 out.

Workload: perf_analyzer (setup_perf_analyzer.sh), closed loop, streams and unary calls. Load and
server share this machine's cores. Limit: the peers are run in turns, `--rounds` times; the table
shows medians. No model, no batching, tiny messages: with a model behind it, both look better.

    python -m benchmarks.grpc_frontend [--rounds 3] [--cells s1,s8,s64,u1,u8,u32] [--seconds 3]
    python -m benchmarks.grpc_frontend --serve ours|bare --port 8001
"""

from __future__ import annotations

import argparse
import asyncio
import os
import re
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import grpc.aio

from benchmarks.server_process import free_ports, launch, process_tree, terminate
from streamgate._proto import grpc_service_pb2 as pb
from streamgate._proto import model_config_pb2
from streamgate.frontends.kserve_grpc import GrpcFrontEnd
from streamgate.frontends.kserve_grpc.aio import unary_handler
from streamgate.frontends.kserve_grpc.control import ControlMethods
from streamgate.model.config import DefaultScheduling, ModelConfig
from streamgate.model.datatypes import DataType
from streamgate.model.request import Request, Response
from streamgate.model.statistics import Duration, Histogram, ModelStatistics, SlotTable
from streamgate.model.tensor import Tensor, TensorSpec
from streamgate.session.gateway import ComeSink, GoneSink, ModelInfo, ResponseSink, ServerInfo

ROOT = Path(__file__).resolve().parent.parent
FLOATS = 16
PEERS = ("bare", "ours")
TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")


class EchoGateway:
    """Answers every request with its input, in the loop's next turn. Also its own connection."""

    def __init__(self) -> None:
        spec = (DataType.FP32, (FLOATS,))
        wire = model_config_pb2.ModelConfig(name="echo", backend="echo")
        wire.input.add(name="IN", data_type=model_config_pb2.TYPE_FP32, dims=[FLOATS])
        wire.output.add(name="OUT", data_type=model_config_pb2.TYPE_FP32, dims=[FLOATS])
        config = ModelConfig(
            name="echo",
            backend="echo",
            platform="",
            max_batch_size=0,
            inputs=(TensorSpec("IN", *spec),),
            outputs=(TensorSpec("OUT", *spec),),
            scheduling=DefaultScheduling(),
            wire=wire.SerializeToString(),
        )
        self._info = ModelInfo(config, "1", ("1",))
        self._loop = asyncio.get_running_loop()
        self.count = 0

    def connect(self, on_sequence_end: object = None, on_warning: object = None) -> EchoGateway:
        del on_sequence_end, on_warning
        return self

    def pause(self) -> None: ...

    def resume(self) -> None: ...

    def close(self, *, abort: bool) -> None:
        del abort

    def submit(self, request: Request, sink: ResponseSink) -> EchoGateway:
        self.count += 1
        request.version = "1"
        tensor = request.inputs[0]
        outputs = (Tensor("OUT", tensor.datatype, tensor.shape, raw=tensor.raw),)
        self._loop.call_soon(sink, Response(request, "echo", "1", outputs))
        return self

    def cancel(self) -> None:
        pass

    async def reserve(self, model: str, version: str, sequence: int | str) -> None:
        """Nothing is sequential."""

    def keep(self, model: str, version: str, sequence: int | str) -> None:
        del model, version, sequence

    def end_sequence(self, model: str, version: str, sequence: int | str) -> None:
        del model, version, sequence

    async def finish(self, model: str, version: str, sequence: int | str) -> None:
        del model, version, sequence

    def of(self, key: str) -> EchoGateway:
        del key
        return self

    def owe(self, size_bytes: int) -> float:
        del size_bytes
        return 0.0

    def watch_sequences(self, on_gone: GoneSink, on_come: ComeSink) -> None:
        del on_gone, on_come

    def is_live(self) -> bool:
        return True

    def is_accepting(self) -> bool:
        return True

    def is_ready(self) -> bool:
        return True

    async def is_model_ready(self, name: str, version: str) -> bool:
        del version
        return name == "echo"

    def server_info(self) -> ServerInfo:
        return ServerInfo("echo", "1", ())

    def model(self, name: str, version: str) -> ModelInfo:
        del name, version
        return self._info

    async def slots(self, name: str, version: str) -> Sequence[SlotTable]:
        del name, version
        return ()

    async def statistics(self, name: str, version: str) -> Sequence[ModelStatistics]:
        del name, version
        none, empty = Duration(), Histogram((), (0,), 0.0)
        return [
            ModelStatistics(
                name="echo",
                version="1",
                last_inference_ms=0,
                inference_count=self.count,
                execution_count=self.count,
                success=none,
                fail=none,
                queue=none,
                compute_input=none,
                compute_infer=none,
                compute_output=none,
                batches=(),
                failures={},
                pending=0,
                occupancy=empty,
                step_time=empty,
            )
        ]

    async def repository_index(self, *, ready_only: bool) -> Sequence[Any]:
        del ready_only
        return []

    async def load_model(self, name: str, config: str | None, files: Mapping[str, bytes]) -> None:
        pass

    async def unload_model(self, name: str, *, unload_dependents: bool) -> None:
        pass


async def serve_bare(gateway: EchoGateway, port: int) -> None:
    """The least that a grpc.aio server of this protocol can do for a message."""

    def answer(data: bytes) -> pb.ModelInferResponse:
        request = pb.ModelInferRequest.FromString(data)
        gateway.count += 1
        response = pb.ModelInferResponse(
            model_name=request.model_name, model_version="1", id=request.id
        )
        response.outputs.add(name="OUT", datatype="FP32", shape=request.inputs[0].shape)
        response.raw_output_contents.append(request.raw_input_contents[0])
        return response

    async def infer(data: bytes, _context: grpc.aio.ServicerContext) -> bytes:
        return answer(data).SerializeToString()

    async def stream(_requests: object, context: grpc.aio.ServicerContext) -> None:
        while True:
            data = await context.read()
            if data is grpc.aio.EOF:
                return
            response = pb.ModelStreamInferResponse(infer_response=answer(data))
            await context.write(response.SerializeToString())

    methods = ControlMethods(gateway, lambda: False).methods()
    handlers = {
        name: grpc.unary_unary_rpc_method_handler(unary_handler(method))
        for name, method in methods.items()
    }
    handlers["ModelInfer"] = grpc.unary_unary_rpc_method_handler(infer)
    handlers["ModelStreamInfer"] = grpc.stream_stream_rpc_method_handler(stream)
    server = grpc.aio.server()
    server.add_generic_rpc_handlers(
        (grpc.method_handlers_generic_handler("inference.GRPCInferenceService", handlers),)
    )
    server.add_insecure_port(f"127.0.0.1:{port}")
    await server.start()
    await server.wait_for_termination()


async def serve(peer: str, port: int) -> None:
    gateway = EchoGateway()
    if peer == "bare":
        await serve_bare(gateway, port)
    front_end = GrpcFrontEnd(gateway)
    await front_end.start("127.0.0.1", port)
    await asyncio.Event().wait()


@dataclass(frozen=True)
class Measured:
    """Of one run: messages per second, microseconds, CPU microseconds of the server a message."""

    rate: float
    p50_us: float
    p99_us: float
    cpu_us: float


class Peer:
    """A server process under load."""

    def __init__(self, name: str, log: Path) -> None:
        (port,) = free_ports(1)
        self.address = f"127.0.0.1:{port}"
        command = [
            sys.executable,
            "-m",
            "benchmarks.grpc_frontend",
            "--serve",
            name,
            "--port",
            str(port),
        ]
        self.process = launch(command, log, {"PYTHONPATH": str(ROOT)})
        self.channel = grpc.insecure_channel(self.address)
        grpc.channel_ready_future(self.channel).result(20)
        self._statistics = self.channel.unary_unary(
            "/inference.GRPCInferenceService/ModelStatistics",
            request_serializer=pb.ModelStatisticsRequest.SerializeToString,
            response_deserializer=pb.ModelStatisticsResponse.FromString,
        )

    def count(self) -> int:
        statistics = self._statistics(pb.ModelStatisticsRequest())
        return int(statistics.model_stats[0].inference_count)

    def cpu_seconds(self) -> float:
        ticks = 0
        for pid in process_tree(self.process.pid):
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            ticks += int(fields[11]) + int(fields[12])
        return ticks / TICKS_PER_SECOND

    def close(self) -> None:
        self.channel.close()
        terminate(self.process)


def measure(peer: Peer, cell: str, seconds: float) -> Measured:
    environment = ROOT / ".venv-perf"
    command = [
        environment / "bin" / "perf_analyzer",
        *("-m", "echo", "-u", peer.address, "-i", "grpc", "--percentile=50"),
        *("--concurrency-range", cell[1:], "-p", str(int(seconds * 1000)), "-s", "999", "-r", "3"),
        *(("--streaming",) if cell[0] == "s" else ()),
        *("--async", "--input-data", "random"),
    ]
    count, cpu = peer.count(), peer.cpu_seconds()
    result = subprocess.run(
        [str(word) for word in command],
        env={**os.environ, "LD_LIBRARY_PATH": str(environment / "lib-perf")},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    cpu_us = 1e6 * (peer.cpu_seconds() - cpu) / max(1, peer.count() - count)
    text = result.stdout
    rate = re.search(r"Throughput: ([\d.]+) infer/sec", text)
    p50 = re.search(r"p50 latency: (\d+) usec", text)
    p99 = re.search(r"p99 latency: (\d+) usec", text)
    if rate is None or p50 is None or p99 is None:
        raise SystemExit(f"perf_analyzer gave no figures:\n{text}\n{result.stderr}")
    return Measured(float(rate[1]), float(p50[1]), float(p99[1]), cpu_us)


def compare(cells: Sequence[str], rounds: int, seconds: float) -> None:
    found: dict[tuple[str, str], list[Measured]] = {}
    with tempfile.TemporaryDirectory() as folder:
        for _ in range(rounds):
            for cell in cells:
                for name in PEERS:
                    peer = Peer(name, Path(folder) / f"{name}.log")
                    try:
                        measured = measure(peer, cell, seconds)
                    finally:
                        peer.close()
                    found.setdefault((cell, name), []).append(measured)
                    print(f"{cell} {name}: {measured}", file=sys.stderr)
    print("cell  peer    msg/s   p50us   p99us  cpu us/msg   rate x bare (rounds)    cpu x bare")
    for cell in cells:
        bare = found[cell, "bare"]
        for name in PEERS:
            runs = found[cell, name]
            rate, p50, p99, cpu = (
                statistics.median(getattr(run, field) for run in runs)
                for field in ("rate", "p50_us", "p99_us", "cpu_us")
            )
            ratios = [run.rate / base.rate for run, base in zip(runs, bare, strict=True)]
            cpus = [run.cpu_us / base.cpu_us for run, base in zip(runs, bare, strict=True)]
            print(
                f"{cell:5} {name:5} {rate:7.0f} {p50:7.0f} {p99:7.0f} {cpu:10.1f}   "
                f"{statistics.median(ratios):5.2f} ({min(ratios):.2f}-{max(ratios):.2f})"
                f"{statistics.median(cpus):16.2f}"
            )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--serve", choices=PEERS)
    parser.add_argument("--port", type=int, default=8001)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=3.0)
    parser.add_argument("--cells", default="s1,s8,s64,u1,u8,u32")
    options = parser.parse_args()
    if options.serve:
        asyncio.run(serve(options.serve, options.port))
    else:
        compare(options.cells.split(","), options.rounds, options.seconds)


if __name__ == "__main__":
    main()
