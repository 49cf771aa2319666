"""The generated modules are those of the published files. Needs no protoc."""

import hashlib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
GENERATED = ROOT / "streamgate" / "_proto"


def recorded() -> dict[str, str]:
    """From a path below the root to the checksum it had when the code was generated."""
    lines = (GENERATED / "checksums.sha256").read_text(encoding="utf-8").splitlines()
    return {path: checksum for checksum, path in (line.split("  ", 1) for line in lines)}


def test_nothing_changed_since_the_code_was_generated() -> None:
    changed = [
        path
        for path, checksum in recorded().items()
        if hashlib.sha256((ROOT / path).read_bytes()).hexdigest() != checksum
    ]
    assert not changed, f"run `make protos`: {changed} changed since the code was generated"


def test_every_source_and_every_generated_file_is_recorded() -> None:
    present = {
        path.relative_to(ROOT).as_posix()
        for path in (
            *(ROOT / "protos").glob("*/*.proto"),
            *GENERATED.glob("*_pb2.py*"),
            *GENERATED.glob("*.binpb"),
            ROOT / "protos" / "generate.py",
        )
    }
    assert set(recorded()) == present


def test_generated_code_keeps_the_old_runtimes() -> None:
    """Code made by a newer protoc would refuse runtimes that pyproject.toml allows."""
    for module in GENERATED.glob("*_pb2.py"):
        assert "# Protobuf Python Version: 5.29.0\n" in module.read_text(encoding="utf-8")
