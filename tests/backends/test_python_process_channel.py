"""Messages between the gateway and its workers: any size, whole or not at all."""

import socket
import struct
import threading
from collections.abc import Iterator

import pytest

from streamgate.model.tensor import Buffer
from streamgate_python.process.channel import PACKET_BYTES_MAX, Channel, ChannelError, Message, pair

Ends = tuple[Channel, Channel]


@pytest.fixture
def ends() -> Iterator[Ends]:
    kept, handed = pair()
    one, other = Channel(kept), Channel(handed)
    yield one, other
    one.close()
    other.close()


def passed(ends: Ends, header: list[object], buffers: list[Buffer]) -> Message:
    one, other = ends
    sending = threading.Thread(target=one.send, args=(header, buffers))
    sending.start()
    message = other.receive(20)
    sending.join(20)
    return message


@pytest.mark.parametrize(
    "sizes",
    [
        [],
        [0],
        [0, 1, 0],
        [PACKET_BYTES_MAX - 200, PACKET_BYTES_MAX],
        [*range(PACKET_BYTES_MAX - 120, PACKET_BYTES_MAX - 80)],
        [3 * PACKET_BYTES_MAX, 5, 0, 10_000_000],
        [3] * 5000,
    ],
)
def test_buffers_of_any_size(ends: Ends, sizes: list[int]) -> None:
    buffers: list[Buffer] = [bytes([index % 251]) * size for index, size in enumerate(sizes)]
    message = passed(ends, ["kind", 1.5, None, "text \ud800 \u00e4"], buffers)
    assert message.header == ["kind", 1.5, None, "text \ud800 \u00e4"]
    assert [bytes(buffer) for buffer in message.buffers] == buffers


@pytest.mark.parametrize("size", range(PACKET_BYTES_MAX - 60, PACKET_BYTES_MAX + 20))
def test_sizes_around_a_packet(ends: Ends, size: int) -> None:
    assert [*passed(ends, ["k"], [b"x" * size]).buffers] == [b"x" * size]


def test_a_header_larger_than_a_packet(ends: Ends) -> None:
    header: list[object] = ["kind", *range(100_000)]
    assert passed(ends, header, [b"end"]).header == header


def test_what_is_kept_of_a_message_is_not_overwritten(ends: Ends) -> None:
    first = passed(ends, ["first"], [b"one"])
    passed(ends, ["second"], [b"two"])
    assert first.buffers == [b"one"]


def test_many_threads_send(ends: Ends) -> None:
    one, other = ends
    buffer = b"x" * (2 * PACKET_BYTES_MAX)
    threads = [threading.Thread(target=one.send, args=([n], [buffer])) for n in range(20)]
    for thread in threads:
        thread.start()
    found = [other.receive(20) for _ in threads]
    for thread in threads:
        thread.join(20)
    assert sorted(message.header[0] for message in found) == [*range(20)]
    assert all(bytes(message.buffers[0]) == buffer for message in found)


def test_a_message_that_another_one_causes_follows_it(ends: Ends) -> None:
    one, other = ends

    sent: list[int] = []

    def send_more(*_: object) -> None:
        if not sent:
            sent.append(1)
            one.send(["second"])

    class Watched:
        """A socket during whose sending something else is sent."""

        def __init__(self, end: socket.socket) -> None:
            self._end = end

        def sendmsg(self, parts: list[Buffer]) -> int:
            size = self._end.sendmsg(parts)
            send_more()
            return size

        def close(self) -> None:
            self._end.close()

    one._socket = Watched(one._socket)  # type: ignore[assignment]
    message = passed(ends, ["first"], [b"x" * (2 * PACKET_BYTES_MAX)])
    assert message.header == ["first"]
    assert len(message.buffers[0]) == 2 * PACKET_BYTES_MAX
    assert other.receive(20).header == ["second"]


def test_nothing_came(ends: Ends) -> None:
    with pytest.raises(TimeoutError):
        ends[0].receive(wait=False)
    with pytest.raises(TimeoutError):
        ends[0].receive(0.01)


def test_the_other_side_is_gone(ends: Ends) -> None:
    one, other = ends
    other.close()
    with pytest.raises(ChannelError):
        one.receive(20)
    with pytest.raises(ChannelError):
        one.send(["kind"])


@pytest.mark.parametrize(
    "packet",
    [
        b"x",
        b"nonsense, and a lot of it",
        struct.pack("<QII", 16, 0, 0),
        struct.pack("<QII", 18, 0, 2) + b"{}",
        struct.pack("<QII", 18, 0, 2) + b"[]",
        struct.pack("<QII", 20, 0, 4) + b"[1,2",
        struct.pack("<QII", 26, 8, 2) + struct.pack("<Q", 2**63) + b"[]",
        struct.pack("<QII", 2**62, 0, 0),
    ],
)
def test_what_is_no_message(ends: Ends, packet: bytes) -> None:
    one, other = ends
    other._socket.send(packet)
    with pytest.raises(ChannelError, match="no message"):
        one.receive(20)


def test_a_message_that_ends_in_the_middle(ends: Ends) -> None:
    one, other = ends
    other._socket.send(struct.pack("<QII", 1000, 0, 2) + b"[1")
    other.close()
    with pytest.raises(ChannelError, match="ends in the middle"):
        one.receive(20)
