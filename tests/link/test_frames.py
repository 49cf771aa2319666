"""Frames come out as they went in, however they are cut; nonsense costs its connection only."""

import asyncio
import logging
import random
import socket
import struct
from collections.abc import Callable, Sequence
from typing import Any

import msgpack
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from streamgate.link.frame_socket import FrameSocket
from streamgate.link.frames import (
    FrameError,
    decode_frame,
    encode_frame,
)
from tests.waiting import until

Frame = tuple[tuple[Any, ...], list[bytes]]

headers = st.lists(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.text(st.characters())
    | st.binary(max_size=20)
    | st.dictionaries(st.text(max_size=3), st.integers(), max_size=2),
    max_size=5,
).map(tuple)
frames = st.tuples(
    headers,
    st.lists(
        st.one_of(st.binary(max_size=30), st.integers(0, 400_000).map(lambda size: b"x" * size)),
        max_size=3,
    ),
)


def joined(frame: Frame) -> bytes:
    return b"".join(encode_frame(*frame))


class Reader:
    """The reading end of a connection, and what came out of it."""

    def __init__(self, **options: Any) -> None:
        self.far, near = socket.socketpair()
        self.frames: list[Frame] = []
        self.losses: list[str] = []
        self.socket = FrameSocket(near, self._receive, self.losses.append, **options)

    def _receive(self, header: tuple[Any, ...], bodies: Sequence[memoryview]) -> None:
        # Copied only at the end: nothing may be written over a frame that was handed on.
        self.frames.append((header, bodies))  # type: ignore[arg-type]

    def taken(self) -> list[Frame]:
        return [(header, [bytes(body) for body in bodies]) for header, bodies in self.frames]

    async def feed(self, data: bytes, cut: Callable[[], int]) -> None:
        loop = asyncio.get_running_loop()
        self.far.setblocking(False)
        view = memoryview(data)
        while view and not self.losses:
            size = cut()
            try:
                await loop.sock_sendall(self.far, view[:size])
            except OSError:
                break
            view = view[size:]
            await asyncio.sleep(0)

    def close(self) -> None:
        self.socket.close()
        self.far.close()


