"""The log of a process."""

import logging
import sys
from typing import Final

FORMAT: Final = "%(asctime)s %(levelname).1s %(name)s: %(message)s"
"""Time, level (one letter), where and what."""


def log_to_stderr(level: str) -> None:
    """All of this level (`info`, ...) and above, a line each."""
    logging.basicConfig(level=level.upper(), format=FORMAT, stream=sys.stderr)
