"""From the recogniser's tokens to words: which are stable, which may still change, and when they
were said.

A token is a word. CTC's greedy reading: a run of the same token is the word once, blanks are
nothing. One thing is read more patiently: "six" may have been the beginning of "sixty". Such a word
is held back, as the tail, until it can't grow any more; all others are stable as soon as their run
is over. What is stable is never taken back.
"""

from dataclasses import dataclass

BLANK = 0
FRAME_SECONDS = 0.04
# "six" is the beginning of what follows so soon behind it, in frames between the two. On speech
# that the recogniser was not trained on, nine in ten of such pairs were one word.
GROWTH_FRAMES = 5
GROWS = {
    "four": ("fourteen", "forty"),
    "six": ("sixteen", "sixty"),
    "seven": ("seventeen", "seventy"),
    "eight": ("eighteen", "eighty"),
    "nine": ("nineteen", "ninety"),
}
# A word's run ends where the word does, give or take 50 ms (the median, on digits of people with
# known times). When it began, the recogniser does not tell: so much before its run, at most.
WORD_SECONDS = 0.36


@dataclass(frozen=True, slots=True)
class Word:
    """A word, from `start` to `end` in seconds of the stream. `confidence` is in [0, 1]."""

    text: str
    start: float
    end: float
    confidence: float


@dataclass(slots=True)
class Reading:
    """What is remembered of a stream: a row of numbers, so that it can be kept as a tensor.

    `frames` were read, the last of them had the token `last`. The word `held` (a token; 0 is none)
    has a run from frame `held_start` up to `held_end`, `confidence` at its best, and is not stable
    yet. The last stable word ended at `end_seconds`.
    """

    frames: float = 0
    last: float = BLANK
    held: float = BLANK
    held_start: float = 0
    held_end: float = 0
    confidence: float = 0
    end_seconds: float = 0

    def row(self) -> tuple[float, ...]:
        return (
            self.frames,
            self.last,
            self.held,
            self.held_start,
            self.held_end,
            self.confidence,
            self.end_seconds,
        )


@dataclass(frozen=True, slots=True)
class Reader:
    """Reads tokens with these words: token i is `words[i]`, and `words[0]` is the blank's."""

    words: tuple[str, ...]

    def read(self, reading: Reading, token: int, confidence: float) -> list[Word]:
        """Takes one frame; returns the words that became stable by it, two at most."""
        stable = []
        if token == reading.last:
            if token == reading.held and token != BLANK:
                reading.held_end = reading.frames + 1
                reading.confidence = max(reading.confidence, confidence)
        else:
            if token != BLANK:
                if reading.held != BLANK and not self._grew(reading, token):
                    stable.append(self._release(reading))
                reading.held = token
                reading.held_start = reading.frames
                reading.held_end = reading.frames + 1
                reading.confidence = confidence
            reading.last = token
        reading.frames += 1
        if reading.held != BLANK and token == BLANK and not self._may_grow(reading):
            stable.append(self._release(reading))
        return stable

    def finish(self, reading: Reading) -> list[Word]:
        """Ends the utterance: returns the word that is held, if there is one.

        If its token goes on in the next frame, that is the same word still.
        """
        return [] if reading.held == BLANK else [self._release(reading)]

    def tail(self, reading: Reading) -> str:
        return self.words[int(reading.held)]

    def _grew(self, reading: Reading, token: int) -> bool:
        longer = GROWS.get(self.tail(reading), ())
        near = reading.frames - reading.held_end <= GROWTH_FRAMES
        return near and self.words[token] in longer

    def _may_grow(self, reading: Reading) -> bool:
        near = reading.frames - reading.held_end <= GROWTH_FRAMES
        return near and self.tail(reading) in GROWS

    def _release(self, reading: Reading) -> Word:
        end = reading.held_end * FRAME_SECONDS
        begun = reading.held_start * FRAME_SECONDS - WORD_SECONDS
        start = max(reading.end_seconds, begun)
        word = Word(self.tail(reading), start, end, reading.confidence)
        reading.held = BLANK
        reading.end_seconds = end
        return word
