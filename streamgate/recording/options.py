"""What is recorded, where, and how much of it."""

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Final

PARAMETER: Final = "streamgate_record"
"""The parameter of a START that asks for a recording (true) or for none (false), if the server
heeds it."""

MIB: Final = 2**20


@dataclass(frozen=True, slots=True)
class RecordingOptions:
    """`models` are those whose sequences may be recorded (none named: all), `rate` the share of
    their sequences that is, 0 to 1. With `on_request`, a START that says `PARAMETER` decides for
    itself. `bundle_bytes` bounds a file, `total_bytes` all files in `directory`. With `redacted`,
    hashes alone are written."""

    directory: Path
    models: Collection[str] = ()
    rate: float = 1.0
    on_request: bool = False
    bundle_bytes: int = 64 * MIB
    total_bytes: int = 1024 * MIB
    redacted: bool = False
