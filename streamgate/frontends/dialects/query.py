"""What a client asks for in a query string, checked."""

from collections.abc import Collection
from typing import final

from streamgate.errors import Code, StreamGateError
from streamgate.frontends.sockets.contract import Handshake

_FLAGS = {"true": True, "1": True, "false": False, "0": False}


@final
class Query:
    """The parameters of a handshake. Every method raises StreamGateError (INVALID_ARG) that names
    the parameter, its value, and what was expected. An empty value is as none."""

    def __init__(self, handshake: Handshake) -> None:
        self._handshake = handshake

    def text(self, name: str, default: str = "") -> str:
        return self._handshake.value(name) or default

    def flag(self, name: str, *, default: bool = False) -> bool:
        """`true` or `false`, in any case, as Python's clients write it, too."""
        text = self.text(name)
        if not text:
            return default
        flag = _FLAGS.get(text.lower())
        if flag is None:
            raise refused(name, text, "true or false")
        return flag

    def number(self, name: str, default: int, low: int, high: int) -> int:
        """A whole number within these bounds."""
        text = self.text(name)
        if not text:
            return default
        try:
            number = int(text)
        except ValueError:
            number = low - 1
        if not low <= number <= high:
            raise refused(name, text, f"a whole number from {low} to {high}")
        return number

    def fraction(self, name: str, default: float, low: float, high: float) -> float:
        """A number within these bounds."""
        text = self.text(name)
        if not text:
            return default
        try:
            number = float(text)
        except ValueError:
            number = low - 1
        if not low <= number <= high:
            raise refused(name, text, f"a number from {low:g} to {high:g}")
        return number

    def choice(self, name: str, default: str, known: Collection[str]) -> str:
        """One of these words."""
        text = self.text(name, default)
        if text not in known:
            raise refused(name, text, f"one of {', '.join(sorted(known))}")
        return text


def refused(name: str, found: str, expected: str) -> StreamGateError:
    """The error for a parameter's value."""
    return StreamGateError(
        Code.INVALID_ARG, f"parameter '{name}' is '{found[:100]}', expected {expected}"
    )
