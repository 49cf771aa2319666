"""What a person sees meanwhile: one line on the terminal's error stream, drawn over itself."""

import os
import shutil
import time
from types import TracebackType
from typing import Final, Self, TextIO

from streamgate.transcribe.transcript import Utterance

_FRAME_SECONDS: Final = 0.05
_BAR_COLUMNS: Final = 24
_CLEAR: Final = "\r\x1b[2K"
_DIM, _GREEN, _BOLD, _PLAIN = "\x1b[2m", "\x1b[32m", "\x1b[1m", "\x1b[0m"
_NO_WRAP, _WRAP = "\x1b[?7l", "\x1b[?7h"


class Screen:
    """A bar of progress, with the words under way behind it; nothing at all where `stream` is no
    terminal.

    Utterances go to `out` as they end, if it is given: above the bar where both are one terminal.
    """

    def __init__(
        self, stream: TextIO, name: str, seconds: float | None, out: TextIO | None
    ) -> None:
        self._stream = stream
        self._out = out
        self._name = name
        self._total = seconds
        self._seconds = 0.0
        self._tail = ""
        self._began = time.monotonic()
        self._drawn_at = 0.0
        self._draws = stream.isatty() and os.environ.get("TERM") != "dumb"
        self._colours = self._draws and "NO_COLOR" not in os.environ

    def __enter__(self) -> Self:
        self._draw(force=True)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._clear()

    def on_progress(self, seconds: float) -> None:
        self._seconds = seconds
        self._draw()

    def on_tail(self, text: str) -> None:
        self._tail = text
        self._draw()

    def on_utterance(self, utterance: Utterance) -> None:
        self._tail = ""
        if self._out is not None:
            self._clear()
            self._out.write(f"{utterance.text}\n")
            self._out.flush()
        self._draw(force=True)

    def _clear(self) -> None:
        if self._draws:
            self._stream.write(_CLEAR)
            self._stream.flush()

    def _draw(self, *, force: bool = False) -> None:
        if not self._draws:
            return
        now = time.monotonic()
        if not force and now - self._drawn_at < _FRAME_SECONDS:
            return
        self._drawn_at = now
        columns = shutil.get_terminal_size().columns
        self._stream.write(f"{_CLEAR}{_NO_WRAP}{self._line(columns, now - self._began)}{_WRAP}")
        self._stream.flush()

    def _line(self, columns: int, elapsed: float) -> str:
        """`name  ━━━━━╸─────  12.3 / 20.0 s  4.1x  the words under way`"""
        if self._total is None:
            head, plain = f"{self._in(_GREEN, '●')} {clock(self._seconds)}  ", 9
        else:
            times = f"{self._seconds:.1f} / {self._total:.1f} s"
            speed = f"{self._seconds / elapsed:.1f}x" if elapsed > 0.2 else ""
            name = self._name if len(self._name) <= 24 else f"{self._name[:23]}…"
            head = f"{self._in(_BOLD, name)}  {self._bar()}  {times}  {speed:>6}  "
            plain = len(name) + _BAR_COLUMNS + len(times) + 14
        room = columns - plain - 1
        tail = self._tail if len(self._tail) <= room else f"…{self._tail[1 - room :]}"
        return head + (self._in(_DIM, tail) if room > 10 else "")

    def _bar(self) -> str:
        share = min(self._seconds / self._total, 1.0) if self._total else 0.0
        halves = round(share * _BAR_COLUMNS * 2)
        full = "━" * (halves // 2) + "╸" * (halves % 2)
        return self._in(_GREEN, full) + self._in(_DIM, "─" * (_BAR_COLUMNS - len(full)))

    def _in(self, colour: str, text: str) -> str:
        return f"{colour}{text}{_PLAIN}" if self._colours and text else text


def clock(seconds: float) -> str:
    minutes, rest = divmod(int(seconds), 60)
    return f"{minutes:02d}:{rest:02d}"
