"""The line that a person sees, and what programs must not."""

import io
import re

import pytest

from streamgate.transcribe import screen
from streamgate.transcribe.screen import Screen
from streamgate.transcribe.transcript import Utterance


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture(autouse=True)
def every_frame_of_eighty_columns(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(screen, "_FRAME_SECONDS", 0.0)
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)


def plain(text: str) -> list[str]:
    """What is drawn, one over another."""
    frames = text.split("\r\x1b[2K")
    return [re.sub(r"\x1b\[[?0-9]*[a-zA-Z]", "", frame) for frame in frames]


def test_progress_and_the_words_under_way() -> None:
    terminal = Terminal()
    with Screen(terminal, "speech.wav", 20.0, None) as drawn:
        drawn.on_progress(5.0)
        drawn.on_tail("so it is said")
    frames = plain(terminal.getvalue())
    assert re.match(r"speech\.wav  ━{6}─{18}  5\.0 / 20\.0 s +[\d.x]*  so it is said$", frames[-2])
    assert frames[-1] == ""


@pytest.mark.parametrize("name", ["f.wav", "n" * 50 + ".wav"])
def test_a_line_never_wraps(name: str) -> None:
    terminal = Terminal()
    with Screen(terminal, name, 20.0, None) as drawn:
        for seconds in (0.0, 3.3, 20.0, 99.0):
            drawn.on_progress(seconds)
            drawn.on_tail("word " * 40 + "last")
    frames = plain(terminal.getvalue())
    assert all(len(frame) < 80 for frame in frames)
    assert any(frame.endswith("word last") for frame in frames) == (name == "f.wav")


def test_utterances_go_above_it() -> None:
    terminal = Terminal()
    with Screen(terminal, "f", None, terminal) as drawn:
        drawn.on_progress(61.0)
        drawn.on_utterance(Utterance(text="all of it"))
    frames = plain(terminal.getvalue())
    assert "● 01:01  " in frames
    assert "all of it\n" in frames


@pytest.mark.parametrize("why", ["no terminal", "dumb"])
def test_nothing_is_drawn_elsewhere(why: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if why == "dumb":
        monkeypatch.setenv("TERM", "dumb")
    stream, out = io.StringIO() if why == "no terminal" else Terminal(), io.StringIO()
    with Screen(stream, "f", 1.0, out) as drawn:
        drawn.on_progress(0.5)
        drawn.on_utterance(Utterance(text="said"))
    assert (stream.getvalue(), out.getvalue()) == ("", "said\n")


def test_no_colours_where_they_are_not_wanted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    terminal = Terminal()
    with Screen(terminal, "f", 1.0, None) as drawn:
        drawn.on_progress(0.5)
    assert not re.search(r"\x1b\[\d*m", terminal.getvalue())
