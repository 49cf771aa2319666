"""Riva's and Google's calls that their clients come back to, message by message."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from google.protobuf.message import Message

from streamgate._proto import riva_asr_pb2 as riva
from streamgate.frontends.dialects.over_grpc import call as calls
from streamgate.frontends.dialects.over_grpc import google_v1, google_v2, riva_asr, riva_nmt
from streamgate.frontends.dialects.over_grpc.call import SpeechCall
from streamgate.frontends.grpc_resumption import KeepLimits, StreamReception, StreamResumption
from streamgate.frontends.grpc_resumption.reception import PURPOSE
from streamgate.frontends.grpc_service import GrpcService, GrpcStatus
from streamgate.frontends.speech import Access, SpeechContext, SpeechStream
from streamgate.session.tokens import Claim, TokenSigner
from tests.model.settings import ONLY_LONG
from tests.speech.dialects.grpc_methods import (
    AUDIO,
    METHODS,
    PIECE,
    STREAM,
    TEXT,
    at_once,
    first,
    pieces,
)
from tests.speech.dialects.grpc_wire import Call, all_slots_free, call, slots_in_use
from tests.speech.dialects.peer import small_repository
from tests.speech.house import SpeechHouse, speech_house
from tests.speech.tones import REPOSITORY

ASK = [("streamgate-resume-seconds", "30")]


def back(made: Call, last_event: int | None = None) -> list[tuple[str, str | bytes]]:
    """The metadata to come back to a call with; by default, behind all that it has said."""
    heard = len(made.wire.sent) if last_event is None else last_event
    return [
        ("streamgate-resume", made.wire.initial["streamgate-resume"]),
        ("streamgate-last-event", str(heard)),
    ]


@asynccontextmanager
async def kept_house(
    repository: Path = REPOSITORY, **options: Any
) -> AsyncIterator[tuple[SpeechHouse, GrpcService, StreamReception]]:
    """A server, and Riva's service on it with a reception of its own."""
    reception = StreamReception(StreamResumption(**options))
    async with speech_house(repository) as house:
        yield house, riva_asr(house.context, reception), reception
        reception.stop()


def results(data: Sequence[bytes]) -> list[tuple[bool, str]]:
    """Whether each result is final, and its text."""
    answers = [riva.StreamingRecognizeResponse.FromString(each) for each in data]
    return [
        (result.is_final, result.alternatives[0].transcript)
        for answer in answers
        for result in answer.results
    ]


def finals(data: Sequence[bytes]) -> list[str]:
    return [text for is_final, text in results(data) if is_final]


async def undisturbed(house: SpeechHouse) -> list[bytes]:
    """What a client hears that is never lost."""
    async with call(riva_asr(house.context), STREAM) as made:
        await made.send(first(), *pieces())
        assert await made.end() is None
        return made.wire.sent


async def refused(service: GrpcService, metadata: Any, method: str = STREAM) -> tuple[int, str]:
    async with call(service, method, metadata) as made:
        status = await made.ended()
    assert status is not None
    return status.number, status.text


async def test_who_does_not_ask_is_told_nothing_and_not_waited_for() -> None:
    async with kept_house() as (house, service, reception):
        async with call(service, STREAM) as made:
            await made.send(first(), *pieces(0, 5))
            assert await slots_in_use(house.context) == 1
            assert made.wire.initial == {}
        await all_slots_free(house.context)
        assert reception.counts.detachments == 0


async def test_a_lost_call_goes_on_in_another() -> None:
    async with kept_house() as (house, service, reception):
        whole = await undisturbed(house)
        async with call(service, STREAM, ASK) as made:
            assert made.wire.initial["streamgate-resume-seconds"] == "30"
            await made.send(first(), *pieces(0, 12))
            await made.until(lambda: len(made.wire.sent) >= 3)
            made.handler.on_lost()
            assert reception.counts.detached == 1
            assert await slots_in_use(house.context) == 1
            async with call(service, STREAM, back(made, 2)) as again:
                assert again.wire.initial["streamgate-received"] == "13"
                assert again.wire.initial["streamgate-received-bytes"] == str(12 * PIECE)
                assert again.wire.initial["streamgate-resume-seconds"] == "30"
                assert reception.counts.detached == 0
                await again.send(*pieces(12))
                assert await again.end() is None
                assert [*made.wire.sent[:2], *again.wire.sent] == whole
            assert finals(whole) == [TEXT]
        assert reception.counts.resumed == 1


