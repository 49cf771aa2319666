"""Imports a model's code so that the models of one process never see each other's modules.

A model instance's modules stand in `sys.modules` under a package of their own that exists only
there: `streamgate_model_<n>.model`, `streamgate_model_<n>.my_helper`. The code still says
`import my_helper`: its modules get an `__import__` of their own, which looks for a top-level name
in the version's folder and then the model's, after the places where Python itself looks (Triton
appends both folders to `sys.path`). Nothing of the process changes: neither `sys.path` nor the
global `__import__`, and the names are gone when the model is.

Only import statements are led this way, at any time and in any thread. `importlib.import_module`
with the name of a sibling module, and pickles that name one, look in the global places alone.
No bytecode is written next to the model: a watched repository must not change by being loaded.
"""

import builtins
import importlib.util
import itertools
import os
import sys
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from importlib.machinery import (
    BYTECODE_SUFFIXES,
    EXTENSION_SUFFIXES,
    SOURCE_SUFFIXES,
    ExtensionFileLoader,
    FileFinder,
    ModuleSpec,
    SourceFileLoader,
    SourcelessFileLoader,
)
from types import CodeType, ModuleType
from typing import Any

from streamgate.backend.contract import ModelFiles
from streamgate_python.calling import OWNER, CallingModel, calling
from streamgate_python.faults import ModelRuleError

_serial = itertools.count()


class ModelModules:
    """The modules of one instance of one model version."""

    def __init__(self, files: ModelFiles, identity: CallingModel) -> None:
        self.prefix = f"streamgate_model_{next(_serial)}"
        self._path = files.path
        self._version = files.version
        self._identity = identity
        self._directories = [str(files.version_directory), str(files.directory)]
        code = files.path.parent
        if not code.is_relative_to(files.directory):
            self._directories.append(str(code))
        self.folders = tuple(folder + os.sep for folder in self._directories[1:])
        self._local: set[str] = set()
        self._builtins = {**vars(builtins), "__import__": self._import}

    def load(self) -> ModuleType:
        """Import the model file.

        Raises what its code raises; ModelRuleError when the file is missing or no Python file.
        """
        if self._path.suffix != ".py":
            raise ModelRuleError(
                f"Model name must end with '.py'. Model name is \"{self._path.name}\"."
            )
        if not self._path.is_file():
            raise ModelRuleError(f"Python model file not found in '{self._path}'")
        _finder.add(self)
        name = f"{self.prefix}.{self._path.stem}"
        loader = _ModelSource(self, name, str(self._path))
        spec = importlib.util.spec_from_file_location(name, self._path, loader=loader)
        assert spec is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules[name] = module
        with calling(self._identity):
            loader.exec_module(module)
        return module

    def model_class(self) -> Any:
        """The file's `TritonPythonModel`. Raises as `load` does; ModelRuleError without one."""
        module = self.load()
        found = getattr(module, "TritonPythonModel", None)
        if found is None:
            raise ModelRuleError(
                f"AttributeError: module '{self._version}.{self._path.stem}' has no attribute "
                "'TritonPythonModel'"
            )
        return found

    def unload(self) -> None:
        """Forget the modules. Code that still runs goes on, but can import no more siblings."""
        _finder.remove(self)

    def adopt(self, module: ModuleType) -> None:
        """Give a module of this model what its code needs before it is executed."""
        names = vars(module)
        names["__builtins__"] = self._builtins
        names[OWNER] = self._identity

    def find(self, name: str, places: Iterable[str]) -> ModuleSpec | None:
        """The spec of a module of this model by its full name, looked for in these folders."""
        portions: list[str] = []
        for place in places:
            spec = FileFinder(
                place,
                (ExtensionFileLoader, EXTENSION_SUFFIXES),
                (partial(_ModelSource, self), SOURCE_SUFFIXES),  # type: ignore[arg-type]
                (partial(_ModelBytecode, self), BYTECODE_SUFFIXES),  # type: ignore[arg-type]
            ).find_spec(name)
            if spec is None:
                continue
            if spec.loader is not None:
                return spec
            portions += spec.submodule_search_locations or ()
        if not portions:
            return None
        package = ModuleSpec(name, None, is_package=True)
        package.submodule_search_locations = portions
        return package

    def package(self) -> ModuleType:
        """The package that all modules of this model stand in."""
        spec = ModuleSpec(self.prefix, None, is_package=True)
        spec.submodule_search_locations = self._directories
        return importlib.util.module_from_spec(spec)

    def _import(
        self,
        name: str,
        globals: Mapping[str, object] | None = None,  # noqa: A002 - the names of __import__
        locals: Mapping[str, object] | None = None,  # noqa: A002
        fromlist: Sequence[str] | None = (),
        level: int = 0,
    ) -> ModuleType:
        top = name.partition(".")[0]
        if level or not self._is_local(top):
            return builtins.__import__(name, globals, locals, fromlist or (), level)
        qualified = f"{self.prefix}.{name}"
        module = builtins.__import__(qualified, globals, locals, fromlist or (), 0)
        return module if fromlist else sys.modules[f"{self.prefix}.{top}"]

    def _is_local(self, top: str) -> bool:
        if top in self._local:
            return True
        if top in sys.stdlib_module_names or _stands_elsewhere(sys.modules.get(top)):
            return False
        if self.find(f"{self.prefix}.{top}", self._directories) is None:
            return False
        try:
            spec = importlib.util.find_spec(top)
        except (ImportError, ValueError):
            spec = None
        if spec is not None and spec.origin is not None and not _finder.owns(spec.origin):
            return False
        self._local.add(top)
        return True


