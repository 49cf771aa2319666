"""A model that answers each request with what it was sent, and may hold on to it; and programs that
play either side of a link, to be killed.

    python -m tests.link.echo engine PATH     serves it
    python -m tests.link.echo front PATH      sends requests to it, and keeps the answers
"""

import asyncio
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from streamgate.core.ids import OwnerNumber, RequestNumber
from streamgate.link.addresses import UnixAddress
from streamgate.link.client import EngineLink
from streamgate.model.datatypes import DataType
from streamgate.model.request import Request, Response
from streamgate.model.tensor import Tensor
from tests.link.house import PATIENT
from tests.link.pair import FrontEnd, engine
from tests.session.fake_link import FakeMovableLink

ROOT = Path(__file__).parents[2]
SIZE = 300_000
ROUNDS = 8
START_SECONDS = 50.0


@dataclass(eq=False)
class EchoLink(FakeMovableLink):
    """Answers each request with its inputs, in the next turn of the loop."""

    held: list[Request] = field(default_factory=list)
    holds: bool = False

    def submit(
        self,
        request: Request,
        sink: Callable[[Response], None],
        owner: OwnerNumber,
        position: int,
    ) -> RequestNumber:
        if self.holds:
            self.held.append(request)
        outputs = list(request.inputs)
        response = Response(request, "m", "1", outputs, position=position)
        asyncio.get_running_loop().call_soon(sink, response)
        return RequestNumber(position + 1)


def body_of(number: int, size: int = SIZE) -> bytes:
    return bytes([number % 251]) * size


def send(front: FrontEnd, number: int, body: bytes | bytearray) -> None:
    """A request of no sequence."""
    tensor = Tensor("I", DataType.UINT8, (len(body),), raw=body)
    request = Request("m", inputs=[tensor], id=str(number))
    front.model.submit(request, front.responses.append, OwnerNumber(1), number)


async def serve(path: Path) -> None:
    async with engine(path.parent.parent, EchoLink(holds=True)):
        print("ready", flush=True)  # noqa: T201
        await asyncio.Event().wait()


async def ask(path: Path) -> None:
    link = EngineLink(UnixAddress(path), heartbeat=PATIENT)
    link.start()
    await link.wait_connected()
    (model,) = link.models.values()
    front = FrontEnd(link, model)
    for number in range(ROUNDS):
        send(front, number, body_of(number))
        while len(front.responses) <= number:  # noqa: ASYNC110 - there is no event for it
            await asyncio.sleep(0.002)
    print("ready", flush=True)  # noqa: T201
    await asyncio.Event().wait()


@asynccontextmanager
async def echo_process(side: str, path: Path) -> AsyncIterator[asyncio.subprocess.Process]:
    """One of the programs, once it is ready."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.link.echo", side, str(path)),
        cwd=ROOT,
        stdout=asyncio.subprocess.PIPE,
    )
    try:
        assert process.stdout is not None
        async with asyncio.timeout(START_SECONDS):
            assert await process.stdout.readline() == b"ready\n"
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


if __name__ == "__main__":
    asyncio.run({"engine": serve, "front": ask}[sys.argv[1]](Path(sys.argv[2])))
