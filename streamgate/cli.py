"""The command line: `streamgate serve`, `status`, `drain`, `doctor`, `replay`, `transcribe`, `mic`.

Flags have the names that a Triton user expects.
"""

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

import streamgate
from streamgate.cli_processes import (
    add_processes,
    add_status_and_drain,
    link_arena_bytes_of,
    link_silence_seconds,
    topology_of,
)
from streamgate.cli_replay import add_recording, add_replay, recording_options
from streamgate.cli_transcribe import add_commands
from streamgate.errors import Code, StreamGateError
from streamgate.server.settings import (
    OWN_PORTS,
    ControlMode,
    GrpcTransport,
    ResumeSettings,
    Settings,
    SpeechSettings,
)

LOG_LEVELS = ("error", "warning", "info", "debug")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; returns the exit status: 0 well, 1 failed, 2 wrong usage."""
    options = _parser().parse_args(arguments)
    try:
        status: int = options.run(options)
    except StreamGateError as error:
        print(f"streamgate: {error.message.strip()}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        # Who reads our output has had enough: so has Python's last flush.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    return status


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="streamgate",
        description="A gateway for streaming and stateful sequence inference.",
    )
    parser.add_argument("--version", action="version", version=f"%(prog)s {streamgate.__version__}")
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    _add_serve(commands)
    _add_process(commands)
    add_status_and_drain(commands)
    add_commands(commands)
    add_replay(commands)
    doctor = commands.add_parser(
        "doctor",
        help="show what is installed, which backends load, which ports are free, which GPUs seen",
    )
    doctor.add_argument("--host", default="0.0.0.0", help="address whose ports are tried")  # noqa: S104
    doctor.set_defaults(run=_doctor)
    return parser


def _add_serve(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    serve = commands.add_parser(
        "serve",
        help="serve a model repository",
        description="Serve model repositories over gRPC, HTTP and WebSocket until SIGTERM.",
    )
    serve.set_defaults(run=_serve, complain=serve.error)
    models = serve.add_argument_group("models")
    models.add_argument(
        "--model-repository",
        "--model-store",
        type=Path,
        action="append",
        required=True,
        metavar="DIR",
        help="a folder of models in Triton's layout; may be given several times",
    )
    models.add_argument(
        "--model-control-mode",
        choices=[mode.value for mode in ControlMode],
        default=ControlMode.NONE.value,
        help="none: load everything at start-up; explicit: load what --load-model and clients say",
    )
    models.add_argument(
        "--load-model",
        action="append",
        default=[],
        metavar="NAME",
        help='a model to load at start-up in explicit mode ("*" for all); may be repeated',
    )
    _add_switch(models, "--exit-on-error", True, "exit when a model fails to load at start-up")
    _add_switch(models, "--strict-readiness", True, "not ready while a known model is not ready")
    models.add_argument(
        "--disable-auto-complete-config",
        action="store_true",
        help="take config.pbtxt as it is, without asking the model for what it leaves out",
    )
    models.add_argument(
        "--model-config-name",
        default="",
        metavar="NAME",
        help="take configs/NAME.pbtxt in place of config.pbtxt where a model has it",
    )
    models.add_argument(
        "--backend-directory",
        type=Path,
        metavar="DIR",
        help="a folder of backends that are a model.py each, in DIR/NAME/model.py",
    )
    add_processes(serve)
    _add_ports(serve)
    _add_speech(serve)
    _add_resume(serve)
    _add_store(serve)
    add_recording(serve)
    _add_running(serve)


def _add_process(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """What the supervisor starts. Without a help text, help does not show it."""
    process = commands.add_parser("process")
    process.set_defaults(run=_process)
    process.add_argument("name")
    process.add_argument("descriptor", type=int)
    process.add_argument("supervisor", type=int)


def _add_running(serve: argparse.ArgumentParser) -> None:
    running = serve.add_argument_group("running")
    running.add_argument("--id", default="streamgate", help="the server's name in its metadata")
    running.add_argument(
        "--exit-timeout-secs",
        type=_seconds,
        default=30.0,
        metavar="S",
        help="how long SIGTERM waits for requests and sequences under way (%(default)s)",
    )
    _add_switch(
        running, "--durable", True, "keep logs of sequences, which outlive the loss of their engine"
    )
    running.add_argument(
        "--device-turns",
        type=_count,
        default=0,
        metavar="N",
        help="models on one device run at most N steps on it at a time, the most urgent first "
        "(0: as many as there are)",
    )
    running.add_argument(
        "--stateless-share",
        type=_percent,
        default=5,
        metavar="PERCENT",
        help="of the time of a device with turns, for requests outside of sequences even where "
        "streams are late for it (%(default)s)",
    )
    running.add_argument("--log-level", choices=LOG_LEVELS, default="info", help="(%(default)s)")


def _add_ports(serve: argparse.ArgumentParser) -> None:
    ports = serve.add_argument_group("ports (0 picks a free one; the ready line says which)")
    ports.add_argument("--host", default="0.0.0.0", help="address to listen on (%(default)s)")  # noqa: S104
    for name, default in (("http", 8000), ("grpc", 8001), ("metrics", 8002), ("websocket", 8003)):
        ports.add_argument(
            f"--{name}-port", type=_port, default=default, metavar="PORT", help="(%(default)s)"
        )
        _add_switch(ports, f"--allow-{name}", True, "open that port")
    ports.add_argument(
        "--grpc-transport",
        choices=[transport.value for transport in GrpcTransport],
        default=GrpcTransport.GRPCIO.value,
        help="lean: our own HTTP/2, far cheaper, without TLS, for networks you trust (%(default)s)",
    )
    ports.add_argument(
        "--http-max-input-size",
        type=_bytes,
        default=64 * 2**20,
        metavar="BYTES",
        help="the largest body of an HTTP request (%(default)s)",
    )
    for name in ("http", "grpc"):
        ports.add_argument(
            f"--{name}-header-forward-pattern",
            default="",
            metavar="REGEX",
            help="headers that models get to see as parameters (none)",
        )
    ports.add_argument(
        "--tenants",
        type=Path,
        metavar="FILE",
        help="who may have how much, by API key, on all ports; TOML, or JSON by its suffix (none)",
    )


def _add_speech(serve: argparse.ArgumentParser) -> None:
    speech = serve.add_argument_group("speech")
    speech.add_argument(
        "--speech-model",
        default="",
        metavar="NAME",
        help="the model of clients that name none (the first speech model)",
    )
    speech.add_argument(
        "--speech-model-alias",
        type=_alias,
        action="append",
        default=[],
        metavar="ALIAS=NAME",
        help="a further name of a model, such as one that clients have built in; may be repeated",
    )
    speech.add_argument(
        "--api-key-file",
        type=Path,
        metavar="FILE",
        help="speech clients must bring one of the keys in this file, one in a line (none needed)",
    )
    speech.add_argument(
        "--realtime-dialect",
        choices=("openai", "riva"),
        default="openai",
        help="of clients of /v1/realtime that nothing tells apart (%(default)s)",
    )
    speech.add_argument(
        "--dialect-port",
        type=_dialect_port,
        action="append",
        default=[],
        metavar="NAME[=PORT]",
        help="open a dialect that has a port of its own, on its usual one or on PORT: "
        f"{', '.join(sorted(OWN_PORTS)) or 'none'}; may be repeated",
    )


def _add_resume(serve: argparse.ArgumentParser) -> None:
    resume = serve.add_argument_group("lost connections")
    resume.add_argument(
        "--resume-seconds",
        type=_seconds,
        default=30.0,
        metavar="S",
        help="how long a WebSocket session whose connection was lost waits for its client to come "
        "back, and at most a gRPC stream whose client asks for it; 0 keeps none (%(default)s)",
    )
    resume.add_argument(
        "--resume-secret-file",
        type=Path,
        metavar="FILE",
        help="seals the tokens with which clients come back, at least 16 bytes; servers that share "
        "it read each other's (one is made up)",
    )


def _add_store(serve: argparse.ArgumentParser) -> None:
    store = serve.add_argument_group("session store")
    store.add_argument(
        "--session-store",
        default="",
        metavar="URL",
        help="keep sequences in this Redis or Valkey, so that another server goes on with them "
        "when this one is lost: redis://host:port/db, rediss://... (TLS), unix:///path?db=0 (none)",
    )
    store.add_argument(
        "--session-store-ttl",
        type=_seconds,
        default=600.0,
        metavar="S",
        help="how long a sequence is kept after its server has touched it last (%(default)s)",
    )


def _alias(text: str) -> tuple[str, str]:
    alias, sign, name = text.partition("=")
    if not (alias and sign and name):
        raise argparse.ArgumentTypeError(f"'{text}' is not ALIAS=NAME")
    return alias, name


def _dialect_port(text: str) -> tuple[str, int]:
    name, sign, port = text.partition("=")
    if name not in OWN_PORTS:
        known = ", ".join(sorted(OWN_PORTS)) or "none"
        raise argparse.ArgumentTypeError(f"'{name}' has no port of its own, expected {known}")
    return name, _port(port) if sign else OWN_PORTS[name]


def _api_keys(path: Path | None) -> tuple[str, ...]:
    """Raises StreamGateError for a file that can't be read, or that has no key: it must not open
    the server to everybody."""
    if path is None:
        return ()
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise StreamGateError(
            Code.INVALID_ARG, f"--api-key-file {path} can't be read: {error}"
        ) from None
    keys = tuple(line.strip() for line in lines if line.strip() and not line.startswith("#"))
    if not keys:
        raise StreamGateError(Code.INVALID_ARG, f"--api-key-file {path} has no key in it")
    return keys


def _add_switch(group: "argparse._ArgumentGroup", flag: str, default: bool, text: str) -> None:
    group.add_argument(
        flag,
        type=_boolean,
        nargs="?",
        const=True,
        default=default,
        metavar="true|false",
        help=f"{text} ({str(default).lower()})",
    )


def _boolean(text: str) -> bool:
    lowered = text.lower()
    if lowered in ("true", "1", "on", "yes"):
        return True
    if lowered in ("false", "0", "off", "no"):
        return False
    raise argparse.ArgumentTypeError(f"'{text}' is neither true nor false")


def _port(text: str) -> int:
    if not text.isdigit() or int(text) > 65535:
        raise argparse.ArgumentTypeError(f"'{text}' is not a port, expected 0 to 65535")
    return int(text)


def _count(text: str) -> int:
    if not text.isdigit() or int(text) > 10_000:
        raise argparse.ArgumentTypeError(f"'{text}' is not a number from 0 to 10000")
    return int(text)


def _percent(text: str) -> int:
    if not text.isdigit() or int(text) > 50:
        raise argparse.ArgumentTypeError(f"'{text}' is not a percentage from 0 to 50")
    return int(text)


def _bytes(text: str) -> int:
    if not text.isdigit() or int(text) == 0:
        raise argparse.ArgumentTypeError(f"'{text}' is not a number of bytes above 0")
    return int(text)


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1.0
    if not 0 <= seconds < 1e9:
        raise argparse.ArgumentTypeError(f"'{text}' is not a number of seconds")
    return seconds


def _serve(options: argparse.Namespace) -> int:
    # Imported here so that --help and doctor work where a front end's library is broken.
    from streamgate.server.main import serve
    from streamgate.server.tenants_file import read_tenants

    mode = ControlMode(options.model_control_mode)
    load_models = tuple(options.load_model)
    if load_models and mode is not ControlMode.EXPLICIT:
        options.complain("--load-model needs --model-control-mode=explicit")
    return serve(
        Settings(
            model_repositories=options.model_repository,
            host=options.host,
            http_port=options.http_port,
            http_input_bytes_max=options.http_max_input_size,
            http_forward_headers=options.http_header_forward_pattern,
            grpc_port=options.grpc_port,
            grpc_transport=GrpcTransport(options.grpc_transport),
            grpc_forward_headers=options.grpc_header_forward_pattern,
            metrics_port=options.metrics_port,
            websocket_port=options.websocket_port,
            control_mode=mode,
            load_models=load_models,
            exit_on_error=options.exit_on_error,
            strict_readiness=options.strict_readiness,
            auto_complete_config=not options.disable_auto_complete_config,
            model_config_name=options.model_config_name,
            backend_directory=options.backend_directory,
            allow_http=options.allow_http,
            allow_grpc=options.allow_grpc,
            allow_metrics=options.allow_metrics,
            allow_websocket=options.allow_websocket,
            speech=SpeechSettings(
                default_model=options.speech_model,
                aliases=dict(options.speech_model_alias),
                api_keys=_api_keys(options.api_key_file),
                realtime_dialect=options.realtime_dialect,
                ports=dict(options.dialect_port),
            ),
            resume=_resume_settings(options.resume_seconds, options.resume_secret_file),
            tenants=read_tenants(options.tenants) if options.tenants is not None else (),
            recording=recording_options(options),
            durable=options.durable,
            device_turns=options.device_turns,
            link_silence_seconds=link_silence_seconds(options),
            stateless_share=options.stateless_share / 100,
            link_arena_bytes=link_arena_bytes_of(options),
            session_store=options.session_store,
            session_store_ttl_seconds=options.session_store_ttl,
            exit_timeout_seconds=options.exit_timeout_secs,
            log_level=options.log_level,
            server_id=options.id,
        ),
        topology_of(options),
    )


def _resume_settings(seconds: float, secret_file: Path | None) -> ResumeSettings:
    """Raises StreamGateError for a file that holds no secret."""
    from streamgate.server.resuming import read_secret

    return ResumeSettings(seconds, None if secret_file is None else read_secret(secret_file))


def _process(options: argparse.Namespace) -> int:
    from streamgate.server.processes.child import run_child
    from streamgate.server.processes.roles import make_role, prepare

    return run_child(options.descriptor, options.supervisor, make_role, prepare)


def _doctor(options: argparse.Namespace) -> int:
    from streamgate.server.doctor import examine

    return examine(options.host)
