"""What the lean transport's core does with peers that break the rules or only cost time."""

from __future__ import annotations

import struct
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streamgate.frontends.lean_http2 import frames
from streamgate.frontends.lean_http2.frames import ErrorCode
from streamgate.frontends.lean_http2.limits import Http2Limits
from tests.frontends.lean_peer import HEADERS, Peer, message, words

CALM = ErrorCode.ENHANCE_YOUR_CALM
FEW = Http2Limits(
    idle_frames=100, idle_frames_per_second=10, resets=50, resets_per_second=5, streams=20
)


def until_closed(peer: Peer, act: Callable[[int], object], most: int = 2000) -> int:
    """How many times the act was needed."""
    for count in range(1, most + 1):
        act(count)
        if peer.core.is_closing:
            return count
    raise AssertionError(f"still open after {most}")


def test_rapid_resets() -> None:
    peer = Peer(FEW)

    def act(count: int) -> None:
        peer.open(2 * count - 1)
        peer.frame(frames.RST_STREAM, 0, 2 * count - 1, words(8))

    assert until_closed(peer, act) == 51
    assert peer.goaway() == (CALM, "too many calls begun and broken off")
    assert all(call.is_lost and call.is_ended for call in peer.calls)


def test_resets_at_a_slow_pace_are_borne() -> None:
    peer = Peer(FEW)
    for count in range(300):
        peer.open(2 * count + 1)
        peer.frame(frames.RST_STREAM, 0, 2 * count + 1, words(8))
        peer.pass_seconds(0.25)
    assert not peer.core.is_closing


def test_malformed_requests_are_charged_as_resets() -> None:
    peer = Peer(FEW)

    def act(count: int) -> None:
        block = peer.head(fields=HEADERS[1:])
        peer.frame(frames.HEADERS, frames.END_HEADERS, 2 * count - 1, block)

    assert until_closed(peer, act) == 51
    assert peer.reset_code(1) == ErrorCode.PROTOCOL_ERROR
    assert not peer.calls


@pytest.mark.parametrize(
    ("wire", "most"),
    [
        (frames.settings({}), 100),
        (frames.settings(dict.fromkeys(range(100, 120), 0)), 5),
        (frames.frame(frames.SETTINGS, frames.ACK, 0), 100),
        (frames.frame(frames.PING, 0, 0, bytes(8)), 100),
        (frames.frame(frames.PRIORITY, 0, 1, bytes(5)), 100),
        (frames.frame(77, 255, 9, b"junk"), 100),
        (frames.window_update(0, 1), 100),
        (frames.window_update(1, 1), 100),
        (frames.frame(frames.DATA, 0, 1), 100),
        (frames.frame(frames.DATA, frames.PADDED, 1, b"\x03abc"), 100),
        (frames.frame(frames.GOAWAY, 0, 0, bytes(8)), 100),
    ],
)
def test_floods_of_frames_without_work(wire: bytes, most: int) -> None:
    peer = Peer(FEW)
    peer.open()
    peer.data(1, message(bytes(5000))[:100])
    spent_by_greeting = 1
    assert most - spent_by_greeting <= until_closed(peer, lambda _: peer.feed(wire)) <= most + 1
    assert peer.goaway() == (CALM, "too many frames that do no work")


def test_a_flood_of_one_byte_data() -> None:
    peer = Peer(FEW)
    peer.open()
    peer.data(1, message(bytes(5000))[:5])
    until_closed(peer, lambda _: peer.data(1, b"x"), 101)
    assert peer.goaway()[0] == CALM


def test_the_same_at_a_slow_pace_is_borne() -> None:
    peer = Peer(FEW)
    for _ in range(400):
        peer.frame(frames.PING, 0, 0, bytes(8))
        peer.pass_seconds(0.125)
    assert not peer.core.is_closing
    assert len(peer.of_kind(frames.PING)) == 400


