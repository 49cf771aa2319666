"""The gateway as conversations see it that may be on a tape."""

from typing import final

from streamgate.frontends.world import world
from streamgate.session.gateway import (
    Connection,
    EndSink,
    WarningSink,
)
from streamgate.session.passing import PassingGateway


@final
class WorldlyGateway(PassingGateway):
    """Implements `streamgate.session.gateway.Gateway` over another: each connection is that of the
    world in which it is asked for."""

    def connect(
        self, on_sequence_end: EndSink | None = None, on_warning: WarningSink | None = None
    ) -> Connection:
        return world().connect(self._gateway, on_sequence_end, on_warning)

    def of(self, key: str) -> "WorldlyGateway":
        gateway = self._gateway.of(key)
        return self if gateway is self._gateway else WorldlyGateway(gateway)

    def owe(self, size_bytes: int) -> float:
        return world().owe(self._gateway, size_bytes)
