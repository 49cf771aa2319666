"""What is written, and that every bound ends the recording with a mark and nothing else."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from streamgate.errors import StreamGateError
from streamgate.recording import writer as module
from streamgate.recording.bundle import Bundle, read_bundle
from streamgate.recording.format import SUFFIX
from streamgate.recording.options import RecordingOptions
from streamgate.recording.values import End
from streamgate.recording.writer import BundleWriter, Recording
from tests.recording.entries import HEADER, floats, plain, result, step, words

WAIT_SECONDS = 20.0


@contextmanager
def writing(directory: Path, **options: Any) -> Iterator[BundleWriter]:
    writer = BundleWriter(RecordingOptions(directory, **options))
    yield writer
    writer.close(WAIT_SECONDS)
    assert not writer._thread.is_alive()


def bundles(directory: Path) -> list[Bundle]:
    return [read_bundle(path) for path in sorted(directory.iterdir())]


def begun(writer: BundleWriter) -> Recording:
    recording = writer.begin(HEADER)
    assert recording is not None
    return recording


def until_written(writer: BundleWriter) -> None:
    """Return once nothing waits for the disk."""
    limit = time.monotonic() + WAIT_SECONDS
    while writer._room.waiting:
        assert time.monotonic() < limit, "waited in vain"
        time.sleep(0.001)


def test_a_whole_sequence(tmp_path: Path) -> None:
    folder = tmp_path / "new" / "folder"
    with writing(folder) as writer:
        recording = begun(writer)
        for entry in plain(1.0, 2.0)[1:]:
            writer.put(recording, entry)
        writer.finish(recording)
    (bundle,) = bundles(folder)
    assert [each.step.number for each in bundle.steps] == [0, 1]
    assert (bundle.reason, bundle.cut) == ("client_end", "")
    assert bundle.path.suffix == SUFFIX
    assert bundle.path.name.startswith("m-1-")
    assert bundle.path.stat().st_mode & 0o777 == 0o600
    assert folder.stat().st_mode & 0o777 == 0o700


def test_a_name_that_is_no_file_name(tmp_path: Path) -> None:
    with writing(tmp_path) as writer:
        writer.begin(replace(HEADER, model="../../a b/" + "x" * 300))
    (path,) = tmp_path.iterdir()
    assert path.name.startswith(".._.._a_b_xxx")


def test_what_is_written_is_there_before_the_sequence_ends(tmp_path: Path) -> None:
    """So a crash of the server keeps it: nothing waits in this process."""
    with writing(tmp_path) as writer:
        recording = begun(writer)
        writer.put(recording, step(0, floats("IN", 1)))
        until_written(writer)
        (bundle,) = bundles(tmp_path)
        assert len(bundle.steps) == 1
        assert "still writes" in bundle.cut
    (bundle,) = bundles(tmp_path)
    assert bundle.cut == "the server stopped"


def test_a_bundle_grows_no_larger_than_it_may(tmp_path: Path) -> None:
    with writing(tmp_path, bundle_bytes=5000) as writer:
        recording = begun(writer)
        for number in range(100):
            writer.put(recording, step(number, floats("IN", *range(20))))
        writer.put(recording, End("client_end", 1))
        writer.finish(recording)
    (bundle,) = bundles(tmp_path)
    assert 4000 < bundle.path.stat().st_size <= 5000
    assert 5 < len(bundle.steps) < 100
    assert bundle.cut == "a bundle may have 5000 bytes"
    assert not bundle.reason
    assert recording.is_over


def test_a_header_that_is_too_large_writes_nothing(tmp_path: Path) -> None:
    with writing(tmp_path, bundle_bytes=300) as writer:
        recording = begun(writer)
        writer.put(recording, step(0))
    assert recording.is_over
    assert bundles(tmp_path) == []


def test_all_bundles_together_grow_no_larger_than_they_may(tmp_path: Path) -> None:
    """Those of an earlier server count."""
    for _ in range(2):
        with writing(tmp_path, total_bytes=20_000) as writer:
            for _ in range(20):
                recording = writer.begin(HEADER)
                for number in range(10):
                    if recording is not None:
                        writer.put(recording, step(number, floats("IN", *range(50))))
                if recording is not None:
                    writer.finish(recording)
        stored = sum(path.stat().st_size for path in tmp_path.iterdir())
        assert 15_000 < stored <= 20_000
    cuts = [bundle.cut for bundle in bundles(tmp_path) if bundle.cut.startswith("all bundles")]
    assert cuts
    assert set(cuts) == {"all bundles may have 20000 bytes"}


def test_room_that_somebody_makes_is_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LOOK_AGAIN_SECONDS", 0.0)
    (tmp_path / f"old{SUFFIX}").write_bytes(bytes(10_000))
    with writing(tmp_path, total_bytes=10_000) as writer:
        first = begun(writer)
        writer.finish(first)
        until_written(writer)
        (tmp_path / f"old{SUFFIX}").unlink()
        writer.finish(begun(writer))
    (bundle,) = bundles(tmp_path)
    assert bundle.header.model == "m"


def test_a_disk_that_is_slow_costs_the_recording_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody waits for it: what does not fit the queue is cut off."""
    monkeypatch.setattr(module, "QUEUE_BYTES_MAX", 8 * module.ENTRY_BYTES)
    gate = threading.Event()
    create = BundleWriter._create

    def slow(self: BundleWriter, *arguments: Any) -> None:
        assert gate.wait(WAIT_SECONDS)
        create(self, *arguments)

    monkeypatch.setattr(BundleWriter, "_create", slow)
    with writing(tmp_path) as writer:
        recording = begun(writer)
        for number in range(50):
            writer.put(recording, step(number))
        assert recording.is_over
        assert writer._jobs.qsize() < 12
        gate.set()
    (bundle,) = bundles(tmp_path)
    assert bundle.cut == "more was to be written than the disk took"
    assert 0 < len(bundle.steps) < 10
    assert writer._room.waiting == 0


