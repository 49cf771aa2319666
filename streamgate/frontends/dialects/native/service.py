"""The dialect's plain HTTP: the list of speech models, and the page at the root that uses it."""

import json
from pathlib import Path
from typing import Final, final

from aiohttp import web

from streamgate.frontends.http_service import HttpHandler
from streamgate.frontends.speech import SpeechContext

MODELS_PATH: Final = "/v1/speech/models"

_FOLDER: Final = Path(__file__).resolve().parents[3] / "web"
_TYPES: Final = {
    ".css": "text/css",
    ".html": "text/html",
    ".js": "text/javascript",
    ".svg": "image/svg+xml",
}
_HEADERS: Final = {
    # Nothing from elsewhere runs in the page, and nobody puts it into theirs.
    "Content-Security-Policy": "default-src 'self'; connect-src 'self' ws: wss:; "
    "style-src 'self' 'unsafe-inline'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-cache",
}


@final
class NativeService:
    """`GET /v1/speech/models`, the page at `/`, and its files at `/web/...`."""

    def __init__(self, context: SpeechContext) -> None:
        self._context = context
        self._files = {
            f"/web/{path.name}": path for path in _FOLDER.iterdir() if path.suffix in _TYPES
        }
        self._files["/"] = _FOLDER / "index.html"

    def handler_for(self, method: str, path: str) -> HttpHandler | None:
        if method not in ("GET", "HEAD"):
            return None
        if path == MODELS_PATH:
            return self._models
        return self._file if path in self._files else None

    async def _file(self, request: web.BaseRequest) -> web.StreamResponse:
        path = self._files[request.path]
        return web.Response(
            body=path.read_bytes(),
            content_type=_TYPES[path.suffix],
            charset="utf-8",
            headers=_HEADERS,
        )

    async def _models(self, request: web.BaseRequest) -> web.StreamResponse:
        del request
        models = await self._context.models.all()
        translations = await self._context.models.translations()
        body = {
            "models": [
                {
                    "name": model.name,
                    "version": model.version,
                    "languages": list(model.languages),
                    "sample_rate": model.sample_rate_hz,
                    "chunk_seconds": model.chunk_seconds,
                }
                for model in models
            ],
            "translations": [
                {
                    "name": model.name,
                    "version": model.version,
                    "languages": list(model.source_languages),
                    "target_languages": list(model.target_languages),
                }
                for model in translations
            ],
        }
        return web.Response(text=json.dumps(body), content_type="application/json")
