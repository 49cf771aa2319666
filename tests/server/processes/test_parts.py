"""What a supervisor stands on: settings as text, messages, ports, folders, restarts."""

import asyncio
import os
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest

from streamgate.errors import Code, StreamGateError
from streamgate.recording.options import RecordingOptions
from streamgate.server.ports import Ports
from streamgate.server.processes.control import ControlSocket
from streamgate.server.processes.messages import Peer, PeerLostError, attach
from streamgate.server.processes.placeholders import Placeholders
from streamgate.server.processes.restarts import (
    AT_ONCE_MAX,
    PROVEN_SECONDS,
    STEADY_SECONDS,
    Restarts,
)
from streamgate.server.processes.runtime_directory import (
    CONTROL,
    create_runtime_directory,
    find_server,
)
from streamgate.server.processes.settings_text import read_settings, write_settings
from streamgate.server.settings import (
    ControlMode,
    GrpcTransport,
    ResumeSettings,
    Settings,
    SpeechSettings,
)
from streamgate.session.tenant import Rate, Tenant
from streamgate.session.tenants import hash_of

HOST = "127.0.0.1"
ROOT = Path(__file__).resolve().parents[3]


@pytest.mark.parametrize(
    "settings",
    [
        Settings((Path("/models"),)),
        Settings(
            (Path("/a"), Path("/b")),
            host="::1",
            http_port=0,
            grpc_transport=GrpcTransport.LEAN,
            control_mode=ControlMode.EXPLICIT,
            load_models=("x", "y"),
            exit_on_error=False,
            backend_directory=Path("/c"),
            exit_timeout_seconds=1,
            speech=SpeechSettings(
                "m", {"alias": "m"}, ("a key", "another"), "riva", {"vosk": 2700}
            ),
            resume=ResumeSettings(1.5, b"\x00\xff"),
            recording=RecordingOptions(Path("/d"), ("m",), 0.25, redacted=True),
            server_id='"\u00e9\\',
        ),
        Settings(
            (Path("/models"),),
            tenants=(
                Tenant(
                    "t",
                    (hash_of("one"), hash_of("two")),
                    3,
                    {"m": 1},
                    requests=Rate(0.5, 2),
                    bytes=Rate(1e6, 5),
                ),
                Tenant("", streams_max=0),
            ),
        ),
    ],
)
def test_settings_come_back_as_they_were(settings: Settings) -> None:
    assert read_settings(write_settings(settings)) == settings


def test_paths_in_settings_do_not_depend_on_the_current_folder() -> None:
    (path,) = read_settings(write_settings(Settings((Path("models"),)))).model_repositories
    assert path == Path.cwd() / "models"


@pytest.mark.parametrize("text", ["", "[]", '{"model_repositories": [], "id": 1}', '{"host": 3}'])
def test_other_text_is_no_settings(text: str) -> None:
    with pytest.raises((ValueError, TypeError, KeyError, AttributeError)):
        read_settings(text)


# -- messages


@asynccontextmanager
async def joined(first: Peer, second: Peer) -> AsyncIterator[None]:
    ends = socket.socketpair()
    for end, peer in zip(ends, (first, second), strict=True):
        await attach(end, peer)
    try:
        yield
    finally:
        first.close()
        second.close()
        await asyncio.sleep(0)


async def doubled(what: str, value: Any) -> Any:
    if what == "refuse":
        raise StreamGateError(Code.NOT_FOUND, "there is none")
    if what == "break":
        raise ZeroDivisionError("so it goes")
    if what == "sleep":
        await asyncio.sleep(60)
    return 2 * value


async def test_questions_are_answered_or_refused(caplog: pytest.LogCaptureFixture) -> None:
    heard: list[tuple[str, Any]] = []
    asker = Peer()
    async with joined(asker, Peer(doubled, lambda what, value: heard.append((what, value)))):
        asker.tell("news", {"a": [1, 2.5, None, b"x"]})
        big = "x" * 1_000_000
        assert await asyncio.gather(*(asker.ask("double", n) for n in range(20))) == [
            *range(0, 40, 2)
        ]
        assert await asker.ask("double", big) == 2 * big
        assert heard == [("news", {"a": [1, 2.5, None, b"x"]})]
        with pytest.raises(StreamGateError) as raised:
            await asker.ask("refuse")
        assert (raised.value.code, raised.value.message) == (Code.NOT_FOUND, "there is none")
        with pytest.raises(StreamGateError, match="ZeroDivisionError: so it goes"):
            await asker.ask("break")
        assert "'break' could not be answered" in caplog.text
        with pytest.raises(TimeoutError):
            await asker.ask("sleep", seconds=0.01)


