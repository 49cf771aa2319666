"""Cases in which StreamGate still differs from Triton and should not.

Each is expected to fail: whoever mends one has to take its line out. Where chance decides whether
a case fails, it may also pass.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Defect:
    """What is wrong, and whether it shows in every run."""

    reason: str
    shows_always: bool = True


OPEN: Final[Mapping[str, Defect]] = {}
