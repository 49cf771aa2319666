"""What a worker process prints and logs, into the gateway's log."""

import logging
import os
from typing import Any, Final, final

LINE_BYTES_MAX: Final = 16 * 1024
"""A longer line is logged in pieces."""

_CHUNK_BYTES = 64 * 1024


@final
class PrintedLines:
    """The lines that come out of a worker's stdout and stderr, logged under the model's name."""

    def __init__(self, model_name: str, descriptor: int) -> None:
        self._logger = logging.getLogger(f"streamgate.models.{model_name}")
        self._descriptor = descriptor
        self._rest = b""
        os.set_blocking(descriptor, False)

    def fileno(self) -> int:
        return self._descriptor

    def read(self) -> bool:
        """Log what has come. Returns whether there may be more at once."""
        try:
            chunk = os.read(self._descriptor, _CHUNK_BYTES)
        except BlockingIOError:
            return False
        *lines, self._rest = (self._rest + chunk).split(b"\n")
        for line in lines:
            self._log(line)
        while len(self._rest) > LINE_BYTES_MAX:
            piece, self._rest = self._rest[:LINE_BYTES_MAX], self._rest[LINE_BYTES_MAX:]
            self._log(piece)
        return bool(chunk)

    def close(self) -> None:
        """Log what is there, and an unfinished line."""
        while self.read():
            pass
        self._log(self._rest)
        os.close(self._descriptor)

    def _log(self, line: bytes) -> None:
        text = line.decode(errors="replace").rstrip()
        if text:
            self._logger.info("%s", text)


def pack_record(record: logging.LogRecord) -> list[Any]:
    """A log record of a worker as a message's header takes it."""
    trace = logging.Formatter().formatException(record.exc_info) if record.exc_info else None
    return [record.name, record.levelno, record.pathname, record.lineno, record.getMessage(), trace]


def log_record(packed: list[Any]) -> None:
    """Log a worker's record as if it were one of the gateway's own."""
    name, level, path, line, message, trace = packed
    logger = logging.getLogger(name)
    if logger.isEnabledFor(level):
        record = logger.makeRecord(name, level, path, line, "%s", (message,), None)
        record.exc_text = trace
        logger.handle(record)
