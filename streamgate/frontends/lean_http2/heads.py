"""Header blocks of requests: HPACK, RFC 9113's rules for them, and what gRPC reads from them.

A block that leaves the HPACK table as it is means the same when it comes again while the table
stays; clients send such blocks for every call after their first. They cost one look-up here.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, final

from hpack import Decoder
from hpack.exceptions import HPACKError, OversizedHeaderListError

from streamgate.frontends.lean_http2.frames import ConnectionFaultError, ErrorCode
from streamgate.frontends.lean_http2.limits import Http2Limits

Metadata = tuple[tuple[str, str | bytes], ...]

UNIMPLEMENTED: Final = 12
INTERNAL: Final = 13
ENCODINGS: Final = ("identity", "gzip", "deflate")

_INTEGER_BYTES_MAX: Final = 5
_CACHE_BLOCKS: Final = 64
_CACHED_BLOCK_BYTES: Final = 1024
_CACHED_HEAD_BYTES: Final = 4096
_FORBIDDEN: Final = frozenset(
    {"connection", "keep-alive", "proxy-connection", "transfer-encoding", "upgrade"}
)
_PSEUDO: Final = frozenset({":method", ":scheme", ":path", ":authority"})
_NAME: Final = re.compile(r"[!#$%&'*+\-.^_`|~0-9a-z]+")
_BAD_VALUE: Final = re.compile(r"[\x00\r\n]")
_TIMEOUT: Final = re.compile(r"([0-9]{1,8})([HMSmun])")
_UNIT_SECONDS: Final = {"H": 3600.0, "M": 60.0, "S": 1.0, "m": 1e-3, "u": 1e-6, "n": 1e-9}
_NOT_METADATA: Final = frozenset(
    {
        "content-length",
        "content-type",
        "grpc-accept-encoding",
        "grpc-encoding",
        "grpc-timeout",
        "host",
        "te",
    }
)


class MalformedError(Exception):
    """The fields are none of a request (RFC 9113, section 8.1.1): the stream is reset."""


@dataclass(frozen=True, slots=True)
class RequestHead:
    """What a call begins with.

    http_status: other than 200 when the request isn't gRPC, and is answered as plain HTTP.
    refusal: gRPC status and text, when the call can't be served whatever its method.
    """

    path: str
    metadata: Metadata = ()
    timeout_seconds: float | None = None
    encoding: str = "identity"
    content_length: int | None = None
    http_status: int = 200
    refusal: tuple[int, str] | None = None


@final
class HeaderBlock:
    """A header block of several frames, as far as it has come."""

    __slots__ = ("data", "ends", "frame_count", "stream_id")

    def __init__(self, stream_id: int, data: bytes, *, ends: bool) -> None:
        self.stream_id = stream_id
        self.data = bytearray(data)
        self.ends = ends
        self.frame_count = 1

    def add(self, data: bytes, limits: Http2Limits) -> None:
        """Take a CONTINUATION. Raises ConnectionFaultError when they are too many or too long."""
        self.data += data
        self.frame_count += 1
        if len(self.data) > limits.header_list_bytes or self.frame_count > limits.header_frames:
            raise ConnectionFaultError(ErrorCode.ENHANCE_YOUR_CALM, "the header block is too long")


@final
class HeadReader:
    """The receiving end of one connection's HPACK."""

    def __init__(self, list_bytes_max: int) -> None:
        self._decoder = Decoder(max_header_list_size=list_bytes_max)
        self._known: dict[bytes, RequestHead] = {}

    def request(self, block: bytes) -> RequestHead:
        """The request that begins with this block.

        Raises MalformedError, and ConnectionFaultError when the block can't be decoded.
        """
        known = self._known.get(block)
        if known is not None:
            return known
        fields, is_pure = self._decode(block)
        head = _head_of(fields)
        size = sum(len(name) + len(value) for name, value in fields)
        if is_pure and len(block) <= _CACHED_BLOCK_BYTES and size <= _CACHED_HEAD_BYTES:
            if len(self._known) >= _CACHE_BLOCKS:
                self._known.clear()
            self._known[block] = head
        return head

    def trailers(self, block: bytes) -> None:
        """Take a block that ends a request; gRPC reads nothing from it. Raises as `request`."""
        fields, _ = self._decode(block)
        if any(name.startswith(":") for name, _ in fields):
            raise MalformedError("trailers with a pseudo-header field")

    def _decode(self, block: bytes) -> tuple[list[tuple[str, str]], bool]:
        """The fields, and whether the block left the table as it was."""
        is_pure = leaves_table(block)
        if not is_pure:
            self._known.clear()
        try:
            decoded: Iterable[tuple[bytes, bytes]] = self._decoder.decode(block, raw=True)
            fields = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in decoded]
        except OversizedHeaderListError as error:
            raise ConnectionFaultError(ErrorCode.ENHANCE_YOUR_CALM, str(error)) from None
        except (HPACKError, ValueError, IndexError) as error:
            raise ConnectionFaultError(
                ErrorCode.COMPRESSION_ERROR, f"header block: {error}"
            ) from None
        return fields, is_pure


