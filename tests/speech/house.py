"""A server with the tone transcriber, for tests of dialects."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from streamgate.frontends.speech import Access, SpeechContext, SpeechModels
from streamgate.server.ports import Ports
from streamgate.server.server import Server
from streamgate.server.settings import Settings, SpeechSettings
from streamgate.session.gateway import Gateway
from tests.speech.tones import REPOSITORY


@dataclass(frozen=True)
class SpeechHouse:
    """A running server, and what its dialects see."""

    server: Server
    ports: Ports
    context: SpeechContext

    @property
    def gateway(self) -> Gateway:
        return self.context.gateway


@asynccontextmanager
async def speech_house(
    repository: Path = REPOSITORY, speech: SpeechSettings | None = None, **changes: Any
) -> AsyncIterator[SpeechHouse]:
    """Clients that were lost are waited for no longer than two seconds once it stops."""
    defaults = {"exit_timeout_seconds": 2.0, "speech": speech or SpeechSettings()}
    settings = Settings(
        [repository],
        host="127.0.0.1",
        http_port=0,
        grpc_port=0,
        metrics_port=0,
        websocket_port=0,
        **{**defaults, **changes},
    )
    server = Server(settings)
    ports = await server.start()
    try:
        gateway = server.gateway
        access = Access(settings.speech.api_keys)
        yield SpeechHouse(server, ports, SpeechContext(gateway, SpeechModels(gateway), access))
    finally:
        await server.stop()
