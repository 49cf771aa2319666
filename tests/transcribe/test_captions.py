"""Captions that can be read, and the formats they are written in."""

import json
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamgate.transcribe.captions import LINE_CHARACTERS, LINES, PAUSE_SECONDS, captions
from streamgate.transcribe.formats import FORMATS
from streamgate.transcribe.transcript import Transcript, Utterance, Word


def said(*texts: str, start: float = 0.0, pace: float = 0.3) -> Utterance:
    words = [Word(text, start + i * pace, start + (i + 0.8) * pace) for i, text in enumerate(texts)]
    return Utterance(words[0].start, words[-1].end, " ".join(texts), words)


def test_lines_are_short_and_two_are_balanced() -> None:
    utterance = said(*["teak", "oak", "elder", "teak", "ebony", "cedar", "linden", "palm"])
    (cue,) = captions([utterance])
    assert cue.text == "teak oak elder teak\nebony cedar linden palm"
    assert (cue.start_seconds, cue.end_seconds) == (utterance.start, utterance.end)


def test_a_caption_ends_with_its_utterance_and_at_a_pause() -> None:
    first, second = said("one", "two"), said("three", start=1.0)
    second.words.append(Word("four", second.end + PAUSE_SECONDS, second.end + 1.0))
    assert [cue.text for cue in captions([first, second])] == ["one two", "three", "four"]


def test_a_short_word_stays_a_little_but_not_into_the_next() -> None:
    cues = captions([said("yes"), said("no", start=0.5), said("so", start=9.0)])
    times = [(cue.start_seconds, round(cue.end_seconds, 3)) for cue in cues]
    assert times == [(0.0, 0.5), (0.5, 1.2), (9.0, 9.7)]


def test_without_times_of_words_they_are_spread_over_the_utterance() -> None:
    text = " ".join(["syllable"] * 30)
    cues = captions([Utterance(10.0, 40.0, text)])
    assert cues[0].start_seconds == 10.0
    assert cues[-1].end_seconds == pytest.approx(40.0, abs=0.2)
    assert " ".join(cue.text.replace("\n", " ") for cue in cues) == text


@given(
    st.lists(
        st.tuples(st.text("abcdefgh'", min_size=1, max_size=60), st.floats(0, 1)),
        min_size=1,
        max_size=60,
    )
)
def test_no_words_are_lost_and_no_line_is_long(words: list[tuple[str, float]]) -> None:
    at, timed = 0.0, []
    for text, gap in words:
        timed.append(Word(text, at + gap, at + gap + 0.2))
        at += gap + 0.2
    cues = captions([Utterance(0.0, at, " ".join(text for text, _ in words), timed)])
    lines = [cue.text.splitlines() for cue in cues]
    assert all(len(each) <= LINES for each in lines)
    assert all(len(line) <= LINE_CHARACTERS for each in lines for line in each)
    assert "".join(cue.text for cue in cues).replace("\n", "").replace(" ", "") == "".join(
        text for text, _ in words
    )
    assert all(a.end_seconds <= b.start_seconds + 1e-9 for a, b in pairwise(cues))


TRANSCRIPT = Transcript("m", 3.0, [said("one", "two", start=1.0), said("a&b", start=2.0)])
EXPECTED = {
    "text": "one two\na&b\n",
    "srt": "1\n00:00:01,000 --> 00:00:01,700\none two\n\n2\n00:00:02,000 --> 00:00:02,700\na&b\n",
    "vtt": "WEBVTT\n\n00:00:01.000 --> 00:00:01.700\none two\n\n"
    "00:00:02.000 --> 00:00:02.700\na&amp;b\n",
}


@pytest.mark.parametrize("name", EXPECTED)
def test_formats(name: str) -> None:
    assert FORMATS[name]("f.wav", TRANSCRIPT) == EXPECTED[name]


def test_json_is_one_line() -> None:
    text = FORMATS["json"]("f.wav", TRANSCRIPT)
    assert text.count("\n") == 1
    fields = json.loads(text)
    assert (fields["file"], fields["model"], fields["seconds"]) == ("f.wav", "m", 3.0)
    assert fields["text"] == "one two a&b"
    assert fields["utterances"][1]["words"] == [{"text": "a&b", "start": 2.0, "end": 2.24}]


@pytest.mark.parametrize("name", FORMATS)
def test_nothing_said_is_no_error(name: str) -> None:
    assert FORMATS[name]("f.wav", Transcript()) is not None
