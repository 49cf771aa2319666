"""What clients loaded is there again in an engine that is started anew."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from streamgate.errors import Code, StreamGateError
from streamgate.server.processes import loads
from streamgate.server.processes.loads import LoadMemory, RememberedLoads


class Control:
    """Models in name only; `bad` can't be loaded."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, ...]] = []

    def names(self) -> Sequence[str]:
        return ["a"]

    async def load(
        self,
        name: str,
        config: str | None,
        files: Mapping[str, bytes],
        *,
        nested: bool = False,
    ) -> None:
        if name == "bad":
            raise StreamGateError(Code.INVALID_ARG, "no such luck\n")
        told = [f"{path}={data.decode()}" for path, data in files.items()]
        self.calls.append(("load", name, str(config), str(nested), *told))

    async def unload(self, name: str, *, unload_dependents: bool) -> None:
        self.calls.append(("unload", name, str(unload_dependents)))


async def repeated(directory: Path) -> list[tuple[str, ...]]:
    """What another engine does, which is started now."""
    control = Control()
    await RememberedLoads(control, LoadMemory(directory)).repeat()
    return sorted(control.calls)


async def test_the_last_word_about_each_model_counts(tmp_path: Path) -> None:
    directory = tmp_path / "loads"
    assert await repeated(directory) == []
    control = RememberedLoads(Control(), LoadMemory(directory))
    assert control.names() == ["a"]
    await control.load("a/b", None, {}, nested=True)
    await control.load("a/b", "{}", {"1/model": b"xyz"})
    await control.load("gone", None, {})
    await control.unload("gone", unload_dependents=True)
    assert await repeated(directory) == [
        ("load", "a/b", "{}", "False", "1/model=xyz"),
        ("unload", "gone", "True"),
    ]


async def test_what_failed_is_not_remembered_and_what_fails_is_left(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    memory = LoadMemory(tmp_path)
    with pytest.raises(StreamGateError):
        await RememberedLoads(Control(), memory).load("bad", None, {})
    assert await repeated(tmp_path) == []
    memory.note("bad", {"config": None, "files": {}})
    memory.note("good", {"config": None, "files": {}})
    assert await repeated(tmp_path) == [("load", "good", "None", "False")]
    assert "can't be had again: no such luck" in caplog.text


async def test_very_large_models_are_not_remembered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(loads, "FILES_BYTES_MAX", 3)
    await RememberedLoads(Control(), LoadMemory(tmp_path)).load("m", None, {"1/m": b"1234"})
    assert await repeated(tmp_path) == []
    assert "the files of model 'm' are too many" in caplog.text
