"""Where StreamGate answers otherwise than Triton 2.51, on purpose, and why.

The only place for such exceptions. Each entry says what we promise instead; an entry that covers
no difference of the cases it names is reported as stale.
"""

from __future__ import annotations

from typing import Final

from tests.conformance.compare import AllowedDifference

ALLOWED: Final[tuple[AllowedDifference, ...]] = ()