def test_a_window_update_for_every_message_is_what_clients_send() -> None:
    peer = Peer(FEW)
    peer.open()
    for _ in range(3000):
        peer.data(1, message(b"0123456789"))
        peer.feed(frames.window_update(1, 15) + frames.window_update(0, 15))
    assert not peer.core.is_closing
    assert len(peer.calls[0].messages) == 3000


def test_more_streams_than_allowed_are_refused() -> None:
    peer = Peer(FEW)
    for number in range(21):
        peer.open(2 * number + 1)
    assert len(peer.calls) == 20
    assert peer.reset_code(41) == ErrorCode.REFUSED_STREAM
    peer.data(1, b"", ends=True)
    peer.open(43)
    assert len(peer.calls) == 21


@pytest.mark.parametrize(("payload", "frame_count"), [(b"", 32), (bytes(16384), 4)])
def test_continuation_floods(payload: bytes, frame_count: int) -> None:
    peer = Peer()
    peer.frame(frames.HEADERS, 0, 1, b"\x00")
    count = until_closed(peer, lambda _: peer.frame(frames.CONTINUATION, 0, 1, payload))
    assert count == frame_count
    assert peer.goaway() == (CALM, "the header block is too long")


def test_a_header_list_that_unpacks_to_much() -> None:
    peer = Peer()
    block = bytes(peer.encoder.encode([("x-large", "v" * 4000)]))  # then one byte for each
    peer.frame(frames.HEADERS, frames.END_HEADERS, 1, block + b"\xbe" * 1000)
    assert peer.goaway()[0] == CALM


@pytest.mark.parametrize(
    ("block", "text"),
    [
        (b"\xff" * 6, "an integer too long"),
        (b"\x7f" + b"\x80" * 10_000 + b"\x01", "an integer too long"),
        (b"\x40\x01a\x05b", "cut short"),
        (b"\x3f\xe1\x7f", "header block: "),  # a table larger than was offered
        (b"\xc5", "header block: "),  # an entry that is not there
        (b"\x00\x81\xff\x01a", "header block: "),  # no Huffman code
    ],
)
def test_junk_instead_of_a_header_block(block: bytes, text: str) -> None:
    peer = Peer()
    peer.frame(frames.HEADERS, frames.END_HEADERS, 1, block)
    code, told = peer.goaway()
    assert code == ErrorCode.COMPRESSION_ERROR
    assert text in told


def test_a_client_whose_calls_are_refused_is_not_cut_off_for_it() -> None:
    peer = Peer(FEW)
    peer.is_silent = True
    for number in range(1000):
        stream_id = 2 * number + 1
        peer.open(stream_id).stream.finish(8, "no")
        peer.flush()
        peer.data(stream_id, message(b"already on its way"), ends=True)
    assert not peer.core.is_closing
    assert len(peer.of_kind(frames.HEADERS)) == 1000


def test_a_flood_on_a_stream_that_has_ended() -> None:
    peer = Peer(FEW)
    peer.is_silent = True
    peer.open().stream.finish(8, "no")
    until_closed(peer, lambda _: peer.data(1, b"x"), 110)
    assert peer.goaway()[0] == CALM


def test_a_defect_of_ours_ends_its_connection_only(caplog: pytest.LogCaptureFixture) -> None:
    peer = Peer()
    call = peer.open()
    call.messages = None  # type: ignore[assignment] # a sink that fails
    peer.data(1, message(b"x"))
    assert peer.goaway() == (ErrorCode.INTERNAL_ERROR, "internal error")
    assert "an HTTP/2 connection could not go on" in caplog.text
    assert call.is_lost


def test_a_frame_announced_too_large_is_not_waited_for() -> None:
    peer = Peer()
    peer.feed(struct.pack(">IBI", 16385 << 8, 0, 1))
    assert peer.goaway() == (
        ErrorCode.FRAME_SIZE_ERROR,
        "a frame of 16385 bytes, at most 16384",
    )


def test_a_message_announced_too_large_is_not_waited_for() -> None:
    peer = Peer()
    call = peer.open()
    peer.data(1, struct.pack(">BI", 0, 2**32 - 1))
    assert peer.fields_of(1)[0]["grpc-status"] == "8"
    assert call.is_lost
    assert not peer.core.streams


