"""Riva's translation, message by message."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from streamgate._proto import riva_asr_pb2 as asr
from streamgate._proto import riva_nmt_pb2 as pb
from streamgate._proto.riva_audio_pb2 import AudioEncoding
from streamgate._proto.riva_common_pb2 import RequestId
from streamgate.frontends.dialects.over_grpc import riva_nmt
from streamgate.frontends.grpc_service import GrpcStatus
from tests.speech.dialects.grpc_wire import Call, ask, call, slots_in_use
from tests.speech.dialects.peer import small_repository
from tests.speech.house import speech_house
from tests.speech.tones import s16le, tones, words_of

TRANSLATOR = "reversing_translator"
SPEECH = "StreamingTranslateSpeechToText"
BACKWARDS = " ".join(word[::-1] for word in words_of())


def first(interim: bool = False, **translation: Any) -> pb.StreamingTranslateSpeechToTextRequest:
    heard = asr.RecognitionConfig(encoding=AudioEncoding.LINEAR_PCM, sample_rate_hertz=16_000)
    return pb.StreamingTranslateSpeechToTextRequest(
        config=pb.StreamingTranslateSpeechToTextConfig(
            asr_config=asr.StreamingRecognitionConfig(config=heard, interim_results=interim),
            translation_config=pb.TranslationConfig(**translation),
        ),
        id=RequestId(value="t"),
    )


def audio(data: bytes) -> list[pb.StreamingTranslateSpeechToTextRequest]:
    return [
        pb.StreamingTranslateSpeechToTextRequest(audio_content=data[at : at + 3200])
        for at in range(0, len(data), 3200)
    ]


def results(made: Call) -> list[asr.StreamingRecognitionResult]:
    answers = made.answers(pb.StreamingTranslateSpeechToTextResponse)
    assert {answer.id.value for answer in answers} <= {"t"}
    return [result for answer in answers for result in answer.results]


def texts(made: Call, *, final: bool) -> list[str]:
    return [
        result.alternatives[0].transcript for result in results(made) if result.is_final is final
    ]


async def test_speech_is_translated_as_it_is_spoken() -> None:
    async with speech_house() as house, call(riva_nmt(house.context), SPEECH) as made:
        begin = first(True, source_language_code="en-US", target_language_code="fr-FR")
        await made.send(begin, *audio(s16le(tones())))
        assert await slots_in_use(house.context, TRANSLATOR) == 1
        assert await made.end() is None
        assert await slots_in_use(house.context, TRANSLATOR) == 0
        assert await slots_in_use(house.context) == 0
    assert texts(made, final=True) == [BACKWARDS.upper()]
    interims = texts(made, final=False)
    assert len(interims) > 4
    assert list(results(made)[-1].alternatives[0].language_code) == ["fr-FR"]
    assert results(made)[-1].audio_processed == pytest.approx(3.0, abs=0.2)


async def test_each_utterance_is_translated() -> None:
    pause = np.zeros(32_000, np.float32)
    async with speech_house() as house, call(riva_nmt(house.context), SPEECH) as made:
        spoken = s16le(np.concatenate([tones(), pause, tones()]))
        await made.send(first(target_language_code="de"), *audio(spoken))
        assert await made.end() is None
    first_text, second_text = texts(made, final=True)
    assert first_text == BACKWARDS
    assert len(second_text.split()) == len(words_of())


@pytest.mark.parametrize(
    ("translation", "number", "text"),
    [
        ({}, 3, "target_language_code is empty"),
        ({"target_language_code": "es"}, 5, "no translation from"),
        ({"target_language_code": "de", "model_name": "none"}, 5, "'none' is no translation model"),
        ({"target_language_code": "de", "source_language_code": "pl"}, 5, "language 'pl'"),
    ],
)
async def test_a_wrong_beginning_is_named(
    translation: dict[str, Any], number: int, text: str
) -> None:
    async with speech_house() as house, call(riva_nmt(house.context), SPEECH) as made:
        await made.send(first(**translation))
        status = await made.ended()
        assert status is not None
        assert status.number == number
        assert text in status.text
        assert await slots_in_use(house.context) == 0


async def test_full_slots_of_the_speech_model_leave_the_translators_free(tmp_path: Path) -> None:
    async with speech_house(small_repository(tmp_path, slots=1)) as house:
        service = riva_nmt(house.context)
        async with call(service, SPEECH) as one, call(service, SPEECH) as other:
            await one.send(first(target_language_code="de"), *audio(s16le(tones())[:3200]))
            await other.send(first(target_language_code="de"))
            status = await other.ended()
            assert status is not None
            assert status.number == 8
            assert await slots_in_use(house.context, TRANSLATOR) == 1


async def translate(**request: Any) -> pb.TranslateTextResponse | GrpcStatus:
    async with speech_house() as house:
        question = pb.TranslateTextRequest(**request)
        return await ask(
            riva_nmt(house.context), "TranslateText", question, pb.TranslateTextResponse
        )


async def test_texts_are_translated() -> None:
    answer = await translate(
        texts=["one two", "three"], target_language="de-DE", id=RequestId(value="7")
    )
    assert isinstance(answer, pb.TranslateTextResponse)
    assert [(each.text, each.language) for each in answer.translations] == [
        ("eno owt", "de-DE"),
        ("eerht", "de-DE"),
    ]
    assert answer.id.value == "7"


@pytest.mark.parametrize(
    ("request_", "number", "text"),
    [
        ({"target_language": "de"}, 3, "0 texts, expected 1 to 1000"),
        ({"texts": ["one"]}, 3, "target_language is empty"),
        ({"texts": ["one"], "target_language": "es"}, 5, "expected one of en-de, en-fr"),
        ({"texts": ["one"], "target_language": "de", "model": "none"}, 5, "'none'"),
    ],
)
async def test_texts_that_can_not_be_translated(
    request_: dict[str, Any], number: int, text: str
) -> None:
    answer = await translate(**request_)
    assert isinstance(answer, GrpcStatus)
    assert answer.number == number
    assert text in answer.text


async def test_the_pairs_are_listed() -> None:
    kind = pb.AvailableLanguageResponse
    async with speech_house() as house:
        service, method = riva_nmt(house.context), "ListSupportedLanguagePairs"
        answer = await ask(service, method, pb.AvailableLanguageRequest(), kind)
        refused = await ask(service, method, pb.AvailableLanguageRequest(model="none"), kind)
    assert isinstance(answer, kind)
    assert list(answer.languages[TRANSLATOR].tgt_lang) == ["de", "fr"]
    assert list(answer.languages[TRANSLATOR].src_lang) == ["en"]
    assert isinstance(refused, GrpcStatus)
    assert refused.number == 5
