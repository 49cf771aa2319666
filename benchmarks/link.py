"""What the link between a front end and its engine costs: microseconds of CPU a message.

Peer: the same requests to the same model in one process ("embedded"), where an answer is a call
and no byte moves; and the same link without its arena, where large tensors go over the socket. The
model is none: it answers at once, so that nothing but the way there and back counts. Workload: so
many bytes in and 256 out, or 256 in and so many out, 32 requests under way; requests of one
sequence each and of none. With --read, inputs are read by the model and outputs by the client, as
they would be by anybody who wants them. Rounds alternate, medians count; the machine is shared, so
read the ratios.

    python -m benchmarks.link [--seconds 1] [--rounds 5] [--sizes 2000,200000] [--read]
"""

import argparse
import asyncio
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from streamgate.core.ids import OwnerNumber, RequestNumber
from streamgate.errors import EndReason
from streamgate.link.addresses import UnixAddress
from streamgate.link.blocks import ARENA_BYTES
from streamgate.link.channel import Heartbeat
from streamgate.link.client import EngineLink
from streamgate.link.contract import Needs, OnAnyEnd, OnReservation, OnWarning
from streamgate.link.server import LinkServer
from streamgate.model.config import DirectStrategy, ModelConfig, SequenceBatching
from streamgate.model.datatypes import DataType
from streamgate.model.request import Request, Response, SequenceKey
from streamgate.model.statistics import ModelStatistics, SlotTable
from streamgate.model.tensor import Tensor, TensorSpec
from streamgate.session.gateway import Gateway, ServerInfo
from streamgate.session.local import LocalGateway
from streamgate.session.remote import RemoteGateway
from streamgate.session.routing import READY, ModelTable, Route, VersionState

SIZES = (2_000, 20_000, 200_000, 2_000_000)
SMALL = 256
DEPTH = 32
PATIENT = Heartbeat(0.2, 60.0)


class EchoLink:
    """Implements `ModelLink`: every request is answered in the next turn of the loop, with as many
    bytes as its parameter `answer` says."""

    def __init__(self, *, reads: bool) -> None:
        self._reads = reads
        self._answers: dict[object, np.ndarray[Any, Any]] = {}
        self.version = "1"
        self.config = ModelConfig(
            name="echo",
            backend="",
            platform="",
            max_batch_size=0,
            inputs=(TensorSpec("IN", DataType.UINT8, (-1,)),),
            outputs=(TensorSpec("OUT", DataType.UINT8, (-1,)),),
            scheduling=SequenceBatching(DirectStrategy(), 64),
        )
        self._numbers = 0

    def submit(
        self,
        request: Request,
        sink: Callable[[Response], None],
        owner: OwnerNumber,
        position: int,
    ) -> RequestNumber:
        size = request.parameters["answer"]
        answer = self._answers.get(size)
        if answer is None:
            answer = self._answers[size] = np.zeros(int(size), np.uint8)
        if self._reads:
            read(request.inputs[0])
        output = Tensor.of("OUT", answer, DataType.UINT8)
        response = Response(request, "echo", "1", [output], position=position)
        asyncio.get_running_loop().call_soon(sink, response)
        self._numbers += 1
        return RequestNumber(self._numbers)

    def watch_sequences(self, on_end: OnAnyEnd, on_warning: OnWarning) -> None: ...

    def reserve(
        self, sequence: SequenceKey, owner: OwnerNumber, on_answer: OnReservation
    ) -> None: ...

    def cancel(self, number: RequestNumber) -> None: ...

    def pause(self, numbers: Sequence[RequestNumber]) -> None: ...

    def resume(self, numbers: Sequence[RequestNumber]) -> None: ...

    def touch(self, sequence: SequenceKey) -> None: ...

    def hang_up(self, owner: OwnerNumber) -> None: ...

    def end_sequence(self, sequence: SequenceKey, reason: EndReason, *, drain: bool) -> None: ...

    def needs_for(self, request: Request) -> Needs:
        return ()

    def needs_of(self, number: RequestNumber) -> Needs:
        return ()

    async def is_ready(self) -> bool:
        return True

    def statistics(self) -> ModelStatistics:
        raise NotImplementedError

    def slot_tables(
        self, limit: int, only: Collection[SequenceKey] | None = None
    ) -> Sequence[SlotTable]:
        return ()


class NoModels:
    """Implements `ModelControl`: there is nothing else to load."""

    def names(self) -> Sequence[str]:
        return ()

    async def load(
        self, name: str, config: str | None, files: object, *, nested: bool = False
    ) -> None: ...

    async def unload(self, name: str, *, unload_dependents: bool) -> None: ...


