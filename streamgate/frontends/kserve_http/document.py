"""Reading a JSON body: what is wrong with it is told in Triton's words.

Triton reads JSON with rapidjson and hands its error texts on, with the offset in bytes; those of
Python's parser are translated here. All of it is INTERNAL (500) in Triton, though the client's
doing.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final

from streamgate.errors import Code, StreamGateError
from streamgate.model.tensor import Buffer

Document = Mapping[str, Any]

_TRANSLATIONS: Final = (
    ("Expecting property name", "Missing a name for object member."),
    ("Expecting ':'", "Missing a colon after a name of object member."),
    ("Extra data", "The document root must not be followed by other values."),
    ("Unterminated string", "Missing a closing quotation mark in string."),
    ("Invalid control character", "Invalid encoding in string."),
    ("Invalid \\escape", "Invalid escape character in string."),
    ("Invalid \\uXXXX", "Incorrect hex digit after \\u escape in string."),
)
_NOT_A_DOUBLE: Final = "Number too big to be stored in double."
_BRACKETS_LOOKED_AT: Final = 10_000


def parse_json(data: Buffer) -> Any:
    """The value of a JSON text in UTF-8. Raises StreamGateError (INTERNAL).

    The literals NaN, Infinity and -Infinity are taken for numbers. Numbers beyond a double become
    infinite: see `refuse_overflow`.
    """
    try:
        text = str(data, "utf-8")
    except UnicodeDecodeError as error:
        raise _refusal("Invalid encoding in string.", error.start) from None
    try:
        value = json.loads(text)
    except json.JSONDecodeError as error:
        raise _translated(error) from None
    except ValueError:  # an integer with thousands of digits
        raise _refusal(_NOT_A_DOUBLE) from None
    except RecursionError:
        raise _refusal("The document is nested too deeply.") from None
    if "\\ud" in text or "\\uD" in text:
        try:
            json.dumps(value, ensure_ascii=False).encode()
        except UnicodeEncodeError:
            raise _refusal("The surrogate pair in string is invalid.") from None
    return value


def parse_object(data: Buffer) -> Document:
    """As `parse_json`; a value that is no object has no members."""
    value = parse_json(data)
    return value if isinstance(value, dict) else {}


def refuse_overflow(data: Buffer) -> None:
    """Refuse a JSON text with a number such as 1e400, which `parse_json` takes for infinite.

    Costs another reading, so ask only where an infinity was found. Raises StreamGateError.
    """
    text = str(data, "utf-8")

    def check(number: str) -> float:
        value = float(number)
        if value in {float("inf"), float("-inf")}:
            raise _refusal(_NOT_A_DOUBLE, _offset(text, text.find(number)))
        return value

    json.loads(text, parse_float=check)


def unparsable(key: str, reason: str) -> StreamGateError:
    """The error of a member that is missing or of a wrong type."""
    return StreamGateError(Code.INTERNAL, f"Unable to parse '{key}': {reason}")


def wrong_type(word: str) -> str:
    """Triton's reason for a value that is no `word` (boolean, string, unsigned-integer)."""
    return f"attempt to access JSON non-{word} as {word}"


def is_unsigned(value: object) -> bool:
    """Whether a JSON value is an unsigned 64-bit integer."""
    return type(value) is int and 0 <= value < 2**64


def unsigned_member(document: Document, key: str) -> int:
    """The unsigned integer of an existing member. Raises StreamGateError (INTERNAL)."""
    value = document[key]
    if not is_unsigned(value):
        raise unparsable(key, wrong_type("unsigned-integer"))
    assert isinstance(value, int)
    return value


def bool_member(document: Document, key: str) -> bool:
    """The boolean of an existing member. Raises StreamGateError (INTERNAL)."""
    value = document[key]
    if not isinstance(value, bool):
        raise unparsable(key, wrong_type("boolean"))
    return value


def text_member(document: object, key: str) -> str:
    """The text of a member. Raises StreamGateError (INTERNAL) when there is none."""
    if not isinstance(document, dict) or key not in document:
        raise unparsable(key, f"attempt to access non-existing object member '{key}'")
    value = document[key]
    if not isinstance(value, str):
        raise unparsable(key, wrong_type("string"))
    return value


def _translated(error: json.JSONDecodeError) -> StreamGateError:
    if not error.doc.strip(" \t\r\n"):
        return _refusal("The document is empty.", 0)
    offset = _offset(error.doc, error.pos)
    if error.msg.startswith("Expecting ','"):
        closing, kind = _innermost(error.doc[: error.pos])
        return _refusal(f"Missing a comma or {closing} after an {kind}.", offset)
    for ours, theirs in _TRANSLATIONS:
        if error.msg.startswith(ours):
            return _refusal(theirs, offset)
    return _refusal("Invalid value.", offset)


def _innermost(text: str) -> tuple[str, str]:
    """What would close the innermost open object or array of a text, and what its parts are.

    Brackets within strings count too, and only the end of the text: it is for an error's wording.
    """
    depth = 0
    for character in reversed(text[-_BRACKETS_LOOKED_AT:]):
        if character in "}]":
            depth += 1
        elif character in "{[":
            if depth == 0:
                return ("}", "object member") if character == "{" else ("]", "array element")
            depth -= 1
    return "}", "object member"


def _offset(text: str, position: int) -> int:
    return len(text[:position].encode(errors="replace"))


def _refusal(reason: str, offset: int | None = None) -> StreamGateError:
    place = "" if offset is None else f" at {offset}"
    return StreamGateError(
        Code.INTERNAL, f"failed to parse the request JSON buffer: {reason}{place}"
    )
