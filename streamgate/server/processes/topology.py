"""How many processes a server has, and what is expected of them."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from streamgate.server.processes.hardware import Hardware

SILENCE_SECONDS = 5.0
"""How long a process may say nothing until it counts as frozen."""


@dataclass(frozen=True, slots=True)
class Topology:
    """Engines, front ends that share the ports, and where their sockets are (None: a folder of
    the supervisor's own). A process that says nothing for `silence_seconds` is killed and started
    again. `hardware` has one entry for each engine, or none: then each has the whole machine. With
    `spare_engines`, there is a process beside each engine that takes over when it is lost."""

    engines: int = 1
    front_ends: int = 1
    runtime_directory: Path | None = None
    silence_seconds: float = SILENCE_SECONDS
    hardware: Sequence[Hardware] = ()
    spare_engines: bool = True
