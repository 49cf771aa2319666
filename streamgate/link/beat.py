"""How often both sides of a link say that they live. Read by who sets limits for it, too."""

from typing import Final

BEAT_SECONDS: Final = 0.2
