"""The stream handler alone, without a transport: what it holds back, and when it pauses or ends."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from streamgate._proto import grpc_service_pb2 as pb
from streamgate.errors import Code, EndReason, Failure
from streamgate.frontends.kserve_grpc.stream import InferStream, StreamLimits
from tests.frontends.fake_gateway import FakeGateway, int32
from tests.frontends.grpc_client import infer_request
from tests.waiting import until

SHUTTING_DOWN = "GRPC server is shutting down and has stopped accepting new requests."


class Recorder:
    """A transport that keeps what it is told."""

    def __init__(self) -> None:
        self.sent: list[bytes] = []
        self._ended: tuple[Failure | None] | None = None
        self.resumed = 0
        self.broken_off = False

    def send(self, message: bytes) -> None:
        assert self._ended is None
        self.sent.append(message)

    def finish(self, failure: Failure | None) -> None:
        assert self._ended is None
        self._ended = (failure,)

    def break_off(self, failure: Failure) -> None:
        self.broken_off = True
        self.finish(failure)

    def resume(self) -> None:
        self.resumed += 1

    def ended(self) -> tuple[Failure | None] | None:
        """None until the call has ended, then how."""
        return self._ended

    @property
    def messages(self) -> list[pb.ModelStreamInferResponse]:
        return [pb.ModelStreamInferResponse.FromString(data) for data in self.sent]

    @property
    def ids(self) -> list[str]:
        return [message.infer_response.id for message in self.messages]


class Scene:
    """A gateway, a stream and its transport."""

    def __init__(self, *, errors_end_stream: bool = False, **limits: Any) -> None:
        self.gateway = FakeGateway()
        self.transport = Recorder()
        self.stream = InferStream(
            self.gateway,
            self.transport,
            limits=StreamLimits(**limits),
            errors_end_stream=errors_end_stream,
            headers={},
        )
        self.connection = self.gateway.connections[0]

    async def send(self, *requests: pb.ModelInferRequest) -> None:
        for request in requests:
            self.stream.on_message(request.SerializeToString())
        await asyncio.sleep(0)

    def wants_message(self) -> bool:
        return self.stream.wants_message

    def is_held_up(self) -> bool:
        """Whether the gateway was told to hold the stream's models up."""
        return self.connection.paused

    def answer(self, request_id: str, *, final: bool = True) -> None:
        self.gateway.waiting_for(request_id).send(int32("OUT", 1), final=final)


def manual(request_id: str, model: str = "manual", **parameters: Any) -> pb.ModelInferRequest:
    return infer_request(model, 1.0, id=request_id, **parameters)


async def test_a_lane_is_forgotten_once_it_is_empty() -> None:
    scene = Scene()
    await scene.send(*(manual(str(number), sequence_id=number) for number in range(1, 50)))
    for number in range(49, 0, -1):
        scene.answer(str(number))
    assert scene.transport.ids == [str(number) for number in range(49, 0, -1)]
    assert not scene.stream._lanes


async def test_who_sends_too_much_is_not_read_for_a_while() -> None:
    scene = Scene()
    scene.gateway.hold_seconds = 0.01
    await scene.send(manual("a"))
    assert not scene.wants_message()
    assert scene.transport.resumed == 0
    await until(lambda: scene.transport.resumed)
    assert scene.wants_message()
    # What came is under way all the same.
    scene.answer("a")
    assert scene.transport.ids == ["a"]
    await scene.send(manual("b"))
    scene.stream.on_lost()
    await asyncio.sleep(0.02)
    assert scene.transport.resumed == 1


async def test_what_is_held_back_leaves_when_its_turn_comes() -> None:
    scene = Scene()
    await scene.send(manual("a"), manual("b"), manual("c"))
    scene.answer("b")
    assert scene.transport.ids == []
    scene.answer("a")
    assert scene.transport.ids == ["a", "b"]
    scene.answer("c")
    assert scene.transport.ids == ["a", "b", "c"]


