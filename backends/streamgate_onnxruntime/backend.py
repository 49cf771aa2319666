"""Loads ONNX models: reads the file, chooses execution providers, checks graph against config."""

import threading
from pathlib import Path
from typing import Any
from weakref import WeakValueDictionary

import onnxruntime

from streamgate.backend.contract import ConfigDict, LoadContext, ModelFiles
from streamgate.errors import Code, LoadError
from streamgate_onnxruntime.checks import check
from streamgate_onnxruntime.completion import complete, needs_graph
from streamgate_onnxruntime.conversion import ConvertedRun
from streamgate_onnxruntime.graph import read_graph
from streamgate_onnxruntime.options import (
    CPU,
    Provider,
    flag,
    providers,
    register_operations,
    run_options,
    session_options,
)
from streamgate_onnxruntime.session import OnnxSession, explain


class OnnxRuntimeBackend:
    """The backend called `onnxruntime`."""

    default_model_filename = "model.onnx"

    def __init__(self) -> None:
        self._shared: WeakValueDictionary[tuple[object, ...], Any] = WeakValueDictionary()
        self._lock = threading.Lock()

    def auto_complete(self, config: ConfigDict, files: ModelFiles) -> ConfigDict:
        if not needs_graph(config):
            return config
        options = onnxruntime.SessionOptions()
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
        options.intra_op_num_threads = 1
        operations = config.get("model_operations", {}).get("op_library_filename", ())
        register_operations(options, operations, files.directory)
        session = _open(files.name, _model_path(files), options, [Provider(CPU, {})])
        return complete(config, read_graph(session))

    def load(self, context: LoadContext) -> OnnxSession:
        config = context.config
        if flag(config, "share_session_between_instances", default=False):
            session = self._shared_session(context)
        else:
            session = _session(context)
        graph = read_graph(session)
        check(config, graph)
        converted = ConvertedRun(session, config, graph)
        run = converted.run if converted.needed else session.run
        return OnnxSession(config.name, run, run_options(config))

    def _shared_session(self, context: LoadContext) -> Any:
        """One ONNX Runtime session for all instances that would get equal ones."""
        path = _model_path(context.files)
        status = path.stat()
        device = (context.instance.kind, context.instance.device_id)
        key = (path, status.st_mtime_ns, status.st_size, device, repr(context.config))
        with self._lock:
            session = self._shared.get(key)
            if session is None:
                session = self._shared[key] = _session(context)
            return session


def _session(context: LoadContext) -> Any:
    config, files = context.config, context.files
    wanted = providers(config, context.instance)
    options = session_options(config, files.directory)
    return _open(config.name, _model_path(files), options, wanted)


def _open(model: str, path: Path, options: Any, wanted: list[Provider]) -> Any:
    """An `InferenceSession` with all required providers. Raises LoadError."""
    try:
        session = onnxruntime.InferenceSession(
            str(path), options, providers=[(p.name, dict(p.options)) for p in wanted]
        )
    except Exception as error:
        raise LoadError(f"model '{model}': {explain(error)}") from error
    session.disable_fallback()  # A step that fails on the device must fail, not change device.
    active = session.get_providers()
    missing = [p.name for p in wanted if p.required and p.name not in active]
    if missing:
        raise LoadError(
            f"model '{model}': {', '.join(missing)} could not be started (ONNX Runtime's log says "
            f"why) and only {', '.join(active)} would run the model",
            Code.UNAVAILABLE,
        )
    return session


def _model_path(files: ModelFiles) -> Path:
    """The model file; a folder of the model's name holds it as `model.onnx`, as in Triton."""
    path = files.path / OnnxRuntimeBackend.default_model_filename
    path = path if files.path.is_dir() else files.path
    if not path.is_file():
        raise LoadError(
            f"unable to find '{path}' for model instance '{files.name}'", Code.UNAVAILABLE
        )
    return path
