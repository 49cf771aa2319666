"""The ports of a server, and the line that tells them."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field

from streamgate.server.settings import Settings


@dataclass(frozen=True, slots=True)
class Ports:
    """The ports that are really bound; None for a front end that was not asked for. `dialects` are
    those of the speech dialects that have one of their own."""

    http: int | None
    grpc: int | None
    metrics: int | None
    websocket: int | None
    dialects: Mapping[str, int] = field(default_factory=dict)

    @property
    def by_name(self) -> dict[str, int]:
        """All that are there, in the order in which they are told."""
        ports = asdict(self)
        ports |= ports.pop("dialects")
        return {name: port for name, port in ports.items() if port is not None}


def wanted_ports(settings: Settings) -> Ports:
    """Those that the settings ask for; 0 for any that is free."""
    return Ports(
        settings.http_port if settings.allow_http else None,
        settings.grpc_port if settings.allow_grpc else None,
        settings.metrics_port if settings.allow_metrics else None,
        settings.websocket_port if settings.allow_websocket else None,
        dict(settings.speech.ports),
    )


def ready_line(host: str, ports: Ports) -> str:
    """The one line on standard output, once everything listens: `streamgate ready http=...`."""
    shown = f"[{host}]" if ":" in host else host
    places = [f"{name}={shown}:{port}" for name, port in ports.by_name.items()]
    return " ".join(["streamgate ready", *places])
