"""Google Cloud Speech v1 and v2, message by message."""

from typing import Any

import numpy as np
import pytest
from google.protobuf.duration_pb2 import Duration

from streamgate._proto import google_speech_v1_pb2 as v1
from streamgate._proto import google_speech_v2_pb2 as v2
from streamgate.frontends.dialects.over_grpc import google_v1, google_v2
from streamgate.frontends.grpc_service import GrpcStatus
from tests.speech.dialects.grpc_wire import Call, ask, call, slots_in_use
from tests.speech.house import speech_house
from tests.speech.tones import MELODY, s16le, tones, words_of

TEXT = " ".join(words_of())
AUDIO = s16le(tones())
PAUSE = np.zeros(32_000, np.float32)
TWICE = s16le(np.concatenate([tones(), PAUSE, tones()]))
STREAM = "StreamingRecognize"
RECOGNIZER = "projects/p/locations/global/recognizers/_"


def first_v1(*, streaming: dict[str, Any] | None = None, **config: Any) -> Any:
    spoken = {
        "encoding": v1.RecognitionConfig.LINEAR16,
        "sample_rate_hertz": 16_000,
        "language_code": "en-US",
    }
    return v1.StreamingRecognizeRequest(
        streaming_config=v1.StreamingRecognitionConfig(
            config=v1.RecognitionConfig(**{**spoken, **config}), **(streaming or {})
        )
    )


def first_v2(
    recognizer: str = RECOGNIZER, *, streaming: dict[str, Any] | None = None, **config: Any
) -> Any:
    spoken = {
        "explicit_decoding_config": v2.ExplicitDecodingConfig(
            encoding=v2.ExplicitDecodingConfig.LINEAR16, sample_rate_hertz=16_000
        ),
        "language_codes": ["en-US"],
    }
    return v2.StreamingRecognizeRequest(
        recognizer=recognizer,
        streaming_config=v2.StreamingRecognitionConfig(
            config=v2.RecognitionConfig(**{**spoken, **config}),
            streaming_features=v2.StreamingRecognitionFeatures(**(streaming or {})),
        ),
    )


def audio_v1(data: bytes) -> list[Any]:
    return [
        v1.StreamingRecognizeRequest(audio_content=data[at : at + 3200])
        for at in range(0, len(data), 3200)
    ]


def audio_v2(data: bytes) -> list[Any]:
    return [
        v2.StreamingRecognizeRequest(audio=data[at : at + 3200]) for at in range(0, len(data), 3200)
    ]


def said_v1(made: Call) -> list[v1.StreamingRecognizeResponse]:
    return list(made.answers(v1.StreamingRecognizeResponse))


def finals(answers: list[Any]) -> list[str]:
    return [
        result.alternatives[0].transcript
        for answer in answers
        for result in answer.results
        if result.is_final
    ]


def seconds(value: Duration) -> float:
    return value.ToNanoseconds() / 1e9


async def test_v1_interims_are_ordered_by_stability_until_the_final_one() -> None:
    async with speech_house() as house, call(google_v1(house.context), STREAM) as made:
        begin = first_v1(streaming={"interim_results": True}, enable_word_time_offsets=True)
        await made.send(begin, *audio_v1(AUDIO))
        assert await made.end() is None
        assert await slots_in_use(house.context) == 0
    *others, final, last = said_v1(made)
    assert len({answer.request_id for answer in said_v1(made)}) == 1
    both = 0
    for answer in others:
        stabilities = [result.stability for result in answer.results]
        assert stabilities == sorted(stabilities, reverse=True)
        assert not any(result.is_final for result in answer.results)
        text = "".join(result.alternatives[0].transcript for result in answer.results)
        assert TEXT.startswith(text)
        both += len(stabilities) == 2
    assert both > 0
    (result,) = final.results
    assert result.is_final
    assert result.alternatives[0].transcript == TEXT
    assert result.alternatives[0].confidence == pytest.approx(0.9)
    assert result.language_code == "en-US"
    assert seconds(result.result_end_time) == pytest.approx(2.88, abs=0.05)
    words = result.alternatives[0].words
    starts = [0.12 + 0.36 * place for place in range(len(MELODY))]
    assert [seconds(word.start_time) for word in words] == pytest.approx(starts, abs=0.03)
    assert not any(word.confidence for word in words)
    assert not last.results
    assert seconds(last.total_billed_time) == pytest.approx(3.0, abs=0.01)


async def test_v1_confidences_of_words_without_their_times() -> None:
    async with speech_house() as house, call(google_v1(house.context), STREAM) as made:
        await made.send(first_v1(enable_word_confidence=True), *audio_v1(AUDIO))
        assert await made.end() is None
    words = said_v1(made)[0].results[0].alternatives[0].words
    assert [word.confidence for word in words] == pytest.approx([0.9] * len(MELODY))
    assert not any(word.HasField("start_time") for word in words)


