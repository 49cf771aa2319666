"""Writes small Python models, loads them and records what they answer."""

import json
import textwrap
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from threading import Condition
from typing import Any, ClassVar

import numpy as np

from streamgate.backend.contract import (
    LoadContext,
    ModelFiles,
    ModelRequest,
    RequestSession,
    SessionLostError,
)
from streamgate.errors import Code, Failure
from streamgate.model.config import (
    DefaultScheduling,
    Execution,
    Instance,
    InstanceKind,
    ModelConfig,
    StateSpec,
    WorkerLimits,
)
from streamgate.model.datatypes import DataType, from_numpy
from streamgate.model.request import ParameterValue
from streamgate.model.tensor import Array, Tensor, TensorSpec
from streamgate_python import create

HEADER = """
import json
import numpy as np
import triton_python_backend_utils as pb_utils

FINAL = pb_utils.TRITONSERVER_RESPONSE_COMPLETE_FINAL


def out(value, name="OUT", dtype=np.int32, **more):
    array = np.asarray([value], dtype=dtype)
    return pb_utils.InferenceResponse(output_tensors=[pb_utils.Tensor(name, array)], **more)

"""


@dataclass
class Sent:
    """One response as the engine gets it."""

    outputs: Sequence[Tensor]
    failure: Failure | None
    final: bool
    parameters: Mapping[str, ParameterValue] | None = None

    @property
    def values(self) -> dict[str, Any]:
        return {tensor.name: tensor.array.tolist() for tensor in self.outputs}


@dataclass
class RecordingReply:
    """Keeps what is sent; what comes after the final response is dropped, as the engine does."""

    sent: list[Sent] = field(default_factory=list)
    cancelled: bool = False
    _changed: Condition = field(default_factory=Condition)

    def send(
        self,
        outputs: Sequence[Tensor],
        failure: Failure | None = None,
        *,
        final: bool,
        parameters: Mapping[str, ParameterValue] | None = None,
    ) -> None:
        with self._changed:
            if not self.finished:
                self.sent.append(Sent(outputs, failure, final, parameters))
                self._changed.notify_all()

    def finish(self) -> None:
        self.send((), final=True)

    def is_cancelled(self) -> bool:
        return self.cancelled

    @property
    def finished(self) -> bool:
        return bool(self.sent) and self.sent[-1].final

    def wait(self) -> None:
        """Until the final response is there."""
        with self._changed:
            assert self._changed.wait_for(lambda: self.finished, timeout=20), "never finished"

    @property
    def only(self) -> Sent:
        """The one response, which must be final."""
        assert len(self.sent) == 1, self.sent
        assert self.sent[0].final
        return self.sent[0]

    @property
    def message(self) -> str:
        """The text of the one response, an INTERNAL failure."""
        failure = self.only.failure
        assert failure is not None
        assert failure.code is Code.INTERNAL
        return failure.message


def request(
    value: object = 1,
    dtype: type = np.int32,
    *,
    name: str = "IN",
    more: Mapping[str, Array] | None = None,
    **fields: Any,
) -> ModelRequest:
    """A request with one input of one element, and `more`, in raw form as from a socket."""
    arrays = {name: np.asarray([value], dtype=dtype), **(more or {})}
    fields.setdefault("reply", RecordingReply())
    return ModelRequest([received(name, array) for name, array in arrays.items()], **fields)


def received(name: str, array: Array) -> Tensor:
    datatype = from_numpy(array.dtype)
    assert datatype is not None
    raw = Tensor(name, datatype, array.shape, array=array).raw
    return Tensor(name, datatype, array.shape, raw=bytes(raw))


def reply_of(made: ModelRequest) -> RecordingReply:
    reply = made.reply
    assert isinstance(reply, RecordingReply)
    return reply


@dataclass
class Model:
    """A Python model in a folder of its own. `source` is its class body's file."""

    folder: Path
    name: str = "m"
    version: str = "1"
    decoupled: bool = False
    max_batch_size: int = 0
    outputs: Sequence[str] = ("OUT", "SECOND")
    states: Sequence[StateSpec] = ()
    kind: InstanceKind = InstanceKind.CPU
    device_id: int = 0
    parameters: Mapping[str, str] = field(default_factory=dict)
    instance: str = ""
    execution: Execution | None = None
    worker_limits: WorkerLimits = field(default_factory=WorkerLimits)
    on_lost: Callable[[SessionLostError], None] = lambda _: None

    default_execution: ClassVar[Execution] = Execution.THREAD

    @property
    def directory(self) -> Path:
        return self.folder / self.name

    @property
    def path(self) -> Path:
        return self.directory / self.version / "model.py"

    @property
    def files(self) -> ModelFiles:
        return ModelFiles(self.name, self.version, self.directory, self.path.parent, self.path)

    def write(self, source: str, header: str = HEADER) -> "Model":
        """The model file, or nothing but the header and what `source` says."""
        return self.add(f"{self.version}/model.py", header + textwrap.dedent(source))

    def add(self, path: str, text: str) -> "Model":
        """One more file in the model's folder."""
        target = self.directory / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(textwrap.dedent(text))
        return self

    def execute(self, body: str, *, arguments: str = "self, requests") -> "Model":
        """A model whose `execute` is this body."""
        lines = textwrap.indent(textwrap.dedent(body), " " * 8)
        return self.write(f"class TritonPythonModel:\n    def execute({arguments}):\n{lines}")

    def config(self) -> ModelConfig:
        return ModelConfig(
            name=self.name,
            backend="python",
            platform="",
            max_batch_size=self.max_batch_size,
            inputs=(TensorSpec("IN", DataType.INT32, (1,)),),
            outputs=tuple(TensorSpec(name, DataType.INT32, (1,)) for name in self.outputs),
            scheduling=DefaultScheduling(),
            states=tuple(self.states),
            decoupled=self.decoupled,
            execution=self.execution or self.default_execution,
            worker_limits=self.worker_limits,
            parameters=self.parameters,
            json=json.dumps({"name": self.name, "max_batch_size": self.max_batch_size}),
        )

    def load(self) -> RequestSession:
        instance = Instance(self.instance or f"{self.name}_0", self.kind, self.device_id)
        context = LoadContext(self.config(), self.files, instance, on_lost=self.on_lost)
        return create().load(context)

    def run(self, *requests: ModelRequest) -> list[RecordingReply]:
        """Load, execute one batch (one request unless given) and close."""
        session = self.load()
        try:
            batch = requests or (request(),)
            session.execute(batch)
            return [reply_of(made) for made in batch]
        finally:
            session.close()

    def answer(self, *requests: ModelRequest) -> RecordingReply:
        """What `run` gave the only request."""
        [reply] = self.run(*requests)
        return reply


def eventually(condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.01)


def is_gone(pid: int) -> bool:
    """Whether there is no such process, not even a zombie."""
    return not Path(f"/proc/{pid}").exists()
