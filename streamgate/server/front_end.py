"""What the server opens and closes, whatever is spoken there."""

from typing import Protocol


class FrontEnd(Protocol):
    """Something that listens on a port."""

    async def start(self, host: str, port: int, *, shared: bool = False) -> int:
        """Listen; returns the port. `shared`: together with others of this user that say so.
        Raises StreamGateError when it can't."""

    async def stop(self, grace_seconds: float) -> None:
        """Close the port and its connections; those that take longer are cut off."""
