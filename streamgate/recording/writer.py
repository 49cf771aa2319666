"""Writes bundles on a thread of its own, so that whoever records never waits for a disk.

What is to be written waits in a queue of bounded size. Whatever is beyond a bound (of the queue, a
bundle, the directory, open files) ends the recording with a mark, and nothing else.
"""

import logging
import queue
import re
import secrets
import threading
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO, Final

from streamgate.errors import Code, StreamGateError
from streamgate.recording.format import MAGIC, SUFFIX, open_new
from streamgate.recording.options import RecordingOptions
from streamgate.recording.values import Cut, Entry, Header, Origin, Result, Step, encode, redact

log = logging.getLogger(__name__)

OPEN_MAX: Final = 256
"""How many sequences are recorded at a time."""

QUEUE_BYTES_MAX: Final = 64 * 2**20
"""How much may wait for the disk."""

ENTRY_BYTES: Final = 1024
"""What an entry costs in the queue, besides its tensors."""

MARK_BYTES: Final = 256
"""Room that is kept for the mark that a recording was cut."""

LOOK_AGAIN_SECONDS: Final = 5.0
"""How often a full directory is looked at again: somebody may have made room."""


@dataclass(slots=True, eq=False)
class Recording:
    """One bundle that is being written. `is_over` is set when no more of it will be."""

    name: str
    is_over: bool = False
    file: BinaryIO | None = None
    size: int = 0


@dataclass(slots=True)
class _Job:
    """The entry to write, or with none, the end of the recording; no recording ends the thread."""

    recording: Recording | None
    entry: Entry | None = None
    cost: int = 0


@dataclass(slots=True)
class _Room:
    """Bytes on the disk and in the queue; the latter is counted by two threads."""

    total: int = 0
    looked_at: float = 0.0
    waiting: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)


