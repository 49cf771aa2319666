"""gRPC over the lean transport's core: messages, windows, compression, trailers, order."""

from __future__ import annotations

import gzip
import struct
import zlib

import pytest

from streamgate.frontends.lean_http2 import frames
from streamgate.frontends.lean_http2.answers import percent_encoded
from streamgate.frontends.lean_http2.limits import Http2Limits
from tests.frontends.lean_peer import HEADERS, Peer, message, words


def test_a_stream_echoes_and_ends() -> None:
    peer = Peer()
    call = peer.open()
    peer.data(1, message(b"one") + message(b"two"))
    peer.data(1, b"", ends=True)
    assert call.messages == [b"one", b"two"]
    assert peer.bytes_of(1) == message(b"one") + message(b"two")
    assert peer.fields_of(1) == [
        {":status": "200", "content-type": "application/grpc"},
        {"grpc-status": "0"},
    ]
    assert call.is_ended
    assert not call.is_lost
    assert call.sent_bytes == 6
    assert not peer.core.streams
    assert not peer.of_kind(frames.RST_STREAM)


def test_answers_become_short_and_stay_right() -> None:
    peer = Peer()
    for stream_id in (1, 3, 5):
        peer.open(stream_id).is_silent = True
        peer.data(stream_id, message(b"q"), ends=True)
        peer.calls[-1].stream.answer(b"a")
        peer.flush()
    assert [len(each.payload) for each in peer.of_kind(frames.HEADERS, 5)] == [2, 1]
    both = {":status": "200", "content-type": "application/grpc"}
    for block, expected in zip(
        peer.of_kind(frames.HEADERS), [both, {"grpc-status": "0"}] * 3, strict=True
    ):
        assert peer.decode(block.payload) == expected
    assert peer.bytes_of(5) == message(b"a")
    assert all(call.is_ended for call in peer.calls)


@pytest.mark.parametrize("size", [0, 2048])
def test_a_peer_without_a_header_table(size: int) -> None:
    peer = Peer()
    peer.open(1)
    peer.data(1, message(b"x"), ends=True)
    peer.feed(frames.settings({frames.HEADER_TABLE_SIZE: size}))
    for stream_id in (3, 5):
        peer.open(stream_id)
        peer.data(stream_id, message(b"x"), ends=True)
    blocks = [each.payload for each in peer.of_kind(frames.HEADERS)]
    for block in blocks[:2]:
        peer.decoder.decode(block)
    peer.decoder.max_allowed_table_size = size
    peer.decoder.header_table_size = size
    decoded = [peer.decode(block) for block in blocks[2:]]
    assert decoded[1::2] == [{"grpc-status": "0"}] * 2
    assert peer.decoder.header_table_size == 0


def test_every_cut_of_the_bytes_is_the_same() -> None:
    source = Peer()
    wire = (
        frames.PREFACE
        + frames.settings({frames.INITIAL_WINDOW_SIZE: 40})
        + frames.frame(frames.HEADERS, frames.END_HEADERS, 1, source.head(("x-y", "z")))
        + frames.frame(frames.DATA, frames.PADDED, 1, b"\x03" + message(b"hello")[:6] + bytes(3))
        + frames.frame(frames.DATA, 0, 1, message(b"hello")[6:] + message(bytes(60)))
        + frames.frame(frames.PING, 0, 0, b"12345678")
        + frames.window_update(1, 100)
        + frames.frame(frames.HEADERS, 0, 3, source.head()[:4])
    )
    rest = source.head()
    assert len(rest) == len(HEADERS)  # all indexed by now
    wire = wire[: -9 - 4] + frames.frame(frames.HEADERS, 0, 3, rest[:4])
    wire += frames.frame(frames.CONTINUATION, frames.END_HEADERS, 3, rest[4:])
    wire += frames.frame(frames.DATA, frames.END_STREAM, 3, message(b""))
    wire += frames.frame(frames.DATA, frames.END_STREAM, 1)
    outcomes = []
    for step in (1, 2, 7, 9, 64, len(wire)):
        peer = Peer(greets=False)
        for at in range(0, len(wire), step):
            peer.feed(wire[at : at + step])
        outcomes.append(
            [
                [call.messages for call in peer.calls],
                [peer.bytes_of(stream_id) for stream_id in (1, 3)],
                [call.is_ended for call in peer.calls],
                len(peer.of_kind(frames.PING)),
                peer.core.is_closing,
            ]
        )
    assert outcomes[0] == [
        [[b"hello", bytes(60)], [b""]],
        [message(b"hello") + message(bytes(60)), message(b"")],
        [True, True],
        1,
        False,
    ]
    assert outcomes == outcomes[:1] * len(outcomes)