async def test_all_that_came_is_heard_while_the_client_is_away() -> None:
    async with kept_house() as (house, service, reception):
        whole = await undisturbed(house)
        async with call(service, STREAM, ASK) as made:
            await made.send(first(), *pieces())
            made.handler.on_half_close()
            # Lost behind its goodbye, which is believed: the rest and the end wait for it.
            (stream,) = reception._shelf._sessions.values()
            carried = stream.carried
            assert isinstance(carried, SpeechCall)
            await made.until(lambda: carried._is_last)
            made.handler.on_lost()
            await all_slots_free(house.context)
            async with call(service, STREAM, back(made, 1)) as again:
                assert await again.ended() is None
                assert again.wire.sent == whole[1:]


@pytest.mark.parametrize("is_at_once", [True, False])
async def test_a_call_is_lost_before_its_slot_is_there(is_at_once: bool) -> None:
    """What was read with the configuration is kept, and nothing is written over it."""
    async with kept_house() as (house, service, _):
        whole = await undisturbed(house)
        async with call(service, STREAM, ASK) as made:
            if not is_at_once:
                await made.send(first())
                await asyncio.sleep(0)
            made.handler.on_lost()
            async with call(service, STREAM, back(made)) as again:
                received = int(again.wire.initial["streamgate-received"])
                assert received == (0 if is_at_once else 1)
                await again.send(*[first(), *pieces()][received:])
                assert await again.end() is None
                assert again.wire.sent == whole


async def test_the_same_configuration_again_is_none_of_the_input() -> None:
    async with kept_house() as (house, service, _):
        whole = await undisturbed(house)
        # A map's entries come in any order.
        config = first(custom_configuration={"a": "1", "b": "2", "c": "3"})
        same = first(custom_configuration={"c": "3", "b": "2", "a": "1"})
        async with call(service, STREAM, ASK) as made:
            await made.send(config, *pieces(0, 6))
            made.handler.on_lost()
            heard, received = list(made.wire.sent), 7
            metadata = back(made, len(heard))
            for end in (14, 20, None):
                async with call(service, STREAM, metadata) as again:
                    assert again.wire.initial["streamgate-received"] == str(received)
                    part = pieces(received - 1, end)
                    await again.send(same, *part)
                    if end is None:
                        assert await again.end() is None
                    else:
                        again.handler.on_lost()
                    heard += again.wire.sent
                    received += len(part)
                    metadata = back(again, len(heard))
            assert heard == whole


@pytest.mark.parametrize(
    "wrong",
    [
        [first(language_code="en-US")],
        [first(max_alternatives=3)],
        [first(), first()],
        [pieces(6, 7)[0], first()],
    ],
)
async def test_another_configuration_ends_it_behind_what_was_heard(wrong: list[Message]) -> None:
    async with kept_house() as (house, service, _):
        async with call(service, STREAM, ASK) as made:
            await made.send(first(), *pieces(0, 6))
            made.handler.on_lost()
            async with call(service, STREAM, back(made, 0)) as again:
                await again.send(*wrong)
                status = await again.ended()
                assert status is not None
                assert status.number == 3
                assert "the configuration came twice" in status.text
                assert TEXT.startswith(finals(again.wire.sent)[0])
                # Who comes back to that is told the same, and knows by this that it is over.
                said = len(again.wire.sent)
                assert dict(status.trailers) == {"streamgate-last-event": str(said)}
                again.handler.on_lost()
                async with call(service, STREAM, back(again, said)) as third:
                    assert await third.ended() == status
        await all_slots_free(house.context)


async def test_another_call_takes_over() -> None:
    async with kept_house() as (house, service, reception):
        whole = await undisturbed(house)
        async with call(service, STREAM, ASK) as made:
            await made.send(first(), *pieces(0, 12))
            await made.until(lambda: len(made.wire.sent) >= 2)
            async with call(service, STREAM, back(made, 1)) as again:
                status = await made.ended()
                text = "superseded: the stream was resumed over another call"
                assert status == GrpcStatus(10, text)
                # What the first one says now is nobody's.
                assert not made.handler.wants_message
                made.handler.on_message(pieces(20)[0].SerializeToString())
                made.handler.on_half_close()
                made.handler.on_lost()
                await again.send(*pieces(12))
                assert await again.end() is None
                assert [whole[0], *again.wire.sent] == whole
        counts = reception.counts
        assert (counts.resumed, counts.taken_over, counts.detached) == (1, 1, 1)


async def test_nobody_comes_back() -> None:
    async with kept_house(seconds_max=0.2) as (house, service, reception):
        async with call(service, STREAM, ASK) as made:
            assert made.wire.initial["streamgate-resume-seconds"] == "0.2"
            await made.send(first(), *pieces(0, 6))
            made.handler.on_lost()
            await all_slots_free(house.context)
            number, text = await refused(service, back(made, 0))
        assert number == 5
        assert "its client did not come back in time" in text
        assert reception.counts.ended == {"expired": 1}


