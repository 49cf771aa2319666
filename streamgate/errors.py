"""What can go wrong, as one tree of exceptions and two closed sets.

    StreamGateError             anything a client may be told: a code and a message
    ├── OverLimitError          a client has all that it may have just now: when to try again
    ├── ConfigError             a model's configuration is wrong: names file, field, found, expected
    ├── LoadError               a model could not be loaded although its configuration is right
    └── BackendError            a backend is missing, broken or was asked for what it can't do

`Code` holds the status words of Triton's protocol family; each front end owns exactly one
table that maps them to its wire. `EndReason` says why a sequence ended: it reaches the model,
the client and the metrics. `EndWarning` says why one will end, unless something is done.
"""

import enum
from dataclasses import dataclass


class Code(enum.Enum):
    """The eight status words of Triton's error protocol."""

    UNKNOWN = "UNKNOWN"
    INTERNAL = "INTERNAL"
    NOT_FOUND = "NOT_FOUND"
    INVALID_ARG = "INVALID_ARG"
    UNAVAILABLE = "UNAVAILABLE"
    UNSUPPORTED = "UNSUPPORTED"
    ALREADY_EXISTS = "ALREADY_EXISTS"
    CANCELLED = "CANCELLED"


class EndReason(enum.Enum):
    """Why a sequence ended."""

    CLIENT_END = "client_end"
    CLIENT_ABORT = "client_abort"
    IDLE = "idle"
    LIFETIME = "lifetime"
    DRAINED = "drained"
    ERROR = "error"
    PREEMPTED = "preempted"
    SUPERSEDED = "superseded"
    ENGINE_LOST = "engine_lost"

    @property
    def code(self) -> int:
        """The number that models see in an end-reason control; 0 there is no end. Never changed."""
        return _END_CODES[self]


_END_CODES = {
    EndReason.CLIENT_END: 1,
    EndReason.CLIENT_ABORT: 2,
    EndReason.IDLE: 3,
    EndReason.LIFETIME: 4,
    EndReason.ERROR: 5,
    EndReason.PREEMPTED: 6,
    EndReason.SUPERSEDED: 7,
    EndReason.DRAINED: 8,
    EndReason.ENGINE_LOST: 9,
}


class WarningCause(enum.Enum):
    """Why a sequence will end: it is idle; or what it lives on goes, and it can't go elsewhere."""

    IDLE = "idle"
    RELOAD = "reload"
    """Another load or version of its model has come."""
    DRAIN = "drain"
    """Its engine is drained."""
    STOP = "stop"
    """The server stops."""


@dataclass(frozen=True, slots=True)
class EndWarning:
    """A sequence will end in so many seconds: as `idle` if no step comes, or else as `drained` if
    it has not ended by then."""

    cause: WarningCause
    seconds_left: float

    @property
    def is_drain(self) -> bool:
        return self.cause is not WarningCause.IDLE

    @property
    def is_for_all(self) -> bool:
        """Whether whoever tells of it tells every client of the server: nobody need pass it on."""
        return self.cause is WarningCause.STOP


@dataclass(frozen=True, slots=True)
class Failure:
    """An error as a value: what a response carries instead of outputs."""

    code: Code
    message: str


class StreamGateError(Exception):
    """An error that a client may be told, in its own dialect."""

    def __init__(self, code: Code, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message

    @property
    def failure(self) -> Failure:
        return Failure(self.code, self.message)


class OverLimitError(StreamGateError):
    """A client has as much as it may have: refused, though there may be room for others.

    `retry_seconds` is when another try may succeed.
    """

    def __init__(self, message: str, retry_seconds: float) -> None:
        super().__init__(Code.UNAVAILABLE, message)
        self.retry_seconds = retry_seconds


class ConfigPhase(enum.Enum):
    """When a configuration was found wrong, which decides what a load request is answered.

    POLL: while reading the model's folder; the model never becomes known. LOAD: while loading a
    version; the version becomes UNAVAILABLE with the message as its reason.
    """

    POLL = "poll"
    LOAD = "load"


class ConfigError(StreamGateError):
    """A configuration that can't be served.

    The message alone must do: it names the file, the field, what was found and what was expected.
    """

    def __init__(
        self,
        message: str,
        code: Code = Code.INVALID_ARG,
        phase: ConfigPhase = ConfigPhase.LOAD,
    ) -> None:
        super().__init__(code, message)
        self.phase = phase


class LoadError(StreamGateError):
    """A model whose files or code failed while loading."""

    def __init__(self, message: str, code: Code = Code.INTERNAL) -> None:
        super().__init__(code, message)


class BackendError(StreamGateError):
    """A backend that is not installed, is broken, or can't do what its model asks."""

    def __init__(self, message: str, code: Code = Code.INTERNAL) -> None:
        super().__init__(code, message)