def leaves_table(block: bytes) -> bool:
    """Whether the block neither adds to the table nor resizes it (RFC 7541, section 6).

    Raises ConnectionFaultError for a block that ends within a field, and for integers beyond any
    use, which would cost time to decode.
    """
    at, end = 0, len(block)
    is_pure = True
    try:
        while at < end:
            first = block[at]
            if first & 0x80:
                _, at = _integer(block, at, 0x7F)
                continue
            if first & 0xE0 == 0x20:
                is_pure = False
                _, at = _integer(block, at, 0x1F)
                continue
            if first & 0x40:
                is_pure = False
            name, at = _integer(block, at, 0x3F if first & 0x40 else 0x0F)
            for _ in range(1 if name else 2):
                size, at = _integer(block, at, 0x7F)
                at += size
    except IndexError:
        at = end + 1
    if at > end:
        raise ConnectionFaultError(ErrorCode.COMPRESSION_ERROR, "header block: cut short")
    return is_pure


def _integer(block: bytes, at: int, mask: int) -> tuple[int, int]:
    """An integer with a prefix under this mask, and where it ends (RFC 7541, section 5.1)."""
    value = block[at] & mask
    at += 1
    if value < mask:
        return value, at
    for shift in range(0, 7 * _INTEGER_BYTES_MAX, 7):
        byte = block[at]
        at += 1
        value += (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
    raise ConnectionFaultError(ErrorCode.COMPRESSION_ERROR, "header block: an integer too long")


def _head_of(fields: list[tuple[str, str]]) -> RequestHead:
    pseudo, regular = _checked(fields)
    content_type = _first(regular, "content-type") or ""
    http_status = 200
    if pseudo[":method"] != "POST":
        http_status = 405
    elif content_type.split(";")[0].split("+")[0] != "application/grpc":
        http_status = 415
    length = _first(regular, "content-length")
    if length is not None and not (length.isascii() and length.isdigit() and len(length) < 19):
        raise MalformedError("content-length is no number")
    encoding = _first(regular, "grpc-encoding") or "identity"
    refusal = None
    if encoding not in ENCODINGS:
        refusal = (UNIMPLEMENTED, f"unknown grpc-encoding '{encoding}', expected gzip or deflate")
    timeout_seconds = None
    timeout = _first(regular, "grpc-timeout")
    if timeout is not None:
        match = _TIMEOUT.fullmatch(timeout)
        if match is None:
            refusal = (INTERNAL, f"malformed grpc-timeout '{timeout}'")
        else:
            timeout_seconds = int(match[1]) * _UNIT_SECONDS[match[2]]
    try:
        metadata = tuple(_metadata(regular))
    except (binascii.Error, ValueError):
        metadata = ()
        refusal = (INTERNAL, "binary metadata that is not base64")
    return RequestHead(
        path=pseudo[":path"],
        metadata=metadata,
        timeout_seconds=timeout_seconds,
        encoding=encoding,
        content_length=None if length is None else int(length),
        http_status=http_status,
        refusal=refusal,
    )


def _checked(fields: list[tuple[str, str]]) -> tuple[dict[str, str], list[tuple[str, str]]]:
    """Pseudo-header fields and others, after RFC 9113, sections 8.2 and 8.3."""
    pseudo: dict[str, str] = {}
    regular: list[tuple[str, str]] = []
    for name, value in fields:
        if _BAD_VALUE.search(value):
            raise MalformedError(f"control characters in {name!r}")
        if name.startswith(":"):
            if regular or name in pseudo or name not in _PSEUDO:
                raise MalformedError(f"{name!r} unknown, repeated or not at the beginning")
            pseudo[name] = value
            continue
        if not _NAME.fullmatch(name):
            raise MalformedError(f"{name!r} is no field name")
        if name in _FORBIDDEN or (name == "te" and value != "trailers"):
            raise MalformedError(f"{name!r} has no place in HTTP/2")
        regular.append((name, value))
    if not (pseudo.get(":method") and pseudo.get(":scheme") and pseudo.get(":path")):
        raise MalformedError("a request needs :method, :scheme and :path")
    return pseudo, regular


def _first(fields: list[tuple[str, str]], wanted: str) -> str | None:
    return next((value for name, value in fields if name == wanted), None)


def _metadata(fields: list[tuple[str, str]]) -> Iterable[tuple[str, str | bytes]]:
    for name, value in fields:
        if name in _NOT_METADATA:
            continue
        if not name.endswith("-bin"):
            yield name, value
            continue
        for part in value.split(","):
            text = part.strip().rstrip("=")
            yield name, base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
