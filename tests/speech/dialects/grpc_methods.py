"""The streaming calls of Riva and Google: what a client says in each, and hears."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from google.protobuf.message import Message

from streamgate._proto import google_speech_v1_pb2 as v1
from streamgate._proto import google_speech_v2_pb2 as v2
from streamgate._proto import riva_asr_pb2 as riva
from streamgate._proto import riva_nmt_pb2 as nmt
from streamgate._proto.riva_audio_pb2 import AudioEncoding
from streamgate.frontends.dialects.over_grpc import google_v1, google_v2, riva_asr, riva_nmt
from streamgate.frontends.grpc_service import GrpcService
from tests.durable.returning import ReturningCaller
from tests.speech.tones import s16le, tones, words_of

TEXT = " ".join(words_of())
GERMAN = " ".join(word[::-1] for word in words_of())
AUDIO = s16le(tones())
PIECE = 3200
STREAM = "StreamingRecognize"


def first(**config: Any) -> riva.StreamingRecognizeRequest:
    return riva.StreamingRecognizeRequest(
        streaming_config=riva.StreamingRecognitionConfig(
            config=riva.RecognitionConfig(
                encoding=AudioEncoding.LINEAR_PCM, sample_rate_hertz=16_000, **config
            ),
            interim_results=True,
        )
    )


def pieces(start: int = 0, end: int | None = None) -> Sequence[Message]:
    return [
        riva.StreamingRecognizeRequest(audio_content=AUDIO[at : at + PIECE])
        for at in range(0, len(AUDIO), PIECE)
    ][start:end]


def at_once(count: int) -> riva.StreamingRecognizeRequest:
    """So many pieces in one message."""
    return riva.StreamingRecognizeRequest(audio_content=AUDIO[: count * PIECE])


@dataclass(frozen=True)
class Method:
    """One method, what is said to it, and how its answers are read."""

    service: Callable[..., GrpcService]
    server: str
    name: str
    requests: Sequence[Any]
    answer: Any
    text: str = TEXT
    says_all_alike: bool = True
    """Whether every message is the same each time, and not the final ones alone."""

    def meaning(self, data: bytes) -> Any:
        """The message without what is another each time."""
        message = self.answer.FromString(data)
        for name in ("request_id", "metadata"):
            if name in message.DESCRIPTOR.fields_by_name:
                message.ClearField(name)
        return message

    def finals(self, heard: Sequence[bytes]) -> list[str]:
        return [
            str(result.alternatives[0].transcript).strip()
            for data in heard
            for result in self.answer.FromString(data).results
            if result.is_final
        ]

    def caller(self, port: int, *, repeats: bool = False, **options: Any) -> ReturningCaller:
        return ReturningCaller(
            f"127.0.0.1:{port}",
            f"/{self.server}/{self.name}",
            [each.SerializeToString() for each in self.requests],
            [len(audio_of(each)) for each in self.requests],
            repeats,
            **options,
        )


def audio_of(request: Any) -> bytes:
    """What of a request is audio."""
    is_v2 = isinstance(request, v2.StreamingRecognizeRequest)
    data: bytes = request.audio if is_v2 else request.audio_content
    return data


V1 = v1.StreamingRecognizeRequest
V2 = v2.StreamingRecognizeRequest
NMT = nmt.StreamingTranslateSpeechToTextRequest
AUTO = v2.RecognitionConfig(
    explicit_decoding_config=v2.ExplicitDecodingConfig(
        encoding=v2.ExplicitDecodingConfig.LINEAR16,
        sample_rate_hertz=16_000,
        audio_channel_count=1,
    )
)
METHODS = {
    "riva asr": Method(
        riva_asr,
        "nvidia.riva.asr.RivaSpeechRecognition",
        STREAM,
        [first(), *pieces()],
        riva.StreamingRecognizeResponse,
    ),
    "riva nmt": Method(
        riva_nmt,
        "nvidia.riva.nmt.RivaTranslation",
        "StreamingTranslateSpeechToText",
        [
            NMT(
                config=nmt.StreamingTranslateSpeechToTextConfig(
                    asr_config=first().streaming_config,
                    translation_config=nmt.TranslationConfig(target_language_code="de"),
                )
            ),
            *(NMT(audio_content=AUDIO[at : at + PIECE]) for at in range(0, len(AUDIO), PIECE)),
        ],
        nmt.StreamingTranslateSpeechToTextResponse,
        GERMAN,
        # What waits for the translator becomes one step.
        says_all_alike=False,
    ),
    "google v1": Method(
        google_v1,
        "google.cloud.speech.v1.Speech",
        STREAM,
        [
            V1(
                streaming_config=v1.StreamingRecognitionConfig(
                    config=v1.RecognitionConfig(encoding="LINEAR16", sample_rate_hertz=16_000),
                    interim_results=True,
                )
            ),
            *(V1(audio_content=AUDIO[at : at + PIECE]) for at in range(0, len(AUDIO), PIECE)),
        ],
        v1.StreamingRecognizeResponse,
    ),
    "google v2": Method(
        google_v2,
        "google.cloud.speech.v2.Speech",
        STREAM,
        [
            V2(
                recognizer="projects/p/locations/l/recognizers/_",
                streaming_config=v2.StreamingRecognitionConfig(
                    config=AUTO,
                    streaming_features=v2.StreamingRecognitionFeatures(interim_results=True),
                ),
            ),
            *(V2(audio=AUDIO[at : at + PIECE]) for at in range(0, len(AUDIO), PIECE)),
        ],
        v2.StreamingRecognizeResponse,
    ),
}
