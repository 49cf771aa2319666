"""Backends that are a folder with a `model.py`, as Triton has them: code that many models share.

`<directory>/<name>/model.py` serves the models with `backend: "<name>"`. It is run by the `python`
backend, as if it lay in each model's version folder; what a model has there is its own data.
"""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Final

from streamgate.backend.contract import (
    Backend,
    ConfigDict,
    LoadContext,
    ModelFiles,
    ProcessAware,
    Session,
)
from streamgate.errors import BackendError, Code

RUNNER: Final = "python"
"""The backend that runs them."""


class BackendFolders:
    """Finds a backend by name: those that are installed come first, then the folders.

    `names` and `find` are the registry's.
    """

    def __init__(
        self,
        directory: Path | None,
        names: Callable[[], list[str]],
        find: Callable[[str], Backend],
    ) -> None:
        """Raises BackendError when the directory is not there."""
        if directory is not None and not directory.is_dir():
            raise BackendError(
                f"backend directory '{directory}' is not there: expected a folder with one folder "
                "for each backend, and a model.py in each",
                Code.INVALID_ARG,
            )
        self._directory = directory
        self._names = names
        self._find = find

    def find(self, name: str) -> Backend:
        """As `registry.find`."""
        directory = self._directory
        if directory is not None and Path(name).name == name and name not in self._names():
            code = directory / name / "model.py"
            if code.is_file():
                return FolderBackend(self._find(RUNNER), code)
        return self._find(name)


class FolderBackend:
    """One such backend. A version folder needs no file of any name."""

    default_model_filename = ""

    def __init__(self, runner: Backend, code: Path) -> None:
        self._runner = runner
        self._code = code

    def can_run_processes(self) -> bool:
        return isinstance(self._runner, ProcessAware) and self._runner.can_run_processes()

    def auto_complete(self, config: ConfigDict, files: ModelFiles) -> ConfigDict:
        return self._runner.auto_complete(config, self._with_code(files))

    def load(self, context: LoadContext) -> Session:
        return self._runner.load(replace(context, files=self._with_code(context.files)))

    def _with_code(self, files: ModelFiles) -> ModelFiles:
        return replace(files, path=self._code)
