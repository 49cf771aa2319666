"""An engine in a network of its own, reached over TCP by who knows the secret.

ip netns exec NETWORK python -m tests.durable.faults.far_engine REPOSITORY HOST PORT SECRET
"""

import asyncio
import sys
from pathlib import Path

from streamgate.link.addresses import TcpAddress
from streamgate.link.server import LinkServer
from streamgate.server.settings import ControlMode
from tests.server.model_house import model_house


async def serve(repository: Path, address: TcpAddress, secret: bytes) -> None:
    async with model_house(repository, ControlMode.NONE) as models:
        server = LinkServer(models.table, models.gateway, secret=secret)
        server.listen_tcp(address)
        sys.stdout.write("ready\n")
        sys.stdout.flush()
        await asyncio.Event().wait()


if __name__ == "__main__":
    where = TcpAddress(sys.argv[2], int(sys.argv[3]))
    asyncio.run(serve(Path(sys.argv[1]), where, sys.argv[4].encode()))