def read(tensor: Tensor) -> int:
    """All bytes of a tensor."""
    array = tensor.array
    return int(np.bitwise_or.reduce(array[: len(array) // 8 * 8].view(np.uint64)))


def embedded(*, reads: bool) -> tuple[ModelTable, LocalGateway]:
    table = ModelTable()
    table.set("echo", 1, VersionState(READY, route=Route(EchoLink(reads=reads))))
    gateway = LocalGateway(table, NoModels(), ServerInfo("bench", "0", ()))
    gateway.start()
    return table, gateway


@dataclass(frozen=True)
class Load:
    """What each request has and gets."""

    bytes_in: int
    bytes_out: int
    in_sequences: bool
    reads: bool


async def measure(gateway: Gateway, load: Load, seconds: float) -> int:
    """How many requests are answered in so many seconds."""
    connection = gateway.connect()
    raw = bytes(load.bytes_in)
    over = asyncio.get_running_loop().create_future()
    until = time.perf_counter() + seconds
    answered, left = 0, DEPTH
    begun = set()

    def send(key: int) -> None:
        tensor = Tensor("IN", DataType.UINT8, (load.bytes_in,), raw=raw)
        request = Request("echo", inputs=[tensor], parameters={"answer": load.bytes_out})
        if load.in_sequences:
            request.sequence, request.start = key, key not in begun
            begun.add(key)

        def received(response: Response) -> None:
            nonlocal answered
            assert response.failure is None, response.failure
            if load.reads:
                read(response.outputs[0])
            answered += 1
            if time.perf_counter() < until:
                send(key)
                return
            nonlocal left
            left -= 1
            if not left:
                over.set_result(None)

        connection.submit(request, received)

    for key in range(1, DEPTH + 1):
        send(key)
    await over
    connection.close(abort=True)
    return answered


def cpu_seconds_of(pid: int) -> float:
    """All threads of a process."""
    tasks = Path(f"/proc/{pid}/task").glob("*/schedstat")
    return sum(int(task.read_text().split()[0]) for task in tasks) / 1e9


async def engine(folder: Path, *, reads: bool) -> None:
    table, gateway = embedded(reads=reads)
    servers = [
        LinkServer(table, gateway, heartbeat=PATIENT, arena_bytes=each) for each in (ARENA_BYTES, 0)
    ]
    for server, name in zip(servers, ("arena", "socket"), strict=True):
        server.listen_unix(folder / name)
    print("ready", flush=True)
    await asyncio.Event().wait()


async def compare(folder: Path, pid: int, options: argparse.Namespace) -> None:
    _, local = embedded(reads=options.read)
    links = [
        EngineLink(UnixAddress(folder / name), heartbeat=PATIENT, arena_bytes=size)
        for name, size in (("arena", ARENA_BYTES), ("socket", 0))
    ]
    gateways: list[Gateway] = [local]
    for link in links:
        link.start()
        await link.wait_connected()
        remote = RemoteGateway([link], ServerInfo("bench", "0", ()))
        remote.start()
        gateways.append(remote)
    print("| bytes in | out | of sequences | us embedded | us arena | x | us socket | x |")
    print("| --- | --- | --- | --- | --- | --- | --- | --- |")
    ways = [(size, SMALL) for size in options.sizes] + [(SMALL, size) for size in options.sizes]
    for bytes_in, bytes_out in ways:
        for in_sequences in (False, True):
            load = Load(bytes_in, bytes_out, in_sequences, options.read)
            rows = [
                [await cost(each, load, pid, options.seconds) for each in gateways]
                for _ in range(options.rounds)
            ]
            one, *others = (statistics.median(column) for column in zip(*rows, strict=True))
            cells = " | ".join(f"{each:.1f} | {each / one:.1f}" for each in others)
            print(
                f"| {bytes_in:,} | {bytes_out:,} | {'yes' if in_sequences else 'no'} | {one:.1f} | "
                f"{cells} |",
                flush=True,
            )
    for link in links:
        await link.stop()


async def cost(gateway: Gateway, load: Load, pid: int, seconds: float) -> float:
    """CPU of both processes, in microseconds a message."""
    here, there = time.process_time(), cpu_seconds_of(pid)
    count = await measure(gateway, load, seconds)
    return (time.process_time() - here + cpu_seconds_of(pid) - there) / count * 1e6


def _sizes(text: str) -> tuple[int, ...]:
    return tuple(int(each) for each in text.split(","))


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--seconds", type=float, default=1.0)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--sizes", type=_sizes, default=SIZES)
    parser.add_argument("--read", action="store_true")
    parser.add_argument("--engine", type=Path)
    options = parser.parse_args()
    if options.engine:
        asyncio.run(engine(options.engine, reads=options.read))
        return
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "benchmarks.link", "--engine", folder]
        command += ["--read"] if options.read else []
        with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
            assert process.stdout is not None
            process.stdout.readline()
            try:
                asyncio.run(compare(Path(folder), process.pid, options))
            finally:
                process.kill()


if __name__ == "__main__":
    main()
