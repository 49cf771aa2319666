"""Python models of sequences on a real engine."""

import textwrap
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

from streamgate.backend.contract import ModelFiles
from streamgate.model.config import (
    DirectStrategy,
    Instance,
    InstanceKind,
    ModelConfig,
    OldestStrategy,
    SequenceBatching,
)
from streamgate.model.datatypes import DataType
from streamgate.model.tensor import TensorSpec
from streamgate_python import create
from tests.engine.stage import Stage, open_stage

HEADER = """
import os
import time
import numpy as np
import triton_python_backend_utils as pb_utils


def value_of(request, name="IN"):
    return pb_utils.get_input_tensor_by_name(request, name).as_numpy()


def wait_for(path):
    for _ in range(4000):
        if os.path.exists(path):
            return
        time.sleep(0.005)
    raise TimeoutError(path)


def answer(**arrays):
    return pb_utils.InferenceResponse([pb_utils.Tensor(n, a) for n, a in arrays.items()])


"""


def sequence_config(**fields: Any) -> ModelConfig:
    """A model `m` with an INT32 input IN and output OUT of one element; `slots`, `strategy` and
    whatever else `SequenceBatching` has may be given, and all fields of a configuration."""
    slots = fields.pop("slots", 4)
    direct = fields.pop("direct", False)
    rules = {
        key: fields.pop(key) for key in list(fields) if key in SequenceBatching.__dataclass_fields__
    }
    strategy = DirectStrategy() if direct else OldestStrategy(slots)
    fields.setdefault("inputs", (TensorSpec("IN", DataType.INT32, (1,)),))
    fields.setdefault("outputs", (TensorSpec("OUT", DataType.INT32, (1,)),))
    fields.setdefault("max_batch_size", slots)
    fields.setdefault("instances", (Instance("m_0", InstanceKind.CPU),))
    return ModelConfig(
        name="m",
        backend="python",
        platform="",
        scheduling=SequenceBatching(strategy, slots, **rules),
        json="{}",
        **fields,
    )


def open_model(
    folder: Path, source: str, config: ModelConfig | None = None
) -> AbstractAsyncContextManager[Stage]:
    """The model of this source, loaded."""
    files = ModelFiles("m", "1", folder, folder / "1", folder / "1" / "model.py")
    files.path.parent.mkdir(parents=True, exist_ok=True)
    files.path.write_text(HEADER + textwrap.dedent(source))
    return open_stage(create(), config or sequence_config(), files)