async def test_reading_pauses_at_the_limit_of_requests() -> None:
    scene = Scene(in_flight=2)
    await scene.send(manual("a"))
    assert scene.wants_message()
    await scene.send(manual("b"))
    assert not scene.wants_message()
    scene.answer("b")  # held back: it still counts
    assert not scene.wants_message()
    scene.answer("a")
    assert scene.wants_message()
    assert scene.transport.resumed == 1


async def test_reading_pauses_while_too_much_is_held_back() -> None:
    scene = Scene(unsent_pause_bytes=150)
    await scene.send(*(manual(request_id) for request_id in "abcd"))
    for request_id in "dcb":
        assert scene.wants_message()
        scene.answer(request_id)
    assert not scene.wants_message()
    assert not scene.is_held_up()
    scene.answer("a")
    assert scene.transport.ids == ["a", "b", "c", "d"]
    assert scene.transport.resumed
    scene.stream.on_sent(sum(map(len, scene.transport.sent)))
    assert scene.wants_message()


async def test_reading_pauses_while_too_much_is_unsent() -> None:
    scene = Scene(unsent_pause_bytes=100)
    await scene.send(manual("a", "manual_decoupled"))
    while scene.wants_message():
        scene.answer("a", final=False)
    sizes = [len(data) for data in scene.transport.sent]
    assert sum(sizes[:-1]) <= 100 < sum(sizes)
    assert scene.is_held_up()
    unsent_bytes = sum(sizes)
    for size in sizes:
        assert not scene.wants_message()
        scene.stream.on_sent(size)
        unsent_bytes -= size
        if unsent_bytes <= 50:
            break
    assert scene.wants_message()
    assert not scene.is_held_up()
    assert scene.transport.resumed == 1


async def test_a_reader_that_is_far_too_slow_is_cut_off() -> None:
    scene = Scene(unsent_pause_bytes=100, unsent_bytes=500)
    await scene.send(manual("a", "manual_decoupled"))
    for _ in range(50):
        if scene.transport.ended() is None:
            scene.answer("a", final=False)
    ended = scene.transport.ended()
    assert ended is not None
    (failure,) = ended
    assert failure is not None
    assert failure.code is Code.UNAVAILABLE
    assert "reads too slowly" in failure.message
    assert "at most 500 may" in failure.message
    assert scene.transport.broken_off
    assert sum(map(len, scene.transport.sent)) <= 500
    assert scene.connection.closed is True


async def test_a_reader_that_takes_nothing_for_too_long_is_cut_off() -> None:
    scene = Scene(unsent_pause_bytes=100, unread_seconds=0.02)
    await scene.send(manual("a", "manual_decoupled"))
    while scene.wants_message():
        scene.answer("a", final=False)
    await until(lambda: scene.transport.ended() is not None)
    ended = scene.transport.ended()
    assert ended is not None
    (failure,) = ended
    assert failure is not None
    assert failure.code is Code.UNAVAILABLE
    assert "took nothing for 0.02 s" in failure.message
    assert scene.transport.broken_off
    assert scene.connection.closed is True


async def test_a_reader_that_has_caught_up_is_not_watched_any_more() -> None:
    scene = Scene(unsent_pause_bytes=100, unread_seconds=0.02)
    await scene.send(manual("a", "manual_decoupled"))
    while scene.wants_message():
        scene.answer("a", final=False)
    scene.stream.on_sent(sum(map(len, scene.transport.sent)))
    assert scene.stream._unread_timer is None
    scene.answer("a")
    scene.stream.on_half_close()
    assert scene.transport.ended() == (None,)


async def test_one_message_may_be_larger_than_the_limit() -> None:
    scene = Scene(unsent_pause_bytes=10, unsent_bytes=20)
    await scene.send(manual("a"))
    scene.answer("a")
    assert scene.transport.ids == ["a"]
    assert scene.transport.ended() is None


async def test_half_close_waits_for_every_final_response() -> None:
    scene = Scene()
    await scene.send(manual("a", "manual_decoupled"), manual("b"))
    scene.stream.on_half_close()
    scene.answer("b")
    scene.answer("a", final=False)
    assert scene.transport.ended() is None
    scene.gateway.waiting_for("a").close()
    assert scene.transport.ended() == (None,)
    assert scene.connection.closed is False


