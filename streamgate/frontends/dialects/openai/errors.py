"""Errors as OpenAI's clients know them: `{"error": {"message", "type", "param", "code"}}`."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final, final

from aiohttp import web

from streamgate.errors import Code, EndReason, StreamGateError
from streamgate.frontends.sockets.contract import Refusal

RETRY_SECONDS: Final = 1

INVALID: Final = "invalid_request_error"
SERVER: Final = "server_error"

_BY_CODE: Final[Mapping[Code, tuple[int, str, str | None]]] = {
    Code.UNKNOWN: (500, SERVER, None),
    Code.INTERNAL: (500, SERVER, None),
    Code.NOT_FOUND: (404, INVALID, "model_not_found"),
    Code.INVALID_ARG: (400, INVALID, "invalid_value"),
    Code.UNAVAILABLE: (429, "rate_limit_error", "rate_limit_exceeded"),
    Code.UNSUPPORTED: (400, INVALID, "unsupported_value"),
    Code.ALREADY_EXISTS: (409, INVALID, None),
    Code.CANCELLED: (499, INVALID, None),
}
"""Status, type and code. UNAVAILABLE means that no slot is free: their clients know that as a rate
limit and come again."""

END_CODES: Final[Mapping[EndReason, tuple[str, str, int]]] = {
    EndReason.CLIENT_END: (INVALID, "session_ended", 1000),
    EndReason.IDLE: (INVALID, "session_idle", 1000),
    EndReason.LIFETIME: (INVALID, "session_expired", 1000),
    EndReason.DRAINED: (SERVER, "server_going_away", 1001),
    EndReason.PREEMPTED: (SERVER, "session_preempted", 1013),
}
"""Type, code and close code for a session that ends otherwise than its client wanted. Their SDK
comes again, if it was told to, after 1001, 1011, 1012 and 1013."""


@final
class OpenAiError(StreamGateError):
    """A request that is wrong in a way which this dialect has words for.

    `param` is the field that is wrong, by its path; `word` is the error's code.
    """

    def __init__(
        self, message: str, param: str | None = None, word: str = "invalid_value", status: int = 400
    ) -> None:
        super().__init__(Code.INVALID_ARG, message)
        self.param = param
        self.word = word
        self.status = status


def wrong_key() -> OpenAiError:
    return OpenAiError("Incorrect API key provided, or none.", None, "invalid_api_key", 401)


def going_away() -> OpenAiError:
    return OpenAiError("The server is going away.", None, "server_going_away", 503)


def invalid(param: str, found: object, expected: str) -> OpenAiError:
    """A value that can't be served. Long ones are cut."""
    shown = json.dumps(found, ensure_ascii=False, default=str)
    if len(shown) > 100:
        shown = shown[:100] + "..."
    return OpenAiError(f"Invalid value for '{param}': {shown}, expected {expected}.", param)


def status_of(error: StreamGateError) -> int:
    """The HTTP status."""
    return error.status if isinstance(error, OpenAiError) else _BY_CODE[error.code][0]


def error_object(error: StreamGateError, param: str | None = None) -> dict[str, Any]:
    """The inner object. `param` is that of errors which don't name their own."""
    if isinstance(error, OpenAiError):
        kind = SERVER if error.status >= 500 else INVALID
        return {
            "message": error.message,
            "type": kind,
            "param": error.param or param,
            "code": error.word,
        }
    _, kind, word = _BY_CODE[error.code]
    if error.code is Code.NOT_FOUND:
        param = param or "model"
    return {"message": error.message, "type": kind, "param": param, "code": word}


def refusal(error: StreamGateError) -> Refusal:
    """The answer to a handshake."""
    status = status_of(error)
    headers = {"Retry_After": str(RETRY_SECONDS)} if status in (429, 503) else {}
    return Refusal.of_json(status, {"error": error_object(error)}, **headers)


def error_response(error: StreamGateError, param: str | None = None) -> web.Response:
    """The answer to an HTTP request."""
    status = status_of(error)
    headers = {"Retry-After": str(RETRY_SECONDS)} if status in (429, 503) else {}
    return web.json_response({"error": error_object(error, param)}, status=status, headers=headers)
