"""Streams that outlive their calls, on both transports, over a gateway in memory."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import grpc
import pytest

from streamgate._proto import grpc_service_pb2 as pb
from streamgate.errors import EndReason
from streamgate.frontends.grpc_resumption import KeepLimits, StreamReception, StreamResumption
from streamgate.frontends.grpc_resumption.reception import PURPOSE
from streamgate.frontends.kserve_grpc import GrpcFrontEnd, GrpcOptions
from streamgate.frontends.kserve_grpc.stream import InferStream
from streamgate.session.tokens import Claim, TokenSigner
from tests.frontends.conftest import GrpcService, GrpcStarter
from tests.frontends.fake_gateway import int32
from tests.frontends.grpc_client import Metadata, Stream, Stub, infer_request, values_of

ASK = (("streamgate-resume-seconds", "30"),)
SECRET = b"0123456789abcdef"


def step(value: int, sequence: int = 7, **parameters: Any) -> pb.ModelInferRequest:
    return infer_request(
        "accumulate", value, dtype="INT32", id=str(value), sequence_id=sequence, **parameters
    )


def manual(request_id: str, **parameters: Any) -> pb.ModelInferRequest:
    return infer_request("manual_sequence", 1.0, id=request_id, sequence_id=7, **parameters)


def event_of(message: pb.ModelStreamInferResponse) -> int:
    number: int = message.infer_response.parameters["streamgate_event"].int64_param
    return number


def initial(stream: Stream) -> dict[str, str]:
    return {key: str(value) for key, value in stream.call.initial_metadata()}


def token_of(stream: Stream) -> str:
    return initial(stream)["streamgate-resume"]


def back(token: str, last_event: int = 0) -> Metadata:
    return (("streamgate-resume", token), ("streamgate-last-event", str(last_event)))


def lose(service: GrpcService, stream: Stream) -> None:
    """Break the call off, and wait until its stream is detached."""
    before = detached(service)
    stream.call.cancel()
    service.thread.wait_until(lambda: detached(service) == before + 1)


def reception_of(service: GrpcService) -> StreamReception:
    front_end = service.front_end
    calls = front_end._infer if isinstance(front_end, GrpcFrontEnd) else front_end._calls
    assert calls is not None
    return calls._reception


def detached(service: GrpcService) -> int:
    return reception_of(service).counts.detached


def status(stream: Stream) -> tuple[grpc.StatusCode, str]:
    return stream.end()


def test_a_stream_that_does_not_ask_is_as_it_was(service: GrpcService) -> None:
    with Stub(service.address) as stub:
        stream = stub.stream()
        stream.send(step(1, sequence_start=True))
        message = stream.receive()
        assert set(message.infer_response.parameters) == {"triton_final_response"}
        assert "streamgate-resume" not in initial(stream)
        stream.call.cancel()
        service.thread.wait_until(lambda: service.gateway.ended)
        assert service.gateway.ended == [("accumulate", 7, EndReason.CLIENT_ABORT)]


def test_what_a_client_is_told(service: GrpcService) -> None:
    with Stub(service.address) as stub:
        stream = stub.stream(ASK)
        # Before anything was asked, and said.
        assert initial(stream)["streamgate-resume-seconds"] == "30"
        token = token_of(stream)
        stream.send(step(1, sequence_start=True), step(2))
        first, second = stream.receive(), stream.receive()
        assert first.infer_response.parameters["streamgate_resume"].string_param == token
        assert (event_of(first), event_of(second)) == (1, 2)
        assert "streamgate_resume" not in second.infer_response.parameters
        assert values_of(second.infer_response, "int32") == [3]
        assert second.infer_response.parameters["triton_final_response"].bool_param
        # Refusals and errors are numbered, too.
        stream.send(infer_request("failing", 1.0, id="f"), infer_request("nobody", 1.0, id="n"))
        failure, refusal = stream.receive(), stream.receive()
        assert (failure.error_message, event_of(failure)) == ("boom", 3)
        assert (refusal.infer_response.id, event_of(refusal)) == ("n", 4)
        assert "nobody" in refusal.error_message
        stream.half_close()
        assert stream.rest() == []


def test_a_lost_stream_goes_on(service: GrpcService) -> None:
    with Stub(service.address) as stub:
        stream = stub.stream(ASK)
        stream.send(step(1, sequence_start=True), step(2), manual("m", sequence_start=True))
        assert [event_of(stream.receive()) for _ in range(2)] == [1, 2]
        waiting = service.waiting("m")
        token = token_of(stream)
        lose(service, stream)
        assert service.gateway.ended == []
        assert not waiting.cancelled
        service.act(waiting.send, int32("OUT", 5))

        again = stub.stream(back(token, 1))
        greeting = again.receive()
        parameters = greeting.infer_response.parameters
        assert parameters["streamgate_received"].int64_param == 3
        assert parameters["streamgate_event"].int64_param == 1
        assert initial(again)["streamgate-received"] == "3"
        assert parameters["streamgate_resume"].string_param == token_of(again)
        said = [again.receive(), again.receive()]
        assert [event_of(message) for message in said] == [2, 3]
        assert [message.infer_response.id for message in said] == ["2", "m"]
        again.send(step(4, sequence_end=True))
        assert values_of(again.receive().infer_response, "int32") == [7]
        again.half_close()
        assert again.end()[0] is grpc.StatusCode.OK


def test_the_tail_of_a_stream_that_ended_meanwhile(service: GrpcService) -> None:
    with Stub(service.address) as stub:
        stream = stub.stream(ASK)
        stream.send(manual("m", sequence_start=True, sequence_end=True))
        stream.half_close()
        waiting = service.waiting("m")
        token = token_of(stream)
        (resumable,) = reception_of(service)._shelf._sessions.values()
        carried = resumable.carried
        assert isinstance(carried, InferStream)
        service.thread.wait_until(lambda: carried._is_half_closed)
        lose(service, stream)
        service.act(waiting.send, int32("OUT", 5))
        again = stub.stream(back(token))
        assert [message.infer_response.id for message in again.rest()] == ["", "m"]
        assert again.call.code() is grpc.StatusCode.OK


def test_another_call_takes_over(service: GrpcService) -> None:
    with Stub(service.address) as stub:
        first = stub.stream(ASK)
        first.send(step(1, sequence_start=True))
        first.receive()
        second = stub.stream(back(token_of(first), 1))
        second.receive()
        code, text = first.end()
        assert code is grpc.StatusCode.ABORTED
        assert text == "superseded: the stream was resumed over another call"
        second.send(step(2))
        assert values_of(second.receive().infer_response, "int32") == [3]
        counts = reception_of(service).counts
        assert (counts.detached, counts.resumed, counts.taken_over) == (0, 1, 1)
        assert service.gateway.ended == []


def test_nobody_comes_back(start_grpc: GrpcStarter) -> None:
    service = start_grpc(GrpcOptions(resumption=StreamResumption(seconds_max=0.2)))
    with Stub(service.address) as stub:
        stream = stub.stream(ASK)
        assert initial(stream)["streamgate-resume-seconds"] == "0.2"
        stream.send(step(1, sequence_start=True))
        stream.receive()
        token = token_of(stream)
        stream.call.cancel()
        service.thread.wait_until(lambda: service.gateway.ended)
        assert service.gateway.ended == [("accumulate", 7, EndReason.CLIENT_ABORT)]
        code, text = status(stub.stream(back(token, 1)))
        assert code is grpc.StatusCode.NOT_FOUND
        assert "its client did not come back in time" in text


def test_a_stream_that_ended_well_is_forgotten(start_grpc: GrpcStarter) -> None:
    """It waits for as long as its last messages may not have arrived, and is kept no longer."""
    service = start_grpc(GrpcOptions(resumption=StreamResumption(seconds_max=0.2)))
    with Stub(service.address) as stub:
        stream = stub.stream(ASK)
        token = token_of(stream)
        stream.send(step(1, sequence_start=True, sequence_end=True))
        stream.receive()
        stream.half_close()
        assert stream.rest() == []
        reception = reception_of(service)
        service.thread.wait_until(lambda: not reception._shelf._sessions)
        code, text = status(stub.stream(back(token, 1)))
        assert code is grpc.StatusCode.NOT_FOUND
        assert "it had ended" in text
        assert reception.counts.ended == {"ended": 1}


def test_a_stream_that_failed_says_that_it_is_over(service: GrpcService) -> None:
    """And not its call alone: who comes back is told the same."""
    with Stub(service.address) as stub:
        stream = stub.stream(ASK)
        token = token_of(stream)
        stream.send(step(1, sequence_start=True), b"\xff\xff\xff")
        said = stream.end()
        assert said[0] is grpc.StatusCode.INTERNAL
        assert ("streamgate-last-event", "1") in tuple(stream.call.trailing_metadata())
        again = stub.stream(back(token, 1))
        assert again.end() == said
        assert ("streamgate-last-event", "1") in tuple(again.call.trailing_metadata())


@pytest.mark.parametrize("forge", [str.swapcase, lambda token: token[:-1], lambda _: "x.y"])
def test_forged_tokens(service: GrpcService, forge: Callable[[str], str]) -> None:
    with Stub(service.address) as stub:
        stream = stub.stream(ASK)
        token = token_of(stream)
        code, text = status(stub.stream(back(forge(token))))
        assert (code, text) == (
            grpc.StatusCode.UNAUTHENTICATED,
            "the token in 'streamgate-resume' is not valid",
        )
        stream.send(step(1, sequence_start=True))
        assert event_of(stream.receive()) == 1


def test_expired_and_foreign_tokens(start_grpc: GrpcStarter) -> None:
    signer = TokenSigner(SECRET)
    claim = Claim(bytes(16))
    service = start_grpc(GrpcOptions(resumption=StreamResumption(signer)))
    with Stub(service.address) as stub:
        expired = signer.sign(PURPOSE, claim, -1)
        code, text = status(stub.stream(back(expired)))
        assert (code, text) == (
            grpc.StatusCode.UNAUTHENTICATED,
            "the token in 'streamgate-resume' has expired",
        )
        code, _ = status(stub.stream(back(signer.sign("websocket", claim, 60))))
        assert code is grpc.StatusCode.UNAUTHENTICATED
        code, text = status(stub.stream(back(signer.sign(PURPOSE, claim, 60))))
        assert code is grpc.StatusCode.NOT_FOUND
        assert "is not known here" in text


@pytest.mark.parametrize(
    ("metadata", "said"),
    [
        ((("streamgate-resume-seconds", "soon"),), "is 'soon', expected seconds from 0 to 3600"),
        ((("streamgate-resume-seconds", "-1"),), "is '-1', expected seconds"),
        ((("streamgate-resume-seconds", "nan"),), "is 'nan', expected seconds"),
    ],
)
def test_wishes_that_can_not_be(service: GrpcService, metadata: Metadata, said: str) -> None:
    with Stub(service.address) as stub:
        code, text = status(stub.stream(metadata))
        assert code is grpc.StatusCode.INVALID_ARGUMENT
        assert said in text


def test_events_that_can_not_be_gone_on_from(start_grpc: GrpcStarter) -> None:
    options = StreamResumption(keep=KeepLimits(messages=3))
    service = start_grpc(GrpcOptions(resumption=options))
    with Stub(service.address) as stub:
        stream = stub.stream(ASK)
        stream.send(step(1, sequence_start=True), *(step(number) for number in range(2, 11)))
        assert [event_of(stream.receive()) for _ in range(10)] == list(range(1, 11))
        token = token_of(stream)
        for last_event, expected, said in (
            ("11", grpc.StatusCode.INVALID_ARGUMENT, "this stream has said 10 messages"),
            ("x", grpc.StatusCode.INVALID_ARGUMENT, "is 'x', expected a number of messages"),
            ("6", grpc.StatusCode.NOT_FOUND, "are not kept any more, the oldest is 8"),
        ):
            metadata = (("streamgate-resume", token), ("streamgate-last-event", last_event))
            code, text = status(stub.stream(metadata))
            assert code is expected
            assert said in text
        # Nothing has changed for who has the stream.
        stream.send(step(11))
        assert event_of(stream.receive()) == 11
        again = stub.stream(back(token, 9))
        assert [event_of(again.receive()) for _ in range(3)] == [9, 10, 11]


def test_too_much_for_one_who_is_away(start_grpc: GrpcStarter) -> None:
    service = start_grpc(GrpcOptions(resumption=StreamResumption(bytes=10_000)))
    with Stub(service.address) as stub:
        stream = stub.stream(ASK)
        stream.send(infer_request("manual", 1.0, id="m"), step(1, sequence_start=True))
        assert event_of(stream.receive()) == 1
        waiting = service.waiting("m")
        token = token_of(stream)
        lose(service, stream)
        service.act(waiting.send, int32("OUT", *range(5_000)))
        service.thread.wait_until(lambda: detached(service) == 0)
        code, text = status(stub.stream(back(token)))
        assert code is grpc.StatusCode.NOT_FOUND
        assert "too much was said to its client while it was away" in text
        assert service.gateway.ended == [("accumulate", 7, EndReason.CLIENT_ABORT)]


def test_only_so_many_wait(start_grpc: GrpcStarter) -> None:
    service = start_grpc(GrpcOptions(resumption=StreamResumption(streams=1)))
    with Stub(service.address) as stub:
        streams = [stub.stream(ASK) for _ in range(2)]
        for number, stream in enumerate(streams, 1):
            stream.send(step(1, number, sequence_start=True))
            stream.receive()
        lose(service, streams[0])
        streams[1].call.cancel()
        service.thread.wait_until(lambda: service.gateway.ended)
        assert service.gateway.ended == [("accumulate", 2, EndReason.CLIENT_ABORT)]


def test_who_has_ended_makes_room_for_who_has_not(start_grpc: GrpcStarter) -> None:
    service = start_grpc(GrpcOptions(resumption=StreamResumption(streams=1)))
    with Stub(service.address) as stub:
        ended = stub.stream(ASK)
        token = token_of(ended)
        ended.half_close()
        assert ended.rest() == []
        service.thread.wait_until(lambda: detached(service) == 1)
        stream = stub.stream(ASK)
        stream.send(step(1, sequence_start=True))
        stream.receive()
        stream.call.cancel()
        service.thread.wait_until(lambda: reception_of(service).counts.detachments == 2)
        code, text = status(stub.stream(back(token)))
        assert code is grpc.StatusCode.NOT_FOUND
        assert "it had ended" in text
        again = stub.stream(back(token_of(stream), 1))
        again.receive()
        again.send(step(2, sequence_end=True))
        assert values_of(again.receive().infer_response, "int32") == [3]


def test_a_server_that_goes_down_keeps_nobody(service: GrpcService) -> None:
    with Stub(service.address) as stub:
        stream = stub.stream(ASK)
        stream.send(step(1, sequence_start=True))
        stream.receive()
        lose(service, stream)
        service.thread.run(service.front_end.stop(1))
        assert service.gateway.ended == [("accumulate", 7, EndReason.CLIENT_ABORT)]


@pytest.mark.parametrize("seed", range(4))
def test_each_message_comes_once_whenever_calls_are_lost(service: GrpcService, seed: int) -> None:
    """A client as the documentation has it: it sends what was not received, and keeps the number of
    the message that it had last."""
    chance = random.Random(seed)
    count = 300
    requests = [step(number, sequence_start=number == 0) for number in range(count)]
    answers: list[int] = []
    events: list[int] = []
    with Stub(service.address) as stub:
        stream = stub.stream(ASK)
        token = token_of(stream)
        sent = losses = 0
        while len(answers) < count:
            ahead = min(count, sent + chance.randrange(1, 40))
            stream.send(*requests[sent:ahead])
            sent = ahead
            for _ in range(chance.randrange(sent - len(answers) + 1)):
                message = stream.receive()
                events.append(event_of(message))
                answers += [int(value) for value in values_of(message.infer_response, "int32")]
            if chance.random() < 0.4:
                losses += 1
                stream.call.cancel()
                stream = stub.stream(back(token, len(events)))
                greeting = stream.receive().infer_response.parameters
                sent = greeting["streamgate_received"].int64_param
                token = greeting["streamgate_resume"].string_param
        # Whatever was said again, all of it has left.
        (resumable,) = reception_of(service)._shelf._sessions.values()
        carried = resumable.carried
        assert isinstance(carried, InferStream)
        service.thread.wait_until(lambda: not carried._unsent_bytes)
        assert not resumable._unsent
    assert losses
    assert events == list(range(1, count + 1))
    assert answers == [number * (number + 1) // 2 for number in range(count)]