async def test_v1_a_single_utterance_ends_the_stream() -> None:
    async with speech_house() as house, call(google_v1(house.context), STREAM) as made:
        begin = first_v1(streaming={"single_utterance": True})
        await made.send(begin, *audio_v1(TWICE))
        assert await made.ended() is None
        assert await slots_in_use(house.context) == 0
        made.handler.on_message(audio_v1(AUDIO)[0].SerializeToString())  # is dropped
    event, final, _ = said_v1(made)
    assert event.speech_event_type == v1.StreamingRecognizeResponse.END_OF_SINGLE_UTTERANCE
    assert finals([final]) == [TEXT]


async def test_v1_voice_activity_is_told() -> None:
    async with speech_house() as house, call(google_v1(house.context), STREAM) as made:
        begin = first_v1(streaming={"enable_voice_activity_events": True})
        await made.send(begin, *audio_v1(TWICE))
        assert await made.end() is None
    kinds = v1.StreamingRecognizeResponse
    events = [each for each in said_v1(made) if each.speech_event_type]
    assert [each.speech_event_type for each in events] == [
        kinds.SPEECH_ACTIVITY_BEGIN,
        kinds.SPEECH_ACTIVITY_END,
        kinds.SPEECH_ACTIVITY_BEGIN,
    ]
    assert seconds(events[0].speech_event_time) == pytest.approx(0.12, abs=0.03)
    assert seconds(events[2].speech_event_time) == pytest.approx(5.12, abs=0.05)
    assert len(finals(said_v1(made))) == 2


@pytest.mark.parametrize(
    ("limit", "audio", "heard"),
    [
        ("speech_start_timeout", np.concatenate([PAUSE, tones()]), 0),
        ("speech_end_timeout", np.concatenate([tones(), PAUSE, tones()]), 1),
    ],
)
async def test_v1_a_stream_on_which_nobody_speaks_is_ended(
    limit: str, audio: Any, heard: int
) -> None:
    limits = v1.StreamingRecognitionConfig.VoiceActivityTimeout(**{limit: Duration(seconds=1)})
    async with speech_house() as house, call(google_v1(house.context), STREAM) as made:
        begin = first_v1(streaming={"voice_activity_timeout": limits})
        await made.send(begin, *audio_v1(s16le(audio)))
        assert await made.ended() is None
    *_, event, _ = said_v1(made)
    assert event.speech_event_type == v1.StreamingRecognizeResponse.SPEECH_ACTIVITY_TIMEOUT
    assert len(finals(said_v1(made))) == heard


async def test_v1_channels_apart() -> None:
    other = MELODY[::-1]
    both = s16le(np.stack([tones(), tones(other)], axis=1))
    config: dict[str, Any] = {
        "audio_channel_count": 2,
        "enable_separate_recognition_per_channel": True,
    }
    async with speech_house() as house:
        async with call(google_v1(house.context), STREAM) as made:
            await made.send(first_v1(**config), *audio_v1(both))
            assert await made.end() is None
        async with call(google_v1(house.context), STREAM) as mono:
            await mono.send(first_v1(audio_channel_count=2), *audio_v1(both))
            assert await mono.end() is None
    said = {
        result.channel_tag: result.alternatives[0].transcript
        for answer in said_v1(made)
        for result in answer.results
    }
    assert said == {1: TEXT, 2: " ".join(words_of(other))}
    assert finals(said_v1(mono)) == [TEXT]  # the first one


@pytest.mark.parametrize(
    ("begin", "number", "text"),
    [
        (first_v1(encoding=4), 3, "encoding AMR is not read here, expected one of LINEAR16"),
        (first_v1(encoding=77), 3, "encoding 77 is not read here"),
        (first_v1(language_code="xx"), 5, "language 'xx'"),
        (first_v1(model="none"), 5, "none"),
        (first_v1(audio_channel_count=-2), 3, "audio_channel_count is -2"),
        (audio_v1(AUDIO)[0], 3, "the first message has no configuration"),
        (
            first_v1(
                streaming={
                    "voice_activity_timeout": v1.StreamingRecognitionConfig.VoiceActivityTimeout(
                        speech_end_timeout=Duration(seconds=-1)
                    )
                }
            ),
            3,
            "speech_end_timeout is -1 s",
        ),
    ],
)
async def test_v1_a_wrong_beginning_is_named(begin: Any, number: int, text: str) -> None:
    async with speech_house() as house, call(google_v1(house.context), STREAM) as made:
        await made.send(begin)
        status = await made.ended()
    assert status is not None
    assert status.number == number
    assert text in status.text


async def test_v1_other_languages_are_taken_if_the_first_is_not_heard() -> None:
    async with speech_house() as house, call(google_v1(house.context), STREAM) as made:
        begin = first_v1(language_code="fi", alternative_language_codes=["sv", "en-GB"])
        await made.send(begin, *audio_v1(AUDIO))
        assert await made.end() is None
    assert said_v1(made)[0].results[0].language_code == "en-GB"