async def test_a_lost_stream_sends_nothing_more() -> None:
    scene = Scene()
    await scene.send(manual("a"), manual("b"))
    call = scene.gateway.waiting_for("a")
    scene.stream.on_lost()
    assert scene.connection.closed is True
    call.send(int32("OUT", 1))
    scene.stream.on_message(manual("c").SerializeToString())
    scene.stream.on_half_close()
    scene.stream.drain()
    assert scene.transport.sent == []
    assert scene.transport.ended() is None
    assert len(scene.gateway.requests) == 2


async def test_with_errors_ending_the_stream_order_still_counts() -> None:
    scene = Scene(errors_end_stream=True)
    await scene.send(manual("a"), manual("b"), manual("c"))
    failure = Failure(Code.INTERNAL, "no")
    scene.answer("c")
    scene.gateway.waiting_for("b").fail(failure)
    assert scene.transport.ended() is None
    scene.answer("a")
    assert scene.transport.ids == ["a"]
    assert scene.transport.ended() == (failure,)


async def test_responses_after_the_error_that_ended_the_stream_are_dropped() -> None:
    scene = Scene(errors_end_stream=True)
    await scene.send(manual("a", "manual_decoupled"))
    call = scene.gateway.waiting_for("a")
    call.fail(Failure(Code.INVALID_ARG, "boom"), final=False)
    call.send(int32("OUT", 1), final=False)
    call.fail(Failure(Code.INVALID_ARG, "again"), final=False)
    call.close()
    assert scene.transport.ended() == (Failure(Code.INVALID_ARG, "boom"),)
    assert scene.transport.sent == []


async def test_a_draining_stream_ends_when_nothing_is_under_way() -> None:
    scene = Scene()
    await scene.send(manual("a"))
    scene.stream.drain()
    assert scene.transport.ended() is None
    await scene.send(manual("b"))
    scene.answer("a")
    assert [message.error_message for message in scene.transport.messages] == ["", SHUTTING_DOWN]
    assert scene.transport.ids == ["a", "b"]
    assert scene.transport.ended() == (Failure(Code.UNAVAILABLE, SHUTTING_DOWN),)


async def test_a_draining_stream_lets_its_sequences_end() -> None:
    scene = Scene()
    model = "manual_sequence"
    await scene.send(manual("a", model, sequence_id=3, sequence_start=True))
    scene.answer("a")
    scene.stream.drain()
    assert scene.transport.ended() is None
    await scene.send(manual("new", model, sequence_id=4, sequence_start=True))
    await scene.send(manual("b", model, sequence_id=3))
    scene.answer("b")
    assert scene.transport.ended() is None
    await scene.send(manual("c", model, sequence_id=3, sequence_end=True))
    scene.answer("c")
    assert scene.transport.ids == ["a", "new", "b", "c"]
    assert scene.transport.ended() == (Failure(Code.UNAVAILABLE, SHUTTING_DOWN),)


async def test_a_draining_stream_ends_with_the_sequence_that_the_server_ends() -> None:
    scene = Scene()
    await scene.send(manual("a", "manual_sequence", sequence_id=3, sequence_start=True))
    scene.answer("a")
    scene.stream.drain()
    assert scene.connection.on_sequence_end is not None
    scene.connection.on_sequence_end("manual_sequence", 3, EndReason.IDLE)
    assert scene.transport.ended() == (Failure(Code.UNAVAILABLE, SHUTTING_DOWN),)


async def test_a_defect_fails_one_request_and_not_the_stream(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    scene = Scene()
    with monkeypatch.context() as patch:
        patch.setattr(scene.connection, "submit", lambda request, sink: 1 / 0)
        await scene.send(manual("a"))
    await scene.send(manual("b"))
    scene.answer("b")
    assert scene.transport.ids == ["a", "b"]
    assert "ZeroDivisionError" in scene.transport.messages[0].error_message
    assert "could not be handled" in caplog.text
