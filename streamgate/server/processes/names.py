"""What the processes of a server are called: `engine-0`, `front-0`."""

from typing import Final

ENGINE: Final = "engine"
FRONT_END: Final = "front"
SUPERVISOR: Final = "supervisor"

ENGINE_ENDED: Final = "engine ended"
"""What front ends are told of one: its process's number, and the cause."""

NAME_LETTERS: Final = len(SUPERVISOR)
"""How wide a name is where names stand below each other."""


def engine_socket(name: str) -> str:
    """Where an engine is reached, in the server's runtime directory."""
    return f"{name}.sock"


def front_end_socket(name: str) -> str:
    """Where front ends hand each other requests, in the server's runtime directory."""
    return f"{name}.sock"
