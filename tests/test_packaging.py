"""What is in the tree, what pyproject.toml says and what a user installs are the same."""

import importlib
import re
import tomllib
import zipfile
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest
from hatchling.builders.wheel import WheelBuilder
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import streamgate

ROOT = Path(__file__).resolve().parents[1]
DISTRIBUTION = "streamgate-server"
GROUP = "streamgate.backends"

PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
PACKAGES: list[str] = PROJECT["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]
ENTRY_POINTS: dict[str, str] = PROJECT["project"]["entry-points"][GROUP]


def test_backend_folders_packages_and_entry_points_agree() -> None:
    folders = {path.parent.name for path in (ROOT / "backends").glob("*/__init__.py")}
    packages = {name.removeprefix("backends/") for name in PACKAGES if name != "streamgate"}
    modules = {name: target.partition(":")[0] for name, target in ENTRY_POINTS.items()}
    assert modules.pop("fake") == "streamgate.backend.fake"  # needs nothing: part of the core
    assert folders == packages == set(modules.values())
    assert {f"streamgate_{name}" for name in modules} == set(modules.values())


def test_every_backend_folder_is_a_package() -> None:
    """A folder without `__init__.py` would import from the tree and be missing from the wheel."""
    folders = {path.name for path in (ROOT / "backends").iterdir() if any(path.glob("*.py"))}
    assert folders == {path.parent.name for path in (ROOT / "backends").glob("*/__init__.py")}


def test_only_streamgate_is_a_package_at_top_level() -> None:
    assert [path.parent.name for path in ROOT.glob("*/__init__.py")] == ["streamgate"]


@pytest.mark.parametrize("name", sorted(ENTRY_POINTS))
def test_entry_points_lead_to_a_function(name: str) -> None:
    module, _, function = ENTRY_POINTS[name].partition(":")
    assert callable(getattr(importlib.import_module(module), function))


def test_the_installed_metadata_is_that_of_the_tree() -> None:
    installed = metadata.distribution(DISTRIBUTION)
    points = {point.name: point.value for point in installed.entry_points if point.group == GROUP}
    assert points == ENTRY_POINTS, "stale: run `make setup`"
    assert installed.version == streamgate.__version__, "stale: run `make setup`"


def test_the_changelog_knows_this_version() -> None:
    assert streamgate.__version__ in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")


def test_wheel_content(tmp_path: Path) -> None:
    (wheel,) = WheelBuilder(str(ROOT)).build(directory=str(tmp_path), versions=["standard"])
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
        info = f"streamgate_server-{streamgate.__version__}.dist-info"
        points = archive.read(f"{info}/entry_points.txt").decode()
    tops = {name.split("/")[0] for name in names}
    assert tops == {info, *(Path(package).name for package in PACKAGES)}

    sources = {
        path.relative_to((ROOT / package).parent).as_posix()
        for package in PACKAGES
        for path in (ROOT / package).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert {name for name in names if not name.startswith(info)} == sources
    assert {"streamgate/py.typed", "streamgate/_proto/canonical.binpb"} <= names
    assert f"{info}/licenses/LICENSE" in names
    for name, target in ENTRY_POINTS.items():
        assert f"{name} = {target}" in points
    assert "streamgate = streamgate.cli:main" in points


def declared_requirements() -> list[Requirement]:
    """What `make setup` installs: the core's and the checked extras' own requirements."""
    extras = PROJECT["project"]["optional-dependencies"]
    chosen = ("onnxruntime", "speech", "pocketsphinx", "mic", "demo", "test", "dev")
    texts = [*PROJECT["project"]["dependencies"], *(text for e in chosen for text in extras[e])]
    found = [Requirement(text) for text in texts]
    return [requirement for requirement in found if requirement.name != DISTRIBUTION]


def test_constraints_pin_every_requirement_within_its_bounds() -> None:
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pins = {
        canonicalize_name(name): version
        for name, _, version in (line.partition("==") for line in lines if "==" in line)
    }
    for requirement in declared_requirements():
        pinned = pins.get(canonicalize_name(requirement.name))
        assert pinned is not None, f"constraints.txt does not pin {requirement.name}"
        assert requirement.specifier.contains(pinned), f"{requirement} excludes {pinned}"
    assert "torch" not in pins, "silero-vad goes in without its dependencies"


def test_nobody_is_told_to_install_the_other_project() -> None:
    """On PyPI the name `streamgate` is somebody else's."""
    wrong = re.compile(r"pip install[^\n`]*\sstreamgate(?![-_\w./])")
    pages = [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "demos").rglob("*.md")]
    assert [page.name for page in pages if wrong.search(page.read_text(encoding="utf-8"))] == []
