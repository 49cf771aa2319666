"""Entries as they stand in Redis: data itself, or the name of the blob that it is in."""

import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from streamgate.snapshot.contract import (
    KeptResult,
    KeptSequence,
    KeptSnapshot,
    KeptStep,
    NotTakenError,
    WhyNot,
)
from streamgate.snapshot.unwritten import DROP, RESULT, SNAPSHOT, STEP, VOID, Operation

BLOB_BYTES: Final = 128 * 1024
"""Data of this size goes around the scripts, which would copy it."""

_INLINE, _BLOB = b"\0", b"\1"
_HEADS: Final = {
    STEP: struct.Struct(">Q"),
    VOID: struct.Struct(">Q"),
    SNAPSHOT: struct.Struct(""),
    RESULT: struct.Struct(">QI"),
}
"""What stands before an entry: a step's position, a result's position and index."""

BlobOf = tuple[str, int]
"""What a blob is of: a kind of operation, and its number."""


def result_data(position: int, index: int, data: bytes) -> bytes:
    """A result's data as an operation has it."""
    return _HEADS[RESULT].pack(position, index) + data


def entry_of(operation: Operation, blob: str) -> bytes:
    """The operation's entry; with the name of a blob, that stands for the data."""
    kind, number, data = operation
    if kind not in _HEADS:
        return data
    if kind in {STEP, VOID}:
        head, rest = _HEADS[STEP].pack(number), data
    else:
        size = _HEADS[kind].size
        head, rest = data[:size], data[size:]
    return b"".join([head, _BLOB, blob.encode()] if blob else [head, _INLINE, rest])


def blob_data(operation: Operation) -> bytes | None:
    """What goes into a blob of its own; None for an operation that has none."""
    kind, _, data = operation
    if kind not in _HEADS or len(data) < BLOB_BYTES:
        return None
    return data[_HEADS[RESULT].size :] if kind == RESULT else data


def blobs_gone(blobs: Mapping[str, BlobOf], operations: Sequence[Operation]) -> list[str]:
    """The blobs that nothing names any more once these operations are done."""
    gone: list[str] = []
    for name, (kind, number) in blobs.items():
        for operation, at, _ in operations:
            if (
                operation in {"end", "forget"}
                or (operation == DROP and kind == RESULT and number < at)
                or (operation == SNAPSHOT and kind == STEP and number <= at)
                or (operation == SNAPSHOT and kind == SNAPSHOT and number < at)
            ):
                gone.append(name)
                break
    return gone


@dataclass(frozen=True, slots=True)
class TakenEntries:
    """What was kept of a sequence, before its blobs are read. `blobs` has each one's name."""

    head: Mapping[bytes, bytes]
    steps: Sequence[bytes]
    results: Sequence[bytes]

    @property
    def blobs(self) -> dict[str, BlobOf]:
        found: dict[str, BlobOf] = {}
        for entry in self.steps:
            (position,), blob, _ = _split(STEP, entry)
            if blob:
                found[blob] = (STEP, position)
        for ordinal, entry in enumerate(self.results, int(self.head[b"rfirst"])):
            _, blob, _ = _split(RESULT, entry)
            if blob:
                found[blob] = (RESULT, ordinal)
        snapshot = self.head.get(b"snapshot")
        if snapshot is not None:
            _, blob, _ = _split(SNAPSHOT, snapshot)
            if blob:
                found[blob] = (SNAPSHOT, int(self.head[b"at"]))
        return found

    def sequence(self, loaded: Mapping[str, bytes]) -> KeptSequence:
        """The sequence, with the blobs by name. Raises NotTakenError (BROKEN) for steps that have
        a gap."""
        head = self.head

        def whole(kind: str, entry: bytes) -> tuple[tuple[int, ...], bytes]:
            numbers, blob, data = _split(kind, entry)
            return numbers, loaded[blob] if blob else data

        snapshot = None
        if b"snapshot" in head:
            snapshot = KeptSnapshot(int(head[b"at"]), whole(SNAPSHOT, head[b"snapshot"])[1])
        steps = [
            KeptStep(position, data)
            for (position,), data in (whole(STEP, entry) for entry in self.steps)
        ]
        results = [
            KeptResult(position, index, data)
            for (position, index), data in (whole(RESULT, entry) for entry in self.results)
        ]
        first = 0 if snapshot is None else snapshot.position + 1
        found = [step.position for step in steps]
        if found != list(range(first, int(head[b"next"]))):
            raise NotTakenError(
                WhyNot.BROKEN,
                f"{len(found)} steps are kept, expected those from {first} to "
                f"{int(head[b'next']) - 1}",
            )
        return KeptSequence(
            int(head[b"epoch"]),
            head[b"version"].decode(),
            head[b"note"].decode(),
            steps,
            snapshot,
            results,
            int(head[b"rfirst"]),
        )


def inline_results(entries: Sequence[bytes]) -> list[KeptResult]:
    """The results that are no blobs."""
    found = []
    for entry in entries:
        (position, index), blob, data = _split(RESULT, entry)
        if not blob:
            found.append(KeptResult(position, index, data))
    return found


def _split(kind: str, entry: bytes) -> tuple[tuple[int, ...], str, bytes]:
    """The numbers before an entry, the name of its blob ("" for none), its data."""
    head = _HEADS[kind]
    rest = entry[head.size + 1 :]
    is_blob = entry[head.size : head.size + 1] == _BLOB
    return head.unpack_from(entry), rest.decode() if is_blob else "", b"" if is_blob else rest
