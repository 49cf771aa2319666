"""The import rules of the house hold, and every package has its place in them."""

import logging
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
from importlinter.cli import lint_imports

ROOT = Path(__file__).resolve().parents[1]
CONFIGURATION = ROOT / "pyproject.toml"


def named_in_layers() -> set[str]:
    """Every module that the two layer contracts give a place."""
    contracts = tomllib.loads(CONFIGURATION.read_text())["tool"]["importlinter"]["contracts"]
    layers = [line for c in contracts if c["type"] == "layers" for line in c["layers"]]
    return {name for line in layers for name in re.split(r"[():|\s]+", line) if name}


@pytest.fixture
def loggers_as_they_were() -> Iterator[None]:
    """The linter configures logging for the whole process, and switches off every other logger."""
    loggers = [
        logger
        for logger in logging.root.manager.loggerDict.values()
        if isinstance(logger, logging.Logger)
    ]
    before = [(logger, logger.disabled) for logger in loggers]
    handlers, level = logging.root.handlers[:], logging.root.level
    yield
    for logger, disabled in before:
        logger.disabled = disabled
    logging.root.handlers[:] = handlers
    logging.root.setLevel(level)


@pytest.mark.usefixtures("loggers_as_they_were")
def test_contracts_are_kept(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ROOT)
    monkeypatch.syspath_prepend(str(ROOT / "backends"))
    status = lint_imports(config_filename=str(CONFIGURATION), no_cache=True, no_logo=True)
    assert status == 0, capsys.readouterr().out


def test_every_module_has_a_floor() -> None:
    package = ROOT / "streamgate"
    children = {p.stem for p in package.glob("*.py")} - {"__init__"}
    children |= {p.name for p in package.iterdir() if any(p.glob("*.py"))}
    present = {f"streamgate.{name}" for name in children}
    present |= {p.name for p in (ROOT / "backends").iterdir() if any(p.glob("*.py"))}
    assert present - named_in_layers() == set(), "no place in pyproject.toml, tool.importlinter"
