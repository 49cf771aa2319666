"""`pb_utils.Logger`: a model's own messages, into the server's log under the model's name."""

import enum
import logging
from typing import ClassVar, final

from streamgate_python.calling import calling_model


class LogLevel(enum.IntEnum):
    """Triton's four levels."""

    INFO = 0
    WARNING = 1
    ERROR = 2
    VERBOSE = 3


_LEVELS = {
    LogLevel.INFO: logging.INFO,
    LogLevel.WARNING: logging.WARNING,
    LogLevel.ERROR: logging.ERROR,
    LogLevel.VERBOSE: logging.DEBUG,
}


@final
class Logger:
    """Logs to `streamgate.models.<name>`; verbose messages are debug messages there."""

    INFO: ClassVar = LogLevel.INFO
    WARNING: ClassVar = LogLevel.WARNING
    ERROR: ClassVar = LogLevel.ERROR
    VERBOSE: ClassVar = LogLevel.VERBOSE

    @staticmethod
    def log(message: str, level: LogLevel = LogLevel.INFO) -> None:
        _write(message, LogLevel(level))

    @staticmethod
    def log_info(message: str) -> None:
        _write(message, LogLevel.INFO)

    @staticmethod
    def log_warn(message: str) -> None:
        _write(message, LogLevel.WARNING)

    @staticmethod
    def log_error(message: str) -> None:
        _write(message, LogLevel.ERROR)

    @staticmethod
    def log_verbose(message: str) -> None:
        _write(message, LogLevel.VERBOSE)


def _write(message: str, level: LogLevel) -> None:
    if not isinstance(message, str):
        raise TypeError(f"Logger: message must be str, found {type(message)}")
    model = calling_model()
    name = "streamgate.models" if model is None else f"streamgate.models.{model.name}"
    # Three frames up stands the model's call, past this function and the method of Logger.
    logging.getLogger(name).log(_LEVELS[level], "%s", message, stacklevel=3)
