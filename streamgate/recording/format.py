"""The file: a line that names the format, then records, each whole or not there at all.

    file    MAGIC, then records up to the file's end
    record  head length (uint32), body length (uint64), CRC-32 of head and body (uint32), all little
            endian; then the head, a JSON object in UTF-8, and the body, raw bytes

Records are appended as things happen, so what a crash leaves behind is a file whose last record may
be torn; all before it are good. A record that is whole and does not fit its checksum is damage.
Nothing in a file is ever run, and no length in it is believed before the bytes are there.
"""

import json
import os
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO, Final

from streamgate.errors import Code, StreamGateError

FORMAT_VERSION: Final = 1
MAGIC: Final = b"streamgate sequence 1\n"
SUFFIX: Final = ".sgseq"
HEAD_BYTES_MAX: Final = 64 * 2**20

_FAMILY: Final = b"streamgate sequence "
_LENGTHS: Final = struct.Struct("<IQI")

Head = dict[str, Any]


class BundleError(StreamGateError):
    """A file that is no bundle, is damaged, or can't serve what is asked of it."""

    def __init__(self, message: str) -> None:
        super().__init__(Code.INVALID_ARG, message)


def encode_record(head: Head, body: bytes = b"") -> bytes:
    """One record as it stands in the file."""
    text = json.dumps(head, separators=(",", ":"), ensure_ascii=True).encode()
    checksum = zlib.crc32(body, zlib.crc32(text))
    return _LENGTHS.pack(len(text), len(body), checksum) + text + body


def open_new(path: Path) -> BinaryIO:
    """A new file, that only its owner can read. Raises OSError, also if it is there."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW
    return os.fdopen(os.open(path, flags, 0o600), "wb")


def read_records(path: Path) -> Iterator[tuple[Head, memoryview] | None]:
    """Each record's head and body; None comes last, for a record that was torn.

    Raises BundleError for a file that can't be read, is none of ours, or is damaged.
    """
    try:
        with path.open("rb") as file:
            size = path.stat().st_size
            _check_magic(path, file)
            while (place := file.tell()) < size:
                record = _read_record(path, file, size - place)
                yield record
                if record is None:
                    return
    except OSError as error:
        raise BundleError(f"{path}: can't be read: {error.strerror or error}") from None


def _check_magic(path: Path, file: BinaryIO) -> None:
    found = file.read(len(MAGIC))
    if found == MAGIC:
        return
    if found.startswith(_FAMILY):
        shown = found[len(_FAMILY) :].decode("ascii", "replace").strip()
        raise BundleError(
            f"{path}: a bundle of format {shown}, this program reads format {FORMAT_VERSION}"
        )
    raise BundleError(f"{path}: not a bundle: it does not begin with {MAGIC.decode().strip()!r}")


def _read_record(path: Path, file: BinaryIO, left: int) -> tuple[Head, memoryview] | None:
    place = file.tell()
    if left < _LENGTHS.size:
        return None
    head_size, body_size, checksum = _LENGTHS.unpack(file.read(_LENGTHS.size))
    if head_size > HEAD_BYTES_MAX:
        raise BundleError(f"{path}: damaged at byte {place}: a head of {head_size} bytes")
    if left < _LENGTHS.size + head_size + body_size:
        return None
    data = memoryview(file.read(head_size + body_size))
    if zlib.crc32(data) != checksum:
        raise BundleError(f"{path}: damaged at byte {place}: the checksum is another")
    try:
        head = json.loads(bytes(data[:head_size]))
    except (ValueError, RecursionError):
        raise BundleError(f"{path}: damaged at byte {place}: the head is no JSON") from None
    if not isinstance(head, dict):
        raise BundleError(f"{path}: damaged at byte {place}: the head is no JSON object")
    return head, data[head_size:]
