"""What was heard, in the formats that a client can ask for. Times are seconds."""

from __future__ import annotations

import json
import math
from typing import Any

from aiohttp import web

from streamgate.frontends.dialects.openai_audio.form import Wanted
from streamgate.frontends.dialects.openai_audio.hearing import Hearing
from streamgate.frontends.speech import Utterance, Word
from streamgate.speech.subtitles import Cue, as_srt, as_vtt


def answer(hearing: Hearing, wanted: Wanted, task: str, language: str) -> web.Response:
    """All of it at once."""
    said = _said(hearing)
    text = hearing.result.passage.text
    if wanted.format == "text":
        return _plain(text + "\n")
    if wanted.format == "srt":
        return _plain(as_srt(map(_cue, said)))
    if wanted.format == "vtt":
        return _plain(as_vtt(map(_cue, said)), "text/vtt")
    usage = {"type": "duration", "seconds": round(hearing.seconds, 3)}
    body: dict[str, Any] = {"text": text, "usage": usage}
    if wanted.format == "verbose_json":
        body |= {"task": task, "language": language, "duration": round(hearing.seconds, 3)}
        if "segment" in wanted.granularities:
            body["segments"] = [_segment(number, each) for number, each in enumerate(said)]
        if "word" in wanted.granularities:
            body["words"] = [_word(word) for each in said for word in each.words]
    return web.json_response(text=json.dumps(body, ensure_ascii=False))


def stream_event(kind: str, **fields: Any) -> bytes:
    """One server-sent event."""
    data = json.dumps({"type": kind, **fields}, ensure_ascii=False)
    return f"data: {data}\n\n".encode()


def _said(hearing: Hearing) -> list[Utterance]:
    return [each for each in hearing.result.utterances if each.stable_text]


def _plain(text: str, content_type: str = "text/plain") -> web.Response:
    return web.Response(text=text, content_type=content_type, charset="utf-8")


def _cue(said: Utterance) -> Cue:
    return Cue(said.start_seconds, said.end_seconds, said.stable_text)


def _segment(number: int, said: Utterance) -> dict[str, Any]:
    """One utterance. What only Whisper has is told as nothing out of the ordinary; the logarithm
    is that of the mean of the words' confidences."""
    return {
        "id": number,
        "seek": 0,
        "start": round(said.start_seconds, 3),
        "end": round(said.end_seconds, 3),
        "text": said.stable_text,
        "tokens": [],
        "temperature": 0.0,
        "avg_logprob": round(math.log(max(said.confidence, 1e-6)), 4),
        "compression_ratio": 1.0,
        "no_speech_prob": 0.0,
    }


def _word(word: Word) -> dict[str, Any]:
    return {
        "word": word.text,
        "start": round(word.start_seconds, 3),
        "end": round(word.end_seconds, 3),
    }
