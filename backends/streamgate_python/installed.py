"""Models whose code is installed: a class named by the configuration in place of a `model.py`.

    parameters { key: "streamgate.python_class" value { string_value: "package.module:Class" } }

Unlike a model's own modules, those of an installed package are shared by all models that name it,
and reloading a model does not reload them.
"""

import importlib
from collections.abc import Mapping
from typing import Any, Protocol

from streamgate.backend.contract import ConfigDict, ModelFiles
from streamgate_python.calling import CallingModel
from streamgate_python.faults import ModelRuleError
from streamgate_python.modules import ModelModules

PARAMETER = "streamgate.python_class"


class ModelCode(Protocol):
    """Where a model's class comes from."""

    def model_class(self) -> Any:
        """The class. Raises ModelRuleError where there is none, and what importing it raises."""

    def unload(self) -> None:
        """The model is gone."""


class InstalledClass:
    """A class of an installed module, by `package.module:Class`."""

    def __init__(self, model: str, name: str) -> None:
        self._model = model
        self._name = name

    def model_class(self) -> Any:
        module_name, colon, class_name = self._name.partition(":")
        if not (module_name and colon and class_name.isidentifier()):
            raise ModelRuleError(
                f"parameter '{PARAMETER}' of model '{self._model}' is '{self._name}', expected "
                "'package.module:Class'"
            )
        try:
            module = importlib.import_module(module_name)
        except ModuleNotFoundError as error:
            missing = error.name or ""
            if missing != module_name and not module_name.startswith(f"{missing}."):
                raise  # one of its own imports
            raise ModelRuleError(
                f"parameter '{PARAMETER}' of model '{self._model}' names the module "
                f"'{module_name}', which is not installed"
            ) from error
        found = getattr(module, class_name, None)
        if not isinstance(found, type):
            raise ModelRuleError(
                f"parameter '{PARAMETER}' of model '{self._model}' names the class "
                f"'{class_name}', which '{module_name}' has not"
            )
        return found

    def unload(self) -> None:
        """An installed module stays."""


def model_code(named: str, files: ModelFiles, identity: CallingModel) -> ModelCode:
    """The class that a configuration names, else the model's own file."""
    return InstalledClass(files.name, named) if named else ModelModules(files, identity)


def named_in(config: ConfigDict) -> str:
    """What the parameter says in a configuration of only the fields that were given."""
    parameters: Mapping[str, Any] = config.get("parameters", {})
    return str(parameters.get(PARAMETER, {}).get("string_value", ""))