async def test_who_answers_nothing_says_so() -> None:
    asker = Peer()
    async with joined(asker, Peer()):
        with pytest.raises(StreamGateError, match="'what' can't be asked here"):
            await asker.ask("what")


async def test_who_asks_is_told_when_the_other_is_gone() -> None:
    lost = asyncio.Event()
    asker, other = Peer(on_lost=lost.set), Peer(doubled)
    async with joined(asker, other):
        asked = asyncio.ensure_future(asker.ask("sleep"))
        await asyncio.sleep(0)
        other.close()
        with pytest.raises(PeerLostError, match="without an answer"):
            await asked
        assert lost.is_set()
        with pytest.raises(PeerLostError, match="'double' can't be asked"):
            await asker.ask("double", 1)


@pytest.mark.parametrize(
    "data",
    [b"\xff\xff\xff\xff", b"\x01\0\0\0\xc1", b"\x01\0\0\0\x05", b"\x02\0\0\0\x91\xa0"],
)
async def test_what_is_no_message_ends_the_connection(data: bytes) -> None:
    ours, theirs = socket.socketpair()
    lost = asyncio.Event()
    await attach(theirs, Peer(on_lost=lost.set))
    ours.sendall(data)
    async with asyncio.timeout(5):
        await lost.wait()
    ours.close()


# -- ports


@pytest.fixture
def placeholders() -> Iterator[Placeholders]:
    held = Placeholders(HOST)
    yield held
    held.close()


def listening(port: int) -> socket.socket:
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    listener.bind((HOST, port))
    listener.listen()
    return listener


def test_ports_are_held_and_shared(placeholders: Placeholders) -> None:
    ports = placeholders.take(Ports(0, 0, 7, None, {"vosk": 0}))
    assert ports.websocket is None
    assert ports.metrics == 7
    got = [ports.http, ports.grpc, ports.dialects["vosk"]]
    assert len(set(got)) == 3
    assert ports.http
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection((HOST, ports.http))
    with listening(ports.http), listening(ports.http):
        for _ in range(20):
            socket.create_connection((HOST, ports.http)).close()


@pytest.mark.parametrize("name", ["http", "grpc", "vosk"])
def test_a_port_in_use_is_refused_whoever_shares_it(name: str, placeholders: Placeholders) -> None:
    with listening(0) as taken:
        port = taken.getsockname()[1]
        wanted = Ports(0, 0, None, None)
        if name == "vosk":
            wanted = replace(wanted, dialects={"vosk": port})
        else:
            wanted = replace(wanted, **{name: port})
        with pytest.raises(StreamGateError) as raised:
            placeholders.take(wanted)
    assert f"{HOST}:{port}" in raised.value.message
    assert "Address already in use" in raised.value.message
    assert raised.value.message.endswith(f"(change it with --{name}-port or --host)")


def test_a_port_that_another_server_holds_is_refused(placeholders: Placeholders) -> None:
    ports = placeholders.take(Ports(0, None, None, None))
    with pytest.raises(StreamGateError, match="Address already in use"):
        Placeholders(HOST).take(ports)
    placeholders.close()
    again = Placeholders(HOST)
    assert again.take(ports) == ports
    again.close()


# -- folders


