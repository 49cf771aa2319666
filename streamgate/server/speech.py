"""Which speech dialects there are, and where each is mounted."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from streamgate.errors import Code, StreamGateError
from streamgate.frontends.dialects.assemblyai import AssemblyAi
from streamgate.frontends.dialects.deepgram import DeepgramFlux, DeepgramListen
from streamgate.frontends.dialects.kyutai import Kyutai
from streamgate.frontends.dialects.native import NativeDialect, NativeService
from streamgate.frontends.dialects.openai_audio import AudioService
from streamgate.frontends.dialects.openai_realtime import OpenAiRealtimeDialect
from streamgate.frontends.dialects.openai_translations import OpenAiTranslationsDialect
from streamgate.frontends.dialects.over_grpc import google_v1, google_v2, riva_asr, riva_nmt
from streamgate.frontends.dialects.riva_realtime import RivaRealtimeDialect, RivaSessionService
from streamgate.frontends.dialects.sherpa import SherpaOnnx
from streamgate.frontends.dialects.speechmatics import Speechmatics
from streamgate.frontends.dialects.vosk import Vosk
from streamgate.frontends.dialects.whisper_live import WhisperLive
from streamgate.frontends.dialects.wyoming import WyomingServer
from streamgate.frontends.grpc_resumption import StreamReception
from streamgate.frontends.grpc_service import GrpcService
from streamgate.frontends.http_service import HttpService
from streamgate.frontends.sockets.contract import Dialect
from streamgate.frontends.sockets.resumption import Resumption
from streamgate.frontends.sockets.server import WebSocketServer
from streamgate.frontends.speech import Access, SpeechContext, SpeechModels
from streamgate.server.front_end import FrontEnd
from streamgate.server.settings import SpeechSettings
from streamgate.session.gateway import Gateway

SOCKETS: Sequence[Callable[[SpeechContext], Dialect]] = (
    NativeDialect,
    AssemblyAi,
    DeepgramFlux,
    DeepgramListen,
    Kyutai,
    RivaRealtimeDialect,  # before OpenAI's, whose path it shares
    OpenAiRealtimeDialect,
    Speechmatics,
    OpenAiTranslationsDialect,
)
"""Dialects over WebSocket that are known by their path, on the WebSocket and the HTTP port."""

SERVICES: Sequence[Callable[[SpeechContext], HttpService]] = (
    NativeService,
    AudioService,
    RivaSessionService,
)
"""Those over plain HTTP, on the HTTP port."""

GRPC_SERVICES: Sequence[Callable[[SpeechContext, StreamReception], GrpcService]] = (
    riva_asr,
    riva_nmt,
    google_v1,
    google_v2,
)
"""Those over gRPC, on the gRPC port."""


def _socket(
    create: Callable[[SpeechContext], Dialect],
) -> Callable[[SpeechContext, Resumption | None], FrontEnd]:
    """A port that speaks one WebSocket dialect."""

    def front_end(context: SpeechContext, resumption: Resumption | None) -> FrontEnd:
        dialect = create(context)
        return WebSocketServer(
            [dialect], context.gateway.is_accepting, purpose=dialect.name, resumption=resumption
        )

    return front_end


def _wyoming(context: SpeechContext, _: Resumption | None) -> FrontEnd:
    return WyomingServer(context, context.gateway.is_accepting)


OWN_PORTS: Mapping[str, Callable[[SpeechContext, Resumption | None], FrontEnd]] = {
    "sherpa-onnx": _socket(SherpaOnnx),
    "vosk": _socket(Vosk),
    "whisper-live": _socket(WhisperLive),
    "wyoming": _wyoming,
}
"""Those that want a whole port. Their usual ports are in the settings."""


@dataclass(frozen=True, slots=True)
class Mounts:
    """The dialects of a server."""

    context: SpeechContext
    sockets: Sequence[Dialect]
    services: Sequence[HttpService]
    grpc_services: Sequence[GrpcService]
    own_ports: Mapping[str, FrontEnd]


def speech_mounts(
    gateway: Gateway,
    settings: SpeechSettings,
    streams: StreamReception,
    resumption: Resumption | None = None,
    is_tenant: Callable[[str], bool] = lambda _: False,
) -> Mounts:
    """`streams` keeps calls over gRPC, `resumption` sessions over WebSocket, for clients that come
    back. `is_tenant` says whether a key is a tenant's.

    Raises StreamGateError (INVALID_ARG) for a port of a dialect that there isn't.
    """
    models = SpeechModels(gateway, settings.default_model, settings.aliases)
    access = Access(settings.api_keys, is_tenant)
    context = SpeechContext(gateway, models, access, settings.realtime_dialect)
    own_ports: dict[str, FrontEnd] = {}
    for name in settings.ports:
        if name not in OWN_PORTS:
            raise StreamGateError(
                Code.INVALID_ARG,
                f"no dialect '{name}' with a port of its own, expected one of "
                f"{', '.join(sorted(OWN_PORTS)) or 'none'}",
            )
        own_ports[name] = OWN_PORTS[name](context, resumption)
    return Mounts(
        context,
        [create(context) for create in SOCKETS],
        [create(context) for create in SERVICES],
        [create(context, streams) for create in GRPC_SERVICES],
        own_ports,
    )
