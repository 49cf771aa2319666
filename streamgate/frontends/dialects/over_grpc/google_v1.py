"""Google Cloud Speech v1: `google.cloud.speech.v1.Speech`."""

import secrets
from typing import Final, final

from google.protobuf.message import Message

from streamgate._proto import google_speech_v1_pb2 as pb
from streamgate.frontends.dialects.over_grpc.call import Asked
from streamgate.frontends.dialects.over_grpc.calls import hearing_call, resumable_call
from streamgate.frontends.dialects.over_grpc.google_speech import (
    STAND_INS,
    Happening,
    Options,
    Result,
    Said,
    duration,
    raw_or_file,
    timeout_seconds,
)
from streamgate.frontends.dialects.over_grpc.google_wording import (
    GoogleRecording,
    GoogleStreaming,
)
from streamgate.frontends.dialects.over_grpc.hearing import Wanted
from streamgate.frontends.dialects.over_grpc.statuses import invalid
from streamgate.frontends.grpc_resumption import StreamReception
from streamgate.frontends.grpc_service import GrpcService
from streamgate.frontends.speech import Declared, SpeechContext

SERVICE: Final = "google.cloud.speech.v1.Speech"

_Encoding = pb.RecognitionConfig
_RAW: Final[dict[int, str]] = {_Encoding.LINEAR16: "s16le", _Encoding.MULAW: "mulaw"}
_FILES: Final[tuple[int, ...]] = (
    _Encoding.ENCODING_UNSPECIFIED,
    _Encoding.FLAC,
    _Encoding.OGG_OPUS,
    _Encoding.MP3,
)
_Events = pb.StreamingRecognizeResponse
_HAPPENINGS: Final = {
    Happening.SPEECH_BEGAN: _Events.SPEECH_ACTIVITY_BEGIN,
    Happening.SPEECH_ENDED: _Events.SPEECH_ACTIVITY_END,
    Happening.TIMEOUT: _Events.SPEECH_ACTIVITY_TIMEOUT,
    Happening.UTTERANCE_ENDED: _Events.END_OF_SINGLE_UTTERANCE,
}


def google_v1(context: SpeechContext, reception: StreamReception | None = None) -> GrpcService:
    """The service. With a `reception`, clients may come back to its streams."""
    return GrpcService(
        SERVICE,
        {
            "StreamingRecognize": resumable_call(
                context,
                f"{SERVICE}/StreamingRecognize",
                lambda: GoogleStreaming(_Stream()),
                reception,
            ),
            "Recognize": hearing_call(context, lambda: GoogleRecording(_Recording())),
        },
    )


def _wanted(config: pb.RecognitionConfig) -> Wanted:
    channels = config.audio_channel_count or 1
    if channels < 0 or config.sample_rate_hertz < 0:
        raise invalid(
            f"audio_channel_count is {config.audio_channel_count} and sample_rate_hertz "
            f"{config.sample_rate_hertz}, expected positive numbers, or 0 where the audio says so "
            "itself"
        )
    encoding = raw_or_file(config.encoding, _RAW, _FILES, _Encoding.AudioEncoding.Name)
    if not config.sample_rate_hertz:
        encoding = "auto"  # a WAV header says the rate
    apart = config.enable_separate_recognition_per_channel and channels > 1
    languages = [config.language_code, *config.alternative_language_codes]
    return Wanted(
        # As Google does: of several channels that aren't heard apart, only the first is heard.
        Declared(encoding, config.sample_rate_hertz or None, channels, 0),
        config.model,
        [language for language in languages if language],
        STAND_INS,
        channels if apart else 0,
    )


def _options(config: pb.RecognitionConfig) -> Options:
    return Options(
        word_times=config.enable_word_time_offsets,
        word_confidences=config.enable_word_confidence,
    )


def _streaming_options(streaming: pb.StreamingRecognitionConfig) -> Options:
    config, timeouts = streaming.config, streaming.voice_activity_timeout
    return Options(
        streaming.interim_results,
        streaming.single_utterance,
        streaming.enable_voice_activity_events,
        timeout_seconds("speech_start_timeout", timeouts.speech_start_timeout),
        timeout_seconds("speech_end_timeout", timeouts.speech_end_timeout),
        config.enable_word_time_offsets,
        config.enable_word_confidence,
    )


def _alternative(result: Result, options: Options) -> pb.SpeechRecognitionAlternative:
    alternative = pb.SpeechRecognitionAlternative(
        transcript=result.text, confidence=result.confidence
    )
    for word in result.words:
        info = alternative.words.add(word=word.text)
        if options.word_times:
            info.start_time.CopyFrom(duration(word.start_seconds))
            info.end_time.CopyFrom(duration(word.end_seconds))
        if options.word_confidences:
            info.confidence = word.confidence
    return alternative


@final
class _Stream:
    """The messages of StreamingRecognize."""

    def __init__(self) -> None:
        self._request_id = secrets.randbits(62)

    def read(self, data: bytes) -> tuple[Asked, Options | None]:
        request = pb.StreamingRecognizeRequest.FromString(data)
        if request.WhichOneof("streaming_request") != "streaming_config":
            return Asked(audio=request.audio_content), None
        config = request.streaming_config
        return Asked(_wanted(config.config), config), _streaming_options(config)

    def message(self, said: Said, options: Options, tag: int, language: str) -> Message:
        message = pb.StreamingRecognizeResponse(request_id=self._request_id)
        if said.happening is not None:
            message.speech_event_type = _HAPPENINGS[said.happening]
            message.speech_event_time.CopyFrom(duration(said.at_seconds))
        for result in said.results:
            message.results.add(
                alternatives=[_alternative(result, options)],
                is_final=result.is_final,
                stability=result.stability,
                result_end_time=duration(result.end_seconds),
                channel_tag=tag,
                language_code=language,
            )
        return message

    def closing(self, heard_seconds: float) -> Message:
        return pb.StreamingRecognizeResponse(
            total_billed_time=duration(heard_seconds), request_id=self._request_id
        )


@final
class _Recording:
    """The messages of Recognize."""

    def __init__(self) -> None:
        self._response = pb.RecognizeResponse(request_id=secrets.randbits(62))

    def read(self, data: bytes) -> tuple[Asked, Options]:
        request = pb.RecognizeRequest.FromString(data)
        if request.audio.WhichOneof("audio_source") == "uri":
            raise invalid("audio.uri names a file in Google's storage, expected audio.content")
        if not request.audio.content:
            raise invalid("audio.content is empty, expected a recording")
        asked = Asked(_wanted(request.config), audio=request.audio.content, is_last=True)
        return asked, _options(request.config)

    def add(self, result: Result, options: Options, tag: int, language: str) -> None:
        self._response.results.add(
            alternatives=[_alternative(result, options)],
            result_end_time=duration(result.end_seconds),
            channel_tag=tag,
            language_code=language,
        )

    def closing(self, heard_seconds: float) -> Message:
        self._response.total_billed_time.CopyFrom(duration(heard_seconds))
        return self._response
