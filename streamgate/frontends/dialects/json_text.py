"""A client's JSON, read so that whatever is taken from it can be said again."""

import json
import re
from typing import Any, Final

MESSAGE_CHARS_MAX: Final = 2**20
"""The longest message of a dialect that has no audio in its JSON. What JSON takes in memory is many
times its text."""
VALUES_MAX: Final = 100_000
"""How many values a longer message may hold: two characters may be one, which takes 60 bytes."""

_SURROGATE: Final = re.compile(r"\\u[dD][89a-fA-F]")


def parsed(text: str, chars_max: int = MESSAGE_CHARS_MAX) -> Any:
    """The value of a JSON text (RFC 8259). Raises ValueError that says what is wrong with it.

    Half a surrogate pair is refused, as no text in UTF-8 can hold it, and so are NaN and Infinity,
    which are no JSON: an answer that repeats them could not be sent, or not be read.
    """
    if len(text) > chars_max:
        raise ValueError(f"it has {len(text)} characters, expected at most {chars_max}")
    if len(text) > MESSAGE_CHARS_MAX and sum(map(text.count, ",[{")) > VALUES_MAX:
        raise ValueError(f"it holds more than {VALUES_MAX} values")
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
