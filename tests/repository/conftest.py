"""A model repository in a temporary folder, with backends that need no model."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from streamgate.backend.contract import ConfigDict, LoadContext, ModelFiles, Session
from streamgate.errors import BackendError, ConfigError, StreamGateError
from streamgate.model.config import ModelConfig
from streamgate.repository.repository import ModelRepository, ModelSource

ONE_VERSION: Mapping[str, bytes] = {"1/model.py": b""}


@dataclass
class FakeBackend:
    """Completes with whatever `completion` answers, and loads nothing."""

    default_model_filename: str
    completion: Callable[[ConfigDict], Any] = lambda config: config
    seen: list[tuple[ConfigDict, ModelFiles]] = field(default_factory=list)

    def auto_complete(self, config: ConfigDict, files: ModelFiles) -> ConfigDict:
        self.seen.append((config, files))
        answer: ConfigDict = self.completion(config)
        return answer

    def load(self, context: LoadContext) -> Session:
        raise AssertionError("the repository loads nothing")


@dataclass
class Models:
    """Writes model folders and reads them back."""

    directory: Path
    backends: dict[str, FakeBackend] = field(
        default_factory=lambda: {
            "python": FakeBackend("model.py"),
            "onnxruntime": FakeBackend("model.onnx"),
            "plain": FakeBackend(""),
        }
    )

    def write(
        self, name: str, config: str | None, files: Mapping[str, bytes] = ONE_VERSION
    ) -> Path:
        folder = self.directory / name
        for path, content in files.items():
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / path).write_bytes(content)
        folder.mkdir(parents=True, exist_ok=True)
        if config is not None:
            (folder / "config.pbtxt").write_text(config)
        return folder

    def repository(self, **settings: Any) -> ModelRepository:
        return ModelRepository([self.directory], find_backend=self.find, **settings)

    def find(self, name: str) -> FakeBackend:
        if name not in self.backends:
            raise BackendError(f"unable to find backend library for backend '{name}'")
        return self.backends[name]

    def source(self, name: str = "m", **settings: Any) -> ModelSource:
        return self.repository(**settings).read(name)

    def config(self, name: str = "m", **settings: Any) -> ModelConfig:
        """The configuration of a model whose only selected version can be loaded."""
        source = self.source(name, **settings)
        assert not source.failures
        (version,) = source.versions
        return version.config

    def made(self, config: str, files: Mapping[str, bytes] = ONE_VERSION) -> ModelConfig:
        self.write("m", config, files)
        return self.config()

    def refused(self, config: str, files: Mapping[str, bytes] = ONE_VERSION) -> StreamGateError:
        """The error of a model `m` with one version, whichever way it surfaces."""
        self.write("m", config, files)
        try:
            source = self.source()
        except ConfigError as error:
            return error
        assert source.versions == ()
        return source.failures["1"]


@pytest.fixture
def models(tmp_path: Path) -> Models:
    directory = tmp_path / "repository"
    directory.mkdir()
    return Models(directory)