async def test_v1_a_recording() -> None:
    config = first_v1().streaming_config.config
    request = v1.RecognizeRequest(config=config, audio=v1.RecognitionAudio(content=TWICE))
    stored = v1.RecognizeRequest(config=config, audio=v1.RecognitionAudio(uri="gs://a/b"))
    async with speech_house() as house:
        service = google_v1(house.context)
        answer = await ask(service, "Recognize", request, v1.RecognizeResponse)
        refused = await ask(service, "Recognize", stored, v1.RecognizeResponse)
        empty = await ask(service, "Recognize", v1.RecognizeRequest(), v1.RecognizeResponse)
    assert isinstance(answer, v1.RecognizeResponse)
    assert answer.results[0].alternatives[0].transcript == TEXT
    assert seconds(answer.results[0].result_end_time) == pytest.approx(2.88, abs=0.05)
    assert seconds(answer.results[1].result_end_time) == pytest.approx(7.88, abs=0.1)
    assert seconds(answer.total_billed_time) == pytest.approx(8.0, abs=0.01)
    assert isinstance(refused, GrpcStatus)
    assert "audio.uri" in refused.text
    assert isinstance(empty, GrpcStatus)
    assert empty.number == 3


async def test_v2_names_the_model_by_its_recognizer() -> None:
    named = "projects/p/locations/eu/recognizers/tone_transcriber"
    async with speech_house() as house, call(google_v2(house.context), STREAM) as made:
        await made.send(first_v2(named, streaming={"interim_results": True}), *audio_v2(AUDIO))
        assert await made.end() is None
    answers = list(made.answers(v2.StreamingRecognizeResponse))
    assert finals(answers) == [TEXT]
    assert len({answer.metadata.request_id for answer in answers}) == 1
    assert seconds(answers[-1].metadata.total_billed_duration) == pytest.approx(3.0, abs=0.01)
    ends = [seconds(each.results[0].result_end_offset) for each in answers[:-2]]
    assert ends == sorted(ends)
    assert len(ends) >= len(MELODY)


async def test_v2_translates() -> None:
    async with speech_house() as house, call(google_v2(house.context), STREAM) as made:
        begin = first_v2(translation_config=v2.TranslationConfig(target_language="de-DE"))
        await made.send(begin, *audio_v2(AUDIO))
        assert await made.end() is None
    answers = list(made.answers(v2.StreamingRecognizeResponse))
    assert finals(answers) == [" ".join(word[::-1] for word in words_of())]
    assert answers[0].results[0].language_code == "de-DE"


async def test_v2_a_timeout_just_ends_the_stream() -> None:
    limits = v2.StreamingRecognitionFeatures.VoiceActivityTimeout(
        speech_start_timeout=Duration(seconds=1)
    )
    async with speech_house() as house, call(google_v2(house.context), STREAM) as made:
        begin = first_v2(streaming={"voice_activity_timeout": limits})
        await made.send(begin, *audio_v2(s16le(np.concatenate([PAUSE, tones()]))))
        assert await made.ended() is None
    (last,) = made.answers(v2.StreamingRecognizeResponse)
    assert not last.results


@pytest.mark.parametrize(
    ("begin", "number", "text"),
    [
        (first_v2(""), 3, "recognizer is '', expected projects/P/locations/L/recognizers/R"),
        (first_v2("projects/p/locations/l/recognizers/none"), 5, "none"),
        (
            first_v2(
                explicit_decoding_config=v2.ExplicitDecodingConfig(
                    encoding=v2.ExplicitDecodingConfig.MOV_AAC
                )
            ),
            3,
            "encoding MOV_AAC is not read here",
        ),
        (
            first_v2(
                explicit_decoding_config=v2.ExplicitDecodingConfig(
                    encoding=v2.ExplicitDecodingConfig.LINEAR16
                )
            ),
            3,
            "sample_rate_hertz is 0",
        ),
        (audio_v2(AUDIO)[0], 3, "the first message has no configuration"),
    ],
)
async def test_v2_a_wrong_beginning_is_named(begin: Any, number: int, text: str) -> None:
    async with speech_house() as house, call(google_v2(house.context), STREAM) as made:
        await made.send(begin)
        status = await made.ended()
    assert status is not None
    assert status.number == number
    assert text in status.text


async def test_v2_a_recording() -> None:
    config = first_v2().streaming_config.config
    request = v2.RecognizeRequest(recognizer=RECOGNIZER, config=config, content=AUDIO)
    stored = v2.RecognizeRequest(recognizer=RECOGNIZER, config=config, uri="gs://a/b")
    async with speech_house() as house:
        service = google_v2(house.context)
        answer = await ask(service, "Recognize", request, v2.RecognizeResponse)
        refused = await ask(service, "Recognize", stored, v2.RecognizeResponse)
        empty = await ask(service, "Recognize", v2.RecognizeRequest(), v2.RecognizeResponse)
    assert isinstance(answer, v2.RecognizeResponse)
    assert answer.results[0].alternatives[0].transcript == TEXT
    assert seconds(answer.metadata.total_billed_duration) == pytest.approx(3.0, abs=0.01)
    assert isinstance(refused, GrpcStatus)
    assert "uri" in refused.text
    assert isinstance(empty, GrpcStatus)
    assert empty.number == 3
