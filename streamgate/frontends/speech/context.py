"""What each speech dialect is given."""

from dataclasses import dataclass, replace

from streamgate.frontends.speech.access import Access
from streamgate.frontends.speech.models import SpeechModels
from streamgate.session.gateway import Gateway


@dataclass(frozen=True, slots=True)
class SpeechContext:
    """The gateway, its speech models, and who may use them.

    `realtime_dialect` is the one of clients of `/v1/realtime` that nothing tells apart: `openai` or
    `riva`.
    """

    gateway: Gateway
    models: SpeechModels
    access: Access
    realtime_dialect: str = "openai"

    def of(self, key: str) -> "SpeechContext":
        """The same as the client sees it that brings this key."""
        gateway = self.gateway.of(key)
        return self if gateway is self.gateway else replace(self, gateway=gateway)
