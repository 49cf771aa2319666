"""A TCP proxy that cuts a connection at a byte of the test's choice: wires fail anywhere."""

import asyncio
import socket
import struct
from collections import deque
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from enum import Enum

_RESET = struct.pack("ii", 1, 0)
PIECE_BYTES = 4096


class Way(Enum):
    """Which way the bytes go."""

    UP = "to the server"
    DOWN = "to the client"


@dataclass(frozen=True)
class Cut:
    """A connection fails once so many bytes have gone that way: with a reset to both sides, or
    `silent`, so that nothing arrives any more and nobody is told."""

    way: Way
    after_bytes: int
    silent: bool = False


class CuttingProxy:
    """Passes connections on to `target`. The first connection gets the first cut, and so on; what
    comes behind all of them is left alone."""

    def __init__(self, target: tuple[str, int], cuts: Iterable[Cut] = ()) -> None:
        self._target = target
        self._cuts = deque(cuts)
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._live: set[asyncio.Event] = set()
        self.connections = 0
        self.cuts_done = 0

    @property
    def port(self) -> int:
        assert self._server is not None
        port: int = self._server.sockets[0].getsockname()[1]
        return port

    def cut_now(self) -> None:
        """Reset every connection that there is."""
        for broken in self._live:
            broken.set()

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)

    async def stop(self) -> None:
        assert self._server is not None
        self._server.close()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._server.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self.connections += 1
        cut = self._cuts.popleft() if self._cuts else None
        writers = [writer]
        try:
            up_reader, up_writer = await asyncio.open_connection(*self._target)
            writers.append(up_writer)
            broken = asyncio.Event()
            self._live.add(broken)
            ways = {
                Way.UP: (reader, up_writer),
                Way.DOWN: (up_reader, writer),
            }
            works = [
                asyncio.create_task(
                    _pass_on(source, sink, cut if cut and cut.way is way else None, broken)
                )
                for way, (source, sink) in ways.items()
            ]
            failing = asyncio.ensure_future(broken.wait())
            try:
                await asyncio.wait(
                    (asyncio.gather(*works, return_exceptions=True), failing),
                    return_when=asyncio.FIRST_COMPLETED,
                )
                if broken.is_set() and cut is not None:
                    self.cuts_done += 1
                    for work in works:
                        work.cancel()
                    if cut.silent:
                        await asyncio.Event().wait()
            finally:
                self._live.discard(broken)
                failing.cancel()
                for work in works:
                    work.cancel()
                await asyncio.gather(*works, failing, return_exceptions=True)
        except (OSError, asyncio.CancelledError):
            """The server is not there, or the test is over."""
        finally:
            self._tasks.discard(task)
            for each in writers:
                _reset(each)


async def _pass_on(
    reader: asyncio.StreamReader,
    writer: asyncio.StreamWriter,
    cut: Cut | None,
    broken: asyncio.Event,
) -> None:
    left = cut.after_bytes if cut is not None else None
    try:
        while left != 0 and (data := await reader.read(PIECE_BYTES)):
            if left is not None:
                data = data[:left]
                left -= len(data)
            writer.write(data)
            await writer.drain()
    except OSError:
        broken.set()
        return
    if left == 0:
        broken.set()
    elif writer.can_write_eof():
        writer.write_eof()


def _reset(writer: asyncio.StreamWriter) -> None:
    wire = writer.get_extra_info("socket")
    if wire is not None and wire.fileno() >= 0:
        wire.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
    writer.transport.abort()


@asynccontextmanager
async def cutting(port: int, cuts: Iterable[Cut] = ()) -> AsyncIterator[CuttingProxy]:
    """A proxy in front of a port of this machine."""
    proxy = CuttingProxy(("127.0.0.1", port), cuts)
    await proxy.start()
    try:
        yield proxy
    finally:
        await proxy.stop()
