"""Riva's speech recognition, message by message."""

import asyncio
import io
import wave
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from streamgate._proto import riva_asr_pb2 as pb
from streamgate._proto.riva_audio_pb2 import AudioEncoding
from streamgate._proto.riva_common_pb2 import RequestId
from streamgate.errors import EndReason
from streamgate.frontends.dialects.over_grpc import call as calls
from streamgate.frontends.dialects.over_grpc import riva_asr
from streamgate.frontends.grpc_service import GrpcStatus
from streamgate.frontends.speech import Access, SpeechContext
from streamgate.frontends.speech.ending import END_TEXTS
from streamgate.model.tensor import Array
from tests.speech.dialects.grpc_wire import Call, all_slots_free, ask, call, slots_in_use
from tests.speech.dialects.peer import small_repository
from tests.speech.house import speech_house
from tests.speech.tones import MELODY, s16le, tones, words_of

TEXT = " ".join(words_of())
AUDIO = s16le(tones())
CHUNK = 3200


def wav(samples: Array, rate_hz: int = 16_000) -> bytes:
    """FP32 `[n]` or `[n, channels]` in [-1, 1] as a 16-bit WAV file."""
    file = io.BytesIO()
    with wave.open(file, "wb") as out:
        out.setnchannels(1 if samples.ndim == 1 else samples.shape[1])
        out.setsampwidth(2)
        out.setframerate(rate_hz)
        out.writeframes(s16le(samples))
    return file.getvalue()


def first(interim: bool = False, **config: Any) -> pb.StreamingRecognizeRequest:
    """The message that begins a call."""
    return pb.StreamingRecognizeRequest(
        streaming_config=pb.StreamingRecognitionConfig(
            config=pb.RecognitionConfig(**config),
            interim_results=interim,
        )
    )


PCM: dict[str, Any] = {"encoding": AudioEncoding.LINEAR_PCM, "sample_rate_hertz": 16_000}


def audio(data: bytes, *, force_eou: bool = False) -> pb.StreamingRecognizeRequest:
    return pb.StreamingRecognizeRequest(
        audio_content=data, runtime_config={"force_eou": "true"} if force_eou else {}
    )


def chunks(data: bytes) -> list[pb.StreamingRecognizeRequest]:
    return [audio(data[at : at + CHUNK]) for at in range(0, len(data), CHUNK)]


def results(made: Call) -> list[pb.StreamingRecognitionResult]:
    answers = made.answers(pb.StreamingRecognizeResponse)
    return [result for answer in answers for result in answer.results]


def finals(made: Call, channel: int = 1) -> list[str]:
    return [
        result.alternatives[0].transcript
        for result in results(made)
        if result.is_final and result.channel_tag == channel
    ]


def failed(status: GrpcStatus | None) -> GrpcStatus:
    assert status is not None
    return status


async def test_a_wav_file_in_band_needs_no_declaration() -> None:
    async with speech_house() as house, call(riva_asr(house.context), "StreamingRecognize") as made:
        await made.send(first(), *chunks(wav(tones())))
        assert await made.end() is None
        assert finals(made) == [TEXT]
        assert len(results(made)) == 1
        assert await slots_in_use(house.context) == 0


@pytest.mark.parametrize(
    ("encoding", "rate_hz", "file"),
    [
        (AudioEncoding.FLAC, 16_000, ("FLAC", "PCM_16")),
        (AudioEncoding.OGGOPUS, 48_000, ("OGG", "OPUS")),
        (AudioEncoding.MULAW, 8_000, ("RAW", "ULAW")),
        (AudioEncoding.ALAW, 16_000, ("RAW", "ALAW")),
        (AudioEncoding.LINEAR_PCM, 44_100, ("RAW", "PCM_16")),
        (AudioEncoding.LINEAR_PCM, 16_000, ("WAV", "PCM_16")),  # its header is skipped
        (AudioEncoding.ENCODING_UNSPECIFIED, 16_000, ("FLAC", "PCM_16")),
    ],
)
async def test_other_encodings(encoding: int, rate_hz: int, file: tuple[str, str]) -> None:
    melody = MELODY[:3]
    kind, coding = file
    written = io.BytesIO()
    soundfile.write(written, tones(melody, rate_hz), rate_hz, coding, format=kind)
    async with speech_house() as house, call(riva_asr(house.context), "StreamingRecognize") as made:
        begin = first(encoding=encoding, sample_rate_hertz=rate_hz)
        await made.send(begin, *chunks(written.getvalue()))
        assert await made.end() is None
    assert finals(made) == [" ".join(words_of(melody))]


