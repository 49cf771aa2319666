"""How the repository words what is wrong with a configuration.

Every check gives Triton's text first, because clients and scripts match on it, and then what
Triton leaves out: the field, what was found there and what was expected. The file is added by
whoever knows it.
"""

import difflib
from collections.abc import Iterable

from streamgate.errors import Code, ConfigError, ConfigPhase


def defect(
    text: str,
    *,
    field: str,
    found: object,
    expected: str,
    phase: ConfigPhase = ConfigPhase.LOAD,
    code: Code = Code.INVALID_ARG,
) -> ConfigError:
    """The error for one field: `text (field: found ..., expected ...)`."""
    return ConfigError(f"{text} ({field}: found {found}, expected {expected})", code, phase)


def located(error: ConfigError, place: str) -> ConfigError:
    """The same error with the place of the configuration behind its message."""
    return ConfigError(f"{error.message} [{place}]", error.code, error.phase)


def suggestion(word: str, known: Iterable[str]) -> str:
    """`; did you mean 'x'?` for the nearest known word, else the list of them."""
    words = sorted(known)
    near = difflib.get_close_matches(word, words, n=1, cutoff=0.6)
    if near:
        return f"; did you mean '{near[0]}'?"
    return f"; expected one of {', '.join(words)}" if words else ""
