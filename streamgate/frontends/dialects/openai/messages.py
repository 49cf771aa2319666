"""Messages of the realtime dialects: JSON objects with a `type`, and an ID of their own."""

import base64
import binascii
import json
from collections.abc import Mapping
from typing import Any, Final

from streamgate.errors import StreamGateError
from streamgate.frontends.dialects.json_text import MESSAGE_CHARS_MAX, parsed
from streamgate.frontends.dialects.openai.errors import OpenAiError, error_object, invalid
from streamgate.frontends.world import token_hex

APPEND_BYTES_MAX: Final = 15 * 2**20
"""The dialect's limit of the audio in one message."""
EVENT_CHARS_MAX: Final = 2 * (APPEND_BYTES_MAX // 3 * 4) + MESSAGE_CHARS_MAX
"""Twice the audio's, so that one which is too long is told its limit."""


def new_id(kind: str) -> str:
    """Such as `item_5f...`: unique, and not to be guessed."""
    return f"{kind}_{token_hex(12)}"


def server_event(kind: str, **fields: Any) -> str:
    """A message of ours."""
    return json.dumps(
        {"type": kind, "event_id": new_id("event"), **fields},
        ensure_ascii=False,
        separators=(",", ":"),
    )


def error_event(
    error: StreamGateError, client_event_id: str | None = None, param: str | None = None
) -> str:
    """What is wrong, and with which of the client's events if it has given that an ID. `param` is
    that of errors which don't name their own."""
    told = {**error_object(error, param), "event_id": client_event_id}
    return server_event("error", error=told)


def read_event(text: str) -> dict[str, Any]:
    """A client's message. Raises OpenAiError for what is no JSON object with a type."""
    try:
        event = parsed(text, EVENT_CHARS_MAX)
    except ValueError as error:
        raise OpenAiError(
            f"The message is not JSON: {error}, expected an object.", None, "invalid_json"
        ) from None
    if not isinstance(event, dict):
        raise OpenAiError(
            f"The message is a JSON {type(event).__name__}, expected an object.",
            None,
            "invalid_json",
        )
    if not isinstance(event.get("type"), str):
        raise OpenAiError(
            "The message has no 'type', expected a string.", "type", "missing_required_parameter"
        )
    return event


def event_id_of(event: Mapping[str, Any]) -> str | None:
    """The ID that the client has given it, to be named in errors."""
    event_id = event.get("event_id")
    return event_id if isinstance(event_id, str) else None


def read_audio(event: Mapping[str, Any]) -> bytes:
    """The bytes of an append. Raises OpenAiError."""
    text = event.get("audio")
    if text is None:
        raise OpenAiError(
            "The event has no 'audio', expected base64.", "audio", "missing_required_parameter"
        )
    if not isinstance(text, str):
        raise invalid("audio", text, "base64 in a string")
    if len(text) > APPEND_BYTES_MAX // 3 * 4 + 4:
        raise OpenAiError(
            f"'audio' holds {len(text) // 4 * 3} bytes, expected at most {APPEND_BYTES_MAX}.",
            "audio",
            "string_above_max_length",
        )
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise OpenAiError(
            f"'audio' is not base64: {error}, expected bytes of audio in base64.", "audio"
        ) from None
