"""Google Cloud Speech v2: `google.cloud.speech.v2.Speech`, as far as it recognizes."""

import re
import uuid
from dataclasses import replace
from typing import Final, final

from google.protobuf.message import Message

from streamgate._proto import google_speech_v2_pb2 as pb
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
from streamgate.frontends.dialects.over_grpc.hearing import Translating, Wanted
from streamgate.frontends.dialects.over_grpc.statuses import invalid
from streamgate.frontends.grpc_resumption import StreamReception
from streamgate.frontends.grpc_service import GrpcService
from streamgate.frontends.speech import Declared, SpeechContext

SERVICE: Final = "google.cloud.speech.v2.Speech"

_RECOGNIZER: Final = re.compile(r"projects/[^/]+/locations/[^/]+/recognizers/([^/]+)")
_Encoding = pb.ExplicitDecodingConfig
_RAW: Final[dict[int, str]] = {
    _Encoding.LINEAR16: "s16le",
    _Encoding.MULAW: "mulaw",
    _Encoding.ALAW: "alaw",
}
_FILES: Final[tuple[int, ...]] = (_Encoding.FLAC, _Encoding.MP3, _Encoding.OGG_OPUS)
_Events = pb.StreamingRecognizeResponse
_HAPPENINGS: Final = {
    Happening.SPEECH_BEGAN: _Events.SPEECH_ACTIVITY_BEGIN,
    Happening.SPEECH_ENDED: _Events.SPEECH_ACTIVITY_END,
    Happening.UTTERANCE_ENDED: _Events.END_OF_SINGLE_UTTERANCE,
}
"""v2 has no word for a timeout: the stream just ends."""


def google_v2(context: SpeechContext, reception: StreamReception | None = None) -> GrpcService:
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


def _wanted(recognizer: str, config: pb.RecognitionConfig) -> Wanted:
    match = _RECOGNIZER.fullmatch(recognizer)
    if match is None:
        raise invalid(
            f"recognizer is '{recognizer}', expected projects/P/locations/L/recognizers/R, with a "
            "model's name or _ for R"
        )
    named = "" if match[1] == "_" else match[1]
    channels = 1
    declared = Declared(channel=0)
    if config.WhichOneof("decoding_config") == "explicit_decoding_config":
        explicit = config.explicit_decoding_config
        channels = explicit.audio_channel_count or 1
        if channels < 0 or explicit.sample_rate_hertz < 0:
            raise invalid(
                f"audio_channel_count is {explicit.audio_channel_count} and sample_rate_hertz "
                f"{explicit.sample_rate_hertz}, expected positive numbers"
            )
        encoding = raw_or_file(explicit.encoding, _RAW, _FILES, _Encoding.AudioEncoding.Name)
        rate_hz = explicit.sample_rate_hertz or None
        if encoding != "auto" and rate_hz is None:
            raise invalid("sample_rate_hertz is 0, expected the rate of the samples")
        # As Google does: of several channels that aren't heard apart, only the first is heard.
        declared = Declared(encoding, rate_hz, channels, 0)
    mode = config.features.multi_channel_mode
    apart = mode == pb.RecognitionFeatures.SEPARATE_RECOGNITION_PER_CHANNEL and channels > 1
    target = config.translation_config.target_language
    return Wanted(
        declared,
        config.model or named,
        [language for language in config.language_codes if language],
        STAND_INS,
        channels if apart else 0,
        Translating(target) if target else None,
    )


def _options(config: pb.RecognitionConfig) -> Options:
    return Options(
        word_times=config.features.enable_word_time_offsets,
        word_confidences=config.features.enable_word_confidence,
    )


def _streaming_options(streaming: pb.StreamingRecognitionConfig) -> Options:
    features = streaming.streaming_features
    timeouts = features.voice_activity_timeout
    return replace(
        _options(streaming.config),
        interim=features.interim_results,
        voice_events=features.enable_voice_activity_events,
        start_timeout_seconds=timeout_seconds(
            "speech_start_timeout", timeouts.speech_start_timeout
        ),
        end_timeout_seconds=timeout_seconds("speech_end_timeout", timeouts.speech_end_timeout),
    )


def _alternative(result: Result, options: Options) -> pb.SpeechRecognitionAlternative:
    alternative = pb.SpeechRecognitionAlternative(
        transcript=result.text, confidence=result.confidence
    )
    for word in result.words:
        info = alternative.words.add(word=word.text)
        if options.word_times:
            info.start_offset.CopyFrom(duration(word.start_seconds))
            info.end_offset.CopyFrom(duration(word.end_seconds))
        if options.word_confidences:
            info.confidence = word.confidence
    return alternative


@final
class _Stream:
    """The messages of StreamingRecognize."""

    def __init__(self) -> None:
        self._metadata = pb.RecognitionResponseMetadata(request_id=str(uuid.uuid4()))

    def read(self, data: bytes) -> tuple[Asked, Options | None]:
        request = pb.StreamingRecognizeRequest.FromString(data)
        if request.WhichOneof("streaming_request") != "streaming_config":
            return Asked(audio=request.audio), None
        config = request.streaming_config
        asked = Asked(_wanted(request.recognizer, config.config), request)
        return asked, _streaming_options(config)

    def message(self, said: Said, options: Options, tag: int, language: str) -> Message | None:
        if said.happening is Happening.TIMEOUT:
            return None
        message = pb.StreamingRecognizeResponse(metadata=self._metadata)
        if said.happening is not None:
            message.speech_event_type = _HAPPENINGS[said.happening]
            message.speech_event_offset.CopyFrom(duration(said.at_seconds))
        for result in said.results:
            message.results.add(
                alternatives=[_alternative(result, options)],
                is_final=result.is_final,
                stability=result.stability,
                result_end_offset=duration(result.end_seconds),
                channel_tag=tag,
                language_code=language,
            )
        return message

    def closing(self, heard_seconds: float) -> Message:
        self._metadata.total_billed_duration.CopyFrom(duration(heard_seconds))
        return pb.StreamingRecognizeResponse(metadata=self._metadata)


@final
class _Recording:
    """The messages of Recognize."""

    def __init__(self) -> None:
        self._response = pb.RecognizeResponse()
        self._response.metadata.request_id = str(uuid.uuid4())

    def read(self, data: bytes) -> tuple[Asked, Options]:
        request = pb.RecognizeRequest.FromString(data)
        if request.WhichOneof("audio_source") == "uri":
            raise invalid("uri names a file in Google's storage, expected content")
        if not request.content:
            raise invalid("content is empty, expected a recording")
        wanted = _wanted(request.recognizer, request.config)
        return Asked(wanted, audio=request.content, is_last=True), _options(request.config)

    def add(self, result: Result, options: Options, tag: int, language: str) -> None:
        self._response.results.add(
            alternatives=[_alternative(result, options)],
            result_end_offset=duration(result.end_seconds),
            channel_tag=tag,
            language_code=language,
        )

    def closing(self, heard_seconds: float) -> Message:
        self._response.metadata.total_billed_duration.CopyFrom(duration(heard_seconds))
        return self._response
