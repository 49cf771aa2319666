"""The two errors of `pb_utils`: one a model returns, one it may raise or catch."""

import enum
from typing import ClassVar, Final, final

from streamgate.errors import Code, Failure


class TritonModelException(Exception):  # noqa: N818 - the name is Triton's
    """What `pb_utils` raises on misuse; models may raise it themselves."""


class ErrorCode(enum.IntEnum):
    """Triton's error numbers."""

    UNKNOWN = 0
    INTERNAL = 1
    NOT_FOUND = 2
    INVALID_ARG = 3
    UNAVAILABLE = 4
    UNSUPPORTED = 5
    ALREADY_EXISTS = 6
    CANCELLED = 7


_CODES: Final = {code: Code[code.name] for code in ErrorCode}


@final
class TritonError:
    """An error as a value: what an `InferenceResponse` carries instead of tensors.

    `message` must be str; `code` one of the class's own constants, INTERNAL unless given.
    """

    __slots__ = ("_code", "_message")

    UNKNOWN: ClassVar = ErrorCode.UNKNOWN
    INTERNAL: ClassVar = ErrorCode.INTERNAL
    NOT_FOUND: ClassVar = ErrorCode.NOT_FOUND
    INVALID_ARG: ClassVar = ErrorCode.INVALID_ARG
    UNAVAILABLE: ClassVar = ErrorCode.UNAVAILABLE
    UNSUPPORTED: ClassVar = ErrorCode.UNSUPPORTED
    ALREADY_EXISTS: ClassVar = ErrorCode.ALREADY_EXISTS
    CANCELLED: ClassVar = ErrorCode.CANCELLED

    def __init__(self, message: str, code: ErrorCode = ErrorCode.INTERNAL) -> None:
        if not isinstance(message, str):
            raise TypeError(f"TritonError: message must be str, found {type(message)}")
        if not isinstance(code, int):
            raise TypeError(f"TritonError: code must be a TritonError constant, found {type(code)}")
        try:
            self._code = ErrorCode(code)
        except ValueError:
            raise TypeError(f"TritonError: code must be from 0 to 7, found {code}") from None
        self._message = message

    def message(self) -> str:
        return self._message

    def code(self) -> ErrorCode:
        return self._code

    @property
    def failure(self) -> Failure:
        """The same error as the engine knows it."""
        return Failure(_CODES[self._code], self._message)