class BundleWriter:
    """Writes the bundles of one directory. `begin`, `put`, `finish` and `cut` never block."""

    def __init__(self, options: RecordingOptions) -> None:
        """Raises StreamGateError for a directory that can't be had."""
        self._options = options
        self._directory = options.directory
        try:
            self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._room = _Room(_stored(self._directory), time.monotonic())
        except OSError as error:
            raise StreamGateError(
                Code.INVALID_ARG,
                f"--record-sequences {self._directory}: {error.strerror or error}",
            ) from None
        self._jobs: queue.SimpleQueue[_Job] = queue.SimpleQueue()
        self._open: set[Recording] = set()
        self._is_full_told = False
        self._thread = threading.Thread(target=self._work, name="recorder", daemon=True)
        self._thread.start()

    def begin(self, header: Header) -> Recording | None:
        """A new bundle; None if too many are open."""
        if len(self._open) >= OPEN_MAX:
            return None
        recording = Recording(_file_name(header))
        self._open.add(recording)
        self.put(recording, header)
        return recording

    def put(self, recording: Recording, entry: Entry) -> None:
        """Append an entry, if there is room for it."""
        if recording.is_over:
            return
        cost = ENTRY_BYTES + _size(entry)
        room = self._room
        with room.lock:
            fits = room.waiting + cost <= QUEUE_BYTES_MAX
            if fits:
                room.waiting += cost
        if fits:
            self._jobs.put(_Job(recording, entry, cost))
        else:
            self.cut(recording, "more was to be written than the disk took")

    def finish(self, recording: Recording) -> None:
        """Nothing more comes."""
        recording.is_over = True
        self._jobs.put(_Job(recording))

    def cut(self, recording: Recording, why: str) -> None:
        """End it early, with a mark behind what was put before."""
        if not recording.is_over:
            recording.is_over = True
            self._jobs.put(_Job(recording, Cut(why)))
            self._jobs.put(_Job(recording))

    def close(self, timeout_seconds: float) -> None:
        """Write what waits, mark what is open, and end. May block: not for the event loop."""
        for recording in list(self._open):
            self.cut(recording, "the server stopped")
        self._jobs.put(_Job(None))
        self._thread.join(timeout_seconds)
        if self._thread.is_alive():
            log.warning("recordings were not written within %g s", timeout_seconds)

    def _work(self) -> None:
        while (job := self._jobs.get()).recording is not None:
            recording = job.recording
            try:
                if job.entry is None:
                    self._close(recording)
                else:
                    self._write(recording, job.entry)
            except Exception as error:  # noqa: BLE001 - one recording's trouble is no other's
                self._give_up(recording, error)
            finally:
                with self._room.lock:
                    self._room.waiting -= job.cost

    def _write(self, recording: Recording, entry: Entry) -> None:
        if isinstance(entry, Header):
            self._create(recording, entry)
            return
        if recording.file is None:
            return
        if isinstance(entry, Cut):
            self._append(recording, encode(entry))
            return
        data = encode(redact(entry) if self._options.redacted else entry)
        if recording.size + len(data) + MARK_BYTES > self._options.bundle_bytes:
            self._stop(recording, f"a bundle may have {self._options.bundle_bytes} bytes")
        elif not self._has_room(len(data)):
            self._stop(recording, f"all bundles may have {self._options.total_bytes} bytes")
        else:
            self._append(recording, data)

    def _create(self, recording: Recording, header: Header) -> None:
        told = redact(header) if self._options.redacted else header
        data = MAGIC + encode(told)
        if len(data) + MARK_BYTES > self._options.bundle_bytes:
            log.warning("no recording: %d bytes hold no model's header", len(data))
            recording.is_over = True
        elif not self._has_room(len(data) + MARK_BYTES):
            recording.is_over = True
        else:
            recording.file = open_new(self._directory / recording.name)
            self._room.total += MARK_BYTES
            self._append(recording, data)
            return
        self._close(recording)

    def _stop(self, recording: Recording, why: str) -> None:
        recording.is_over = True
        self._append(recording, encode(Cut(why)))
        self._close(recording)

    def _append(self, recording: Recording, data: bytes) -> None:
        assert recording.file is not None
        recording.file.write(data)
        # A crash of this process must not take what is written.
        recording.file.flush()
        recording.size += len(data)
        self._room.total += len(data)

    def _close(self, recording: Recording) -> None:
        self._open.discard(recording)
        file, recording.file = recording.file, None
        if file is not None:
            self._room.total -= MARK_BYTES
            file.close()

    def _give_up(self, recording: Recording, error: Exception) -> None:
        log.warning("recording %s ends: %s", recording.name, error)
        recording.is_over = True
        try:
            if recording.file is not None:
                recording.file.truncate(recording.size)
            self._close(recording)
        except OSError as trouble:
            log.warning("recording %s: %s", recording.name, trouble)

    def _has_room(self, size: int) -> bool:
        room = self._room
        if room.total + size <= self._options.total_bytes:
            return True
        now = time.monotonic()
        if now - room.looked_at >= LOOK_AGAIN_SECONDS:
            room.looked_at = now
            open_now = sum(recording.file is not None for recording in list(self._open))
            room.total = _stored(self._directory) + MARK_BYTES * open_now
        has = room.total + size <= self._options.total_bytes
        if not has and not self._is_full_told:
            log.warning("%s is full: no further sequence is recorded", self._directory)
        self._is_full_told = not has
        return has


def _stored(directory: Path) -> int:
    return sum(path.stat().st_size for path in directory.glob(f"*{SUFFIX}"))


def _file_name(header: Header) -> str:
    model = re.sub(r"[^A-Za-z0-9_.-]", "_", header.model)[:80]
    began = datetime.now(UTC).strftime("%Y%m%dT%H%M%S")
    return f"{model}-{header.version}-{began}-{secrets.token_hex(4)}{SUFFIX}"


def _size(entry: Entry) -> int:
    if isinstance(entry, Step):
        tensors = entry.inputs
    elif isinstance(entry, Result):
        tensors = entry.outputs
    elif isinstance(entry, Origin):
        return len(entry.snapshot or b"")
    elif isinstance(entry, Header):
        return len(entry.config) + sum(len(each.config) for each in entry.composing)
    else:
        return 0
    return sum(len(tensor.raw) for tensor in tensors if tensor.raw is not None)
