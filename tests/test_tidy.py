"""The house rules that no linter knows: sizes, names, places and words."""

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
FOLDERS = (
    "streamgate",
    "backends",
    "protos",
    "demos",
    "docker",
    "benchmarks",
    "docs",
    "tests",
    ".ci",
)
WITHOUT_INIT = ("backends", "protos", "demos", "docker", "benchmarks", "docs", "tests")
TEXT_SUFFIXES = {".py", ".toml", ".md", ".proto", ".sh", ".yaml", ".yml", ".pbtxt", ".txt", ".json"}

MODULE_LINES_MAX = 500
FUNCTION_LINES_MAX = 60
FORBIDDEN_NAMES = {"utils", "util", "common", "helpers", "helper", "manager", "managers", "misc"}

# Written so that this file does not break its own rules.
UNFINISHED = re.compile(r"\b(?:TOD[O]|FIXM[E]|XX[X]|HAC[K])\b")
MACHINE_PATHS = re.compile(r"(?<![\w.}*])/(?:wor[k]|roo[t]|hom[e])/\w")
BANNER = re.compile(r"^\s*(?:#|//)\s*(?:[-=*#~_]\s*){4,}")


def is_generated(path: Path) -> bool:
    return path.parent.name == "_proto" and "_pb2" in path.name


@cache
def all_files() -> tuple[Path, ...]:
    """Every file of ours, hidden and generated ones excluded."""
    below = (path for folder in FOLDERS for path in (ROOT / folder).rglob("*"))
    inside = (path for path in below if path.is_file() and "__pycache__" not in path.parts)
    return tuple(sorted(path for path in (*inside, *ROOT.glob("*")) if not is_generated(path)))


def text_files() -> Iterator[Path]:
    for path in all_files():
        if path.suffix in TEXT_SUFFIXES or path.name in {"Makefile", "Dockerfile", "run"}:
            yield path


def modules() -> list[Path]:
    return [path for path in all_files() if path.suffix == ".py"]


@cache
def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), str(path))


def shown(path: Path, line: int | None = None) -> str:
    place = path.relative_to(ROOT).as_posix()
    return place if line is None else f"{place}:{line}"


def matches(pattern: re.Pattern[str], paths: Iterator[Path]) -> list[str]:
    return [
        f"{shown(path, number)}: {line.strip()}"
        for path in paths
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1)
        if pattern.search(line)
    ]


def test_there_is_something_to_check() -> None:
    assert len(modules()) > 20


def test_modules_are_small() -> None:
    lengths = {shown(path): len(path.read_text("utf-8").splitlines()) for path in modules()}
    assert {p: n for p, n in lengths.items() if n > MODULE_LINES_MAX} == {}


def test_functions_are_small() -> None:
    too_long = {}
    for path in modules():
        for node in ast.walk(tree(path)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                assert node.end_lineno is not None
                lines = node.end_lineno - node.lineno + 1
                if lines > FUNCTION_LINES_MAX:
                    too_long[f"{shown(path, node.lineno)} {node.name}"] = lines
    assert too_long == {}


def test_names_say_something() -> None:
    parts = {
        shown(path)
        for path in modules()
        for name in (*path.relative_to(ROOT).parts[:-1], path.stem)
        if name.strip("_") in FORBIDDEN_NAMES
    }
    classes = {
        f"{shown(path, node.lineno)} {node.name}"
        for path in modules()
        for node in ast.walk(tree(path))
        if isinstance(node, ast.ClassDef) and node.name.endswith(("Mixin", "Manager", "Helper"))
    }
    assert parts | classes == set()


def imported_modules(path: Path) -> Iterator[tuple[str, int]]:
    """Each module that a file imports by an absolute name, with the line."""
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Import):
            yield from ((alias.name, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            yield node.module, node.lineno


def test_nobody_imports_the_folder_of_backends() -> None:
    """From the repository's root it would import: as second copies, with classes of their own."""
    wrong = [
        shown(path, line)
        for path in modules()
        for name, line in imported_modules(path)
        if name.split(".")[0] == "backends"
    ]
    assert wrong == []


def test_protocols_not_abstract_classes() -> None:
    wrong = [
        shown(path, line)
        for path in modules()
        for name, line in imported_modules(path)
        if name == "abc"
    ]
    assert wrong == []


@pytest.mark.parametrize("folder", WITHOUT_INIT)
def test_folders_that_are_no_packages(folder: str) -> None:
    """With an `__init__.py`, `docker` here would hide the package of that name, and so on."""
    packages = {"backends": 1}  # its folders are packages, it is none
    depth = packages.get(folder)
    found = (ROOT / folder).rglob("__init__.py")
    wrong = [p for p in found if depth is None or len(p.relative_to(ROOT / folder).parts) <= depth]
    assert [shown(path) for path in wrong] == []


def test_nothing_is_left_unfinished() -> None:
    assert matches(UNFINISHED, text_files()) == []


def test_no_machine_is_named() -> None:
    assert matches(MACHINE_PATHS, text_files()) == []


def test_no_banners() -> None:
    assert matches(BANNER, (p for p in text_files() if p.suffix in {".py", ".proto", ".sh"})) == []


def test_a_skipped_test_says_why() -> None:
    wrong = []
    for path in modules():
        for node in ast.walk(tree(path)):
            if not isinstance(node, ast.Attribute) or node.attr not in {"skip", "skipif", "xfail"}:
                continue
            if ast.unparse(node.value) == "pytest.mark" and not has_reason(path, node):
                wrong.append(shown(path, node.lineno))
    assert wrong == []


def has_reason(path: Path, mark: ast.Attribute) -> bool:
    """Whether the mark is called with a reason."""
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Call) and node.func is mark:
            positional = mark.attr == "skip" and bool(node.args)
            return positional or any(keyword.arg == "reason" for keyword in node.keywords)
    return False
