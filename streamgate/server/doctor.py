"""`streamgate doctor`: what is installed, what loads, what is free, what is seen."""

import platform
import re
import shutil
import socket
import sys
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import metadata
from itertools import groupby
from typing import TextIO

import streamgate
from streamgate.backend import registry
from streamgate.errors import StreamGateError
from streamgate.server.gpus import look_for_gpus
from streamgate.server.name_check import OURS, check_owners

PORTS = (("http", 8000), ("grpc", 8001), ("metrics", 8002), ("websocket", 8003))
OPTIONAL = ("onnxruntime", "onnxruntime-gpu", "torch", "tensorrt", "soundfile", "nvidia-ml-py")
"""Of what some backend, demo or model can use; what serving needs is in our own metadata."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One line: what was looked at, what was found, and whether serving is possible with it."""

    topic: str
    name: str
    text: str
    fine: bool = True
    required: bool = False

    @property
    def mark(self) -> str:
        if self.fine:
            return "ok"
        return "!!" if self.required else "--"


def examine(host: str, out: TextIO | None = None) -> int:
    """Write all findings, to standard output unless told; returns 1 if something that serving
    needs is broken, else 0."""
    out = out or sys.stdout
    findings = list(_findings(host))
    width = shutil.get_terminal_size().columns if out.isatty() else 0
    column = max(len(finding.name) for finding in findings)
    for topic, group in groupby(findings, lambda finding: finding.topic):
        out.write(f"{topic}\n")
        for finding in group:
            head = f"  {finding.mark}  {finding.name:<{column}}  "
            out.write(_folded(head, finding.text, width))
        out.write("\n")
    broken = [finding.name for finding in findings if finding.required and not finding.fine]
    if broken:
        problems = "1 problem" if len(broken) == 1 else f"{len(broken)} problems"
        out.write(f"{problems}: {', '.join(broken)}\n")
        return 1
    out.write("ready to serve\n")
    return 0


def _folded(head: str, text: str, width: int) -> str:
    """The text behind its head, each further line under its first; `width` 0 folds nothing."""
    lines = []
    for line in text.strip().splitlines():
        room = max(20, width - len(head) - 1) if width else len(line) + 1
        lines += textwrap.wrap(line, room, break_long_words=False) or [""]
    return head + f"\n{' ' * len(head)}".join(lines) + "\n"


def _findings(host: str) -> Iterator[Finding]:
    yield from _software()
    yield from _backends()
    yield from _ports(host)
    yield from _gpus()


def _software() -> Iterator[Finding]:
    topic = "software"
    python = f"{platform.python_version()} on {platform.system()} {platform.machine()}"
    yield Finding(topic, "python", python, sys.version_info >= (3, 11), required=True)
    yield _ourselves(topic)
    for name in _needed():
        yield _library(topic, name, required=True)
    for name in OPTIONAL:
        yield _library(topic, name, required=False)


def _ourselves(topic: str) -> Finding:
    try:
        check_owners()
        metadata.version(OURS)
    except StreamGateError as error:
        return Finding(topic, OURS, error.message, fine=False, required=True)
    except metadata.PackageNotFoundError:
        text = f"{streamgate.__version__}, but not installed: no backend can be found"
        return Finding(topic, OURS, text, fine=False, required=True)
    return Finding(topic, OURS, streamgate.__version__)


def _needed() -> list[str]:
    """The distributions that ours can't do without."""
    try:
        requirements = metadata.requires(OURS) or []
    except metadata.PackageNotFoundError:
        return []
    return [re.split(r"[^\w.-]", line)[0] for line in requirements if "extra ==" not in line]


def _library(topic: str, name: str, *, required: bool) -> Finding:
    try:
        return Finding(topic, name, metadata.version(name), required=required)
    except metadata.PackageNotFoundError:
        text = "missing" if required else "not installed (optional)"
        return Finding(topic, name, text, fine=False, required=required)


def _backends() -> Iterator[Finding]:
    for backend in registry.describe():
        origin = f"{backend.distribution} {backend.version}"
        text = origin if backend.error is None else f"{origin}: {backend.error}"
        yield Finding("backends", backend.name, text, fine=backend.error is None)


def _ports(host: str) -> Iterator[Finding]:
    topic = f"ports on {host}"
    for name, port in PORTS:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((host, port))
                yield Finding(topic, f"{port} {name}", "free")
            except OSError as error:
                text = f"{error.strerror or error}; serve can take another one with --{name}-port"
                yield Finding(topic, f"{port} {name}", text, fine=False)


def _gpus() -> Iterator[Finding]:
    sight = look_for_gpus()
    if not sight.gpus:
        yield Finding("GPUs", "none", sight.trouble or "the driver shows none", fine=False)
    for gpu in sight.gpus:
        memory = f"{gpu.free_bytes / 2**30:.1f} of {gpu.total_bytes / 2**30:.1f} GiB free"
        yield Finding("GPUs", str(gpu.index), f"{gpu.name}, {memory}")
