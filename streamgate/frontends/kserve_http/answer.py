"""What a handler answers: a status, a few headers and a body, not yet tied to a transport."""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil
from typing import Any, Final

from streamgate.errors import Code, Failure, OverLimitError
from streamgate.frontends.codes import HTTP_STATUS
from streamgate.model.tensor import Buffer

_LOG: Final = logging.getLogger(__name__)

JSON: Final = "application/json"
BINARY: Final = "application/octet-stream"
EVENTS: Final = "text/event-stream; charset=utf-8"
TEXT: Final = "text/plain; charset=utf-8"
HEADER_LENGTH: Final = "Inference-Header-Content-Length"

_ENCODER: Final = json.JSONEncoder(separators=(",", ":"))
to_json: Final = _ENCODER.encode
"""A value as JSON, in ASCII and without blanks. NaN and infinities are the literals NaN, Infinity
and -Infinity, as in Triton."""


@dataclass(slots=True, eq=False)
class Answer:
    """One response. `pieces` are the parts of its body, `headers` those beside type and length."""

    status: int = 200
    pieces: Sequence[Buffer] = ()
    content_type: str = JSON
    headers: Sequence[tuple[str, str]] = ()


def json_answer(value: Any) -> Answer:
    """200 with this value."""
    return Answer(pieces=(to_json(value).encode(),))


def error_answer(status: int, message: str) -> Answer:
    """`{"error": message}` with this status."""
    return Answer(status, (to_json({"error": message}).encode(),))


def failure_answer(failure: Failure) -> Answer:
    """The failure with the status of its code."""
    return error_answer(HTTP_STATUS[failure.code], failure.message)


def limit_answer(error: OverLimitError) -> Answer:
    """429, and when to come again."""
    answer = error_answer(429, error.message)
    answer.headers = (("Retry-After", str(ceil(error.retry_seconds))),)
    return answer


def unexpected(error: Exception) -> Failure:
    """What a client is told of an error that nobody foresaw; the log has the rest."""
    _LOG.error("a request could not be handled", exc_info=error)
    return Failure(
        Code.INTERNAL,
        f"the request could not be handled ({type(error).__name__}); the server's log says more",
    )
