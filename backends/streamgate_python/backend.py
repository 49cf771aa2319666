"""Loads a `model.py` and completes a configuration through it."""

import copy
import json
import logging
from typing import Any, final

from streamgate.backend.contract import (
    ConfigDict,
    LoadContext,
    ModelFiles,
    ModelServer,
    RequestSession,
)
from streamgate.errors import LoadError
from streamgate.model.config import Execution, InstanceKind
from streamgate_python import triton_python_backend_utils as pb_utils
from streamgate_python.answers import Answers
from streamgate_python.calling import CallingModel, calling
from streamgate_python.calls import OtherModels
from streamgate_python.execution import ModelExecution, executing
from streamgate_python.faults import ModelRuleError, describe
from streamgate_python.installed import PARAMETER, model_code, named_in
from streamgate_python.model_config import ModelConfig
from streamgate_python.process.choice import asks_for_process
from streamgate_python.process.completion import complete_apart
from streamgate_python.process.session import ProcessSession
from streamgate_python.session import MODEL_FAULTS, PythonSession

_logger = logging.getLogger(__name__)

_KINDS = {
    InstanceKind.AUTO: "CPU",
    InstanceKind.CPU: "CPU",
    InstanceKind.GPU: "GPU",
    InstanceKind.MODEL: "MODEL",
}


@final
class PythonBackend:
    """Models written for Triton's Python backend."""

    default_model_filename = "model.py"

    def __init__(self) -> None:
        pb_utils.install()

    def can_run_processes(self) -> bool:
        return True

    def auto_complete(self, config: ConfigDict, files: ModelFiles) -> ConfigDict:
        """What the model's `auto_complete_config` adds; the configuration itself without one.

        Raises LoadError when the model can't be imported or its function fails, also when that
        is because it contradicts the configuration.
        """
        if asks_for_process(config):
            return complete_apart(config, files)
        return complete_here(config, files)

    def load(self, context: LoadContext) -> RequestSession:
        """Import the model and call its `initialize`, here or in a process of its own.

        Raises LoadError with what it raised.
        """
        if context.config.execution is Execution.PROCESS:
            return ProcessSession(context)
        return load_here(context)


def complete_here(config: ConfigDict, files: ModelFiles) -> ConfigDict:
    """What the model's `auto_complete_config` adds; the configuration itself without one.

    Raises LoadError when the model can't be imported or its function fails, also when that
    is because it contradicts the configuration.
    """
    identity = _identity(files, "", None)
    modules = model_code(named_in(config), files, identity)
    fault = ""
    try:
        hook = getattr(modules.model_class(), "auto_complete_config", None)
        if hook is None:
            return config
        asked = ModelConfig(json.dumps({"name": files.name, "backend": "python"} | config))
        with calling(identity):
            answer = hook(asked)
        if not isinstance(answer, ModelConfig):
            raise ModelRuleError(
                f"auto_complete_config function in model '{files.name}' must return a valid "
                "pb.ModelConfig object."
            )
        return _merged(config, answer.as_dict())
    except MODEL_FAULTS as error:
        fault = describe(error)
        _logger.debug("auto-complete of model '%s' failed", files.name, exc_info=True)
    finally:
        modules.unload()
    raise LoadError(fault)


def load_here(context: LoadContext) -> PythonSession:
    """A model instance in this process. Raises LoadError with what the model raised."""
    files = context.files
    identity = _identity(files, context.instance.name, context.server)
    if "EXECUTION_ENV_PATH" in context.config.parameters:
        _logger.warning(
            "model '%s' asks for an execution environment (EXECUTION_ENV_PATH), which is "
            "ignored: models run in the server's own environment",
            files.name,
        )
    modules = model_code(context.config.parameters.get(PARAMETER, ""), files, identity)
    try:
        model_class = modules.model_class()
        inline = context.config.execution is Execution.INLINE
        with calling(identity), executing(ModelExecution(holds_engine=inline)):
            model = model_class()
            if hasattr(model, "initialize"):
                model.initialize(_arguments(context))
    except MODEL_FAULTS as error:
        fault = describe(error)
        _logger.debug("loading instance '%s' failed", identity.instance, exc_info=True)
    else:
        answers = Answers(identity.instance, context.config)
        return PythonSession(model, answers, identity, modules, str(files.path), inline=inline)
    modules.unload()
    # Raised out here so that the error holds neither the model's frames nor its memory.
    raise LoadError(fault)


def _identity(files: ModelFiles, instance: str, server: ModelServer | None) -> CallingModel:
    others = OtherModels(server, files.name, instance)
    folder = files.path.parent
    if not folder.is_relative_to(files.version_directory):
        # The code is shared by many models, and the data is each one's own.
        folder = files.version_directory
    return CallingModel(files.name, files.version, instance, str(folder), others)


def _arguments(context: LoadContext) -> dict[str, str]:
    """The argument of `initialize`: strings only, as in Triton."""
    return {
        "model_config": context.config.json,
        "model_instance_kind": _KINDS[context.instance.kind],
        "model_instance_name": context.instance.name,
        "model_instance_device_id": str(context.instance.device_id),
        "model_repository": str(context.files.directory),
        "model_version": context.files.version,
        "model_name": context.files.name,
    }


def _merged(given: ConfigDict, completed: dict[str, Any]) -> ConfigDict:
    """The given configuration with what a model may complete; placeholders are left out."""
    merged = copy.deepcopy(given)
    if completed["max_batch_size"] or "max_batch_size" in given:
        merged["max_batch_size"] = completed["max_batch_size"]
    for key in ("input", "output"):
        if completed[key] or key in given:
            merged[key] = [_without_placeholders(tensor) for tensor in completed[key]]
    for key in ("dynamic_batching", "model_transaction_policy"):
        if key in completed:
            merged[key] = completed[key]
    return merged


def _without_placeholders(tensor: dict[str, Any]) -> dict[str, Any]:
    return {
        key: value
        for key, value in tensor.items()
        if not (key == "data_type" and value == "TYPE_INVALID")
        and not (key == "dims" and not value)
    }