def test_data_beyond_the_streams_window() -> None:
    peer = Peer(Http2Limits(stream_window_bytes=65536))
    call = peer.open()
    call.wants_message = False
    for _ in range(4):
        peer.data(1, message(bytes(16379)))
    peer.open(3)
    peer.data(1, b"x")
    assert peer.reset_code(1) == ErrorCode.FLOW_CONTROL_ERROR
    assert call.is_lost
    peer.data(3, message(b"fine"))
    assert peer.bytes_of(3) == message(b"fine")


def test_too_much_held_on_one_connection_ends_the_stream_that_goes_beyond() -> None:
    peer = Peer(Http2Limits(received_bytes=30_000))
    for stream_id in (1, 3):
        peer.open(stream_id)
        peer.data(stream_id, message(bytes(50_000))[:16000])
    (fields,) = peer.fields_of(3)
    assert fields["grpc-status"] == "8"
    assert 1 in peer.core.streams
    peer.frame(frames.RST_STREAM, 0, 1, words(8))
    peer.open(5)
    peer.data(5, message(bytes(50_000))[:16000])
    assert 5 in peer.core.streams


@pytest.mark.parametrize("lost", [False, True])
def test_what_is_held_is_counted_to_the_byte(lost: bool) -> None:
    peer = Peer()
    peer.open(1, ("grpc-encoding", "gzip"))
    junk = message(bytes(200), 1)
    for at in range(0, 200, 100):
        peer.data(1, junk[at : at + 100])
    assert peer.core._held_bytes == 200
    if lost:
        peer.frame(frames.RST_STREAM, 0, 1, words(8))
    else:
        peer.data(1, junk[200:] + b"more")
        assert peer.fields_of(1)[0]["grpc-status"] == "13"
    assert peer.core._held_bytes == 0


def test_data_after_the_status_is_settled_is_dropped() -> None:
    peer = Peer()
    peer.feed(frames.settings({frames.INITIAL_WINDOW_SIZE: 0}))
    peer.is_silent = True
    call = peer.open()
    call.stream.send(b"unread")
    call.stream.finish(13, "over")
    peer.data(1, message(b"late")[:6])
    assert call.messages == []
    assert peer.core._held_bytes == 0
    peer.feed(frames.window_update(1, 100))
    assert call.is_ended


def test_windows_that_overflow() -> None:
    peer = Peer()
    peer.open()
    peer.feed(frames.window_update(1, 2**31 - 1))
    assert peer.reset_code(1) == ErrorCode.FLOW_CONTROL_ERROR
    peer.feed(frames.window_update(0, 2**31 - 1))
    assert peer.goaway()[0] == ErrorCode.FLOW_CONTROL_ERROR


def test_a_client_that_opens_no_window_is_cut_off_at_a_limit() -> None:
    peer = Peer(Http2Limits(unsent_bytes=100_000))
    peer.feed(frames.settings({frames.INITIAL_WINDOW_SIZE: 0}))
    peer.open()
    count = until_closed(peer, lambda _: peer.data(1, message(bytes(10_000))))
    assert count == 10
    assert peer.goaway() == (CALM, "the client reads too slowly")
    assert peer.calls[0].is_lost


def test_a_client_that_never_reads_is_cut_off_at_a_limit() -> None:
    peer = Peer()
    peer.core.outbox.is_paused = True
    ping = frames.frame(frames.PING, 0, 0, bytes(8))

    def act(_count: int) -> None:
        peer.feed(ping * 100)
        peer.pass_seconds(1)

    until_closed(peer, act)
    assert peer.goaway() == (CALM, "the client does not read")


def test_messages_wait_while_the_client_does_not_read() -> None:
    peer = Peer()
    peer.open()
    peer.core.outbox.is_paused = True
    peer.data(1, message(b"late"), ends=True)
    assert peer.bytes_of(1) == b""
    assert not peer.calls[0].is_ended
    peer.core.outbox.resume()
    peer.flush()
    assert peer.bytes_of(1) == message(b"late")
    assert peer.calls[0].is_ended


