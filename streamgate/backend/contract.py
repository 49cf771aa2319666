"""What a backend implements so that StreamGate can run its models.

A backend is found through the entry-point group `streamgate.backends`; its `create()` makes one
`Backend` for the process. A backend loads a model instance as a session of one of two kinds:

- a `TensorSession` is a pure step: batched arrays in, batched arrays out. The engine gathers
  rows, keeps state and splits results. ONNX Runtime, TensorRT, TorchScript.
- a `RequestSession` sees requests one by one and answers each through its `Reply`, at once or
  later, with any number of responses. Models written for Triton's Python backend.

A session is used by one thread at a time. This module knows neither engine nor wire.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from streamgate.errors import BackendError, EndReason, Failure
from streamgate.model.config import Instance, ModelConfig
from streamgate.model.request import ParameterValue, Request, Response, SequenceKey
from streamgate.model.tensor import Array, Tensor

ConfigDict = dict[str, Any]
"""A model configuration in Triton's JSON form, with only the fields that were given."""


@dataclass(frozen=True, slots=True)
class ModelFiles:
    """Where a model version's files lie.

    `directory` is the model's folder, `version_directory` that of the version, and `path` the
    model file itself (`default_model_filename`, else the backend's usual name).
    """

    name: str
    version: str
    directory: Path
    version_directory: Path
    path: Path


class ServerCall(Protocol):
    """A request that a model made of another model."""

    def cancel(self) -> None:
        """The model no longer wants it: its final response follows soon. From any thread."""


class ModelServer(Protocol):
    """What one model instance may ask of the server that runs it. From any thread but the
    engine's own.

    Those that wait (`is_model_ready`, `load_model` and `unload_model`) raise StreamGateError,
    UNAVAILABLE when no answer came in time.
    """

    def infer(
        self,
        request: Request,
        on_response: Callable[[Response], None],
        *,
        decoupled: bool,
        holds_instance: bool,
    ) -> ServerCall:
        """Run a request on a model of this server. Never raises: whatever is wrong with it comes
        as its final response, which is the only one that there always is.

        `on_response` is called on the engine's thread, in order, and must not block or raise.
        `decoupled` says that any number of responses is welcome; a decoupled model is refused
        without it. `holds_instance` says that the calling instance runs no other step until the
        call is over: one that would wait for the calling instance itself is refused then.
        """

    def is_model_ready(self, name: str, version: str) -> bool:
        """Whether the version, the newest for "", is ready. False for unknown models."""

    def load_model(self, name: str, config: str | None, files: Mapping[str, bytes]) -> None:
        """Load or reload a model, as a client's load request would."""

    def unload_model(self, name: str, *, unload_dependents: bool) -> None:
        """Stop serving a model, as a client's unload request would."""

    def close(self) -> None:
        """The instance is closed, which its session says in `close`: its calls under way are
        cancelled and the sequences that it opened end (client_abort). Idempotent."""


class SessionLostError(BackendError):
    """The session can't run any more, whatever the request: its process died, or hangs.

    Raised by `run` or `execute`, or told through `LoadContext.on_lost` when nothing runs. The
    engine closes the session and loads another.
    """


def _no_one_to_tell(error: SessionLostError) -> None:
    """What `on_lost` does unless somebody listens."""


@dataclass(frozen=True, slots=True)
class LoadContext:
    """What a backend gets to load one instance of one model version.

    `server` is there for models that call other models, None where there is no server.
    `on_lost` may be called once, from any thread.
    """

    config: ModelConfig
    files: ModelFiles
    instance: Instance
    server: ModelServer | None = None
    on_lost: Callable[[SessionLostError], None] = _no_one_to_tell


class Reply(Protocol):
    """The way back for one request of a `RequestSession`. Safe to use from any thread."""

    def send(
        self,
        outputs: Sequence[Tensor],
        failure: Failure | None = None,
        *,
        final: bool,
        parameters: Mapping[str, ParameterValue] | None = None,
    ) -> None:
        """Send one response. After `final` nothing more may be sent: later calls are dropped."""

    def finish(self) -> None:
        """Send the final flag alone: the request has had all its responses."""

    def is_cancelled(self) -> bool:
        """Whether the client no longer wants the request."""


@runtime_checkable
class PacedReply(Protocol):
    """What a reply may have for sessions whose models run elsewhere: `send` can't hold them up."""

    def is_held_up(self) -> bool:
        """Whether the client does not read what it was sent: what comes next had better wait, on
        threads that serve this request alone."""


@runtime_checkable
class LosableReply(Protocol):
    """What a reply may have for sessions that can be lost with requests under way."""

    def lose(self, failure: Failure) -> None:
        """Send the final response: what was to give it is gone. The request may be run again
        where that is possible, and the client is told of nothing then."""


def lose(reply: Reply, failure: Failure) -> None:
    """Answer a request whose session is lost."""
    if isinstance(reply, LosableReply):
        reply.lose(failure)
    else:
        reply.send((), failure, final=True)


