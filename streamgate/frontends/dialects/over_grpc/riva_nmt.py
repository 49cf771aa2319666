"""Riva's translation: `nvidia.riva.nmt.RivaTranslation`, of texts and of speech as it is spoken."""

from collections.abc import Iterable
from dataclasses import replace
from typing import Final, final

from google.protobuf.message import Message

from streamgate._proto import riva_nmt_pb2 as pb
from streamgate.errors import Code, StreamGateError
from streamgate.frontends.dialects.over_grpc.call import Asked
from streamgate.frontends.dialects.over_grpc.calls import resumable_call, single_call
from streamgate.frontends.dialects.over_grpc.hearing import Heard, Translating
from streamgate.frontends.dialects.over_grpc.riva_asr import RivaResults, request_id, wanted_of
from streamgate.frontends.dialects.over_grpc.statuses import NoSlotError, invalid
from streamgate.frontends.grpc_resumption import StreamReception
from streamgate.frontends.grpc_service import GrpcService
from streamgate.frontends.speech import SpeechContext, translated

SERVICE: Final = "nvidia.riva.nmt.RivaTranslation"
TEXTS_MAX: Final = 1000
"""Texts in one request; each is a sequence of its own, one after the other."""


def riva_nmt(context: SpeechContext, reception: StreamReception | None = None) -> GrpcService:
    """The service. With a `reception`, clients may come back to its streams."""

    async def translate(own: SpeechContext, data: bytes) -> bytes:
        return await _translate(own, pb.TranslateTextRequest.FromString(data))

    async def languages(own: SpeechContext, data: bytes) -> bytes:
        return await _languages(own, pb.AvailableLanguageRequest.FromString(data))

    return GrpcService(
        SERVICE,
        {
            "TranslateText": single_call(context, translate),
            "ListSupportedLanguagePairs": single_call(context, languages),
            "StreamingTranslateSpeechToText": resumable_call(
                context, f"{SERVICE}/StreamingTranslateSpeechToText", _RivaTranslating, reception
            ),
        },
    )


@final
class _RivaTranslating:
    """The words of StreamingTranslateSpeechToText: results as of recognition, in the other
    language. They have no times of words."""

    is_done = False

    def __init__(self) -> None:
        self._results: RivaResults | None = None
        self._id = ""

    def read(self, data: bytes) -> Asked:
        request = pb.StreamingTranslateSpeechToTextRequest.FromString(data)
        if request.id.value:
            self._id = request.id.value
        if request.WhichOneof("streaming_request") != "config":
            return Asked(audio=request.audio_content)
        asr, translation = request.config.asr_config, request.config.translation_config
        if not translation.target_language_code:
            raise invalid("target_language_code is empty, expected a language to translate into")
        source = translation.source_language_code
        wanted = wanted_of(asr.config)
        if self._results is None:
            self._results = RivaResults(asr)
        return Asked(
            replace(
                wanted,
                languages=wanted.languages or ([source] if source else []),
                translating=Translating(
                    translation.target_language_code, source, translation.model_name
                ),
            ),
            request.config,
        )

    def say(self, heard: Heard) -> Iterable[Message]:
        assert self._results is not None
        results = self._results.of(heard)
        if results:
            yield pb.StreamingTranslateSpeechToTextResponse(
                results=results, id=request_id(self._id)
            )

    def closing(self, heard_seconds: float) -> Iterable[Message]:
        del heard_seconds
        return ()


async def _translate(context: SpeechContext, request: pb.TranslateTextRequest) -> bytes:
    if not 0 < len(request.texts) <= TEXTS_MAX:
        raise invalid(f"{len(request.texts)} texts, expected 1 to {TEXTS_MAX}")
    if not request.target_language:
        raise invalid("target_language is empty, expected a language to translate into")
    model = await context.models.choose_translation(
        request.model, request.source_language, request.target_language
    )
    response = pb.TranslateTextResponse(id=request_id(request.id.value))
    for text in request.texts:
        try:
            said = await translated(context.gateway, model, request.target_language, text)
        except StreamGateError as error:
            if error.code is Code.UNAVAILABLE:
                raise NoSlotError(error) from None
            raise
        response.translations.add(text=said, language=request.target_language)
    return response.SerializeToString()


async def _languages(context: SpeechContext, request: pb.AvailableLanguageRequest) -> bytes:
    response = pb.AvailableLanguageResponse()
    for model in await context.models.translations():
        if request.model in ("", model.name):
            pair = response.languages[model.name]
            pair.src_lang.extend(model.source_languages)
            pair.tgt_lang.extend(model.target_languages)
    if request.model and not response.languages:
        raise StreamGateError(Code.NOT_FOUND, f"'{request.model}' is no translation model")
    return response.SerializeToString()
