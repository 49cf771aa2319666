"""The client of OpenAI's `POST /v1/audio/transcriptions`: the file as it is, in one request."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit, urlunsplit

import aiohttp

from streamgate.errors import Code, StreamGateError
from streamgate.transcribe.audio import Audio, FileAudio
from streamgate.transcribe.socket import CONNECT_SECONDS, SILENCE_SECONDS, Wanted, said, unreachable
from streamgate.transcribe.transcript import Listener, Transcript, Utterance, Word

PATH: Final = "/v1/audio/transcriptions"
ANY_MODEL: Final = "whisper-1"  # what OpenAI's clients name; a server has its own stand-in
_PIECE_BYTES: Final = 64 * 1024


class OpenAiClient:
    """Uploads files, and knows the utterances only when all was heard."""

    async def transcribe(self, audio: Audio, wanted: Wanted, listener: Listener) -> Transcript:
        if not isinstance(audio, FileAudio):
            raise StreamGateError(Code.INVALID_ARG, "OpenAI's dialect for files takes files only")
        parts = urlsplit(wanted.url or "http://localhost:8000")
        url = urlunsplit((parts.scheme, parts.netloc, parts.path.rstrip("/") or PATH, "", ""))
        headers = {"Authorization": f"Bearer {wanted.key}"} if wanted.key else {}
        timeout = aiohttp.ClientTimeout(
            total=None, sock_connect=CONNECT_SECONDS, sock_read=SILENCE_SECONDS
        )
        try:
            async with aiohttp.ClientSession(headers=headers, timeout=timeout) as session:
                form = _form(audio, wanted, listener)
                async with session.post(url, data=form) as answer:
                    body = await answer.read()
                    if answer.status != 200:
                        raise StreamGateError(
                            Code.UNAVAILABLE, f"{url} refused ({answer.status}): {said(body)}"
                        )
                    fields = await answer.json()
        except aiohttp.InvalidURL:
            raise StreamGateError(Code.INVALID_ARG, f"'{url}' is no address") from None
        except (aiohttp.ClientError, TimeoutError) as error:
            raise unreachable(url, error) from None
        transcript = _transcript(fields, wanted.model)
        for each in transcript.utterances:
            listener.on_utterance(each)
        listener.on_progress(audio.seconds or transcript.seconds)
        return transcript


def _form(audio: FileAudio, wanted: Wanted, listener: Listener) -> aiohttp.FormData:
    """The model and the language first: the file is heard while it is uploaded."""
    form = aiohttp.FormData()
    form.add_field("model", wanted.model or ANY_MODEL)
    if wanted.language:
        form.add_field("language", wanted.language)
    form.add_field("response_format", "verbose_json")
    for each in ("segment", "word"):
        form.add_field("timestamp_granularities[]", each)
    form.add_field(
        "file",
        _uploaded(audio.path, audio.seconds or 0.0, listener),
        filename=audio.path.name,
        content_type="application/octet-stream",
    )
    return form


async def _uploaded(path: Path, seconds: float, listener: Listener) -> AsyncIterator[bytes]:
    """The file's bytes; progress is what was uploaded, as there is nothing better to know."""
    data = path.read_bytes()  # noqa: ASYNC240  # no other work waits for this loop
    for at in range(0, len(data), _PIECE_BYTES):
        yield data[at : at + _PIECE_BYTES]
        listener.on_progress(seconds * min(at + _PIECE_BYTES, len(data)) / len(data))


def _transcript(fields: dict[str, Any], model: str) -> Transcript:
    words = [Word(w["word"], w["start"], w["end"]) for w in fields.get("words", ())]
    utterances = []
    for segment in fields.get("segments", ()):
        count = len(str(segment["text"]).split())
        utterances.append(
            Utterance(segment["start"], segment["end"], str(segment["text"]).strip(), words[:count])
        )
        words = words[count:]
    if not utterances and fields.get("text"):
        utterances = [Utterance(0.0, float(fields["duration"]), str(fields["text"]), words)]
    return Transcript(model, float(fields.get("duration", 0.0)), utterances)