def test_a_large_message_goes_out_in_the_peers_windows() -> None:
    peer = Peer()
    call = peer.open()
    large = bytes(range(256)) * 1000
    for at in range(0, len(large) + 5, 16000):
        peer.data(1, message(large)[at : at + 16000])
    assert call.messages == [large]
    assert len(peer.bytes_of(1)) == 65535
    assert call.sent_bytes == 0
    peer.feed(frames.window_update(0, 10**6))
    assert len(peer.bytes_of(1)) == 65535
    peer.feed(frames.window_update(1, 100_000))
    assert len(peer.bytes_of(1)) == 165_535
    peer.feed(frames.window_update(1, 10**6))
    assert peer.bytes_of(1) == message(large)
    assert call.sent_bytes == len(large)
    peer.data(1, b"", ends=True)
    assert peer.fields_of(1)[-1] == {"grpc-status": "0"}
    assert max(len(each.payload) for each in peer.of_kind(frames.DATA)) == 16384


def test_a_smaller_initial_window_holds_for_streams_that_run() -> None:
    peer = Peer()
    peer.open()
    peer.feed(frames.settings({frames.INITIAL_WINDOW_SIZE: 0}))
    peer.data(1, message(b"held"))
    assert peer.bytes_of(1) == b""
    peer.feed(frames.settings({frames.INITIAL_WINDOW_SIZE: 9}))
    assert peer.bytes_of(1) == message(b"held")


def test_streams_take_turns() -> None:
    peer = Peer()
    peer.feed(frames.settings({frames.INITIAL_WINDOW_SIZE: 10**6}))
    for stream_id in (1, 3):
        peer.is_silent = True
        peer.open(stream_id)
    peer.calls[0].stream.send(bytes(100_000))
    peer.calls[1].stream.send(bytes(100_000))
    peer.flush()
    assert [each.stream_id for each in peer.of_kind(frames.DATA)] == [1, 3, 1, 3]


def test_a_sink_that_wants_no_more_keeps_the_window_closed() -> None:
    peer = Peer(Http2Limits(stream_window_bytes=65536))
    peer.is_silent = True
    call = peer.open()
    call.wants_message = False
    for _ in range(4):
        peer.data(1, message(bytes(16379)))
    assert call.messages == []
    assert not peer.of_kind(frames.WINDOW_UPDATE, 1)
    call.wants_message = True
    call.stream.resume()
    assert call.messages == []  # never from within the call
    peer.flush()
    assert [len(data) for data in call.messages] == [16379] * 4
    assert [each.payload for each in peer.of_kind(frames.WINDOW_UPDATE, 1)] == [words(65536)]
    peer.data(1, message(b"more"), ends=True)
    assert call.messages[-1] == b"more"
    assert call.is_half_closed


def test_a_half_close_waits_for_what_is_held() -> None:
    peer = Peer()
    peer.is_silent = True
    call = peer.open()
    call.wants_message = False
    peer.data(1, message(b"a"), ends=True)
    assert not call.is_half_closed
    call.wants_message = True
    call.stream.resume()
    peer.flush()
    assert (call.messages, call.is_half_closed) == ([b"a"], True)


@pytest.mark.parametrize(
    ("encoding", "pack"), [("gzip", gzip.compress), ("deflate", zlib.compress)]
)
def test_compressed_messages(encoding: str, pack: object) -> None:
    assert callable(pack)
    peer = Peer()
    call = peer.open(1, ("grpc-encoding", encoding))
    peer.data(1, message(pack(b"abc" * 100), 1) + message(b"plain"))
    assert call.messages == [b"abc" * 100, b"plain"]


@pytest.mark.parametrize(
    ("extra", "payload", "status", "text"),
    [
        ((), message(b"x", 1), 13, "compressed flag 1 with grpc-encoding 'identity'"),
        ((("grpc-encoding", "gzip"),), message(b"junk", 1), 13, "a message that is no gzip"),
        ((("grpc-encoding", "gzip"),), message(gzip.compress(b"x" * 99)[:-9], 1), 13, "cut short"),
        ((("grpc-encoding", "gzip"),), message(gzip.compress(bytes(101)), 1), 8, "more than 100"),
        ((), struct.pack(">BI", 0, 101), 8, "a message of 101 bytes, at most 100 are taken"),
        ((), b"\x00\x00", 13, "the request ended within a message"),
    ],
)
def test_messages_that_cannot_be(
    extra: tuple[tuple[str, str], ...], payload: bytes, status: int, text: str
) -> None:
    peer = Peer(Http2Limits(message_bytes=100))
    call = peer.open(1, *extra)
    peer.data(1, payload, ends=status == 13)
    (fields,) = peer.fields_of(1)
    assert fields["grpc-status"] == str(status)
    assert text in fields["grpc-message"].replace("%25", "%")
    assert call.is_lost
    assert call.is_ended
    assert not peer.core.is_closing


