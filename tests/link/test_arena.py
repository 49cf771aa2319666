"""An arena's blocks are lent until nobody holds a view of them, and no nonsense reaches memory."""

import fcntl
import gc
import mmap
import os
import random
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

from streamgate.link.arena import Arena, LentArena, make_arena, map_lent
from streamgate.link.blocks import PAGE_BYTES
from streamgate.link.frames import Body, FrameError, decode_frame, encode_frame

SIZE = 64 * PAGE_BYTES


@dataclass
class Pair:
    """Both sides of an arena in one process; `told` counts what `on_given_back` was."""

    arena: Arena
    lent: LentArena
    descriptor: int
    told: list[int]

    def give_back(self) -> int:
        """As a message would. Returns how many blocks there were."""
        blocks = self.lent.take_given_back()
        self.arena.give_back(blocks)
        return len(blocks)

    def send(self, body: bytes) -> memoryview | None:
        place = self.arena.put(body)
        return None if place is None else self.lent.view(*place)


@contextmanager
def pair(size: int = SIZE) -> Iterator[Pair]:
    made = make_arena(size)
    assert made is not None
    arena, descriptor = made
    told: list[int] = []
    lent = map_lent(os.dup(descriptor), size, lambda: told.append(threading.get_ident()))
    assert lent is not None
    try:
        yield Pair(arena, lent, descriptor, told)
    finally:
        os.close(descriptor)
        arena.close()
        lent.close()


def test_a_block_is_free_when_no_view_of_it_is_left() -> None:
    with pair() as both:
        body = os.urandom(10_000)
        view = both.send(body)
        assert view is not None
        assert view == body
        part = np.frombuffer(view[8:88], np.float64)[2:4]
        del view
        gc.collect()
        assert both.give_back() == 0
        assert both.arena.held_bytes == 3 * PAGE_BYTES
        assert part.tobytes() == body[24:40]
        del part
        assert len(both.told) == 1
        assert both.give_back() == 1
        assert both.arena.held_bytes == 0


def test_another_thread_may_be_the_last_that_holds_a_block() -> None:
    with pair() as both:
        views = [both.send(bytes(5_000))]
        thread = threading.Thread(target=views.clear)
        thread.start()
        thread.join()
        assert len(both.told) == 1
        assert both.told != [threading.get_ident()]
        assert both.give_back() == 1


def test_blocks_are_used_again_and_nothing_is_written_over_what_is_held() -> None:
    with pair() as both:
        dice = random.Random(7)
        held: list[tuple[bytes, memoryview]] = []
        refused = sent = 0
        for _ in range(3_000):
            if held and dice.random() < 0.5:
                body, view = held.pop(dice.randrange(len(held)))
                assert view == body
                del view
                both.give_back()
                continue
            body = dice.randbytes(dice.randint(1, 8 * PAGE_BYTES))
            came = both.send(body)
            if came is None:
                refused += 1
            else:
                sent += 1
                held.append((body, came))
        assert sent * PAGE_BYTES > 5 * SIZE
        assert refused
        assert all(view == body for body, view in held)


def test_views_outlive_both_sides() -> None:
    with pair() as both:
        body = os.urandom(20_000)
        view = both.send(body)
    assert view is not None
    assert view == body
    array = np.frombuffer(view, np.uint8)
    del view
    assert array.tobytes() == body


@pytest.mark.parametrize(
    "place",
    [
        (0, SIZE + 1),
        (SIZE, 1),
        (-PAGE_BYTES, 10),
        (PAGE_BYTES, 0),
        (PAGE_BYTES, -5),
        (1, 10),
        (SIZE - PAGE_BYTES, PAGE_BYTES + 1),
        (2**64, 1),
        ("0", 10),
        (0, None),
        (True, 10),
    ],
)
def test_a_block_that_can_not_be_is_refused(place: tuple[Any, Any]) -> None:
    with pair() as both, pytest.raises(FrameError):
        both.lent.view(*place)


def test_a_block_that_is_held_can_not_come_again() -> None:
    with pair() as both:
        place = both.arena.put(bytes(100))
        assert place is not None
        view = both.lent.view(*place)
        with pytest.raises(FrameError, match="not given back yet"):
            both.lent.view(*place)
        assert view == bytes(100)


@pytest.mark.parametrize("blocks", [(0,), (PAGE_BYTES,), ("x",), (None,), ([],), (0, 0)])
def test_what_was_not_lent_can_not_be_given_back(blocks: tuple[Any, ...]) -> None:
    with pair() as both:
        if blocks == (0, 0):
            assert both.arena.put(bytes(100)) == (0, 100)
        with pytest.raises(FrameError, match="expected a block that is lent"):
            both.arena.give_back(blocks)


