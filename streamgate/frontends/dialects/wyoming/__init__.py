"""Wyoming, the protocol of Home Assistant's voice: events over TCP, on a port of its own.

`docs/dialects/wyoming.md` says what is served of it.
"""

from streamgate.frontends.dialects.wyoming.server import WyomingServer

__all__ = ["WyomingServer"]
