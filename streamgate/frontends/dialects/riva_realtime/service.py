"""The session that a client asks for before it connects."""

from __future__ import annotations

from typing import Final, final

from aiohttp import web

from streamgate.errors import StreamGateError
from streamgate.frontends.dialects.openai.errors import RETRY_SECONDS, status_of
from streamgate.frontends.dialects.openai.messages import new_id
from streamgate.frontends.dialects.riva_realtime.secret import new_secret
from streamgate.frontends.dialects.riva_realtime.session import Session
from streamgate.frontends.http_service import HttpHandler
from streamgate.frontends.speech import SpeechContext, bearer

PATH: Final = "/v1/realtime/transcription_sessions"


@final
class RivaSessionService:
    """`POST /v1/realtime/transcription_sessions`: the settings that hold unless they are changed,
    and a secret for the WebSocket. No slot is taken yet: that is the WebSocket's to do."""

    def __init__(self, context: SpeechContext) -> None:
        self._context = context

    def handler_for(self, method: str, path: str) -> HttpHandler | None:
        return self._create if path == PATH and method == "POST" else None

    async def _create(self, request: web.BaseRequest) -> web.StreamResponse:
        if not self._context.access.allows(bearer(request.headers.get("Authorization", ""))):
            return web.json_response({"detail": "wrong API key, or none"}, status=401)
        try:
            model = await self._context.models.choose()
        except StreamGateError as error:
            status = status_of(error)
            headers = {"Retry-After": str(RETRY_SECONDS)} if status == 429 else {}
            return web.json_response({"detail": error.message}, status=status, headers=headers)
        session = Session(language=model.languages[0] if model.languages else "")
        shown = session.as_object(new_id("sess"), model.name)
        secret = new_secret()
        shown["client_secret"] = {"value": secret.value, "expires_at": secret.expires_at}
        return web.json_response(shown)
