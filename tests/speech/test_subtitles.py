"""Subtitles: the two formats differ in little, and each insists on it."""

from streamgate.speech.subtitles import Cue, as_srt, as_vtt

CUES = [Cue(0.0, 1.5, "one & two"), Cue(3725.0004, 3726.9996, "three\n\nfour <5>")]


def test_srt() -> None:
    assert as_srt(CUES) == (
        "1\n00:00:00,000 --> 00:00:01,500\none & two\n\n"
        "2\n01:02:05,000 --> 01:02:07,000\nthree\nfour <5>\n"
    )
    assert as_srt([]) == ""


def test_vtt() -> None:
    assert as_vtt(CUES) == (
        "WEBVTT\n\n00:00:00.000 --> 00:00:01.500\none &amp; two\n\n"
        "01:02:05.000 --> 01:02:07.000\nthree\nfour &lt;5&gt;\n"
    )
    assert as_vtt([]) == "WEBVTT\n"