async def test_interim_results_are_the_whole_utterance_until_it_is_final() -> None:
    async with speech_house() as house, call(riva_asr(house.context), "StreamingRecognize") as made:
        await made.send(first(True, enable_word_time_offsets=True, **PCM), *chunks(AUDIO))
        assert await made.end() is None
    *interims, last = results(made)
    assert len(interims) >= len(MELODY)
    assert not any(result.is_final for result in interims)
    texts = [result.alternatives[0].transcript for result in interims]
    assert texts == sorted(texts, key=len)
    assert all(TEXT.startswith(text) for text in texts)
    stabilities = [result.stability for result in interims]
    assert stabilities[0] == 0.0
    assert 0.5 < max(stabilities) <= 1.0
    processed = [result.audio_processed for result in results(made)]
    assert processed == sorted(processed)
    assert processed[-1] == pytest.approx(3.04, abs=0.2)
    assert last.is_final
    assert last.stability == 1.0
    (alternative,) = last.alternatives
    assert alternative.confidence == pytest.approx(0.9)
    assert list(alternative.language_code) == ["en"]
    assert [word.word for word in alternative.words] == words_of()
    starts = [120 + 360 * place for place in range(len(MELODY))]
    assert [word.start_time for word in alternative.words] == pytest.approx(starts, abs=30)
    assert all(word.end_time - word.start_time > 150 for word in alternative.words)


async def test_words_come_only_if_asked_for() -> None:
    async with speech_house() as house, call(riva_asr(house.context), "StreamingRecognize") as made:
        await made.send(first(**PCM), audio(AUDIO))
        assert await made.end() is None
    assert not results(made)[-1].alternatives[0].words


async def test_force_eou_ends_the_utterance_behind_its_audio() -> None:
    half = round(0.36 * 4 * 16_000) * 2
    async with speech_house() as house, call(riva_asr(house.context), "StreamingRecognize") as made:
        await made.send(first(**PCM), audio(AUDIO[:half], force_eou=True))
        await made.until(lambda: bool(finals(made)))
        await made.send(audio(AUDIO[half:]))
        assert await made.end() is None
    words = words_of()
    assert finals(made) == [" ".join(words[:4]), " ".join(words[4:])]


async def test_the_id_comes_back() -> None:
    async with speech_house() as house, call(riva_asr(house.context), "StreamingRecognize") as made:
        begin = first(**PCM)
        begin.id.CopyFrom(RequestId(value="call-7"))
        await made.send(begin, audio(AUDIO))
        assert await made.end() is None
    assert {each.id.value for each in made.answers(pb.StreamingRecognizeResponse)} == {"call-7"}


async def test_channels_can_be_heard_apart() -> None:
    other = MELODY[::-1]
    both = np.stack([tones(), tones(other)], axis=1)
    config = {**PCM, "audio_channel_count": 2, "enable_separate_recognition_per_channel": True}
    async with speech_house() as house, call(riva_asr(house.context), "StreamingRecognize") as made:
        await made.send(first(**config))
        await made.send(*chunks(s16le(both)))
        assert await slots_in_use(house.context) == 2
        assert await made.end() is None
        assert await slots_in_use(house.context) == 0
    assert finals(made, 1) == [TEXT]
    assert finals(made, 2) == [" ".join(words_of(other))]


@pytest.mark.parametrize(
    ("begin", "number", "text"),
    [
        (first(model="no-such-model"), 5, "no-such-model"),
        (first(language_code="xx-XX"), 5, "no speech model for language 'xx-XX'"),
        (first(encoding=7), 3, "encoding is 7, expected one of ENCODING_UNSPECIFIED"),
        (first(audio_channel_count=-1), 3, "audio_channel_count is -1"),
        (first(encoding=1, sample_rate_hertz=100), 3, "100 Hz"),
        (
            first(audio_channel_count=9, enable_separate_recognition_per_channel=True),
            3,
            "9 channels to be recognized separately, expected 1 to 8",
        ),
        (audio(b"1234"), 3, "the first message has no configuration"),
    ],
)
async def test_a_wrong_beginning_is_named(
    begin: pb.StreamingRecognizeRequest, number: int, text: str
) -> None:
    async with speech_house() as house, call(riva_asr(house.context), "StreamingRecognize") as made:
        await made.send(begin)
        status = failed(await made.ended())
        assert status.number == number
        assert text in status.text
        assert await slots_in_use(house.context) == 0


async def test_no_message_at_all() -> None:
    async with speech_house() as house, call(riva_asr(house.context), "StreamingRecognize") as made:
        status = failed(await made.end())
    assert (status.number, status.text) == (3, "the call ended without a configuration")


async def test_a_second_configuration_ends_the_call_behind_what_was_heard() -> None:
    async with speech_house() as house, call(riva_asr(house.context), "StreamingRecognize") as made:
        await made.send(first(**PCM), audio(AUDIO), first(**PCM))
        status = failed(await made.ended())
    assert status.number == 3
    assert "came twice" in status.text
    assert finals(made) == [TEXT]


