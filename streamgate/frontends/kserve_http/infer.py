"""The infer end point: a body in, an answer out.

Triton's order of checks: model and version, the decoupled policy, the content encoding, the length
of the JSON, then the JSON from top to bottom, then what the session checks.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass

from streamgate.errors import Code, StreamGateError
from streamgate.frontends.codes import HTTP_STATUS
from streamgate.frontends.kserve_http.answer import Answer, error_answer, failure_answer
from streamgate.frontends.kserve_http.compression import (
    COMPRESS_THREAD_BYTES_MIN,
    DECOMPRESS_THREAD_BYTES_MIN,
    ENCODINGS,
    IDENTITY,
    accepted_encoding,
    compress,
    decompress,
)
from streamgate.frontends.kserve_http.decode import decode, header_length
from streamgate.frontends.kserve_http.encode import infer_answer
from streamgate.frontends.kserve_http.exchange import exchange_one
from streamgate.model.request import ParameterValue
from streamgate.session.gateway import Gateway


@dataclass(slots=True, eq=False)
class InferBody:
    """A body with the headers that tell how to read and answer it; None where one is missing.

    `forwarded` are the headers that the model gets as parameters.
    """

    content: bytes
    header_length: str | None = None
    content_encoding: str | None = None
    accept_encoding: str | None = None
    forwarded: Mapping[str, ParameterValue] | None = None


async def infer(
    gateway: Gateway, model: str, version: str, body: InferBody, size_bytes_max: int
) -> Answer:
    """The answer to one infer request. Raises StreamGateError for a request that is refused."""
    config = gateway.model(model, version).config
    if config.decoupled:
        raise StreamGateError(
            Code.UNSUPPORTED,
            "HTTP end point doesn't support models with decoupled transaction policy",
        )
    content = body.content
    encoding = body.content_encoding or IDENTITY
    if encoding != IDENTITY:
        if encoding not in ENCODINGS:
            return _unsupported_encoding()
        content = await _decompressed(content, encoding, size_bytes_max)
    json_size = header_length(body.header_length, len(content))
    received = decode(content, json_size, config, version, body.forwarded or {})
    response, count = await exchange_one(gateway, received.request)
    if response is None or count != 1:
        raise StreamGateError(Code.INTERNAL, f"expected a single response, got {count}")
    if response.failure is not None:
        return failure_answer(response.failure)
    answer = infer_answer(response, config, received)
    if body.accept_encoding is not None:
        await _compress(answer, body.accept_encoding)
    return answer


def _unsupported_encoding() -> Answer:
    answer = error_answer(HTTP_STATUS[Code.UNSUPPORTED], "Unsupported compression type")
    answer.headers = (("Accept-Encoding", ", ".join(ENCODINGS)),)
    return answer


async def _decompressed(content: bytes, encoding: str, size_bytes_max: int) -> bytes:
    if len(content) < DECOMPRESS_THREAD_BYTES_MIN:
        return decompress(content, encoding, size_bytes_max)
    return await asyncio.to_thread(decompress, content, encoding, size_bytes_max)


async def _compress(answer: Answer, header: str) -> None:
    encoding = accepted_encoding(header)
    if encoding is None:
        return
    whole = b"".join(answer.pieces)
    if len(whole) < COMPRESS_THREAD_BYTES_MIN:
        packed = compress(whole, encoding)
    else:
        packed = await asyncio.to_thread(compress, whole, encoding)
    answer.pieces = (packed,)
    answer.headers = (*answer.headers, ("Content-Encoding", encoding))
