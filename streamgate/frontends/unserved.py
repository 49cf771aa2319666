"""The words for what Triton has and this server does not serve."""

from typing import Final

SHARED_MEMORY_DISABLED: Final = (
    "Client shared memory is disabled. StreamGate does not serve it yet: send the data inline."
)