async def test_what_is_no_audio_ends_the_call() -> None:
    async with speech_house() as house, call(riva_asr(house.context), "StreamingRecognize") as made:
        await made.send(first(), audio(b"this is no audio at all " * 100))
        status = failed(await made.ended())
        assert status.number == 3
        assert await slots_in_use(house.context) == 0


async def test_a_recording_that_is_cut_off_is_heard_and_then_refused() -> None:
    written = io.BytesIO()
    soundfile.write(written, tones(), 16_000, "PCM_16", format="FLAC")
    async with speech_house() as house, call(riva_asr(house.context), "StreamingRecognize") as made:
        await made.send(first(), *chunks(written.getvalue()[:-3000]))
        status = failed(await made.end())
    assert status.number == 3
    assert TEXT.startswith(finals(made)[0])


async def test_what_is_no_message_ends_the_call() -> None:
    async with speech_house() as house, call(riva_asr(house.context), "StreamingRecognize") as made:
        made.handler.on_message(b"\xff\xff\xff")
        assert failed(await made.ended()).number == 13


async def test_a_full_model_refuses_and_says_when_to_try_again(tmp_path: Path) -> None:
    async with speech_house(small_repository(tmp_path, slots=1)) as house:
        service = riva_asr(house.context)
        async with call(service, "StreamingRecognize") as one:
            await one.send(first(**PCM), audio(AUDIO[:CHUNK]))
            async with call(service, "StreamingRecognize") as other:
                await other.send(first(**PCM))
                status = failed(await other.ended())
            assert status.number == 8
            assert "slots" in status.text
            assert dict(status.trailers) == {"retry-after": "1", "grpc-retry-pushback-ms": "1000"}
            await one.send(*chunks(AUDIO[CHUNK:]))
            assert await one.end() is None
            assert finals(one) == [TEXT]
        async with call(service, "StreamingRecognize") as again:
            await again.send(first(**PCM), audio(AUDIO))
            assert await again.end() is None
            assert finals(again) == [TEXT]


async def test_two_channels_need_two_slots_or_take_none(tmp_path: Path) -> None:
    config = {**PCM, "audio_channel_count": 2, "enable_separate_recognition_per_channel": True}
    async with speech_house(small_repository(tmp_path, slots=1)) as house:
        async with call(riva_asr(house.context), "StreamingRecognize") as made:
            await made.send(first(**config))
            assert failed(await made.ended()).number == 8
        assert await slots_in_use(house.context) == 0


async def test_a_client_that_is_gone_gives_its_slot_back() -> None:
    async with speech_house() as house:
        async with call(riva_asr(house.context), "StreamingRecognize") as made:
            await made.send(first(**PCM), audio(AUDIO[:CHUNK]))
            assert await slots_in_use(house.context) == 1
        await all_slots_free(house.context)


async def test_a_client_that_goes_while_its_slot_is_sought() -> None:
    async with speech_house() as house:
        async with call(riva_asr(house.context), "StreamingRecognize") as made:
            made.handler.on_message(first(**PCM).SerializeToString())
            await asyncio.sleep(0)
        await all_slots_free(house.context)


async def test_a_server_that_goes_away_says_so() -> None:
    async with speech_house(exit_timeout_seconds=0.2) as house:
        service = riva_asr(house.context)
        async with call(service, "StreamingRecognize") as made:
            await made.send(first(**PCM), audio(AUDIO[:CHUNK]))
            async with call(service, "StreamingRecognize") as late:
                late.handler.drain()
                assert failed(await late.ended()).number == 14
            await house.server.stop()
            status = failed(await made.ended())
        assert status == GrpcStatus(14, END_TEXTS[EndReason.DRAINED])


@pytest.mark.parametrize("spoken", [b"", AUDIO[:CHUNK]])
async def test_a_stream_without_audio_for_too_long_is_ended(tmp_path: Path, spoken: bytes) -> None:
    idle = {"idle_microseconds: 30000000": "idle_microseconds: 200000"}
    repository = small_repository(tmp_path, changes=idle)
    async with (
        speech_house(repository) as house,
        call(riva_asr(house.context), "StreamingRecognize") as made,
    ):
        await made.send(first(**PCM), audio(spoken))
        status = failed(await made.ended())
    assert status == GrpcStatus(11, "no audio came for too long")