@pytest.mark.parametrize(("length", "ends", "is_fault"), [(8, 1, 0), (9, 1, 1), (7, 0, 1)])
def test_a_content_length_is_kept(length: int, ends: bool, is_fault: bool) -> None:
    peer = Peer()
    call = peer.open(1, ("content-length", str(length)))
    peer.data(1, message(b"abc"), ends=bool(ends))
    assert call.is_lost is bool(is_fault)
    if is_fault:
        assert peer.reset_code(1) == ErrorCode.PROTOCOL_ERROR


def test_a_content_length_without_data() -> None:
    peer = Peer()
    peer.open(1, ("content-length", "5"), flags=frames.END_STREAM)
    assert peer.reset_code(1) == ErrorCode.PROTOCOL_ERROR


@pytest.mark.parametrize(
    "fields",
    [
        (*HEADERS, (":path", "/twice")),
        (*HEADERS[1:], HEADERS[0], (":late", "")),
        (("x", "y"), *HEADERS),
        (*HEADERS, ("Upper", "x")),
        (*HEADERS, ("connection", "close")),
        (*HEADERS, ("te", "gzip")),
        (*HEADERS, ("x", "a\nb")),
        (*HEADERS, ("content-length", "-1")),
        (*HEADERS[:2], (":path", ""), *HEADERS[3:]),
    ],
)
def test_malformed_heads_reset_their_stream_only(fields: tuple[tuple[str, str], ...]) -> None:
    peer = Peer()
    peer.frame(frames.HEADERS, frames.END_HEADERS, 1, peer.head(fields=fields))
    assert peer.reset_code(1) == ErrorCode.PROTOCOL_ERROR
    peer.open(3)
    peer.data(3, message(b"fine"))
    assert peer.bytes_of(3) == message(b"fine")


PROTOCOL, SIZE = ErrorCode.PROTOCOL_ERROR, ErrorCode.FRAME_SIZE_ERROR


@pytest.mark.parametrize(
    ("wire", "code"),
    [
        (frames.frame(frames.DATA, 0, 0, b"x"), PROTOCOL),
        (frames.frame(frames.DATA, 0, 5, b"x"), PROTOCOL),
        (frames.frame(frames.DATA, frames.PADDED, 1, b"\x05abc"), PROTOCOL),
        (frames.frame(frames.DATA, frames.PADDED, 1), PROTOCOL),
        (frames.frame(frames.HEADERS, 4, 2), PROTOCOL),
        (frames.frame(frames.HEADERS, 4, 0), PROTOCOL),
        (frames.frame(frames.HEADERS, 0x24, 3, b"abc"), SIZE),
        (frames.frame(frames.HEADERS, 0x24, 3, words(3) + b"\x10"), PROTOCOL),
        (frames.frame(frames.HEADERS, 0, 3) + frames.settings({}), PROTOCOL),
        (frames.frame(frames.CONTINUATION, 4, 1), PROTOCOL),
        (frames.frame(frames.PRIORITY, 0, 0, bytes(5)), PROTOCOL),
        (frames.frame(frames.PRIORITY, 0, 1, bytes(4)), SIZE),
        (frames.frame(frames.RST_STREAM, 0, 7, bytes(4)), PROTOCOL),
        (frames.frame(frames.RST_STREAM, 0, 1, bytes(3)), SIZE),
        (frames.frame(frames.SETTINGS, 0, 1), PROTOCOL),
        (frames.frame(frames.SETTINGS, 0, 0, bytes(5)), SIZE),
        (frames.frame(frames.SETTINGS, 1, 0, bytes(6)), SIZE),
        (frames.settings({frames.ENABLE_PUSH: 2}), PROTOCOL),
        (frames.settings({frames.INITIAL_WINDOW_SIZE: 2**31}), ErrorCode.FLOW_CONTROL_ERROR),
        (frames.settings({frames.MAX_FRAME_SIZE: 16383}), PROTOCOL),
        (frames.settings({frames.MAX_FRAME_SIZE: 2**24}), PROTOCOL),
        (frames.frame(frames.PUSH_PROMISE, 4, 1, bytes(4)), PROTOCOL),
        (frames.frame(frames.PING, 0, 1, bytes(8)), PROTOCOL),
        (frames.frame(frames.PING, 0, 0, bytes(7)), SIZE),
        (frames.frame(frames.GOAWAY, 0, 1, bytes(8)), PROTOCOL),
        (frames.frame(frames.GOAWAY, 0, 0, bytes(7)), SIZE),
        (frames.window_update(0, 0), PROTOCOL),
        (frames.window_update(9, 1), PROTOCOL),
        (frames.frame(frames.WINDOW_UPDATE, 0, 0, bytes(3)), SIZE),
    ],
)
def test_frames_that_end_the_connection(wire: bytes, code: ErrorCode) -> None:
    peer = Peer()
    call = peer.open()
    peer.feed(wire)
    assert peer.core.is_closing
    assert peer.goaway()[0] == code
    assert call.is_lost
    before = len(peer.frames)
    peer.feed(frames.frame(frames.PING, 0, 0, bytes(8)))
    assert len(peer.frames) == before