@pytest.fixture
def base(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The one place where servers are looked for."""
    with TemporaryDirectory(prefix="sg-") as name:
        monkeypatch.setenv("XDG_RUNTIME_DIR", name)
        monkeypatch.setattr("tempfile.tempdir", name)
        yield Path(name)


async def nothing(_: str, __: Any) -> None:
    return


async def test_a_server_is_found_by_its_user(base: Path) -> None:
    with pytest.raises(StreamGateError, match="no server of this user runs here"):
        await asyncio.to_thread(find_server)
    directory = create_runtime_directory()
    assert directory == base / "streamgate" / str(os.getpid())
    assert directory.stat().st_mode & 0o777 == 0o700
    control = ControlSocket(directory / CONTROL, nothing)
    await control.open()
    assert await asyncio.to_thread(find_server) == directory / CONTROL
    elsewhere = ControlSocket(create_runtime_directory(base / "here") / CONTROL, nothing)
    await elsewhere.open()
    assert await asyncio.to_thread(find_server, base / "here") == base / "here" / CONTROL
    second = base / "streamgate" / "second"
    second.mkdir()
    other = ControlSocket(second / CONTROL, nothing)
    await other.open()
    with pytest.raises(StreamGateError, match="2 servers run here, say which"):
        await asyncio.to_thread(find_server)
    with pytest.raises(StreamGateError, match="another server runs in the runtime directory"):
        await asyncio.to_thread(create_runtime_directory, second)
    await asyncio.sleep(0.01)  # who only looked is gone again
    for each in (control, elsewhere, other):
        each.close()
    with pytest.raises(StreamGateError, match="no server runs in"):
        await asyncio.to_thread(find_server, second)


def test_what_a_killed_server_has_left_is_cleared(base: Path) -> None:
    left = base / "streamgate" / "4194305"  # above the highest number of a process
    left.mkdir(parents=True)
    (left / CONTROL).touch()
    create_runtime_directory()
    assert not left.exists()


def test_a_folder_whose_sockets_would_have_too_long_names_is_refused(tmp_path: Path) -> None:
    with pytest.raises(StreamGateError, match="at most 107 bytes, expected a path of at most 89"):
        create_runtime_directory(tmp_path / ("x" * 100))


def test_a_folder_that_can_not_be_made_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StreamGateError, match="choose one with --runtime-directory"):
        create_runtime_directory(tmp_path / "file" / "x")


# -- restarts


def fails(restarts: Restarts, now: float = 0.0) -> float:
    return restarts.next_delay(now, 1.0, has_served=False)


def serves(restarts: Restarts, now: float = 0.0) -> float:
    return restarts.next_delay(now, 0.3, has_served=True)


def test_what_fails_before_it_served_comes_back_less_and_less_often() -> None:
    restarts = Restarts()
    assert [fails(restarts) for _ in range(7)] == [0.0, 0.1, 0.5, 2.0, 5.0, 10.0, 10.0]
    assert restarts.count == 7


def test_what_has_served_comes_back_at_once() -> None:
    restarts = Restarts()
    assert [serves(restarts) for _ in range(AT_ONCE_MAX)] == [0.0] * AT_ONCE_MAX
    assert restarts.count == AT_ONCE_MAX


def test_what_was_ready_for_long_counts_as_one_that_served() -> None:
    restarts = Restarts()
    assert [fails(restarts) for _ in range(3)] == [0.0, 0.1, 0.5]
    assert restarts.next_delay(0.0, PROVEN_SECONDS, has_served=False) == 0.0
    assert [fails(restarts) for _ in range(2)] == [0.0, 0.1]


def test_what_serves_and_dies_again_and_again_comes_back_less_and_less_often() -> None:
    restarts = Restarts()
    for _ in range(AT_ONCE_MAX):
        serves(restarts)
    assert [serves(restarts) for _ in range(4)] == [0.0, 0.1, 0.5, 2.0]
    assert serves(restarts, STEADY_SECONDS - 1) == 5.0
    # A minute behind those that came back at once, others may.
    assert serves(restarts, STEADY_SECONDS) == 0.0
    assert fails(restarts, STEADY_SECONDS) == 0.0


def test_restarts_begin_anew_after_a_steady_time() -> None:
    restarts = Restarts()
    for _ in range(AT_ONCE_MAX):
        serves(restarts, 50.0)
    assert [fails(restarts, 50.0) for _ in range(3)] == [0.0, 0.1, 0.5]
    assert restarts.next_delay(STEADY_SECONDS, STEADY_SECONDS, has_served=False) == 0.0
    assert fails(restarts, STEADY_SECONDS) == 0.1


# -- process 1

ADOPTS = """
import ctypes, os, subprocess, sys, time
from streamgate.server.processes.adopted import bury_adopted

PR_SET_CHILD_SUBREAPER = 36
ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1)
own = subprocess.Popen(["true"])
subprocess.run(["sh", "-c", "sleep 0.3 & echo $! > left"], check=True)
left = int(open("left").read())
buried = []
while not buried:
    time.sleep(0.01)
    buried += bury_adopted([own.pid])
print(buried == [left], own.wait())
"""


def test_dead_processes_of_others_are_buried(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", ADOPTS],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=True,
        timeout=30,
    )
    assert done.stdout == "True 0\n"


# -- the supervisor itself


def test_a_supervisor_imports_no_model_and_no_gateway() -> None:
    modules = "streamgate.cli, streamgate.server.main, streamgate.server.processes.supervisor"
    done = subprocess.run(
        [sys.executable, "-c", f"import sys, {modules}; print(*sys.modules)"],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=True,
    )
    loaded = set(done.stdout.split())
    assert "streamgate.server.processes.keeper" in loaded
    heavy = {"numpy", "grpc", "google.protobuf", "aiohttp", "websockets", "prometheus_client"}
    ours = {"streamgate.engine", "streamgate.core", "streamgate.frontends", "streamgate.backend"}
    assert loaded & (heavy | ours) == set()
