"""Riva's speech recognition: `nvidia.riva.asr.RivaSpeechRecognition`.

Interim results hold the whole utterance so far, a final one ends it. Times of words are whole
milliseconds, `audio_processed` is seconds.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Final, final

from google.protobuf.message import Message

from streamgate._proto import riva_asr_pb2 as pb
from streamgate._proto.riva_audio_pb2 import AudioEncoding
from streamgate._proto.riva_common_pb2 import RequestId
from streamgate.errors import Code, StreamGateError
from streamgate.frontends.dialects.over_grpc.call import Asked
from streamgate.frontends.dialects.over_grpc.calls import hearing_call, resumable_call, single_call
from streamgate.frontends.dialects.over_grpc.hearing import Heard, Wanted
from streamgate.frontends.dialects.over_grpc.statuses import invalid
from streamgate.frontends.dialects.words import stable_words
from streamgate.frontends.grpc_resumption import StreamReception
from streamgate.frontends.grpc_service import GrpcService
from streamgate.frontends.speech import Declared, SpeechContext, Utterance

SERVICE: Final = "nvidia.riva.asr.RivaSpeechRecognition"
STAND_INS: Final = ("parakeet-1.1b-en-US-asr-streaming", "parakeet-ctc-1.1b-asr")
"""Models that clients have built in (LiveKit's and Pipecat's plugins): they mean none."""

_RAW: Final[Mapping[int, str]] = {
    AudioEncoding.LINEAR_PCM: "s16le",
    AudioEncoding.MULAW: "mulaw",
    AudioEncoding.ALAW: "alaw",
}
_FILES: Final = (
    AudioEncoding.ENCODING_UNSPECIFIED,
    AudioEncoding.FLAC,
    AudioEncoding.OGGOPUS,
)


def riva_asr(context: SpeechContext, reception: StreamReception | None = None) -> GrpcService:
    """The service. With a `reception`, clients may come back to its streams."""

    async def models(own: SpeechContext, data: bytes) -> bytes:
        return await _models(own, pb.RivaSpeechRecognitionConfigRequest.FromString(data))

    return GrpcService(
        SERVICE,
        {
            "StreamingRecognize": resumable_call(
                context, f"{SERVICE}/StreamingRecognize", RivaStreaming, reception
            ),
            "Recognize": hearing_call(context, _RivaRecording),
            "GetRivaSpeechRecognitionConfig": single_call(context, models),
        },
    )


def wanted_of(config: pb.RecognitionConfig) -> Wanted:
    """What a configuration asks for. Raises StreamGateError (INVALID_ARG)."""
    channels = config.audio_channel_count or 1
    if channels < 0 or config.sample_rate_hertz < 0:
        raise invalid(
            f"audio_channel_count is {config.audio_channel_count} and sample_rate_hertz "
            f"{config.sample_rate_hertz}, expected positive numbers, or 0 where the audio says so "
            "itself"
        )
    encoding = _RAW.get(config.encoding, "auto")
    if encoding == "auto" and config.encoding not in _FILES:
        known = ", ".join(AudioEncoding.keys())
        raise invalid(f"encoding is {config.encoding}, expected one of {known}")
    if not config.sample_rate_hertz:
        encoding = "auto"  # a WAV header says the rate
    return Wanted(
        Declared(encoding, config.sample_rate_hertz or None, channels),
        config.model,
        [config.language_code] if config.language_code else [],
        STAND_INS,
        channels if config.enable_separate_recognition_per_channel and channels > 1 else 0,
        parameters=dict(config.custom_configuration),
    )


def word_infos(utterance: Utterance) -> list[pb.WordInfo]:
    """The words that are stable, with their times."""
    return [
        pb.WordInfo(
            word=word.text,
            start_time=round(word.start_seconds * 1000),
            end_time=round(word.end_seconds * 1000),
            confidence=word.confidence,
        )
        for word in stable_words(utterance)
    ]


@final
class RivaResults:
    """The results of a streaming call, in Riva's words, whatever message carries them."""

    def __init__(self, config: pb.StreamingRecognitionConfig) -> None:
        self._interim = config.interim_results
        self._words = config.config.enable_word_time_offsets
        custom = config.config.custom_configuration
        self._vad = custom.get("get_vad_probabilities", "").lower() == "true"
        self._last: dict[int, str] = {}

    def of(self, heard: Heard) -> Sequence[pb.StreamingRecognitionResult]:
        """What is new in this: one result or none."""
        utterance = heard.utterance
        result = pb.StreamingRecognitionResult(
            channel_tag=heard.channel + 1, audio_processed=heard.event.audio_seconds
        )
        probability = heard.event.speech_probability
        if self._vad and probability is not None:
            result.pipeline_states.vad_probabilities.append(probability)
        text = utterance.text
        last = self._last.get(heard.channel, "")
        self._last[heard.channel] = "" if utterance.is_final else text
        if text and (utterance.is_final or (self._interim and text != last)):
            alternative = result.alternatives.add(transcript=text)
            if heard.language:
                alternative.language_code.append(heard.language)
            if self._words:
                alternative.words.extend(word_infos(utterance))
            result.is_final = utterance.is_final
            if utterance.is_final:
                alternative.confidence = utterance.confidence
            # As far as it goes: the share of the text that won't change any more.
            share = len(utterance.stable_text) / len(text)
            result.stability = 1.0 if utterance.is_final else min(share, 1.0)
        return [result] if result.alternatives or result.HasField("pipeline_states") else []