async def test_who_ended_well_is_kept_a_while_and_then_forgotten() -> None:
    async with kept_house(seconds_max=0.2) as (_, service, reception):
        async with call(service, STREAM, ASK) as made:
            await made.send(first(), *pieces())
            assert await made.end() is None
            made.handler.on_lost()
            await made.until(lambda: reception.counts.detached == 0)
            number, text = await refused(service, back(made))
        assert number == 5
        assert "it had ended" in text
        assert reception.counts.ended == {"ended": 1}


async def test_tokens_that_open_nothing() -> None:
    signer = TokenSigner(bytes(16))
    async with kept_house(signer=signer) as (_, service, reception):
        claim = Claim(bytes(16))
        async with call(service, STREAM, ASK) as made:
            await made.send(first(), *pieces(0, 6))
            token = made.wire.initial["streamgate-resume"]
            for forged in (token.swapcase(), token[:-1], "x", ""):
                number, text = await refused(service, [("streamgate-resume", forged)])
                assert (number, text) == (16, "the token in 'streamgate-resume' is not valid")
            late = [("streamgate-resume", signer.sign(PURPOSE, claim, -1))]
            assert await refused(service, late) == (
                16,
                "the token in 'streamgate-resume' has expired",
            )
            unknown = [("streamgate-resume", signer.sign(PURPOSE, claim, 60))]
            number, text = await refused(service, unknown)
            assert number == 5
            assert "is not known here" in text
            # Nothing of that has touched who has the call.
            await made.send(*pieces(6))
            assert await made.end() is None
            assert finals(made.wire.sent) == [TEXT]
        assert reception.counts.refused == {"forged": 4, "expired": 2}


async def test_a_token_is_good_for_its_own_method() -> None:
    async with kept_house() as (house, service, reception):
        async with call(service, STREAM, ASK) as made:
            for other, method in (
                (google_v1(house.context, reception), STREAM),
                (google_v2(house.context, reception), STREAM),
                (riva_nmt(house.context, reception), "StreamingTranslateSpeechToText"),
            ):
                number, text = await refused(other, back(made), method)
                assert number == 3
                assert "a call of 'nvidia.riva.asr.RivaSpeechRecognition/Streaming" in text
        assert reception.counts.refused == {"foreign": 3}


async def test_events_that_can_not_be_gone_on_from() -> None:
    async with kept_house(keep=KeepLimits(messages=3)) as (_, service, reception):
        async with call(service, STREAM, ASK) as made:
            await made.send(first(), *pieces())
            assert await made.end() is None
            said = len(made.wire.sent)
            for last, number, text in (
                (str(said + 1), 3, f"this stream has said {said} messages"),
                ("-1", 3, "is '-1', expected a number of messages"),
                ("0", 5, f"are not kept any more, the oldest is {said - 2}"),
            ):
                metadata = [*back(made)[:1], ("streamgate-last-event", last)]
                answer = await refused(service, metadata)
                assert answer[0] == number
                assert text in answer[1]
            made.handler.on_lost()
            async with call(service, STREAM, back(made, said - 3)) as again:
                assert await again.ended() is None
                assert again.wire.sent == made.wire.sent[-3:]
        assert reception.counts.refused == {"gap": 2}


@pytest.fixture
def often(monkeypatch: pytest.MonkeyPatch) -> None:
    """Those who are away are kept from running out all the time."""
    monkeypatch.setattr("streamgate.frontends.shelf.KEEP_SECONDS", 0.01)


@pytest.mark.usefixtures("often")
async def test_the_sequences_of_who_is_away_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    kept: list[SpeechStream] = []
    keep = SpeechStream.keep

    def noted(stream: SpeechStream) -> None:
        kept.append(stream)
        keep(stream)

    monkeypatch.setattr(SpeechStream, "keep", noted)
    async with kept_house() as (_, service, _):
        two = first(audio_channel_count=2, enable_separate_recognition_per_channel=True)
        async with call(service, STREAM, ASK) as made:
            await made.send(two, *pieces(0, 4))
            assert not kept
            made.handler.on_lost()
            await made.until(lambda: len(kept) >= 6)
            assert len(set(kept)) == 2
            async with call(service, STREAM, back(made)) as again:
                count = len(kept)
                await again.send(*pieces(4, 6))
                assert len(kept) == count