async def test_a_client_that_says_nothing_at_first_is_ended(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(calls, "FIRST_MESSAGE_SECONDS", 0.05)
    async with speech_house() as house, call(riva_asr(house.context), "StreamingRecognize") as made:
        status = failed(await made.ended())
    assert status.number == 4


async def test_a_client_that_does_not_read_holds_its_stream_up_and_is_ended(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(calls, "UNSENT_PAUSE_BYTES", 100)
    monkeypatch.setattr(calls, "UNREAD_SECONDS", 0.2)
    async with speech_house() as house, call(riva_asr(house.context), "StreamingRecognize") as made:
        made.wire.is_stuck = True
        await made.send(first(True, **PCM), audio(AUDIO))
        await made.until(lambda: not made.handler.wants_message)
        status = failed(await made.ended())
        assert status.number == 14
        assert "too slowly" in status.text
        assert made.wire.is_broken_off
        # At most the steps that ran already were told.
        assert len(made.wire.sent) < len(MELODY)


async def test_a_client_that_reads_again_hears_the_rest(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(calls, "UNSENT_PAUSE_BYTES", 100)
    async with speech_house() as house, call(riva_asr(house.context), "StreamingRecognize") as made:
        made.wire.is_stuck = True
        await made.send(first(True, **PCM), audio(AUDIO))
        await made.until(lambda: not made.handler.wants_message)
        made.wire.is_stuck = False
        made.handler.on_sent(sum(map(len, made.wire.sent)))
        assert await made.end() is None
    assert finals(made) == [TEXT]


@pytest.mark.parametrize(
    ("metadata", "opens"),
    [
        ([("authorization", "Bearer secret")], True),
        ([("authorization", "Bearer wrong")], False),
        ([], False),
    ],
)
async def test_a_key_opens(metadata: list[tuple[str, str | bytes]], opens: bool) -> None:
    async with speech_house() as house:
        locked = SpeechContext(house.gateway, house.context.models, Access(["secret"]))
        async with call(riva_asr(locked), "StreamingRecognize", metadata) as made:
            if opens:
                await made.send(first(**PCM), audio(AUDIO))
                assert await made.end() is None
            else:
                status = failed(await made.ended())
                assert status.number == 16
                assert "authorization: Bearer KEY" in status.text


async def test_a_recording_at_once() -> None:
    async with speech_house() as house:
        request = pb.RecognizeRequest(
            config=pb.RecognitionConfig(enable_word_time_offsets=True),
            audio=wav(np.concatenate([tones(), np.zeros(32_000, np.float32), tones()])),
            id=RequestId(value="r"),
        )
        answer = await ask(riva_asr(house.context), "Recognize", request, pb.RecognizeResponse)
        assert isinstance(answer, pb.RecognizeResponse)
        assert await slots_in_use(house.context) == 0
    assert answer.id.value == "r"
    said = [result.alternatives[0].transcript for result in answer.results]
    assert len(said) == 2
    assert said[0] == TEXT
    assert answer.results[1].alternatives[0].words[0].start_time > 5000
    assert answer.results[1].audio_processed > answer.results[0].audio_processed


async def test_a_long_recording_waits_for_its_results(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(calls, "PIECE_BYTES", 10_000)
    monkeypatch.setattr("streamgate.frontends.speech.stream.BACKLOG_SECONDS_MAX", 1.0)
    melody = MELODY * 8
    async with speech_house() as house:
        request = pb.RecognizeRequest(audio=wav(tones(melody)))
        answer = await ask(riva_asr(house.context), "Recognize", request, pb.RecognizeResponse)
    assert isinstance(answer, pb.RecognizeResponse)
    assert answer.results[0].alternatives[0].transcript == " ".join(words_of(melody))


@pytest.mark.parametrize(
    ("request_", "number"),
    [
        (pb.RecognizeRequest(), 3),
        (pb.RecognizeRequest(audio=b"no audio " * 100), 3),
        (pb.RecognizeRequest(audio=b"x", config=pb.RecognitionConfig(model="none")), 5),
    ],
)
async def test_a_recording_that_is_none(request_: pb.RecognizeRequest, number: int) -> None:
    async with speech_house() as house:
        answer = await ask(riva_asr(house.context), "Recognize", request_, pb.RecognizeResponse)
    assert isinstance(answer, GrpcStatus)
    assert answer.number == number


async def test_the_models_are_listed_as_clients_expect() -> None:
    async with speech_house() as house:
        service, method = riva_asr(house.context), "GetRivaSpeechRecognitionConfig"
        kind = pb.RivaSpeechRecognitionConfigResponse
        answer = await ask(service, method, pb.RivaSpeechRecognitionConfigRequest(), kind)
        none = pb.RivaSpeechRecognitionConfigRequest(model_name="none")
        refused = await ask(service, method, none, kind)
    assert isinstance(answer, kind)
    (config,) = answer.model_config
    assert config.model_name == "tone_transcriber"
    assert config.parameters["type"] == "online"
    assert config.parameters["language_code"] == "en"
    assert isinstance(refused, GrpcStatus)
    assert refused.number == 5
