"""How the demo model `numbers` reads tokens: runs, what is held back, times."""

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

TEXT_MODEL = Path(__file__).resolve().parents[2] / "demos" / "models" / "numbers_text"
WORDS = ("", *(TEXT_MODEL / "words.txt").read_text(encoding="utf-8").split())


@pytest.fixture(scope="module")
def reading() -> ModuleType:
    spec = importlib.util.spec_from_file_location("reading", TEXT_MODEL / "1" / "reading.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class Stream:
    """Tokens as words, frame by frame: "-" is a blank, "six*2" two frames."""

    def __init__(self, reading: ModuleType) -> None:
        self._reader = reading.Reader(WORDS)
        self.state = reading.Reading()
        self.stable: list[str] = []
        self.times: list[tuple[float, float]] = []

    def read(self, frames: str, confidence: float = 0.9) -> str:
        """Returns what is not stable behind these frames."""
        for part in frames.split():
            word, _, count = part.partition("*")
            token = 0 if word == "-" else WORDS.index(word)
            for _ in range(int(count or 1)):
                self._take(self._reader.read(self.state, token, confidence))
        return str(self._reader.tail(self.state))

    def finish(self) -> None:
        self._take(self._reader.finish(self.state))

    def _take(self, words: list[object]) -> None:
        self.stable += [word.text for word in words]  # type: ignore[attr-defined]
        self.times += [(word.start, word.end) for word in words]  # type: ignore[attr-defined]


@pytest.fixture
def stream(reading: ModuleType) -> Stream:
    return Stream(reading)


def test_a_run_is_one_word_and_a_blank_makes_it_two(stream: Stream) -> None:
    stream.read("- two*3 - two -")
    assert stream.stable == ["two", "two"]


def test_a_word_is_the_tail_while_its_run_goes_on(stream: Stream) -> None:
    assert stream.read("- two") == "two"
    assert stream.read("two*2") == "two"
    assert stream.stable == []
    assert stream.read("-") == ""
    assert stream.stable == ["two"]


def test_another_word_right_behind_makes_the_first_stable(stream: Stream) -> None:
    assert stream.read("twenty two") == "two"
    assert stream.stable == ["twenty"]


@pytest.mark.parametrize("gap", range(6))
def test_six_may_become_sixty(stream: Stream, gap: int) -> None:
    assert stream.read(f"six*2 -*{gap}" if gap else "six*2") == "six"
    assert stream.stable == []
    assert stream.read("sixty") == "sixty"
    stream.read("-")
    assert stream.stable == ["sixty"]


def test_six_is_stable_when_it_can_not_grow_any_more(stream: Stream) -> None:
    assert stream.read("six -*5") == "six"
    assert stream.read("-") == ""
    assert stream.stable == ["six"]
    stream.read("sixty -")
    assert stream.stable == ["six", "sixty"]


def test_only_the_beginning_of_a_word_grows_into_it(stream: Stream) -> None:
    stream.read("six - seventy - six - six - sixty six -*6")
    assert stream.stable == ["six", "seventy", "six", "sixty", "six"]


def test_the_end_brings_what_is_held_and_its_run_is_no_new_word(stream: Stream) -> None:
    stream.read("- six")
    stream.finish()
    stream.finish()
    assert stream.stable == ["six"]
    stream.read("six*2 -*9")
    assert stream.stable == ["six"]
    stream.read("six -*9")
    assert stream.stable == ["six", "six"]


def test_words_end_with_their_run_and_do_not_overlap(stream: Stream) -> None:
    stream.read("-*20 two*2 -*4 three -")
    (first_start, first_end), (second_start, second_end) = stream.times
    assert first_start == pytest.approx(0.8 - 0.36)
    assert first_end == second_start == pytest.approx(0.88)
    assert second_end == pytest.approx(1.08)


def test_the_best_frame_of_a_run_is_its_confidence(stream: Stream) -> None:
    stream.read("two", 0.4)
    stream.read("two", 0.7)
    stream.read("two", 0.5)
    assert stream.state.confidence == 0.7


def test_a_row_of_numbers_is_all_there_is(stream: Stream, reading: ModuleType) -> None:
    """A stream can be cut anywhere: its state is what the server keeps as a tensor."""
    frames = [
        "-",
        "six",
        "-*3",
        "sixty*2",
        "-",
        "four",
        "-*2",
        "double",
        "four*2",
        "-",
        "four",
        "-*9",
    ]
    stream.read(" ".join(frames))
    cut = Stream(reading)
    for frame in frames:
        cut.state = reading.Reading(*cut.state.row())
        cut.read(frame)
    assert (cut.stable, cut.times) == (stream.stable, stream.times)
