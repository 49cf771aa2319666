"""Subtitles as text files: SubRip (SRT) and WebVTT."""

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Cue:
    """A text that is shown from one time to another, in seconds."""

    start_seconds: float
    end_seconds: float
    text: str


def as_srt(cues: Iterable[Cue]) -> str:
    """Numbered from 1, times with a comma: `00:00:01,500 --> 00:00:02,000`."""
    blocks = [
        f"{number}\n{_clock(cue.start_seconds, ',')} --> {_clock(cue.end_seconds, ',')}\n"
        f"{_in_one_block(cue.text)}\n"
        for number, cue in enumerate(cues, start=1)
    ]
    return "\n".join(blocks)


def as_vtt(cues: Iterable[Cue]) -> str:
    """Times with a point; `&`, `<` and `>` are escaped, as W3C's WebVTT, 4.2, wants it."""
    blocks = ["WEBVTT\n"]
    for cue in cues:
        text = cue.text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
        times = f"{_clock(cue.start_seconds, '.')} --> {_clock(cue.end_seconds, '.')}"
        blocks.append(f"{times}\n{_in_one_block(text)}\n")
    return "\n".join(blocks)


def _in_one_block(text: str) -> str:
    """An empty line would end the cue."""
    return "\n".join(line for line in text.splitlines() if line.strip())


def _clock(seconds: float, point: str) -> str:
    ms = max(0, round(seconds * 1000))
    minutes, ms = divmod(ms, 60_000)
    hours, minutes = divmod(minutes, 60)
    return f"{hours:02d}:{minutes:02d}:{ms // 1000:02d}{point}{ms % 1000:03d}"
