"""What the HTTP front end costs: HttpFrontEnd against the least that aiohttp can do.

Peers: `app`, an aiohttp application with a route that answers with the body it got; `server`, the
same on aiohttp's low-level server. Ours: HttpFrontEnd over a gateway that answers in the next turn
of the loop. The request is a small infer request with binary data in and out (16 floats), or the
same in JSON; the peers only echo its bytes.

Workload: keep-alive connections in a closed loop, from this process: one request under way on
each. Load and server share this machine's cores. The peers run in turns, `--rounds` times; the
table shows medians.

    python -m benchmarks.http_frontend [--rounds 3] [--connections 8] [--seconds 3]
    python -m benchmarks.http_frontend --serve ours --port 8000
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import selectors
import socket
import statistics
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aiohttp import web

from benchmarks.grpc_frontend import FLOATS, EchoGateway
from benchmarks.server_process import free_ports, launch, process_tree, terminate
from streamgate.frontends.kserve_http import HttpFrontEnd

ROOT = Path(__file__).resolve().parent.parent
PEERS = ("app", "server", "ours")
BODIES = ("binary", "json")
PATH = "/v2/models/echo/infer"
TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")


def request_bytes(body: str) -> bytes:
    """One whole request."""
    entry: dict[str, Any] = {"name": "IN", "datatype": "FP32", "shape": [FLOATS]}
    if body == "binary":
        entry["parameters"] = {"binary_data_size": 4 * FLOATS}
        head = json.dumps({"inputs": [entry], "parameters": {"binary_data_output": True}}).encode()
        content, header = head + bytes(4 * FLOATS), f"Inference-Header-Content-Length: {len(head)}"
    else:
        entry["data"] = [0.5] * FLOATS
        content, header = json.dumps({"inputs": [entry]}).encode(), "Content-Type: application/json"
    lines = (
        f"POST {PATH} HTTP/1.1",
        "Host: localhost",
        header,
        f"Content-Length: {len(content)}",
    )
    return "".join(f"{line}\r\n" for line in (*lines, "")).encode() + content


async def echo(request: web.BaseRequest) -> web.Response:
    body = await request.read()
    return web.Response(body=body, headers={"Inference-Header-Content-Length": "100"})


async def serve(peer: str, port: int) -> None:
    if peer == "ours":
        await HttpFrontEnd(EchoGateway()).start("127.0.0.1", port)
    elif peer == "server":
        server = web.Server(echo, access_log=None)
        await asyncio.get_running_loop().create_server(server, "127.0.0.1", port)
    else:
        application = web.Application()
        application.router.add_post("/v2/models/{model}/infer", echo)
        runner = web.AppRunner(application, access_log=None)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", port).start()
    await asyncio.Event().wait()


class Connection:
    """One keep-alive connection that sends its next request when the answer is whole."""

    def __init__(self, port: int, request: bytes) -> None:
        deadline = time.monotonic() + 20
        while True:
            try:
                self.socket = socket.create_connection(("127.0.0.1", port), timeout=20)
                break
            except ConnectionRefusedError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.05)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._request = request
        self._received = b""
        self.socket.sendall(request)

    def on_readable(self) -> bool:
        """Whether an answer became whole; the next request is under way then."""
        self._received += self.socket.recv(65536)
        head, separator, body = self._received.partition(b"\r\n\r\n")
        if not separator:
            return False
        if not head.startswith(b"HTTP/1.1 200"):
            raise SystemExit(f"the server answered {self._received!r}")
        length = head.lower().partition(b"\r\ncontent-length: ")[2].partition(b"\r\n")[0]
        if len(body) < int(length):
            return False
        self._received = b""
        self.socket.sendall(self._request)
        return True


@dataclass(frozen=True)
class Measured:
    """Of one run: requests per second, and the server's CPU microseconds a request."""

    rate: float
    cpu_us: float


def cpu_seconds(pid: int) -> float:
    ticks = 0
    for each in process_tree(pid):
        fields = Path(f"/proc/{each}/stat").read_text().rpartition(")")[2].split()
        ticks += int(fields[11]) + int(fields[12])
    return ticks / TICKS_PER_SECOND


def measure(peer: str, body: str, connections: int, seconds: float, log: Path) -> Measured:
    (port,) = free_ports(1)
    command = (sys.executable, "-m", "benchmarks.http_frontend", "--serve", peer, "--port", port)
    process = launch([str(word) for word in command], log, {"PYTHONPATH": str(ROOT)})
    try:
        request = request_bytes(body)
        selector = selectors.DefaultSelector()
        for _ in range(connections):
            connection = Connection(port, request)
            selector.register(connection.socket, selectors.EVENT_READ, connection)
        count = 0
        begin, cpu = time.monotonic(), cpu_seconds(process.pid)
        while time.monotonic() < begin + seconds:
            count += sum(key.data.on_readable() for key, _ in selector.select(1))
        elapsed = time.monotonic() - begin
        spent = cpu_seconds(process.pid) - cpu
        for key in list(selector.get_map().values()):
            key.data.socket.close()
        return Measured(count / elapsed, 1e6 * spent / max(1, count))
    finally:
        terminate(process)


def compare(rounds: int, connections: int, seconds: float) -> None:
    found: dict[tuple[str, str], list[Measured]] = {}
    with tempfile.TemporaryDirectory() as folder:
        for _ in range(rounds):
            for body in BODIES:
                for peer in PEERS:
                    log = Path(folder) / f"{peer}.log"
                    run = measure(peer, body, connections, seconds, log)
                    found.setdefault((body, peer), []).append(run)
                    print(f"{body} {peer}: {run}", file=sys.stderr)
    print("body    peer     req/s   cpu us/req   cpu x server")
    for body in BODIES:
        base = statistics.median(run.cpu_us for run in found[body, "server"])
        for peer in PEERS:
            rate = statistics.median(run.rate for run in found[body, peer])
            cpu = statistics.median(run.cpu_us for run in found[body, peer])
            print(f"{body:7} {peer:7} {rate:6.0f} {cpu:12.1f} {cpu / base:14.2f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--serve", choices=PEERS)
    parser.add_argument("--port", type=int, default=8000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--connections", type=int, default=8)
    parser.add_argument("--seconds", type=float, default=3.0)
    options = parser.parse_args()
    if options.serve:
        asyncio.run(serve(options.serve, options.port))
    else:
        compare(options.rounds, options.connections, options.seconds)


if __name__ == "__main__":
    main()
