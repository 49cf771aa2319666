"""What `streamgate doctor` says of a machine, and of one where something is wrong."""

import io
import socket
from pathlib import Path

import pytest

import streamgate
from streamgate.backend import registry
from streamgate.backend.registry import BackendDescription
from streamgate.errors import StreamGateError
from streamgate.server import doctor, gpus
from streamgate.server.doctor import examine
from streamgate.server.gpus import Gpu, GpuSight, visible_gpus
from streamgate.server.name_check import check_name, check_owners


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture
def quiet(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """A machine on which all is well and nothing is slow to look at."""
    monkeypatch.setattr(doctor, "check_owners", lambda: None)
    monkeypatch.setattr(doctor, "look_for_gpus", lambda: GpuSight(trouble="the driver shows none"))
    monkeypatch.setattr(
        registry, "describe", lambda: [BackendDescription("fake", "acme", "1.2", None)]
    )
    monkeypatch.setattr(doctor, "PORTS", (("http", 0),))
    return monkeypatch


def examined(out: io.StringIO | None = None) -> tuple[int, list[str]]:
    out = out or io.StringIO()
    status = examine("127.0.0.1", out)
    return status, out.getvalue().splitlines()


def line_of(lines: list[str], name: str) -> str:
    (line,) = [line for line in lines if name in line.split()]
    return line.strip()


def test_all_is_well(quiet: pytest.MonkeyPatch) -> None:
    status, lines = examined()
    assert status == 0
    assert lines[-1] == "ready to serve"
    topics = [line for line in lines if line and not line.startswith(" ")]
    assert topics == ["software", "backends", "ports on 127.0.0.1", "GPUs", "ready to serve"]
    assert line_of(lines, "streamgate-server").split()[::2] == ["ok", streamgate.__version__]
    assert line_of(lines, "grpcio").startswith("ok ")
    assert line_of(lines, "fake").split() == ["ok", "fake", "acme", "1.2"]
    assert line_of(lines, "none").endswith("the driver shows none")
    starts = {line.index(line.split(maxsplit=2)[2]) for line in lines if line.startswith("  ok")}
    assert len(starts) <= 2


def test_what_is_needed_is_named_and_what_is_not_is_no_problem(quiet: pytest.MonkeyPatch) -> None:
    quiet.setattr(doctor, "_needed", lambda: ["numpy", "no-such-thing", "nor-this"])
    quiet.setattr(doctor, "OPTIONAL", ("not-that-either",))
    status, lines = examined()
    assert status == 1
    assert line_of(lines, "no-such-thing").split() == ["!!", "no-such-thing", "missing"]
    assert line_of(lines, "not-that-either").startswith("--")
    assert lines[-1] == "2 problems: no-such-thing, nor-this"


def test_a_backend_that_does_not_load_says_why_and_is_no_problem(
    quiet: pytest.MonkeyPatch,
) -> None:
    broken = BackendDescription("tensorrt", "acme", "1.2", "it could not\nbe imported")
    quiet.setattr(registry, "describe", lambda: [broken])
    status, lines = examined()
    assert status == 0
    place = lines.index("backends")
    assert lines[place + 1].strip().startswith("--  tensorrt")
    assert lines[place + 1].endswith("acme 1.2: it could not")
    assert lines[place + 2].strip() == "be imported"
    assert lines[place + 2].index("be") == lines[place + 1].index("acme")


def test_a_port_in_use_is_no_problem_but_told(quiet: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        quiet.setattr(doctor, "PORTS", (("grpc", port),))
        status, lines = examined()
    assert status == 0
    assert line_of(lines, str(port)).endswith(
        "Address already in use; serve can take another one with --grpc-port"
    )


def test_gpus_are_listed_with_their_memory(quiet: pytest.MonkeyPatch) -> None:
    gpu = Gpu(0, "H200", 3 * 2**30, 4 * 2**30)
    quiet.setattr(doctor, "look_for_gpus", lambda: GpuSight((gpu,)))
    assert line_of(examined()[1], "H200,").endswith("H200, 3.0 of 4.0 GiB free")


def test_long_texts_fold_where_the_terminal_ends(quiet: pytest.MonkeyPatch) -> None:
    quiet.setenv("COLUMNS", "60")
    broken = BackendDescription("tensorrt", "acme", "1.2", "because " * 30)
    quiet.setattr(registry, "describe", lambda: [broken])
    folded = examined(Terminal())[1]
    assert max(len(line) for line in folded) < 60
    assert max(len(line) for line in examined()[1]) > 200


def test_the_real_doctor_looks_at_everything() -> None:
    status, lines = examined()
    text = "\n".join(lines)
    assert status == 0, text
    for name in ("onnxruntime", "python", "8000 http", "8003 websocket", "GPUs"):
        assert name in text


def install(folder: Path, name: str) -> None:
    """A distribution that provides an import package called streamgate."""
    info = folder / f"{name.replace('-', '_')}-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    (info / "top_level.txt").write_text("streamgate\n")


def test_another_projects_streamgate_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    check_name()
    check_owners()
    monkeypatch.syspath_prepend(tmp_path)
    install(tmp_path, "streamgate")
    message = (
        "the import package 'streamgate' is provided by streamgate as well as by "
        "streamgate-server, and one has overwritten the other; uninstall both, then install "
        "streamgate-server"
    )
    for check in (check_name, check_owners):
        with pytest.raises(StreamGateError) as raised:
            check()
        assert raised.value.message == message
    status, lines = examined()
    assert status == 1
    assert lines[-1] == "1 problem: streamgate-server"


def test_a_fork_of_another_name_is_found_by_the_doctor(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    install(tmp_path, "streamgate-fork")
    check_name()
    with pytest.raises(StreamGateError, match="is provided by streamgate-fork as well as by"):
        check_owners()


@pytest.mark.parametrize("ours", [[], ["streamgate-server"], ["streamgate_server"] * 2])
def test_our_own_distribution_is_no_clash(ours: list[str]) -> None:
    check_owners({"streamgate": ours, "other": ["thing"]})
    check_owners({})


GPUS = [Gpu(index, f"gpu {index}", 1, 2, f"GPU-{index}a{index}") for index in range(3)]


@pytest.mark.parametrize(
    ("visible", "names"),
    [
        (None, ["gpu 0", "gpu 1", "gpu 2"]),
        ("", []),
        ("-1", []),
        ("2,0", ["gpu 2", "gpu 0"]),
        (" 1 ", ["gpu 1"]),
        ("1,7,0", ["gpu 1"]),
        ("GPU-1a,GPU-2", ["gpu 1", "gpu 2"]),
        ("GPU-", []),
        ("none", []),
        ("MIG-5", ["MIG-5 of a gpu 0"]),
    ],
)
def test_gpus_are_numbered_as_cuda_does(visible: str | None, names: list[str]) -> None:
    found = visible_gpus(GPUS, visible)
    assert [gpu.name for gpu in found] == names
    assert [gpu.index for gpu in found] == list(range(len(names)))


def test_gpus_that_only_the_driver_knows_need_the_library(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "pynvml", None)
    monkeypatch.setattr(gpus, "DRIVER_FOLDER", tmp_path)
    assert gpus.look_for_gpus() == GpuSight(trouble="the driver shows none")
    (tmp_path / "0000:01:00.0").mkdir()
    assert gpus.look_for_gpus() == GpuSight(
        trouble="the driver shows 1: install streamgate-server[gpu] to use them"
    )


class FakeNvml:
    """NVIDIA's library for a machine with one GPU, or with a broken driver."""

    class NVMLError(Exception):
        pass

    def __init__(self, broken_call: str = "") -> None:
        self._broken_call = broken_call
        self.shut_down = False

    def __getattr__(self, name: str) -> object:
        def call(*_: object) -> object:
            if name == self._broken_call:
                raise self.NVMLError("Driver Not Loaded")
            if name == "nvmlShutdown":
                self.shut_down = True
            return {
                "nvmlDeviceGetCount": 1,
                "nvmlDeviceGetName": "H200",
                "nvmlDeviceGetUUID": "GPU-1",
                "nvmlDeviceGetMemoryInfo": type("Memory", (), {"free": 3, "total": 4}),
            }.get(name)

        return call


def test_gpus_are_seen_through_nvidias_library(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    library = FakeNvml()
    monkeypatch.setitem(__import__("sys").modules, "pynvml", library)
    assert gpus.look_for_gpus() == GpuSight((Gpu(0, "H200", 3, 4, "GPU-1"),))
    assert library.shut_down
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert gpus.look_for_gpus() == GpuSight(trouble="CUDA_VISIBLE_DEVICES hides all 1")


@pytest.mark.parametrize("call", ["nvmlInit", "nvmlDeviceGetMemoryInfo"])
def test_a_driver_that_fails_is_quoted(monkeypatch: pytest.MonkeyPatch, call: str) -> None:
    monkeypatch.setitem(__import__("sys").modules, "pynvml", FakeNvml(call))
    assert gpus.look_for_gpus() == GpuSight(trouble="the driver says: Driver Not Loaded")