def test_an_arena_that_rests_takes_no_memory() -> None:
    with pair() as both:
        views = [both.send(os.urandom(PAGE_BYTES)) for _ in range(10)]
        assert os.fstat(both.descriptor).st_blocks * 512 == 10 * PAGE_BYTES
        both.arena.rest()
        assert os.fstat(both.descriptor).st_blocks
        views.clear()
        both.give_back()
        assert not both.arena.was_idle()
        assert both.arena.was_idle()
        both.arena.rest()
        assert os.fstat(both.descriptor).st_blocks == 0
        body = os.urandom(PAGE_BYTES)
        view = both.send(body)
        assert view is not None
        assert view == body


def test_memory_that_can_be_cut_short_is_not_mapped() -> None:
    descriptor = os.memfd_create("test", os.MFD_ALLOW_SEALING)
    os.ftruncate(descriptor, SIZE)
    fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, fcntl.F_SEAL_GROW)
    with pytest.raises(FrameError, match="can be cut short"):
        map_lent(descriptor, SIZE, lambda: None)
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(descriptor)


def test_an_arena_is_as_large_as_was_said() -> None:
    made = make_arena(SIZE)
    assert made is not None
    with pytest.raises(FrameError, match=f"an arena of {SIZE} bytes, {2 * SIZE} were announced"):
        map_lent(made[1], 2 * SIZE, lambda: None)
    made[0].close()


def test_its_maker_can_not_cut_it_short() -> None:
    with pair() as both, pytest.raises(PermissionError):
        os.ftruncate(both.descriptor, PAGE_BYTES)


def test_a_descriptor_of_no_memory_is_not_used() -> None:
    reading, writing = os.pipe()
    os.close(writing)
    with pytest.raises(FrameError):
        map_lent(reading, SIZE, lambda: None)


def test_there_is_no_arena_where_the_system_gives_none(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> int:
        raise OSError("no")

    assert make_arena(0) is None
    with monkeypatch.context() as patch:
        patch.setattr(os, "memfd_create", refuse)
        assert make_arena(SIZE) is None
    with monkeypatch.context() as patch:
        patch.setattr(fcntl, "fcntl", refuse)
        assert make_arena(SIZE) is None
    monkeypatch.setattr(mmap, "mmap", refuse)
    assert make_arena(SIZE) is None


def test_large_bodies_of_a_frame_are_in_the_arena_while_it_has_room() -> None:
    with pair() as both:
        large = os.urandom(100_000)
        bodies: list[Body] = [b"small", large, bytearray(b"x" * 100_000), large[::-1]]
        array = np.arange(50_000, dtype=np.int32).reshape(5, -1)
        frame = b"".join(encode_frame((1,), [*bodies, array], both.arena))
        header_size = int.from_bytes(frame[4:8], "little")
        # Two of them are too many for 256 KiB: these are in the frame.
        assert 300_000 < len(frame) < 300_300
        assert both.arena.held_bytes == 2 * 25 * PAGE_BYTES
        header, came = decode_frame(memoryview(frame)[8:], header_size, both.lent)
        assert header == (1,)
        assert [bytes(each) for each in came] == [*map(bytes, bodies), array.tobytes()]


def test_a_frame_that_can_not_be_sent_takes_no_block(monkeypatch: pytest.MonkeyPatch) -> None:
    with pair() as both:
        with pytest.raises(TypeError):
            encode_frame((object(),), [bytes(20_000)], both.arena)
        monkeypatch.setattr("streamgate.link.frames.FRAME_BYTES_MAX", 1_000)
        with pytest.raises(ValueError, match="at most 1000 can be sent"):
            encode_frame((1,), [bytes(20_000), bytes(2_000)], both.arena)
        assert both.arena.held_bytes == 0


def test_what_is_sent_of_an_array_is_what_it_was() -> None:
    """With or without room for it: whose array it is may write to it again at once."""
    array = np.full(20_000, 7, np.uint8)
    with pair() as both:
        in_arena = encode_frame((1,), [array], both.arena)
        inside = encode_frame((1,), [array])
        array[:] = 9
        for parts, lent in ((in_arena, both.lent), (inside, None)):
            frame = b"".join(parts)
            header_size = int.from_bytes(frame[4:8], "little")
            _, (body,) = decode_frame(memoryview(frame)[8:], header_size, lent)
            assert bytes(body) == b"\7" * 20_000


def test_a_place_in_an_arena_that_there_is_none_of_is_refused() -> None:
    with pair() as both:
        frame = b"".join(encode_frame((1,), [bytes(20_000)], both.arena))
        with pytest.raises(FrameError, match="a body of"):
            decode_frame(memoryview(frame)[8:], int.from_bytes(frame[4:8], "little"))
