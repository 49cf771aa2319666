"""Header blocks of answers, written by hand: an answer has one of very few.

Two entries of the peer's HPACK table are ours (content type, status OK), so that after the first
call a connection's response headers take two bytes and its trailers one. Failures are literals.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, final

MESSAGE_BYTES_MAX: Final = 4096
"""What of a failure's text is sent; clients take 8 KiB of trailers by default."""

Trailers = Sequence[tuple[str, str]]
"""Metadata at the end of a call: names in lower case, values in printable ASCII."""

_TABLE_BYTES_DEFAULT: Final = 4096
_PLAIN: Final = frozenset(range(0x20, 0x7F)) - {ord("%")}


def _integer(value: int, mask: int, flags: int) -> bytes:
    """RFC 7541, section 5.1."""
    if value < mask:
        return bytes([flags | value])
    value -= mask
    rest = bytearray([flags | mask])
    while value >= 0x80:
        rest.append(value & 0x7F | 0x80)
        value >>= 7
    rest.append(value)
    return bytes(rest)


def _text(value: bytes) -> bytes:
    return _integer(len(value), 0x7F, 0) + value


_STATUS_200: Final = b"\x88"
_CONTENT_TYPE_INDEX: Final = 31
_CONTENT_TYPE: Final = _text(b"application/grpc")
_GRPC_STATUS: Final = _text(b"grpc-status")
_START_LITERAL: Final = _STATUS_200 + _integer(_CONTENT_TYPE_INDEX, 0x0F, 0) + _CONTENT_TYPE
_START_ADDING: Final = _STATUS_200 + _integer(_CONTENT_TYPE_INDEX, 0x3F, 0x40) + _CONTENT_TYPE
_OK_LITERAL: Final = b"\x00" + _GRPC_STATUS + _text(b"0")
_OK_ADDING: Final = b"\x40" + _GRPC_STATUS + _text(b"0")
_TABLE_OFF: Final = b"\x20"  # the table's size becomes 0
_NEWEST, _SECOND = b"\xbe", b"\xbf"  # entries 62 and 63: the dynamic table begins there


def percent_encoded(text: str) -> bytes:
    """A grpc-message: UTF-8, all but printable ASCII as %XX; cut off between characters."""
    encoded = bytearray()
    for character in text:
        data = character.encode("utf-8", "replace")
        part = b"".join(bytes([byte]) if byte in _PLAIN else b"%%%02X" % byte for byte in data)
        if len(encoded) + len(part) > MESSAGE_BYTES_MAX:
            break
        encoded += part
    return bytes(encoded)


@final
class AnswerBlocks:
    """The sending end of one connection's HPACK. Blocks must be sent in the order of the calls."""

    __slots__ = ("_has_status", "_has_type", "_must_shrink", "_uses_table")

    def __init__(self) -> None:
        self._uses_table = True
        self._must_shrink = False
        self._has_type = False
        self._has_status = False

    @property
    def are_short(self) -> bool:
        """Whether every call is answered with `SHORT_START` and `SHORT_OK` from now on."""
        return self._has_status and self._uses_table

    def limit_table(self, size_bytes: int) -> None:
        """The peer says how large a table it keeps. Less than the default: we use none."""
        if self._uses_table and size_bytes < _TABLE_BYTES_DEFAULT:
            self._uses_table = False
            self._must_shrink = True

    def start(self, metadata: Trailers = ()) -> bytes:
        """The headers before the messages of a call."""
        if not self._uses_table or metadata:
            return self._first(_START_LITERAL + _literals(metadata))
        if self._has_type:
            return _STATUS_200 + (_SECOND if self._has_status else _NEWEST)
        self._has_type = True
        return _START_ADDING

    def end(self, status: int, text: str, trailers: Trailers = ()) -> bytes:
        """The trailers of a call that had headers. A call that went well has no metadata."""
        if status:
            return self._first(_failure(status, text, trailers))
        if not self._uses_table:
            return self._first(_OK_LITERAL)
        if self._has_status:
            return _NEWEST
        if not self._has_type:
            return _OK_LITERAL
        self._has_status = True
        return _OK_ADDING

    def only(self, status: int, text: str, trailers: Trailers = ()) -> bytes:
        """Headers and trailers of a call without a message, in one."""
        return self._first(_START_LITERAL + _failure(status, text, trailers))

    def http(self, status: int) -> bytes:
        """An answer to what isn't gRPC: the status and nothing else."""
        return self._first(_integer(8, 0x0F, 0) + _text(b"%d" % status))

    def _first(self, block: bytes) -> bytes:
        if not self._must_shrink:
            return block
        self._must_shrink = False
        return _TABLE_OFF + block


SHORT_START: Final = _STATUS_200 + _SECOND
SHORT_OK: Final = _NEWEST


def _failure(status: int, text: str, trailers: Trailers) -> bytes:
    block = b"\x00" + _GRPC_STATUS + _text(b"%d" % status)
    if text:
        block += b"\x00" + _text(b"grpc-message") + _text(percent_encoded(text))
    return block + _literals(trailers)


def _literals(metadata: Trailers) -> bytes:
    return b"".join(
        b"\x00" + _text(name.encode("ascii")) + _text(value.encode("ascii"))
        for name, value in metadata
    )
