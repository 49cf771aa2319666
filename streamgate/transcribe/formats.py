"""A transcript as text for people or programs."""

import json
from collections.abc import Callable, Mapping
from typing import Final

from streamgate.speech.subtitles import as_srt, as_vtt
from streamgate.transcribe.captions import captions
from streamgate.transcribe.transcript import Transcript


def as_text(name: str, transcript: Transcript) -> str:
    """An utterance a line."""
    del name
    return "".join(f"{each.text}\n" for each in transcript.utterances)


def as_json(name: str, transcript: Transcript) -> str:
    """One object on one line, so that those of several files are read line by line."""
    fields = {
        "file": name,
        "model": transcript.model,
        "seconds": round(transcript.seconds, 3),
        "text": transcript.text,
        "utterances": [each.fields() for each in transcript.utterances],
    }
    return json.dumps(fields, ensure_ascii=False) + "\n"


def _srt(name: str, transcript: Transcript) -> str:
    del name
    return as_srt(captions(transcript.utterances))


def _vtt(name: str, transcript: Transcript) -> str:
    del name
    return as_vtt(captions(transcript.utterances))


FORMATS: Final[Mapping[str, Callable[[str, Transcript], str]]] = {
    "text": as_text,
    "json": as_json,
    "srt": _srt,
    "vtt": _vtt,
}
SUFFIXES: Final = {"text": ".txt", "json": ".json", "srt": ".srt", "vtt": ".vtt"}