def test_only_so_many_are_open(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "OPEN_MAX", 3)
    with writing(tmp_path) as writer:
        found = [writer.begin(HEADER) for _ in range(5)]
        assert [each is None for each in found] == [False, False, False, True, True]
    assert len(bundles(tmp_path)) == 3


def test_a_disk_that_fails_ends_the_recording(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was written before stays readable, and other recordings go on."""
    append = BundleWriter._append

    def failing(self: BundleWriter, recording: Recording, data: bytes) -> None:
        if b"poison" in data:
            assert recording.file is not None
            recording.file.write(data[: len(data) // 2])
            raise OSError(28, "No space left on device")
        append(self, recording, data)

    monkeypatch.setattr(BundleWriter, "_append", failing)
    with writing(tmp_path) as writer:
        one, other = begun(writer), begun(writer)
        for recording in (one, other):
            writer.put(recording, step(0, floats("IN", 1)))
        writer.put(one, result(0, words("OUT", b"poison")))
        writer.put(other, result(0, floats("OUT", 1)))
        writer.put(one, step(1))
        writer.finish(other)
    found = sorted(bundles(tmp_path), key=lambda bundle: len(bundle.steps[0].results))
    assert [len(bundle.steps[0].results) for bundle in found] == [0, 1]
    assert [len(bundle.steps) for bundle in found] == [1, 1]
    assert "the file ends" in found[0].cut


def test_redacted_from_the_start(tmp_path: Path) -> None:
    with writing(tmp_path, redacted=True) as writer:
        recording = begun(writer)
        writer.put(recording, step(0, words("IN", b"my secret")))
        writer.put(recording, result(0, words("OUT", b"my secret")))
    (bundle,) = bundles(tmp_path)
    assert bundle.redacted
    assert b"secret" not in bundle.path.read_bytes()
    assert b"caller 7" not in bundle.path.read_bytes()


def test_a_directory_that_can_not_be_had(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StreamGateError, match=r"--record-sequences .*file"):
        BundleWriter(RecordingOptions(tmp_path / "file"))
