"""The file format: what is written comes back, what is damaged is refused, what is torn is cut."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from streamgate.errors import Code, Failure
from streamgate.recording.bundle import read_bundle, read_entries, write_redacted
from streamgate.recording.format import MAGIC, BundleError, encode_record
from streamgate.recording.values import Cut, End, Entry, Header, Result, Step, encode, redact
from tests.recording.entries import HEADER, floats, plain, result, sizes, step, words, write


def test_a_bundle_says_what_was_recorded(tmp_path: Path) -> None:
    failure = Failure(Code.INTERNAL, "no \u00e4nswer \ud800")
    entries: list[Entry] = [
        HEADER,
        step(0, floats("IN", 1.0, float("nan")), words("TEXT", b"", b"\x00\xff")),
        replace(
            step(1, floats("IN"), end=True),
            parameters={"flag": True, "whole": 2**70, "real": float("inf"), "text": "\ud800"},
            id="caller's",
            priority=3,
            timeout_us=9,
        ),
        result(0, floats("OUT", -0.0), index=0, final=False),
        Result(0, 1, 3, empty=True, parameters={"p": "q"}),
        Result(1, 0, 4, failure=failure, admitted=False),
        End("error", 5),
    ]
    bundle = read_bundle(write(tmp_path / "b", entries))
    assert bundle.header == replace(HEADER, composing=list(HEADER.composing))
    assert [each.step.number for each in bundle.steps] == [0, 1]
    assert list(read_entries(bundle.path))[1:] == [
        replace(each, inputs=list(each.inputs))
        if isinstance(each, Step)
        else replace(each, outputs=list(each.outputs))
        if isinstance(each, Result)
        else each
        for each in entries[1:]
    ]
    assert [len(each.results) for each in bundle.steps] == [2, 1]
    assert (bundle.reason, bundle.cut) == ("error", "")


def test_a_file_that_ends_anywhere_is_good_up_to_its_last_record(tmp_path: Path) -> None:
    """As a crash leaves it, at each byte."""
    entries = plain(1.0, 2.0)
    path = write(tmp_path / "whole", entries)
    data, ends = path.read_bytes(), sizes(entries)
    for size in range(ends[0], len(data)):
        path.write_bytes(data[:size])
        bundle = read_bundle(path)
        whole = sum(end <= size for end in ends)
        kept = [*bundle.steps, *(r for each in bundle.steps for r in each.results)]
        assert len(kept) == whole - 1
        assert bundle.cut
        assert not bundle.reason
    for size in range(len(MAGIC), ends[0]):
        path.write_bytes(data[:size])
        with pytest.raises(BundleError, match="no header"):
            read_bundle(path)


def test_a_byte_that_is_another_is_noticed(tmp_path: Path) -> None:
    """At each place: an error, or (in a length) a tear; never another answer."""
    entries = plain(1.0, 2.0)
    path = write(tmp_path / "b", entries)
    data = path.read_bytes()
    good = list(read_entries(path))
    for place in range(len(data)):
        path.write_bytes(data[:place] + bytes([data[place] ^ 0x41]) + data[place + 1 :])
        try:
            found = list(read_entries(path))
        except BundleError:
            continue
        assert isinstance(found[-1], Cut)
        assert found[:-1] == good[: len(found) - 1]


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"", "not a bundle"),
        (b"PK\x03\x04 something else entirely", "not a bundle"),
        (b"streamgate sequence 2\nmore", "format 2, this program reads format 1"),
        (MAGIC, "no header"),
        (MAGIC + encode(End("idle", 1)), "no header"),
        (MAGIC + encode_record({"no": "type"}), "damaged in record 0: 'type'"),
        (MAGIC + encode(HEADER) * 2, "a second header"),
        (MAGIC + encode(HEADER) + encode(step(1)), "step 0 is missing"),
        (MAGIC + encode(HEADER) + encode(result(0)), "a result of step 0, which is missing"),
    ],
)
def test_what_is_no_bundle_is_refused(tmp_path: Path, data: bytes, says: str) -> None:
    (tmp_path / "b").write_bytes(data)
    with pytest.raises(BundleError, match=says) as raised:
        read_bundle(tmp_path / "b")
    assert str(tmp_path / "b") in raised.value.message


@pytest.mark.parametrize(
    "change",
    [
        {"shape": [3]},
        {"shape": [-1]},
        {"shape": 7},
        {"datatype": "FP31"},
        {"datatype": None},
        {"bytes": 2**40},
        {"bytes": 0},
        {"bytes": True},
        {"name": 3},
    ],
)
def test_a_tensor_that_contradicts_itself_is_refused(
    tmp_path: Path, change: dict[str, object]
) -> None:
    tensor = {"name": "IN", "datatype": "FP32", "shape": [2], "bytes": 8} | change
    head = json.loads(encode(step(0))[16:]) | {"inputs": [tensor]}
    (tmp_path / "b").write_bytes(MAGIC + encode(HEADER) + encode_record(head, bytes(8)))
    with pytest.raises(BundleError, match="damaged in record 1"):
        read_bundle(tmp_path / "b")


def test_a_head_nested_too_deep_is_refused(tmp_path: Path) -> None:
    record = encode_record({"type": "x"})
    deep = b"[" * 200_000
    import struct
    import zlib

    record = struct.pack("<IQI", len(deep), 0, zlib.crc32(deep)) + deep
    (tmp_path / "b").write_bytes(MAGIC + record)
    with pytest.raises(BundleError, match="no JSON"):
        read_bundle(tmp_path / "b")


def test_a_record_of_a_later_program_is_passed_over(tmp_path: Path) -> None:
    path = tmp_path / "b"
    later = encode_record({"type": "companions", "of": [1]}, b"anything")
    path.write_bytes(MAGIC + encode(HEADER) + later + encode(End("idle", 1)))
    assert read_bundle(path).reason == "idle"


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="No such file"):
        read_bundle(tmp_path / "none")


class TestRedacted:
    def test_it_holds_nothing_that_was_said(self, tmp_path: Path) -> None:
        secret = b"my secret words"
        entries: list[Entry] = [
            replace(HEADER, sequence=secret.decode()),
            replace(
                step(0, words("IN", secret)),
                parameters={"p": secret.decode()},
                id=secret.decode(),
            ),
            replace(result(0, words("OUT", secret)), parameters={"p": secret.decode()}),
            replace(result(0), failure=Failure(Code.INTERNAL, secret.decode())),
        ]
        source = write(tmp_path / "full", entries)
        assert source.read_bytes().count(secret) == 7
        write_redacted(source, tmp_path / "redacted")
        assert secret not in (tmp_path / "redacted").read_bytes()
        assert (tmp_path / "redacted").stat().st_mode & 0o777 == 0o600
        assert read_bundle(tmp_path / "redacted").redacted

    def test_it_is_what_a_full_one_becomes(self, tmp_path: Path) -> None:
        source = write(tmp_path / "full", plain(1.0, 2.0))
        write_redacted(source, tmp_path / "redacted")
        full, redacted = read_bundle(source), read_bundle(tmp_path / "redacted")
        assert full.as_redacted().steps == redacted.steps
        assert redacted.as_redacted() is redacted

    def test_no_file_is_overwritten(self, tmp_path: Path) -> None:
        source = write(tmp_path / "full", plain(1.0))
        with pytest.raises(BundleError, match="File exists"):
            write_redacted(source, source)
        assert read_bundle(source).reason

    def test_one_that_is_redacted_is_not_redacted_again(self, tmp_path: Path) -> None:
        source = write(tmp_path / "b", [redact(HEADER)])
        with pytest.raises(BundleError, match="already"):
            write_redacted(source, tmp_path / "c")

    def test_the_hash_tells_types_and_shapes_apart(self) -> None:
        one = floats("A", 0.0, 0.0)
        assert isinstance(HEADER, Header)
        assert one.digest == replace(one, name="B").digest
        assert one.digest != replace(one, shape=(1, 2)).digest
        assert one.digest == one.redacted().digest
