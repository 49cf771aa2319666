"""A client's JSON, read so that whatever is taken from it can be said again."""

import json
import re
from typing import Any, Final

MESSAGE_CHARS_MAX: Final = 2**20
"""The longest message of a dialect that has no audio in its JSON. What JSON takes in memory is many
times its text."""

_SURROGATE: Final = re.compile(r"\\u[dD][89a-fA-F]")


def parsed(text: str, chars_max: int = MESSAGE_CHARS_MAX) -> Any:
    """The value of a JSON text (RFC 8259). Raises ValueError that says what is wrong with it.

    Half a surrogate pair is refused, as no text in UTF-8 can hold it, and so are NaN and Infinity,
    which are no JSON: an answer that repeats them could not be sent, or not be read.
    """
    if len(text) > chars_max:
        raise ValueError(f"it has {len(text)} characters, expected at most {chars_max}")
    try:
        value = json.loads(text, parse_constant=_refuse)
        if "\\" in text and _SURROGATE.search(text):
            json.dumps(value, ensure_ascii=False).encode()
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    except UnicodeEncodeError:
        raise ValueError("it holds half of a surrogate pair") from None
    return value


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is no number of JSON's")