@pytest.mark.usefixtures("often")
async def test_what_a_call_waits_for_is_put_off_while_its_client_is_away() -> None:
    """Its configuration; and that it takes something."""
    async with kept_house() as (_, service, reception), call(service, STREAM, ASK) as made:
        (stream,) = reception._shelf._sessions.values()
        carried = stream.carried
        assert isinstance(carried, SpeechCall)

        def due() -> float:
            assert carried._timer is not None
            return carried._timer.when()

        before = due()
        made.handler.on_lost()
        await made.until(lambda: due() > before)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(calls, "UNSENT_PAUSE_BYTES", 1)
            async with call(service, STREAM, back(made)) as again:
                again.wire.is_stuck = True
                await again.send(first(), at_once(12))
                await again.until(lambda: not again.handler.wants_message)
                before = due()
                again.handler.on_lost()
                await again.until(lambda: due() > before)
        async with call(service, STREAM, back(made, 0)) as third:
            # Nothing of it waits for the call that was lost.
            await third.send(*pieces(12))
            assert await third.end() is None
            assert finals(third.wire.sent) == [TEXT]


@ONLY_LONG
@pytest.mark.usefixtures("often")
async def test_nothing_runs_out_for_who_is_away(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(calls, "UNREAD_SECONDS", 4.0)
    monkeypatch.setattr(calls, "FIRST_MESSAGE_SECONDS", 4.0)
    idle = {"idle_microseconds: 30000000": "idle_microseconds: 4000000"}
    async with kept_house(small_repository(tmp_path, slots=3, changes=idle)) as (house, service, _):
        whole = await undisturbed(house)
        async with (
            call(service, STREAM, ASK) as silent,
            call(service, STREAM, ASK) as speaking,
            call(service, STREAM, ASK) as deaf,
        ):
            monkeypatch.setattr(calls, "UNSENT_PAUSE_BYTES", 1)
            deaf.wire.is_stuck = True
            await deaf.send(first(), at_once(8))
            await speaking.send(first(), at_once(8))
            for made in (silent, speaking, deaf):
                made.handler.on_lost()
            await asyncio.sleep(8.0)
            for made in (silent, speaking, deaf):
                async with call(service, STREAM, back(made, 0)) as again:
                    came = int(again.wire.initial["streamgate-received-bytes"]) // PIECE
                    assert came == (0 if made is silent else 8)
                    await again.send(first(), *pieces(came))
                    assert await again.end() is None
                    assert again.wire.sent == whole


async def test_a_key_is_wanted_of_who_comes_back_too() -> None:
    async with speech_house() as house:
        reception = StreamReception(StreamResumption())
        locked = SpeechContext(house.gateway, house.context.models, Access(["secret"]))
        service = riva_asr(locked, reception)
        key = [("authorization", "Bearer secret")]
        async with call(service, STREAM, [*key, *ASK]) as made:
            await made.send(first())
            made.handler.on_lost()
            number, text = await refused(service, back(made))
            assert number == 16
            assert "authorization: Bearer KEY" in text
            async with call(service, STREAM, [*key, *back(made)]) as again:
                assert again.wire.initial["streamgate-received"] == "1"


async def test_a_server_that_goes_down_keeps_nobody() -> None:
    async with kept_house() as (house, service, reception):
        async with call(service, STREAM, ASK) as made:
            await made.send(first(), *pieces(0, 6))
            made.handler.on_lost()
            reception.stop()
            await all_slots_free(house.context)
            number, text = await refused(service, back(made, 0))
        assert number == 5
        assert "the server is going down" in text


async def test_a_whole_recording_in_one_call_is_no_stream() -> None:
    async with kept_house() as (_, service, reception):
        async with call(service, "Recognize", ASK) as made:
            request = riva.RecognizeRequest(config=first().streaming_config.config, audio=AUDIO)
            await made.send(request)
            assert await made.end() is None
            assert made.wire.initial == {}
        assert reception.counts.detachments == 0


@pytest.mark.parametrize("name", METHODS)
async def test_each_method(name: str) -> None:
    method = METHODS[name]
    async with speech_house() as house:
        service = method.service(house.context, StreamReception(StreamResumption()))
        async with call(service, method.name, ASK) as made:
            await made.send(*method.requests[:10])
            made.handler.on_lost()
            heard = list(made.wire.sent)
            async with call(service, method.name, back(made, len(heard))) as again:
                assert again.wire.initial["streamgate-received"] == "10"
                assert again.wire.initial["streamgate-received-bytes"] == str(9 * PIECE)
                await again.send(method.requests[0], *method.requests[10:])
                assert await again.end() is None
                heard += again.wire.sent
    assert method.finals(heard) == [method.text]