def _stands_elsewhere(module: ModuleType | None) -> bool:
    """Whether a module is loaded from a file outside of all models."""
    origin = getattr(module, "__file__", None)
    return origin is not None and not _finder.owns(origin)


class _ModelSource(SourceFileLoader):
    """Loads a model's source, always from the source."""

    def __init__(self, owner: ModelModules, fullname: str, path: str) -> None:
        super().__init__(fullname, path)
        self._owner = owner

    def get_code(self, fullname: str) -> CodeType | None:
        path = self.get_filename(fullname)
        return self.source_to_code(self.get_data(path), path)

    def exec_module(self, module: ModuleType) -> None:
        self._owner.adopt(module)
        super().exec_module(module)


class _ModelBytecode(SourcelessFileLoader):
    """Loads a model's module that was shipped as bytecode only."""

    def __init__(self, owner: ModelModules, fullname: str, path: str) -> None:
        super().__init__(fullname, path)
        self._owner = owner

    def exec_module(self, module: ModuleType) -> None:
        self._owner.adopt(module)
        super().exec_module(module)


class _ModelFinder:
    """The one entry in `sys.meta_path` that finds all models' modules, by their package."""

    def __init__(self) -> None:
        self._models: dict[str, ModelModules] = {}
        # Folders of models that are gone too: what one left in `sys.modules` is still no place
        # where another's import may end.
        self._folders: set[str] = set()

    def add(self, modules: ModelModules) -> None:
        if self not in sys.meta_path:
            sys.meta_path.insert(0, self)
        self._models[modules.prefix] = modules
        self._folders.update(modules.folders)
        sys.modules[modules.prefix] = modules.package()

    def remove(self, modules: ModelModules) -> None:
        self._models.pop(modules.prefix, None)
        package = modules.prefix + "."
        for name in [*sys.modules]:
            if name == modules.prefix or name.startswith(package):
                sys.modules.pop(name, None)

    def owns(self, origin: str) -> bool:
        """Whether a file lies in the folder of any model that was ever loaded."""
        return origin.startswith(tuple(self._folders))

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        modules = self._models.get(fullname.partition(".")[0])
        if modules is None or path is None:
            return None
        return modules.find(fullname, path)

    def invalidate_caches(self) -> None:
        """Nothing is kept."""


_finder = _ModelFinder()
