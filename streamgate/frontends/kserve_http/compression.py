"""Content encodings of the infer end point: gzip and deflate (zlib), in and out.

Pure functions over bytes; zlib lets go of the interpreter's lock, so that large bodies can be
handled on another thread.
"""

from __future__ import annotations

import zlib
from typing import Final

from streamgate.errors import Code, StreamGateError
from streamgate.model.tensor import Buffer

ENCODINGS: Final = ("gzip", "deflate")
IDENTITY: Final = "identity"
COMPRESS_THREAD_BYTES_MIN: Final = 64 * 1024
DECOMPRESS_THREAD_BYTES_MIN: Final = 4 * 1024
"""From these sizes on, a body is worth the way to another thread. Little may expand to much."""

_GZIP_BITS: Final = 16 + zlib.MAX_WBITS
_LEVEL: Final = 1
"""Tensors hardly shrink, and higher levels cost several times as much."""


def accepted_encoding(header: str | None) -> str | None:
    """The encoding for a response that an `Accept-Encoding` prefers; None to leave it as it is.

    The highest weight counts, gzip before deflate before identity where they are equal. A name
    that is not known, `*` included, asks for nothing. Triton 2.51 behaviour.
    """
    if not header:
        return None
    weights: dict[str, float] = {}
    for part in header.split(","):
        name, _, parameters = part.partition(";")
        weights[name.strip().lower()] = _weight(parameters)
    best, best_weight = None, weights.get(IDENTITY, 0.0)
    for name in reversed(ENCODINGS):
        weight = weights.get(name, 0.0)
        if weight > 0 and weight >= best_weight:
            best, best_weight = name, weight
    return best


def decompress(data: Buffer, encoding: str, size_bytes_max: int) -> bytes:
    """The content of a compressed body.

    Raises StreamGateError (INVALID_ARG) for data that is not exactly one such stream, and when the
    content has more than `size_bytes_max`.
    """
    stream = zlib.decompressobj(_GZIP_BITS if encoding == "gzip" else zlib.MAX_WBITS)
    try:
        content = stream.decompress(data, size_bytes_max + 1)
    except zlib.error as error:
        raise _invalid(f"the request's body is no {encoding} stream: {error}") from None
    if len(content) > size_bytes_max:
        raise too_large("JSON", None, size_bytes_max)
    if not stream.eof:
        raise _invalid(f"the request's body is a {encoding} stream that is cut short")
    if stream.unused_data:
        raise _invalid(f"the request's body goes on after its {encoding} stream")
    return content


def compress(data: Buffer, encoding: str) -> bytes:
    """The body of a response in this encoding."""
    stream = zlib.compressobj(_LEVEL, wbits=_GZIP_BITS if encoding == "gzip" else zlib.MAX_WBITS)
    return stream.compress(data) + stream.flush()


def too_large(what: str, size_bytes: int | None, size_bytes_max: int) -> StreamGateError:
    """The refusal of a body; `what` is in it, None stands for a size that is not known."""
    size = "" if size_bytes is None else f" of {size_bytes} bytes"
    return _invalid(
        f"Request {what} size{size} exceeds the maximum allowed value of {size_bytes_max} bytes. "
        "Use --http-max-input-size to increase the limit."
    )


def _weight(parameters: str) -> float:
    for parameter in parameters.split(";"):
        key, _, value = parameter.partition("=")
        if key.strip().lower() == "q":
            try:
                return float(value)
            except ValueError:
                return 0.0
    return 1.0


def _invalid(message: str) -> StreamGateError:
    return StreamGateError(Code.INVALID_ARG, message)
