"""`streamgate doctor`: what is installed, what loads, what is free, what is seen."""

import platform
import socket
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import metadata
from typing import TextIO

import streamgate
from streamgate.backend import registry
from streamgate.errors import StreamGateError
from streamgate.server.gpus import look_for_gpus
from streamgate.server.name_check import check_name

PORTS = (("http", 8000), ("grpc", 8001), ("metrics", 8002), ("websocket", 8003))
LIBRARIES = (
    ("aiohttp", True),
    ("grpcio", True),
    ("numpy", True),
    ("prometheus-client", True),
    ("protobuf", True),
    ("websockets", True),
    ("onnxruntime", False),
    ("onnxruntime-gpu", False),
    ("torch", False),
    ("tensorrt", False),
    ("soundfile", False),
    ("nvidia-ml-py", False),
)


@dataclass(frozen=True, slots=True)
class Finding:
    """One line: what was looked at, what was found, and whether serving is possible with it."""

    topic: str
    name: str
    text: str
    fine: bool = True
    required: bool = False


def examine(host: str, out: TextIO | None = None) -> int:
    """Write all findings, to standard output unless told; returns 1 if something that serving
    needs is broken, else 0."""
    out = out or sys.stdout
    broken = []
    topic = ""
    for finding in _findings(host):
        if finding.topic != topic:
            out.write(f"{'' if not topic else chr(10)}{finding.topic}\n")
            topic = finding.topic
        mark = "ok" if finding.fine else ("!!" if finding.required else "--")
        out.write(f"  {mark}  {finding.name:<20} {finding.text}\n")
        if finding.required and not finding.fine:
            broken.append(finding.name)
    verdict = f"{len(broken)} problem(s): {', '.join(broken)}" if broken else "ready to serve"
    out.write(f"\n{verdict}\n")
    return 1 if broken else 0


def _findings(host: str) -> Iterator[Finding]:
    yield from _software()
    yield from _backends()
    yield from _ports(host)
    yield from _gpus()


def _software() -> Iterator[Finding]:
    topic = "software"
    python = f"{platform.python_version()} on {platform.system()} {platform.machine()}"
    yield Finding(topic, "python", python, sys.version_info >= (3, 11), required=True)
    try:
        check_name()
        yield Finding(topic, "streamgate-server", streamgate.__version__)
    except StreamGateError as error:
        yield Finding(topic, "streamgate-server", error.message, fine=False, required=True)
    for name, required in LIBRARIES:
        try:
            yield Finding(topic, name, metadata.version(name), required=required)
        except metadata.PackageNotFoundError:
            text = "missing" if required else "not installed (optional)"
            yield Finding(topic, name, text, fine=False, required=required)


def _backends() -> Iterator[Finding]:
    for backend in registry.describe():
        origin = f"{backend.distribution} {backend.version}"
        text = origin if backend.error is None else f"{origin}: {backend.error}"
        yield Finding("backends", backend.name, text, fine=backend.error is None)


def _ports(host: str) -> Iterator[Finding]:
    for name, port in PORTS:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((host, port))
                yield Finding("ports", f"{port} {name}", "free")
            except OSError as error:
                text = f"{error.strerror}; use --{name}-port"
                yield Finding("ports", f"{port} {name}", text, fine=False)


def _gpus() -> Iterator[Finding]:
    sight = look_for_gpus()
    if not sight.gpus:
        yield Finding("GPUs", "none seen", sight.trouble or "the driver shows none", fine=False)
    for gpu in sight.gpus:
        memory = f"{gpu.free_bytes / 2**30:.1f} of {gpu.total_bytes / 2**30:.1f} GiB free"
        yield Finding("GPUs", str(gpu.index), f"{gpu.name}, {memory}")