@dataclass(slots=True, eq=False)
class ModelRequest:
    """One request as a `RequestSession` sees it.

    `inputs` holds the client's tensors, then control tensors, then state tensors, each in the
    model's own shape with a leading batch dimension when the model batches. A null row of a
    positional batch has `null` true, correlation ID 0, zero-filled inputs and no requested
    outputs; it wants an answer like any other and the answer is dropped. So is that of a null row
    that tells of a sequence's end (`streamgate.end_reason_control`), which has its correlation ID
    and the END flag. `states` takes the new state by `StateSpec.output_name` (models that keep
    none leave it empty).
    """

    inputs: Sequence[Tensor]
    reply: Reply
    request_id: str = ""
    correlation_id: SequenceKey = 0
    flags: int = 0
    timeout_us: int = 0
    priority: int = 0
    parameters: Mapping[str, ParameterValue] = field(default_factory=dict)
    requested_outputs: Sequence[str] = ()
    null: bool = False
    reschedule: bool = False
    states: dict[str, Array] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class TensorStep:
    """One batched step of a `TensorSession`.

    `inputs` holds each input by name, control and state inputs among them, contiguous, batch
    dimension included when the model batches (a state's at its `batch_axis`). `outputs` names the
    outputs and state outputs that somebody wants.
    """

    inputs: Mapping[str, Array]
    outputs: Sequence[str]
    rows: int


@runtime_checkable
class TensorSession(Protocol):
    """A loaded model that is a pure function of batched arrays."""

    def run(self, step: TensorStep) -> Mapping[str, Array]:
        """The wanted outputs by name. Raises StreamGateError, or anything, when the step fails."""

    def close(self) -> None:
        """Free everything. Called once, after the last step."""


@runtime_checkable
class RequestSession(Protocol):
    """A loaded model that sees requests and answers through their replies."""

    def execute(self, requests: Sequence[ModelRequest]) -> None:
        """Run the batch. Each request must be answered through its reply, at once or later.

        An exception fails every request of the batch that has had no final response.
        """

    def close(self) -> None:
        """Free everything. Called once, after the last batch."""


Session = TensorSession | RequestSession


@runtime_checkable
class SequenceListener(Protocol):
    """What a session may implement to hear how its sequences end. On the session's own thread,
    between two steps, and before a step of the slot's next sequence."""

    hears_sequence_ends: bool
    """Whether the loaded model wants to hear of them at all."""

    def on_sequence_end(self, correlation_id: SequenceKey, reason: EndReason) -> None:
        """A sequence that had a slot on this instance is over."""


@runtime_checkable
class StateKeeper(Protocol):
    """What a session may implement that keeps objects for each sequence, beside the arena's
    states, and can hand them over. On the session's own thread, between two steps."""

    keeps_states: bool
    """Whether the loaded model can do so. If not, and it keeps objects, its sequences are pinned
    to this instance."""

    def get_state(self, correlation_id: SequenceKey) -> bytes | None:
        """All that the model keeps for a live sequence; None for nothing."""

    def set_state(self, correlation_id: SequenceKey, state: bytes) -> None:
        """Take over a sequence from what `get_state` gave, here or elsewhere."""


@runtime_checkable
class StateDropper(StateKeeper, Protocol):
    """What a `StateKeeper` may implement to hear that a sequence lives on elsewhere."""

    def drop_state(self, correlation_id: SequenceKey) -> None:
        """The sequence has left, with what `get_state` gave if it can: forget it. It has not
        ended."""


@runtime_checkable
class ReadinessAware(Protocol):
    """What a session may implement to say whether its model can serve just now."""

    tells_readiness: bool
    """Whether the loaded model says so at all."""

    def is_ready(self) -> bool:
        """Asked on the session's own thread, between two steps. Raises what the model raises."""


class Backend(Protocol):
    """A kind of model that can be loaded."""

    default_model_filename: str
    """The model file's usual name in a version folder (`model.onnx`, `model.py`)."""

    def auto_complete(self, config: ConfigDict, files: ModelFiles) -> ConfigDict:
        """The configuration with what the model itself tells added; nothing given is changed.

        Raises ConfigError when the given configuration contradicts the model, LoadError when the
        model can't be read.
        """

    def load(self, context: LoadContext) -> Session:
        """Load one instance. Raises ConfigError, LoadError or BackendError."""


@runtime_checkable
class GpuAware(Protocol):
    """What a backend may implement to say where KIND_AUTO puts it; others get GPUs."""

    def can_use_gpu(self) -> bool:
        """Whether the installed libraries could run a model on a GPU of this machine."""


@runtime_checkable
class ProcessAware(Protocol):
    """What a backend may implement to run instances in processes of their own; for others,
    `Execution.PROCESS` is refused."""

    def can_run_processes(self) -> bool:
        """Whether it can, on this machine."""
