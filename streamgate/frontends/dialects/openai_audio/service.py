"""The paths: transcriptions, translations, and the list of models."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from contextlib import ExitStack
from typing import Any, Final, final

from aiohttp import web

from streamgate.errors import StreamGateError
from streamgate.frontends.dialects.openai.errors import (
    OpenAiError,
    error_object,
    error_response,
    going_away,
    wrong_key,
)
from streamgate.frontends.dialects.openai.names import STAND_INS
from streamgate.frontends.dialects.openai_audio.answers import answer, stream_event
from streamgate.frontends.dialects.openai_audio.form import Form, Wanted
from streamgate.frontends.dialects.openai_audio.hearing import Hearing
from streamgate.frontends.dialects.openai_audio.upload import Spool, Upload
from streamgate.frontends.http_service import HttpHandler
from streamgate.frontends.speech import SpeechContext, SpeechModel, bearer

FILE_BYTES_MAX: Final = 2**30
"""The largest file: it is heard while it comes, and never held."""
UNREAD_SECONDS: Final = 60.0
"""How long a client may take nothing of a stream of events."""
TRANSCRIPTIONS: Final = "/v1/audio/transcriptions"
TRANSLATIONS: Final = "/v1/audio/translations"
MODELS: Final = "/v1/models"

_Handler = Callable[[SpeechContext, web.BaseRequest], Awaitable[web.StreamResponse]]
"""Answers a request of the context's client."""


@final
class AudioService:
    """An `HttpService`. Errors are in OpenAI's shape, whatever goes wrong."""

    def __init__(self, context: SpeechContext, file_bytes_max: int = FILE_BYTES_MAX) -> None:
        self._context = context
        self._file_bytes_max = file_bytes_max
        self._created = int(time.time())

    def handler_for(self, method: str, path: str) -> HttpHandler | None:
        if path in (TRANSCRIPTIONS, TRANSLATIONS):
            return self._checked(self._audio, method, "POST")
        if path == MODELS:
            return self._checked(self._models, method, "GET")
        if path.startswith(f"{MODELS}/"):
            return self._checked(self._model, method, "GET")
        return None

    def _checked(self, handler: _Handler, method: str, expected: str) -> HttpHandler:
        async def checked(request: web.BaseRequest) -> web.StreamResponse:
            try:
                if method != expected:
                    raise OpenAiError(
                        f"Not allowed: {method}, expected {expected}.",
                        None,
                        "method_not_allowed",
                        405,
                    )
                key = bearer(request.headers.get("Authorization", ""))
                if not self._context.access.allows(key):
                    raise wrong_key()
                if not self._context.gateway.is_accepting():
                    raise going_away()
                return await handler(self._context.of(key), request)
            except StreamGateError as error:
                return error_response(error)

        return checked

    async def _models(self, context: SpeechContext, request: web.BaseRequest) -> web.StreamResponse:
        del request
        models = await context.models.all()
        return web.json_response(
            {"object": "list", "data": [self._listed(model) for model in models]}
        )

    async def _model(self, context: SpeechContext, request: web.BaseRequest) -> web.StreamResponse:
        name = request.path.removeprefix(f"{MODELS}/")
        return web.json_response(self._listed(await context.models.choose(name)))

    def _listed(self, model: SpeechModel) -> dict[str, Any]:
        """`created` is when this server started: nobody knows when a model was made."""
        return {
            "id": model.name,
            "object": "model",
            "created": self._created,
            "owned_by": "streamgate",
        }

    async def _audio(self, context: SpeechContext, request: web.BaseRequest) -> web.StreamResponse:
        """A file is heard while it is being uploaded, faster than it plays if it comes so fast."""
        translates = request.path == TRANSLATIONS
        form = Form()
        with ExitStack() as closing:
            hearing = await self._heard(context, request, form, closing, translates=translates)
            wanted = form.wanted()
            if wanted.streams and not translates:
                return await _stream(request, hearing)
            async for _ in hearing.fragments():
                pass
            return self._answer(hearing, wanted, form, translates=translates)

    def _answer(
        self, hearing: Hearing, wanted: Wanted, form: Form, *, translates: bool
    ) -> web.Response:
        if translates:
            return answer(hearing, wanted, "translate", "en")
        known = hearing.model.languages
        language = form.language or (known[0] if known else "")
        return answer(hearing, wanted, "transcribe", language)

    async def _heard(
        self,
        context: SpeechContext,
        request: web.BaseRequest,
        form: Form,
        closing: ExitStack,
        *,
        translates: bool,
    ) -> Hearing:
        """Read the whole upload. The file goes right into a stream, or waits if it has come before
        the model is known."""
        upload = Upload(request, self._file_bytes_max)
        hearing: Hearing | None = None
        spool: Spool | None = None
        async for part in upload.parts():
            if part.name != "file":
                form.add(part.name or "", await upload.text(part))
                continue
            if hearing is not None or spool is not None:
                raise OpenAiError("There is more than one 'file', expected one.", "file")
            if form.names_model:
                form.wanted()
                hearing = await self._opened(context, form, closing, translates=translates)
                async for piece in upload.audio(part):
                    await hearing.feed(piece)
            else:
                spool = Spool()
                closing.callback(spool.close)
                async for piece in upload.audio(part):
                    await spool.add(piece)
        if spool is not None:
            form.wanted()
            hearing = await self._opened(context, form, closing, translates=translates)
            async for piece in spool.pieces():
                await hearing.feed(piece)
        if hearing is None:
            raise OpenAiError("There is no 'file'.", "file", "missing_required_parameter")
        hearing.finish()
        return hearing

    async def _opened(
        self, context: SpeechContext, form: Form, closing: ExitStack, *, translates: bool
    ) -> Hearing:
        """Take the slots."""
        form.is_heard = True
        model = await context.models.choose(form.model, form.language, stand_ins=STAND_INS)
        hearing = Hearing(context.gateway, model, form.parameters)
        closing.callback(hearing.close)
        await hearing.open()
        if translates:
            source = form.language or (model.languages[0] if model.languages else "")
            try:
                translator = await context.models.choose_translation("", source, "en")
            except StreamGateError as error:
                raise OpenAiError(error.message, "model", "unsupported_value") from None
            await hearing.open_translation(translator, "en")
        return hearing


async def _stream(request: web.BaseRequest, hearing: Hearing) -> web.StreamResponse:
    """The text as server-sent events. An error behind the first of them is an event, too."""
    response = web.StreamResponse(headers={"Content-Type": "text/event-stream; charset=utf-8"})
    response.enable_chunked_encoding()
    await response.prepare(request)
    try:
        async for fragment in hearing.fragments():
            await _write(request, response, stream_event("transcript.text.delta", delta=fragment))
        done = stream_event("transcript.text.done", text=hearing.result.passage.text)
    except StreamGateError as error:
        done = stream_event("error", error=error_object(error))
    await _write(request, response, done)
    await response.write_eof()
    return response


async def _write(request: web.BaseRequest, response: web.StreamResponse, event: bytes) -> None:
    try:
        async with asyncio.timeout(UNREAD_SECONDS):
            await response.write(event)
    except TimeoutError:
        if request.transport is not None:
            request.transport.abort()
        raise ConnectionResetError("the client does not read") from None