@settings(max_examples=30, deadline=None, phases=(Phase.generate,))
@given(st.lists(frames, max_size=6), st.integers(0, 2**32))
def test_frames_come_out_as_they_went_in_however_they_are_cut(sent: list[Frame], seed: int) -> None:
    async def run() -> list[Frame]:
        dice = random.Random(seed)
        reader = Reader()
        data = b"".join(map(joined, sent))
        smallest = max(1, len(data) // 500)
        largest = smallest + dice.choice((7, 4_000, 300_000))
        await reader.feed(data, lambda: dice.randint(smallest, largest))
        await until(lambda: len(reader.frames) == len(sent) or reader.losses)
        assert reader.losses == []
        taken = reader.taken()
        reader.close()
        return taken

    assert asyncio.run(run()) == sent


@settings(max_examples=60, deadline=None)
@given(st.binary(max_size=400), st.lists(frames, max_size=1), st.integers(0, 2**32))
def test_nonsense_costs_the_connection_and_nothing_else(
    junk: bytes, before: list[Frame], seed: int
) -> None:
    """Either it is waited for more, or the connection is lost; what came before came through."""

    async def run() -> Reader:
        reader = Reader(frame_bytes_max=2**20)
        await reader.feed(
            b"".join(map(joined, before)) + junk, lambda: random.Random(seed).randint(1, 99_999)
        )
        reader.far.close()
        await until(lambda: reader.losses)
        reader.close()
        return reader

    reader = asyncio.run(run())
    assert len(reader.losses) == 1
    assert "could not be dealt with" not in reader.losses[0]
    assert reader.taken()[: len(before)] == before


@settings(max_examples=100, deadline=None)
@given(frames, st.data())
def test_a_frame_with_a_wrong_byte_is_refused_or_is_one(frame: Frame, data: st.DataObject) -> None:
    whole = bytearray(joined(frame))
    place = data.draw(st.integers(0, min(len(whole), 200) - 1))
    whole[place] = data.draw(st.integers(0, 255))
    size, header_size = struct.unpack_from("<II", whole)
    body = memoryview(bytes(whole))[8:]
    if size != len(body) or header_size > size:
        return
    try:
        header, bodies = decode_frame(body, header_size)
    except FrameError:
        return
    assert isinstance(header, tuple)
    assert all(isinstance(each, memoryview) for each in bodies)


async def test_too_large_a_frame_is_refused_when_it_is_announced() -> None:
    reader = Reader(frame_bytes_max=1_000)
    await reader.feed(joined(((1,), [bytes(2_000)]))[:8], lambda: 8)
    await until(lambda: reader.losses)
    assert "a frame of 2,008 bytes" in reader.losses[0].replace("2008", "2,008")
    assert "at most 1000 are taken" in reader.losses[0]
    reader.close()


def test_too_large_a_frame_is_not_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("streamgate.link.frames.FRAME_BYTES_MAX", 1_000)
    with pytest.raises(ValueError, match="at most 1000 can be sent"):
        encode_frame((1,), [bytes(2_000)])


def test_a_header_of_what_is_no_value_is_not_sent() -> None:
    with pytest.raises(TypeError, match="can't be sent"):
        encode_frame((object(),))


def test_bodies_stand_at_multiples_of_eight() -> None:
    for size in range(20):
        whole = joined((("x" * size,), [bytes(size), b"abc", b""]))
        _, header_size = struct.unpack_from("<II", whole)
        frame = memoryview(whole)[8:]
        _, bodies = decode_frame(frame, header_size)
        assert [bytes(each) for each in bodies] == [bytes(size), b"abc", b""]
        assert len(frame) % 8 == 0


@pytest.mark.parametrize("sizes", [(5,), (-1,), (2**40,), (1, "x"), 7, None])
def test_bodies_have_the_sizes_that_the_header_says(sizes: object) -> None:
    head = msgpack.packb([1, sizes])
    frame = memoryview(head + bytes(-len(head) % 8))
    with pytest.raises(FrameError):
        decode_frame(frame, len(head))


async def test_what_is_sent_in_one_turn_leaves_in_one_call(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    calls = []
    sendmsg = socket.socket.sendmsg

    class Counting(socket.socket):
        def sendmsg(self, parts: Any, *arguments: Any) -> int:
            calls.append(len(list(parts)))
            return sendmsg(self, parts, *arguments)

    near, far = socket.socketpair()
    counting = Counting(fileno=near.detach())
    sender = FrameSocket(counting, lambda *_: None, lambda _: None)
    for number in range(50):
        sender.send((number,), [b"abc"])
    await until(lambda: calls)
    await asyncio.sleep(0)
    assert calls == [50]
    assert sender.unsent_bytes == 0
    sender.close()
    far.close()


async def test_a_reader_that_does_not_read_is_waited_for_and_then_lost(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("streamgate.link.frame_socket.UNSENT_BYTES_MAX", 3_000_000)
    near, far = socket.socketpair()
    losses: list[str] = []
    drained: list[int] = []
    sender = FrameSocket(near, lambda *_: None, losses.append)
    sender.on_drained = lambda: drained.append(sender.unsent_bytes)
    for _ in range(2):
        sender.send((1,), [bytes(1_000_000)])
    await asyncio.sleep(0.01)
    assert sender.unsent_bytes > 0
    assert drained == []
    reader = asyncio.create_task(read_all(far, 2_000_032))
    await reader
    await until(lambda: drained)
    assert drained == [0]
    for _ in range(4):
        sender.send((1,), [bytes(1_000_000)])
    await until(lambda: losses)
    assert "bytes wait to be read there" in losses[0]
    sender.send((1,))
    far.close()


async def read_all(far: socket.socket, size: int) -> None:
    loop = asyncio.get_running_loop()
    far.setblocking(False)
    while size > 0:
        size -= len(await loop.sock_recv(far, 100_000))


async def test_what_fails_in_dealing_with_a_frame_costs_the_connection(
    caplog: pytest.LogCaptureFixture,
) -> None:
    def fail(*_: object) -> None:
        raise KeyError("a bug")

    near, far = socket.socketpair()
    losses: list[str] = []
    FrameSocket(near, fail, losses.append)
    far.sendall(joined(((1,), [])))
    with caplog.at_level(logging.ERROR):
        await until(lambda: losses)
    assert losses == ["a frame could not be dealt with"]
    assert "a bug" in caplog.text
    far.close()
