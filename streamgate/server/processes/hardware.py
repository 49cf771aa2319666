"""Which part of the machine is one engine's: some of its GPUs, some of its processors."""

import os
from dataclasses import dataclass
from typing import Final

from streamgate.errors import Code, StreamGateError

GPUS: Final = "CUDA_VISIBLE_DEVICES"

CPUS_MAX: Final = 8192
"""As many as Linux can have."""


@dataclass(frozen=True, slots=True)
class Hardware:
    """`gpus` as CUDA_VISIBLE_DEVICES names them (None: as they are now); `cpus` by number (none:
    all that there are)."""

    gpus: str | None = None
    cpus: tuple[int, ...] = ()


def keep_to(hardware: Hardware) -> None:
    """From now on this process, and what it starts, uses nothing else. Call it before a library
    looks what there is, and before threads are started.

    Raises StreamGateError (INVALID_ARG) for processors that there aren't.
    """
    if hardware.gpus is not None:
        os.environ[GPUS] = hardware.gpus
    if hardware.cpus:
        try:
            os.sched_setaffinity(0, hardware.cpus)
        except OSError as error:
            allowed = ", ".join(map(str, sorted(os.sched_getaffinity(0))))
            wanted = ", ".join(map(str, hardware.cpus))
            raise StreamGateError(
                Code.INVALID_ARG,
                f"processors {wanted} can't be had: {error.strerror}, expected some of {allowed}",
            ) from error


def parse_cpus(text: str) -> tuple[int, ...]:
    """`0-3,8` are 0, 1, 2, 3 and 8. Raises ValueError."""
    found: set[int] = set()
    for part in text.split(","):
        first, sign, last = part.partition("-")
        if not first.isdigit() or (sign and not last.isdigit()):
            raise ValueError(f"'{text}' names no processors, expected numbers such as 0-3,8")
        numbers = range(int(first), int(last if sign else first) + 1)
        if not numbers or len(numbers) > CPUS_MAX:
            raise ValueError(f"'{part}' is no range of processors")
        found.update(numbers)
    return tuple(sorted(found))
