"""What the link between a front end and its engine costs: microseconds of CPU a message.

Peer: the same requests to the same model in one process ("embedded"), where an answer is a call
and no byte moves. The model is none: it answers 256 bytes at once, so that nothing but the way
there and back counts. Workload: so many bytes in, 32 requests under way; requests of one sequence
each and of none. Rounds alternate, medians count; the machine is shared, so read the ratios.

    python -m benchmarks.link [--seconds 1] [--rounds 5]
"""

import argparse
import asyncio
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Collection, Sequence
from pathlib import Path

import numpy as np

from streamgate.core.ids import OwnerNumber, RequestNumber
from streamgate.errors import EndReason
from streamgate.link.addresses import UnixAddress
from streamgate.link.channel import Heartbeat
from streamgate.link.client import EngineLink
from streamgate.link.contract import Needs, OnAnyEnd, OnIdleWarning, OnReservation
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

SIZES = (2_000, 20_000, 200_000)
DEPTH = 32
ANSWER = np.zeros(256, np.uint8)
PATIENT = Heartbeat(0.2, 60.0)


class EchoLink:
    """Implements `ModelLink`: every request is answered in the next turn of the loop."""

    def __init__(self) -> None:
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
        output = Tensor.of("OUT", ANSWER, DataType.UINT8)
        response = Response(request, "echo", "1", [output], position=position)
        asyncio.get_running_loop().call_soon(sink, response)
        self._numbers += 1
        return RequestNumber(self._numbers)

    def watch_sequences(self, on_end: OnAnyEnd, on_idle_warning: OnIdleWarning) -> None: ...

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


def embedded() -> tuple[ModelTable, LocalGateway]:
    table = ModelTable()
    table.set("echo", 1, VersionState(READY, route=Route(EchoLink())))
    gateway = LocalGateway(table, NoModels(), ServerInfo("bench", "0", ()))
    gateway.start()
    return table, gateway


async def measure(gateway: Gateway, size: int, *, in_sequences: bool, seconds: float) -> int:
    """How many requests are answered in so many seconds."""
    connection = gateway.connect()
    raw = bytes(size)
    over = asyncio.get_running_loop().create_future()
    until = time.perf_counter() + seconds
    answered, left = 0, DEPTH
    begun = set()

    def send(key: int) -> None:
        tensor = Tensor("IN", DataType.UINT8, (size,), raw=raw)
        request = Request("echo", inputs=[tensor])
        if in_sequences:
            request.sequence, request.start = key, key not in begun
            begun.add(key)

        def received(response: Response) -> None:
            nonlocal answered
            assert response.failure is None, response.failure
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


async def engine(path: Path) -> None:
    table, gateway = embedded()
    server = LinkServer(table, gateway, heartbeat=PATIENT)
    server.listen_unix(path)
    print("ready", flush=True)
    await asyncio.Event().wait()


async def compare(path: Path, pid: int, options: argparse.Namespace) -> None:
    _, local = embedded()
    link = EngineLink(UnixAddress(path), heartbeat=PATIENT)
    link.start()
    await link.wait_connected()
    remote = RemoteGateway([link], ServerInfo("bench", "0", ()))
    remote.start()
    print("| bytes in | of sequences | us front end | us engine | us embedded | x | messages/s |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    for size in SIZES:
        for in_sequences in (False, True):
            rows = []
            for _ in range(options.rounds):
                row: list[float] = []
                for gateway in (local, remote):
                    here, there = time.process_time(), cpu_seconds_of(pid)
                    began = time.perf_counter()
                    count = await measure(
                        gateway, size, in_sequences=in_sequences, seconds=options.seconds
                    )
                    took = time.perf_counter() - began
                    row += [
                        (time.process_time() - here) / count * 1e6,
                        (cpu_seconds_of(pid) - there) / count * 1e6,
                        count / took,
                    ]
                rows.append(row)
            one, _, _, front, back, speed = (
                statistics.median(each) for each in zip(*rows, strict=True)
            )
            print(
                f"| {size:,} | {'yes' if in_sequences else 'no'} | {front:.1f} | {back:.1f} | "
                f"{one:.1f} | {(front + back) / one:.1f} | {speed:,.0f} |"
            )
    await link.stop()


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--seconds", type=float, default=1.0)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--engine", type=Path)
    options = parser.parse_args()
    if options.engine:
        asyncio.run(engine(options.engine))
        return
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "link"
        command = [sys.executable, "-m", "benchmarks.link", "--engine", str(path)]
        with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
            assert process.stdout is not None
            process.stdout.readline()
            try:
                asyncio.run(compare(path, process.pid, options))
            finally:
                process.kill()


if __name__ == "__main__":
    main()
