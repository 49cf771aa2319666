"""What the demo prints: events as they come, a picture of each stream, and the summary.

Colour only when standard output is a terminal (and NO_COLOR is not set), and nothing wider than
80 columns.
"""

import os
import sys
import textwrap
import time
from collections.abc import Sequence

import numpy as np

from over_http import StepCounts
from recordings import CHUNK_SECONDS, Recording
from spoken_numbers import Spoken
from streams import SpeechEvent, Stream

FOLLOWED = "price_22k"
"""The spoken numbers that are shown as they grow."""

_WIDTH = 80
_PICTURE_WIDTH = 48
_COLOURS = {"bold": "1", "dim": "2", "green": "32", "yellow": "33", "cyan": "36", "magenta": "35"}
_TRANSPORT_COLOURS = {"websocket": "cyan", "grpc": "magenta"}
_COLOURED = sys.stdout.isatty() and "NO_COLOR" not in os.environ
_BLOCKS = "utf" in (sys.stdout.encoding or "").lower()


def paint(text: str, colour: str) -> str:
    """The text in a colour or style, if the terminal shows any."""
    return f"\033[{_COLOURS[colour]}m{text}\033[0m" if _COLOURED else text


def heading(text: str) -> None:
    """A line that begins a part of the demo."""
    print(f"\n{paint(text, 'bold')}", flush=True)


def event(stream: Stream, happened: SpeechEvent) -> None:
    """One line for one event, at once: called while the streams run, on any thread."""
    after = time.monotonic() - stream.sent_at[0] + CHUNK_SECONDS
    starts, ends = paint("speech starts", "green"), paint("speech ends  ", "yellow")
    what = starts if happened.starts else ends
    row = [
        f"{after:5.2f} s",
        _transport(stream),
        _short(stream.name),
        what,
        f"{happened.seconds:5.2f} s",
    ]
    sys.stdout.write("  " + "  ".join(row) + "\n")
    sys.stdout.flush()


def pictures(streams: Sequence[Stream]) -> None:
    """A line for each stream: where in the recording there was speech."""
    longest = max(_length(stream.recording) for stream in streams)
    for stream in streams:
        print(f"  {_transport(stream)}  {_short(stream.name)}  {_picture(stream, longest)}")


def summary(streams: Sequence[Stream], counts: StepCounts) -> None:
    """The table of transports, and how full the steps were."""
    print("  transport   streams   chunks   events   p50 latency   p99 latency")
    for transport in dict.fromkeys(stream.transport for stream in streams):
        mine = [stream for stream in streams if stream.transport == transport]
        latencies = np.concatenate([stream.latencies for stream in mine]) * 1e3
        half, most = np.percentile(latencies, [50, 99])
        events = sum(len(stream.events) for stream in mine)
        print(
            f"  {_transport(mine[0])}   {len(mine):>7}   {len(latencies):>6}   {events:>6}"
            f"   {half:>8.1f} ms   {most:>8.1f} ms"
        )
    rows = counts.rows / counts.steps
    print(
        f"\n  {counts.rows} chunks ran in {counts.steps} steps: {rows:.1f} rows a step on average,"
    )
    print(f"  where {len(streams)} would be every stream in every step.")


def _picture(stream: Stream, longest: float) -> str:
    speech, silence = ("█", "·") if _BLOCKS else ("#", ".")
    cells = [False] * max(1, round(_length(stream.recording) / longest * _PICTURE_WIDTH))
    scale = _PICTURE_WIDTH / longest
    edges = [happened.seconds for happened in stream.events]
    if len(edges) % 2:
        edges.append(_length(stream.recording))
    for start, end in zip(edges[::2], edges[1::2], strict=True):
        for cell in range(int(start * scale), min(len(cells), int(end * scale) + 1)):
            cells[cell] = True
    return "".join(paint(speech, "green") if cell else paint(silence, "dim") for cell in cells)


def _length(recording: Recording) -> float:
    return len(recording.chunks) * CHUNK_SECONDS


def _transport(stream: Stream) -> str:
    return paint(f"{stream.transport:<9}", _TRANSPORT_COLOURS[stream.transport])


def _short(name: str) -> str:
    return f"{name:<16}" if len(name) <= 16 else f"{name[:15]}~"


def spoken_change(spoken: Spoken, what: str, after_seconds: float) -> None:
    """Two lines when the German of the recording that is followed changes: stable text, [tail]."""
    if spoken.name != FOLLOWED or what != "de":
        return
    said = _growing(spoken.utterances[-1] or spoken.text, spoken.tail)
    german = _growing(spoken.translated["de"][-1] or spoken.translation("de"), spoken.tails["de"])
    sys.stdout.write(f"  {after_seconds:5.2f} s  {said}\n")
    sys.stdout.write(f"           {paint(german, 'cyan')}\n")
    sys.stdout.flush()


def killed(engine: str, pid: int, after_seconds: float) -> None:
    """One line for an engine that was killed."""
    what = paint(f"kill -9 {pid}, which is {engine}", "yellow")
    sys.stdout.write(f"  {after_seconds:5.2f} s  {what}\n")
    sys.stdout.flush()


def transcripts(spoken: Sequence[Spoken]) -> None:
    """All recordings with their translations."""
    for each in spoken:
        print(f"  {each.name:<10} {paint(each.text, 'green')}")
        for target in each.translated:
            print(f"        {target}   {each.translation(target)}")


def said(who: str, text: str) -> None:
    """What somebody heard, below who it was."""
    indent = " " * 6
    print(f"  {who}")
    print(textwrap.fill(text, _WIDTH, initial_indent=indent, subsequent_indent=indent), flush=True)


def _growing(stable: str, tail: str) -> str:
    return f"{stable}{f' [{tail.strip()}]' if tail.strip() else ''}".strip()
