"""The command line: usage, what fails before anything is served, and what the flags mean."""

import os
import socket
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

import streamgate
from streamgate.cli import main
from streamgate.errors import Code, StreamGateError
from streamgate.recording.options import RecordingOptions
from streamgate.server import main as process
from streamgate.server.ports import Ports, ready_line
from streamgate.server.processes.topology import Topology
from streamgate.server.settings import ControlMode, Settings

FREE_PORTS = [
    word for name in ("http", "grpc", "metrics", "websocket") for word in (f"--{name}-port", "0")
]


@pytest.fixture
def served(monkeypatch: pytest.MonkeyPatch) -> list[Settings]:
    """What would have been served."""
    found: list[Settings] = []

    def serve(settings: Settings, _: Topology | None) -> int:
        found.append(settings)
        return 0

    monkeypatch.setattr(process, "serve", serve)
    return found


def usage_error(arguments: Sequence[str], capsys: pytest.CaptureFixture[str]) -> str:
    """The last line of what wrong usage is answered with."""
    with pytest.raises(SystemExit) as raised:
        main(arguments)
    assert raised.value.code == 2
    return capsys.readouterr().err.splitlines()[-1]


def test_the_flags_a_triton_user_expects(served: list[Settings]) -> None:
    assert main(["serve", "--model-repository", "a"]) == 0
    assert served.pop() == Settings(model_repositories=[Path("a")])
    flags = """
        --model-repository=a --model-store b --model-control-mode explicit --load-model x
        --load-model=y --exit-on-error=false --strict-readiness 0 --disable-auto-complete-config
        --model-config-name custom --backend-directory c
        --host ::1 --http-port 1 --grpc-port 2 --metrics-port 3 --websocket-port 4
        --allow-http no --allow-grpc --allow-metrics=off --allow-websocket true
        --http-max-input-size 1000 --http-header-forward-pattern X-.*
        --grpc-header-forward-pattern x-.* --id me --exit-timeout-secs 1.5 --log-level debug
    """
    assert main(["serve", *flags.split()]) == 0
    assert served.pop() == Settings(
        model_repositories=[Path("a"), Path("b")],
        host="::1",
        http_port=1,
        http_input_bytes_max=1000,
        http_forward_headers="X-.*",
        grpc_port=2,
        grpc_forward_headers="x-.*",
        metrics_port=3,
        websocket_port=4,
        control_mode=ControlMode.EXPLICIT,
        load_models=("x", "y"),
        exit_on_error=False,
        strict_readiness=False,
        auto_complete_config=False,
        model_config_name="custom",
        backend_directory=Path("c"),
        allow_http=False,
        allow_grpc=True,
        allow_metrics=False,
        allow_websocket=True,
        exit_timeout_seconds=1.5,
        log_level="debug",
        server_id="me",
    )


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ([], "streamgate: error: the following arguments are required: COMMAND"),
        (["serve"], "the following arguments are required: --model-repository/--model-store"),
        (["serve", "--model-repository", "a", "--nonsense"], "unrecognized arguments: --nonsense"),
        (["server"], "argument COMMAND: invalid choice: 'server'"),
        (["serve", "--http-port", "70000"], "'70000' is not a port, expected 0 to 65535"),
        (["serve", "--http-port", "-1"], "'-1' is not a port, expected 0 to 65535"),
        (["serve", "--http-port", "http"], "'http' is not a port, expected 0 to 65535"),
        (["serve", "--http-max-input-size", "0"], "'0' is not a number of bytes above 0"),
        (["serve", "--exit-timeout-secs", "-1"], "'-1' is not a number of seconds"),
        (["serve", "--exit-timeout-secs", "nan"], "'nan' is not a number of seconds"),
        (["serve", "--exit-on-error=perhaps"], "'perhaps' is neither true nor false"),
        (["serve", "--model-control-mode", "poll"], "invalid choice: 'poll'"),
        (["serve", "--log-level", "loud"], "invalid choice: 'loud'"),
        (
            ["serve", "--model-repository", "a", "--load-model", "x"],
            "streamgate serve: error: --load-model needs --model-control-mode=explicit",
        ),
    ],
)
def test_wrong_usage_is_told(
    flags: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert message in usage_error(flags, capsys)


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--help"], ["serve", "doctor", "--version"]),
        (["serve", "--help"], ["--model-repository", "--grpc-port", "--exit-timeout-secs"]),
        (["doctor", "--help"], ["--host"]),
        (["--version"], [f"streamgate {streamgate.__version__}"]),
    ],
)
def test_help_and_version(
    flags: list[str], words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as raised:
        main(flags)
    assert raised.value.code == 0
    out = capsys.readouterr().out
    assert all(word in out for word in words)


def serve_error(directory: Path, *flags: str, capsys: pytest.CaptureFixture[str]) -> str:
    """What the command says when it can't serve."""
    arguments = ["serve", "--embedded", "--model-repository", str(directory)]
    assert main([*arguments, "--host", "127.0.0.1", *FREE_PORTS, *flags]) == 1
    captured = capsys.readouterr()
    assert captured.out == ""
    return captured.err.splitlines()[-1]


def test_a_repository_that_is_not_there(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert serve_error(tmp_path / "nowhere", capsys=capsys) == (
        f"streamgate: failed to open model repository directory '{tmp_path / 'nowhere'}': it does "
        "not exist"
    )


@pytest.mark.parametrize(
    ("name", "front_end"),
    [
        ("http", "can't listen on 127.0.0.1:{port} for HTTP"),
        ("grpc", "the gRPC front end can't listen on 127.0.0.1:{port}"),
        ("metrics", "can't listen on 127.0.0.1:{port} for metrics"),
        ("websocket", "can't listen on 127.0.0.1:{port} for WebSocket"),
    ],
)
def test_a_port_in_use_is_told_with_its_flag(
    name: str, front_end: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        message = serve_error(tmp_path, f"--{name}-port", str(port), capsys=capsys)
    assert message == (
        f"streamgate: {front_end.format(port=port)}: Address already in use (change it with "
        f"--{name}-port or --host)"
    )


def test_a_host_that_is_not_ours(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    message = serve_error(tmp_path, "--host", "192.0.2.1", capsys=capsys)
    assert message.startswith("streamgate: can't listen on 192.0.2.1:0 for HTTP: ")


def test_models_that_fail_end_the_start(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    for name in ("one", "two"):
        version = tmp_path / name / "1"
        version.mkdir(parents=True)
        (version / "model.py").write_text("raise ValueError('no such luck')\n")
    assert serve_error(tmp_path, capsys=capsys) == (
        "streamgate: failed to load all models (one, two); --exit-on-error=false serves the others"
    )
    failures = [message for message in caplog.messages if message.startswith("load failed for")]
    assert len(failures) == 2
    explicit = ("--model-control-mode=explicit", "--load-model=three")
    assert "(three)" in serve_error(tmp_path, *explicit, capsys=capsys)


def test_a_configuration_by_another_name(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    model = tmp_path / "m"
    (model / "1").mkdir(parents=True)
    (model / "configs").mkdir()
    (model / "configs" / "custom.pbtxt").write_text("nonsense")
    serve_error(tmp_path, "--model-config-name", "custom", capsys=capsys)
    assert "configs/custom.pbtxt" in caplog.text


def test_another_projects_streamgate_ends_the_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def clash() -> None:
        raise StreamGateError(Code.INTERNAL, "a clash of names")

    monkeypatch.setattr(process, "check_name", clash)
    assert serve_error(tmp_path, capsys=capsys) == "streamgate: a clash of names"


def test_the_ready_line_names_what_is_open() -> None:
    assert ready_line("0.0.0.0", Ports(1, 2, 3, 4)) == (
        "streamgate ready http=0.0.0.0:1 grpc=0.0.0.0:2 metrics=0.0.0.0:3 websocket=0.0.0.0:4"
    )
    assert ready_line("::1", Ports(None, 2, None, 4)) == (
        "streamgate ready grpc=[::1]:2 websocket=[::1]:4"
    )


def test_who_stops_reading_gets_no_traceback() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "w") as out:
        done = subprocess.run(
            [sys.executable, "-m", "streamgate", "doctor"],
            stdout=out,
            stderr=subprocess.PIPE,
            check=False,
            text=True,
        )
    assert (done.returncode, done.stderr) == (1, "")


def test_what_is_recorded(served: list[Settings]) -> None:
    flags = """
        --record-sequences d --record-model a --record-model=b --record-rate 0.25
        --record-on-request --record-max-bytes 1000 --record-total-bytes 2000 --record-redacted
    """
    assert main(["serve", "--model-repository", "a", *flags.split()]) == 0
    assert served.pop().recording == RecordingOptions(
        Path("d"), ("a", "b"), 0.25, True, 1000, 2000, True
    )
    assert main(["serve", "--model-repository", "a", "--record-sequences", "d"]) == 0
    assert served.pop().recording == RecordingOptions(Path("d"))


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["serve", "--record-model", "m"], "need --record-sequences"),
        (["serve", "--record-on-request"], "need --record-sequences"),
        (["serve", "--record-rate", "2"], "'2' is no share, expected 0 to 1"),
        (["serve", "--record-max-bytes", "0"], "'0' is not a number of bytes above 0"),
        (["replay", "b"], "--model-repository --compare --redact is required"),
        (["replay", "b", "--compare", "c", "--redact", "d"], "not allowed with argument"),
        (["replay", "b", "--tolerance", "-1"], "'-1' is no tolerance"),
        (["replay", "b", "--step-timeout", "0"], "'0' is not a number of seconds above 0"),
    ],
)
def test_wrong_usage_of_recording_and_replay(
    flags: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    models = ["--model-repository", "a"] if flags[0] == "serve" else []
    assert message in usage_error([flags[0], *models, *flags[1:]], capsys)
