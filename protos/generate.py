"""Turns the .proto files in this folder into `streamgate/_proto`, whose content is checked in.

Run it with any Python 3.11 to 3.13 (`make protos`); it needs the network, because it installs an
old protoc in a throw-away environment. Old on purpose: generated code runs on every protobuf
runtime at least as new as the protoc that made it, so the oldest one is the widest.

A process may hold only one message called `inference.ModelInferRequest`, and the clients and
servers of this protocol that a user imports beside us each bring one. Our copy therefore gets
another package name, `streamgate.wire.inference`, by editing descriptors rather than text; names
of messages do not travel on the wire. Server reflection, which must show the public names, reads
them from `canonical.binpb`.

    protos/<family>/<name>.proto   as published, package P
    streamgate/_proto/<name>_pb2.py, .pyi   the same messages in package streamgate.wire.P
    streamgate/_proto/canonical.binpb       all files as published, one FileDescriptorSet
    streamgate/_proto/checksums.sha256      of every file above, for the freshness test
"""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import tempfile
import venv
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
SOURCES = ROOT / "protos"
TARGET = ROOT / "streamgate" / "_proto"
TARGET_IN_TREE = "streamgate/_proto"
PACKAGE_PREFIX = "streamgate.wire."
REQUIREMENTS = ("grpcio-tools==1.71.2", "protobuf==5.29.6", "setuptools==80.9.0")
INSIDE_FLAG = "--inside-environment"


def find_sources() -> list[Path]:
    """Every published .proto. Names must be unique, as all families share one target folder."""
    sources = sorted(SOURCES.glob("*/*.proto"))
    names = [source.name for source in sources]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise SystemExit(f"two families in {SOURCES} both have a file called {', '.join(twice)}")
    return sources


def run_protoc(*arguments: str) -> None:
    """Run the environment's own protoc, with the well-known types on its path."""
    subprocess.run([sys.executable, "-m", "grpc_tools.protoc", *arguments], check=True)


def rename(message: Any, ours: set[str]) -> None:
    """Move every type reference below a descriptor into our package, in place."""
    for field, value in message.ListFields():
        if field.name in {"type_name", "extendee", "input_type", "output_type"}:
            if any(value.startswith(f".{package}.") for package in ours):
                setattr(message, field.name, f".{PACKAGE_PREFIX}{value[1:]}")
        elif field.message_type is not None:
            for child in value if field.label == field.LABEL_REPEATED else (value,):
                rename(child, ours)
    if message.DESCRIPTOR.name == "FieldDescriptorProto":
        message.ClearField("json_name")  # protoc computes it, and refuses to be told


def generate(work: Path) -> None:
    """Write the descriptor set and the modules. Runs inside the throw-away environment."""
    from google.protobuf import descriptor_pb2

    sources = find_sources()
    folders = sorted({source.parent for source in sources})
    canonical = TARGET / "canonical.binpb"
    run_protoc(
        *(f"-I{folder}" for folder in folders),
        "--include_imports",
        f"--descriptor_set_out={canonical}",
        *(str(source) for source in sources),
    )

    published = descriptor_pb2.FileDescriptorSet.FromString(canonical.read_bytes())
    names = {source.name for source in sources}
    ours = {file.package for file in published.file if file.name in names}
    for file in published.file:
        rename(file, ours)
        if file.name in names:
            file.name = f"{TARGET_IN_TREE}/{file.name}"
            file.package = PACKAGE_PREFIX + file.package
        for index, dependency in enumerate(file.dependency):
            if dependency in names:
                file.dependency[index] = f"{TARGET_IN_TREE}/{dependency}"
    renamed = work / "renamed.binpb"
    renamed.write_bytes(published.SerializeToString(deterministic=True))

    run_protoc(
        f"--descriptor_set_in={renamed}",
        f"--python_out={ROOT}",
        f"--pyi_out={ROOT}",
        *(f"{TARGET_IN_TREE}/{name}" for name in sorted(names)),
    )


def write_checksums() -> None:
    """One line per file, in the format of `sha256sum --check` run from the repository root."""
    generated = [*TARGET.glob("*_pb2.py"), *TARGET.glob("*_pb2.pyi"), TARGET / "canonical.binpb"]
    files = sorted([Path(__file__).resolve(), *find_sources(), *generated])
    lines = [
        f"{hashlib.sha256(file.read_bytes()).hexdigest()}  {file.relative_to(ROOT).as_posix()}\n"
        for file in files
    ]
    (TARGET / "checksums.sha256").write_text("".join(lines), encoding="utf-8")


def main() -> None:
    """Make the environment, generate in it, forget it."""
    if INSIDE_FLAG in sys.argv:
        generate(Path(sys.argv[-1]))
        return
    if sys.version_info >= (3, 14):
        raise SystemExit(f"{REQUIREMENTS[0]} has no wheel for Python 3.14; use 3.11 to 3.13")
    for stale in (*TARGET.glob("*_pb2.py"), *TARGET.glob("*_pb2.pyi")):
        stale.unlink()
    with tempfile.TemporaryDirectory(prefix="streamgate-protoc-") as name:
        work = Path(name)
        venv.create(work / "venv", with_pip=True)
        python = work / "venv" / ("Scripts" if os.name == "nt" else "bin") / "python"
        subprocess.run([python, "-m", "pip", "install", "--quiet", *REQUIREMENTS], check=True)
        subprocess.run([python, __file__, INSIDE_FLAG, str(work)], check=True)
    write_checksums()
    print(f"wrote {TARGET_IN_TREE}")


if __name__ == "__main__":
    main()
