"""What every front end is translated to: the gateway's side of models, connections and requests.

A front end knows its wire and this module. All methods are called on the event loop's thread and
all responses arrive there, in order within one request and within one sequence.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

from streamgate.errors import EndReason, EndWarning
from streamgate.model.config import ModelConfig
from streamgate.model.request import Request, Response, SequenceKey
from streamgate.model.statistics import ModelStatistics, SlotTable

SLOTS_SHOWN: Final = 1_000
"""How many slots are shown at once, at most."""

ResponseSink = Callable[[Response], None]
EndSink = Callable[[str, SequenceKey, EndReason], None]
"""Told that a sequence which this connection owned ended: model, correlation ID, reason."""

GoneSink = Callable[[str, SequenceKey], None]
"""Told that a sequence, whoever's, lives no more: model, correlation ID."""

ComeSink = Callable[[str, SequenceKey], None]
"""Told that a sequence goes on here that began at another server: model, correlation ID."""

WarningSink = Callable[[str, SequenceKey, EndWarning], None]
"""Warned that a sequence which this connection owns will end: model, correlation ID, why and
when."""


@dataclass(frozen=True, slots=True)
class ServerInfo:
    """`extensions` lists the protocol extensions that are really served."""

    name: str
    version: str
    extensions: Sequence[str]


@dataclass(frozen=True, slots=True)
class ModelInfo:
    """One ready model version. `versions` are all ready versions of the model, ascending."""

    config: ModelConfig
    version: str
    versions: Sequence[str]


@dataclass(frozen=True, slots=True)
class ModelIndexEntry:
    """One line of the repository index; `version` and `state` are "" if it was never loaded.

    States are READY, LOADING, UNLOADING and UNAVAILABLE, with the reason of the last.
    """

    name: str
    version: str = ""
    state: str = ""
    reason: str = ""


class Call(Protocol):
    """A request under way."""

    def cancel(self) -> None:
        """The client no longer wants it. A final response, CANCELLED if need be, still comes."""


class Connection(Protocol):
    """One client connection or stream, or one unary call. Holds what is lost with it."""

    def submit(self, request: Request, sink: ResponseSink) -> Call:
        """Check and enqueue a request. `request.rows` and `request.version` are filled in.

        Every failure after this call's checks comes through the sink. Raises StreamGateError for
        what can be told at once: unknown model, malformed request (message texts as Triton's).
        The sink is never called before this returns.
        """

    async def reserve(self, model: str, version: str, sequence: SequenceKey) -> None:
        """Take a slot for a sequence before its START comes: once this returns, it is its own.

        For a client that is promised a session at its handshake and sends its first data later.
        A slot is had at once or not at all. Until its START comes, the sequence lives as one that
        is idle: it ends at its idle limit, by `end_sequence` or with this connection, whose
        `on_sequence_end` is told.

        Raises StreamGateError: UNAVAILABLE when all slots are taken or the model is going away,
        ALREADY_EXISTS when a sequence of this ID lives, INVALID_ARG for a model without sequences
        (or one that names them itself) and for no ID, and what `Gateway.model` raises.
        """

    def keep(self, model: str, version: str, sequence: SequenceKey) -> None:
        """The client says that it is there, though it has nothing to send: if its sequence is idle,
        then only from now on. Costs nothing to speak of, and nothing at all for no sequence."""

    def end_sequence(self, model: str, version: str, sequence: SequenceKey) -> None:
        """End a live sequence, without running the model, after what it has queued."""

    async def finish(self, model: str, version: str, sequence: SequenceKey) -> EndReason | None:
        """End a sequence as `end_sequence` does that began over another connection, wherever it
        lives, also at a server that is gone. None: `on_sequence_end` is told of its end; or it is
        over, for this reason.

        Raises StreamGateError: NOT_FOUND for one that nobody has, UNAVAILABLE for one that can't be
        had just now, and what `Gateway.model` raises.
        """

    def pause(self) -> None:
        """The client reads more slowly than its responses come: until `resume`, none of its
        sequences' steps begins, and decoupled models that answer it from threads of their own
        are held up. Responses still come, from what runs: whoever pauses must bear them, or
        `close`. Idempotent, as is `resume`."""

    def resume(self) -> None:
        """The client has caught up."""

    def close(self, *, abort: bool) -> None:
        """The connection is over. `abort`: it was lost or cancelled, so everything it asked for
        is cancelled and the sequences that it owns end (client_abort). Otherwise its sequences
        stay, to be continued over another connection until they idle out. Idempotent."""


class Gateway(Protocol):
    """The whole server as a front end sees it."""

    def connect(
        self, on_sequence_end: EndSink | None = None, on_warning: WarningSink | None = None
    ) -> Connection:
        """A new connection. Unary calls open one each; their sequences outlive it (`abort=False`).

        `on_sequence_end` is called after the last response of the sequence, `on_warning` before
        an end as idle, where the model's configuration asks for a warning, and before one as
        drained. Without it, responses of a sequence that is to be drained say so, in the parameter
        `streamgate_drain_seconds_left`.
        """

    def of(self, key: str) -> "Gateway":
        """The gateway as the holder of this API key may use it; "" for a client without one.

        What it opens over limits of its own is refused with OverLimitError.
        """

    def owe(self, size_bytes: int) -> float:
        """A client has sent so much: for how many seconds it is not to be read now, as it sends
        more than it may. 0 nearly always."""

    def watch_sequences(self, on_gone: GoneSink, on_come: ComeSink) -> None:
        """Be told of each sequence that lives no more, of whatever connection, and of each that has
        come from another server, before the answer to the request that it came for."""

    def is_live(self) -> bool: ...

    def is_accepting(self) -> bool:
        """Live, and what is new is let in: not while the server drains."""

    def is_ready(self) -> bool:
        """Accepting, and every model that should be ready is."""

    async def is_model_ready(self, name: str, version: str) -> bool:
        """Whether the version is loaded and the model itself says that it can serve; a few seconds
        at the most. False for unknown models. Raises StreamGateError for a malformed version."""

    def server_info(self) -> ServerInfo: ...

    def model(self, name: str, version: str) -> ModelInfo:
        """The ready version asked for; "" is the newest. Raises StreamGateError with Triton's
        texts: NOT_FOUND, UNAVAILABLE, INVALID_ARG for a malformed version."""

    async def statistics(self, name: str, version: str) -> Sequence[ModelStatistics]:
        """Of all ready models when `name` is "". Raises StreamGateError (INVALID_ARG)."""

    async def slots(self, name: str, version: str) -> Sequence[SlotTable]:
        """Who is in which slot of this model, those of its models for an ensemble; of all ready
        models when `name` is "". Models without sequences have none. At most `SLOTS_SHOWN` of all
        are shown. Raises as `model` does."""

    async def repository_index(self, *, ready_only: bool) -> Sequence[ModelIndexEntry]: ...

    async def load_model(self, name: str, config: str | None, files: Mapping[str, bytes]) -> None:
        """Load or reload. `config` is a JSON override, `files` maps `<version>/<path>` to content.

        Raises StreamGateError with Triton's texts.
        """

    async def unload_model(self, name: str, *, unload_dependents: bool) -> None:
        """Always succeeds for unknown models, as in Triton."""
