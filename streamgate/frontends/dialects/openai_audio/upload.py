"""A multipart upload, part by part, while it comes."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import AsyncIterator, Coroutine
from typing import IO, Final, TypeVar, final

from aiohttp import BodyPartReader, MultipartReader, web
from aiohttp.http_exceptions import BadHttpMessage

from streamgate.frontends.dialects.openai.errors import OpenAiError
from streamgate.frontends.dialects.openai_audio.form import FIELD_BYTES_MAX

_T = TypeVar("_T")

READ_BYTES: Final = 64 * 1024
IDLE_SECONDS: Final = 60.0
"""How long a client may pause within its upload."""
SPOOLED_BYTES_MAX: Final = 1024 * 1024
"""How much of a file that must wait is kept in memory; more goes to the disk."""


@final
class Upload:
    """The parts of one request. Every method raises OpenAiError for what can't be read."""

    def __init__(self, request: web.BaseRequest, file_bytes_max: int) -> None:
        self._request = request
        self._file_bytes_max = file_bytes_max
        self._file_bytes = 0

    async def parts(self) -> AsyncIterator[BodyPartReader]:
        """Each part, to be read before the next."""
        request = self._request
        if request.content_type != "multipart/form-data":
            raise OpenAiError(
                f"The content type is '{request.content_type}', expected 'multipart/form-data'."
            )
        announced = request.content_length
        if announced is not None and announced > self._file_bytes_max + FIELD_BYTES_MAX:
            raise self._too_large()
        if request.headers.get("Expect", "").lower() == "100-continue":
            await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
            request.writer.output_size = 0
        try:
            reader = await request.multipart()
        except ValueError as error:  # no boundary, or one that is none
            raise _unreadable(error) from None
        while (part := await _timely(_next(reader))) is not None:
            yield part

    async def text(self, part: BodyPartReader) -> str:
        """A field's value."""
        value = b""
        async for piece in self._pieces(part):
            value += piece
            if len(value) > FIELD_BYTES_MAX:
                raise OpenAiError(
                    f"The field '{part.name}' has more than {FIELD_BYTES_MAX} bytes.", part.name
                )
        try:
            return value.decode()
        except UnicodeDecodeError:
            raise OpenAiError(f"The field '{part.name}' is not UTF-8.", part.name) from None

    async def audio(self, part: BodyPartReader) -> AsyncIterator[bytes]:
        """A file's bytes, as they come."""
        async for piece in self._pieces(part):
            self._file_bytes += len(piece)
            if self._file_bytes > self._file_bytes_max:
                raise self._too_large()
            yield piece

    async def _pieces(self, part: BodyPartReader) -> AsyncIterator[bytes]:
        while not part.at_eof():
            piece = await _timely(_read(part))
            if piece:
                yield piece

    def _too_large(self) -> OpenAiError:
        return OpenAiError(
            f"The file is too large, expected at most {self._file_bytes_max} bytes.",
            "file",
            "file_too_large",
            413,
        )


@final
class Spool:
    """A file that came before the fields which say how to hear it: it waits, mostly on the disk."""

    def __init__(self) -> None:
        self._file: IO[bytes] = tempfile.SpooledTemporaryFile(SPOOLED_BYTES_MAX)  # noqa: SIM115

    async def add(self, piece: bytes) -> None:
        await asyncio.to_thread(self._file.write, piece)

    async def pieces(self) -> AsyncIterator[bytes]:
        """All of it, from the beginning."""
        await asyncio.to_thread(self._file.seek, 0)
        while piece := await asyncio.to_thread(self._file.read, READ_BYTES):
            yield piece

    def close(self) -> None:
        self._file.close()


async def _next(reader: MultipartReader) -> BodyPartReader | None:
    try:
        part = await reader.next()
    except (ValueError, RuntimeError, BadHttpMessage, web.RequestPayloadError) as error:
        raise _unreadable(error) from None
    if isinstance(part, MultipartReader):
        raise OpenAiError("The body has parts within parts, expected plain fields and a file.")
    return part


async def _read(part: BodyPartReader) -> bytes:
    try:
        return bytes(await part.read_chunk(READ_BYTES))
    except (ValueError, AssertionError, web.RequestPayloadError) as error:
        raise _unreadable(error) from None


async def _timely(work: Coroutine[None, None, _T]) -> _T:
    try:
        async with asyncio.timeout(IDLE_SECONDS):
            return await work
    except TimeoutError:
        raise OpenAiError(f"Nothing more of the body came for {IDLE_SECONDS:g} s.") from None


def _unreadable(error: Exception) -> OpenAiError:
    return OpenAiError(f"The body is no multipart form: {error}")