def test_frames_on_a_half_closed_stream_reset_it() -> None:
    peer = Peer()
    peer.is_silent = True
    for stream_id in (1, 3):
        peer.open(stream_id)
        peer.data(stream_id, message(b"x"), ends=True)
    peer.data(1, b"x")
    peer.frame(frames.HEADERS, frames.END_HEADERS, 3, peer.encoder.encode([("a", "b")]))
    assert peer.reset_code(1) == peer.reset_code(3) == ErrorCode.STREAM_CLOSED


def test_headers_on_a_closed_stream_end_the_connection() -> None:
    peer = Peer()
    peer.open()
    peer.data(1, b"", ends=True)
    peer.frame(frames.HEADERS, frames.END_HEADERS, 1, peer.head())
    assert peer.goaway()[0] == ErrorCode.STREAM_CLOSED


@pytest.mark.parametrize(
    "wire", [b"GET / HTTP/1.1\r\n\r\n", b"\x16\x03\x01", frames.PREFACE + bytes(9)]
)
def test_what_is_no_preface_is_refused_at_once(wire: bytes) -> None:
    peer = Peer(greets=False)
    peer.feed(wire)
    assert peer.goaway()[0] == ErrorCode.PROTOCOL_ERROR


FRAMES = st.builds(
    frames.frame,
    st.integers(0, 11),
    st.sampled_from([0, 1, 4, 5, 8, 0xD, 0x20, 0x25, 255]),
    st.sampled_from([0, 1, 1, 3, 3, 5, 2, 2**31 - 1, 2**32 - 1]),
    st.one_of(
        st.binary(max_size=40),
        st.just(words(1)),
        st.just(words(2**31 - 1)),
        st.just(bytes(8)),
        st.just(message(b"abc") * 3),
        st.just(struct.pack(">HI", 4, 7)),
        st.just(bytes(Peer(greets=False).head())),
    ),
)


@settings(max_examples=400, deadline=None)
@given(wire=st.lists(FRAMES, max_size=30), tail=st.binary(max_size=60), cut=st.integers(1, 200))
def test_garbage_is_answered_or_ignored_and_leaves_nothing_behind(
    wire: list[bytes], tail: bytes, cut: int
) -> None:
    data = b"".join(wire) + tail
    peer = Peer()
    for at in range(0, len(data), cut):
        peer.feed(data[at : at + cut])
        assert all(not stream.is_over for stream in peer.core.streams.values())
    if peer.core.is_closing:
        code, text = peer.goaway()
        assert code not in {ErrorCode.NO_ERROR, ErrorCode.INTERNAL_ERROR}
        assert text
    peer.core.lose()
    assert all(call.is_ended for call in peer.calls)
    assert not peer.core.streams
    assert peer.core.outbox.waiting_bytes == 0
    assert peer.core._held_bytes == 0
