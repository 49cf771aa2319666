"""The code on docs/backends.md runs, type by type and line by line as it stands there."""

import json
import re
import sys
from pathlib import Path
from types import ModuleType

import pytest

from streamgate.backend import registry
from streamgate.backend.contract import ModelFiles
from streamgate.errors import StreamGateError

PAGE = Path(__file__).resolve().parents[2] / "docs" / "backends.md"
BLOCKS = re.findall(
    r"^```python\n(.*?)^```$", PAGE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL
)


@pytest.fixture
def example(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The page's blocks, one after the other, as one module."""
    module = ModuleType("acme_smoothing")
    monkeypatch.setitem(sys.modules, module.__name__, module)
    for block in BLOCKS:
        exec(compile(block, str(PAGE), "exec"), module.__dict__)
    return module


@pytest.fixture
def files(tmp_path: Path) -> ModelFiles:
    version = tmp_path / "1"
    version.mkdir()
    path = version / "model.json"
    path.write_text(json.dumps({"alpha": 0.25, "size": 4}))
    return ModelFiles("smooth", "1", tmp_path, version, path)


def test_the_example_keeps_the_contract(example: ModuleType, files: ModelFiles) -> None:
    assert len(BLOCKS) == 3
    example.check_smoothing(files)


def test_the_example_completes_a_configuration(example: ModuleType, files: ModelFiles) -> None:
    given = {"name": "smooth", "output": [{"name": "Y"}]}
    completed = example.create().auto_complete(given, files)
    assert completed["input"] == [{"name": "INPUT", "data_type": "TYPE_FP32", "dims": [4]}]
    assert completed["output"] == [{"name": "Y"}]


def test_the_example_names_a_broken_file(example: ModuleType, files: ModelFiles) -> None:
    files.path.write_text("{}")
    with pytest.raises(StreamGateError, match=r"model 'smooth': model.json: KeyError\('alpha'\)"):
        example.create().auto_complete({}, files)


def test_the_fake_answers_two_steps(example: ModuleType) -> None:
    assert len(set(example.right)) == 2


def test_the_page_lists_our_backends() -> None:
    listed = re.findall(r"^\| `(\w+)` \|", PAGE.read_text(encoding="utf-8"), re.MULTILINE)
    ours = {each.name for each in registry.describe() if each.distribution == "streamgate-server"}
    assert ours <= set(listed)