def test_an_early_end_tells_the_peer_to_stop_and_bears_with_what_comes() -> None:
    peer = Peer()
    peer.is_silent = True
    call = peer.open()
    call.stream.finish(14, "später 100%")
    peer.flush()
    assert peer.fields_of(1) == [
        {
            ":status": "200",
            "content-type": "application/grpc",
            "grpc-status": "14",
            "grpc-message": "sp%C3%A4ter 100%25",
        }
    ]
    assert peer.reset_code(1) == 0
    peer.data(1, message(b"late"))
    peer.feed(frames.window_update(1, 5))
    peer.frame(frames.HEADERS, frames.END_HEADERS | frames.END_STREAM, 1, peer.encoder.encode([]))
    peer.frame(frames.RST_STREAM, 0, 1, words(8))
    assert not peer.core.is_closing
    assert call.messages == []


def test_a_reset_loses_the_call_and_what_waits() -> None:
    peer = Peer()
    peer.feed(frames.settings({frames.INITIAL_WINDOW_SIZE: 0}))
    call = peer.open()
    peer.data(1, message(b"x"))
    assert peer.core.outbox.waiting_bytes == 6
    peer.frame(frames.RST_STREAM, 0, 1, words(8))
    assert call.is_lost
    assert call.is_ended
    assert peer.core.outbox.waiting_bytes == 0


def test_a_call_whose_time_is_up_ends_with_its_status_or_in_a_reset() -> None:
    peer = Peer()
    peer.is_silent = True
    peer.open(1).stream.expire(4, "late")
    stuck = peer.open(3)
    peer.feed(frames.settings({frames.INITIAL_WINDOW_SIZE: 0}))
    stuck.stream.send(b"unread")
    stuck.stream.expire(4, "late")
    stuck.stream.expire(4, "late")
    peer.flush()
    assert peer.reset_code(3) == frames.ErrorCode.CANCEL
    assert peer.fields_of(1)[0]["grpc-status"] == "4"
    assert all(call.is_lost and call.is_ended for call in peer.calls)


def test_trailers_of_a_request_end_it() -> None:
    peer = Peer()
    call = peer.open()
    block = peer.encoder.encode([("x", "y")])
    peer.frame(frames.HEADERS, frames.END_HEADERS | frames.END_STREAM, 1, block)
    assert call.is_half_closed


def test_the_head_is_read() -> None:
    peer = Peer()
    for _ in range(3):  # known blocks come to the same
        stream_id = peer.core.last_id + 2 if peer.core.last_id else 1
        head = peer.open(
            stream_id,
            ("grpc-timeout", "1500m"),
            ("x-a", "1"),
            ("x-a", "2"),
            ("data-bin", "AAE"),
            ("user-agent", "u"),
        ).stream.head
        assert head.timeout_seconds == 1.5
        assert head.metadata == (
            ("x-a", "1"),
            ("x-a", "2"),
            ("data-bin", b"\x00\x01"),
            ("user-agent", "u"),
        )


def test_known_blocks_are_forgotten_with_the_table() -> None:
    peer = Peer()
    fixed = b"\x83\x86\x04\x05/test\x0f\x10\x10application/grpc"  # leaves the table as it is
    newest = fixed + b"\xbe"
    found = []
    blocks = [fixed + b"\x40\x03x-v\x03one", newest, newest, fixed + b"\x40\x03x-v\x03two", newest]
    for number, block in enumerate(blocks):
        peer.frame(frames.HEADERS, frames.END_HEADERS, 2 * number + 1, block)
        found.append(peer.calls[-1].stream.head.metadata)
    one, two = (("x-v", "one"),), (("x-v", "two"),)
    assert found == [one, one, one, two, two]


@pytest.mark.parametrize(
    ("change", "status"), [((":method", "GET"), 405), (("content-type", "text/html"), 415)]
)
def test_what_is_no_grpc_is_answered_as_http(change: tuple[str, str], status: int) -> None:
    peer = Peer()
    fields = tuple(change if name == change[0] else (name, value) for name, value in HEADERS)
    block = peer.head(fields=fields)
    peer.frame(frames.HEADERS, frames.END_HEADERS | frames.END_STREAM, 1, block)
    assert peer.fields_of(1) == [{":status": str(status)}]
    assert not peer.calls


def test_leaving_refuses_new_streams_and_lets_others_end() -> None:
    peer = Peer()
    call = peer.open()
    peer.core.leave()
    peer.open(3)
    assert peer.reset_code(3) == frames.ErrorCode.REFUSED_STREAM
    assert peer.goaway() == (0, "")
    peer.data(1, message(b"still"), ends=True)
    assert call.is_ended
    assert peer.bytes_of(1) == message(b"still")


def test_a_lost_connection_loses_every_call_once() -> None:
    peer = Peer()
    for stream_id in (1, 3):
        peer.open(stream_id)
    peer.core.lose()
    peer.core.lose()
    assert all(call.is_lost and call.is_ended for call in peer.calls)


def test_grpc_messages_are_cut_between_characters() -> None:
    assert percent_encoded("a%ß\n") == b"a%25%C3%9F%0A"
    assert percent_encoded("ß" * 10_000) == b"%C3%9F" * (4096 // 6)
