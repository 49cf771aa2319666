"""What a server can be told, with the defaults of a Triton user's expectations."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path

from streamgate.link.blocks import ARENA_BYTES
from streamgate.recording.options import RecordingOptions
from streamgate.session.tenant import Tenant

OWN_PORTS: Mapping[str, int] = {
    "sherpa-onnx": 6006,
    "vosk": 2700,
    "whisper-live": 9090,
    "wyoming": 10300,
}
"""Speech dialects that want a whole port, and which they usually have."""


class ControlMode(Enum):
    """Who decides which models are loaded: everything at start-up, or load and unload calls."""

    NONE = "none"
    EXPLICIT = "explicit"


class GrpcTransport(Enum):
    """What carries gRPC: the library, or our own HTTP/2 without TLS."""

    GRPCIO = "grpcio"
    LEAN = "lean"


@dataclass(frozen=True, slots=True)
class SpeechSettings:
    """What the speech dialects are told.

    `default_model` serves clients that name none ("": the first speech model by name); `aliases`
    maps further names to models. `api_keys`, if there are any, are what clients must bring.
    `realtime_dialect`, `openai` or `riva`, is that of clients of a path which both have, if nothing
    tells them apart. `ports` opens dialects that want a whole port: name to port (0 picks a
    free one).
    """

    default_model: str = ""
    aliases: Mapping[str, str] = field(default_factory=dict)
    api_keys: Sequence[str] = ()
    realtime_dialect: str = "openai"
    ports: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ResumeSettings:
    """How clients of WebSocket dialects, and of gRPC streams, come back to a session whose
    connection was lost.

    It waits for `seconds`, a gRPC stream at most so long; 0 keeps none. `secret` seals the tokens:
    servers that are to read each other's share one; None makes one for this process.
    """

    seconds: float = 30.0
    secret: bytes | None = None


@dataclass(frozen=True, slots=True)
class Settings:
    """Everything `streamgate serve` can be told. Port 0 picks a free one."""

    model_repositories: Sequence[Path]
    host: str = "0.0.0.0"  # noqa: S104 - as Triton: a server is there to be reached
    http_port: int = 8000
    http_input_bytes_max: int = 64 * 1024 * 1024
    http_forward_headers: str = ""
    grpc_port: int = 8001
    grpc_transport: GrpcTransport = GrpcTransport.GRPCIO
    grpc_forward_headers: str = ""
    metrics_port: int = 8002
    websocket_port: int = 8003
    control_mode: ControlMode = ControlMode.NONE
    load_models: Sequence[str] = field(default_factory=tuple)
    exit_on_error: bool = True
    strict_readiness: bool = True
    auto_complete_config: bool = True
    model_config_name: str = ""
    backend_directory: Path | None = None
    allow_http: bool = True
    allow_grpc: bool = True
    allow_metrics: bool = True
    allow_websocket: bool = True
    exit_timeout_seconds: float = 30.0
    speech: SpeechSettings = SpeechSettings()
    resume: ResumeSettings = ResumeSettings()
    tenants: Sequence[Tenant] = ()
    recording: RecordingOptions | None = None
    durable: bool = True
    device_turns: int = 0
    link_silence_seconds: float = 1.0
    stateless_share: float = 0.05
    link_arena_bytes: int = ARENA_BYTES
    session_store: str = ""
    session_store_ttl_seconds: float = 600.0
    log_level: str = "info"
    server_id: str = "streamgate"
