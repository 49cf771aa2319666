"""What the flags of `streamgate serve` say about processes."""

from pathlib import Path

import pytest

from streamgate.cli import main
from streamgate.link.channel import Heartbeat
from streamgate.server.processes.child import Beginning
from streamgate.server.processes.engine import EngineRole
from streamgate.server.processes.front_end import FrontEndRole
from streamgate.server.processes.hardware import Hardware
from streamgate.server.processes.settings_text import read_settings, write_settings
from streamgate.server.processes.topology import Topology
from streamgate.server.settings import Settings


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ("--embedded --engines 2", "--engines is about several processes, --embedded is one"),
        ("--embedded --engine-gpus 0", "--engine-gpus is about several processes"),
        ("--embedded --link-arena-bytes 0", "--link-arena-bytes is about several processes"),
        ("--link-arena-bytes -1", "'-1' is no number of bytes, expected 0 to 68719476736"),
        ("--engines 0", "'0' is no number of processes, expected 1 to 256"),
        ("--front-ends 1.5", "'1.5' is no number of processes"),
        ("--freeze-limit-secs 0", "'0' is not a number of seconds above 0"),
        ("--link-silence-ms 399", "'399' is no silence, expected 400 to 30000 ms"),
        ("--embedded --link-silence-ms 500", "--link-silence-ms is about several processes"),
        ("--engine-cpus 1-x", "'1-x' names no processors, expected numbers such as 0-3,8"),
        ("--engine-cpus 3-1", "'3-1' is no range of processors"),
        ("--engines 3 --engine-gpus 0 --engine-gpus 1", "3 engines need 3 of --engine-gpus"),
        ("--engine-gpus 0 --engine-gpus 1 --engine-cpus 0", "2 engines need 2 of"),
    ],
)
def test_wrong_usage_is_told(flags: str, message: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as raised:
        main(["serve", "--model-repository", "a", *flags.split()])
    assert raised.value.code == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    ("flags", "topology"),
    [
        ("--embedded", None),
        ("", Topology(hardware=[Hardware()])),
        (
            "--engines 2 --front-ends 3 --freeze-limit-secs 1.5 --runtime-directory /r",
            Topology(2, 3, Path("/r"), 1.5, [Hardware()] * 2),
        ),
        ("--spare-engines false", Topology(hardware=[Hardware()], spare_engines=False)),
        (
            "--engine-gpus 0,1 --engine-gpus MIG-a --engine-cpus 0-2,7 --engine-cpus 3",
            Topology(2, hardware=[Hardware("0,1", (0, 1, 2, 7)), Hardware("MIG-a", (3,))]),
        ),
    ],
)
def test_what_flags_say_about_processes(
    flags: str, topology: Topology | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    served: list[Topology | None] = []

    def serve(_: Settings, topology: Topology | None) -> int:
        served.append(topology)
        return 0

    monkeypatch.setattr("streamgate.server.main.serve", serve)
    assert main(["serve", "--model-repository", "a", *flags.split()]) == 0
    assert served == [topology]


@pytest.mark.parametrize(("flags", "seconds"), [("", 1.0), ("--link-silence-ms 2500", 2.5)])
def test_how_long_an_engine_may_be_silent(
    flags: str, seconds: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    served: list[float] = []

    def serve(settings: Settings, _: Topology | None) -> int:
        served.append(settings.link_silence_seconds)
        return 0

    monkeypatch.setattr("streamgate.server.main.serve", serve)
    assert main(["serve", "--model-repository", "a", *flags.split()]) == 0
    assert served == [seconds]
    read = read_settings(write_settings(Settings([Path("a")], link_silence_seconds=seconds)))
    beginning = Beginning("front", "front-0", write_settings(read), "/nowhere", ["engine-0"])
    (link,) = FrontEndRole(beginning, lambda: None)._links
    assert link._heartbeat == Heartbeat(0.2, seconds)


@pytest.mark.parametrize(
    ("flags", "size"), [("", 64 * 2**20), ("--link-arena-bytes 0", 0), ("--embedded", 64 * 2**20)]
)
def test_what_flags_say_about_the_arena(
    flags: str, size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    served: list[int] = []

    def serve(settings: Settings, _: Topology | None) -> int:
        served.append(settings.link_arena_bytes)
        return 0

    monkeypatch.setattr("streamgate.server.main.serve", serve)
    assert main(["serve", "--model-repository", "a", *flags.split()]) == 0
    assert served == [size]
    text = write_settings(Settings([Path("a")], link_arena_bytes=size))
    beginning = Beginning("front", "front-0", text, "/nowhere", ["engine-0"])
    (link,) = FrontEndRole(beginning, lambda: None)._links
    assert link._arena_bytes == size
    assert EngineRole(beginning, lambda: None)._arena_bytes == size