@final
class RivaStreaming:
    """The words of StreamingRecognize."""

    is_done = False

    def __init__(self) -> None:
        self._results: RivaResults | None = None
        self._id = ""

    def read(self, data: bytes) -> Asked:
        request = pb.StreamingRecognizeRequest.FromString(data)
        if request.id.value:
            self._id = request.id.value
        kind = request.WhichOneof("streaming_request")
        if kind == "streaming_config":
            wanted = wanted_of(request.streaming_config.config)
            if self._results is None:
                self._results = RivaResults(request.streaming_config)
            return Asked(wanted, request.streaming_config)
        flush = request.runtime_config.get("force_eou", "").lower() == "true"
        return Asked(audio=request.audio_content, flush=flush)

    def say(self, heard: Heard) -> Iterable[Message]:
        assert self._results is not None
        results = self._results.of(heard)
        if results:
            yield pb.StreamingRecognizeResponse(results=results, id=request_id(self._id))

    def closing(self, heard_seconds: float) -> Iterable[Message]:
        del heard_seconds
        return ()


@final
class _RivaRecording:
    """The words of Recognize: a result for each utterance, all at the end."""

    is_done = False

    def __init__(self) -> None:
        self._response = pb.RecognizeResponse()
        self._words = False

    def read(self, data: bytes) -> Asked:
        request = pb.RecognizeRequest.FromString(data)
        if not request.audio:
            raise invalid("audio is empty, expected a recording")
        self._words = request.config.enable_word_time_offsets
        if request.id.value:
            self._response.id.CopyFrom(request.id)
        return Asked(wanted_of(request.config), audio=request.audio, is_last=True)

    def say(self, heard: Heard) -> Iterable[Message]:
        utterance = heard.utterance
        if utterance.is_final and utterance.text:
            result = self._response.results.add(
                channel_tag=heard.channel + 1, audio_processed=heard.event.audio_seconds
            )
            alternative = result.alternatives.add(
                transcript=utterance.text, confidence=utterance.confidence
            )
            if heard.language:
                alternative.language_code.append(heard.language)
            if self._words:
                alternative.words.extend(word_infos(utterance))
        return ()

    def closing(self, heard_seconds: float) -> Iterable[Message]:
        del heard_seconds
        return (self._response,)


def request_id(value: str) -> RequestId | None:
    """The caller's name for a request, to be given back."""
    return RequestId(value=value) if value else None


async def _models(context: SpeechContext, request: pb.RivaSpeechRecognitionConfigRequest) -> bytes:
    """Clients list those whose `type` is `online` and that have a `language_code`."""
    found = [
        model for model in await context.models.all() if request.model_name in ("", model.name)
    ]
    if request.model_name and not found:
        raise StreamGateError(Code.NOT_FOUND, f"'{request.model_name}' is no speech model")
    response = pb.RivaSpeechRecognitionConfigResponse()
    for model in found:
        entry = response.model_config.add(model_name=model.name)
        parameters = {
            "type": "online",
            "streaming": "True",
            "language_code": ",".join(model.languages) or "multi",
            "sample_rate": str(model.sample_rate_hz),
            "chunk_size": f"{model.chunk_seconds:g}",
            "model_family": "streamgate",
        }
        entry.parameters.update(parameters)
    return response.SerializeToString()
