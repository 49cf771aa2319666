"""Stable text and tail: what a speech model may promise, and what may still change.

Clients that append show only what is stable, so stable text never changes. `StableText` is for
models that say themselves how much of a hypothesis is sure (all tokens of a greedy search are; of a
beam search, what its hypotheses have in common). `LocalAgreement` is for models that recognise the
same audio anew again and again (Whisper): sure is what two hypotheses in a row agree on.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import takewhile


@dataclass(frozen=True, slots=True)
class TextUpdate:
    """What an event carries: `stable` is to be appended as it is, `tail` replaces the last tail.

    Both bring the blank in front of them, unless they begin the utterance.
    """

    stable: str
    tail: str


@dataclass(frozen=True, slots=True)
class StableState:
    """The stable text of this utterance so far."""

    stable: str = ""


class StableText:
    """From whole hypotheses to updates."""

    @staticmethod
    def update(state: StableState, stable: str, tail: str) -> tuple[StableState, TextUpdate]:
        """Take the utterance's stable text, which begins with what was stable before, and its tail.

        Raises ValueError for stable text that takes something back.
        """
        if not stable.startswith(state.stable):
            raise ValueError(f"stable text must not change: {state.stable!r} became {stable!r}")
        return StableState(stable), TextUpdate(stable[len(state.stable) :], tail)

    @staticmethod
    def finish(state: StableState, stable: str) -> tuple[StableState, TextUpdate]:
        """The utterance's last update, with all of its text and no tail, and a fresh state."""
        return StableState(), StableText.update(state, stable, "")[1]


# Kana, Chinese characters and their punctuation. Korean has blanks.
_WITHOUT_BLANKS = re.compile(
    "[\u3000-\u30ff\u3400-\u9fff\uf900-\ufaff\uff00-\uffef\U00020000-\U0002ffff]"
)


def is_unspaced(character: str) -> bool:
    """Whether a character is of a script that is written without blanks between words."""
    return _WITHOUT_BLANKS.fullmatch(character) is not None


def spaced(words: Sequence[str], *, after: str = "") -> str:
    """Words as they go on behind the word `after` (empty: as they begin an utterance).

    A blank stands between two words, but not between two Chinese or Japanese ones.
    """
    parts = []
    for word in words:
        if after and word and not (is_unspaced(after[-1]) and is_unspaced(word[0])):
            parts.append(" ")
        parts.append(word)
        after = word or after
    return "".join(parts)


@dataclass(frozen=True, slots=True)
class AgreementState:
    """The words that are stable in this utterance, and the last hypothesis beyond them."""

    stable: tuple[str, ...] = ()
    last: tuple[str, ...] | None = None


@dataclass(frozen=True, slots=True)
class LocalAgreement:
    """Local agreement over two hypotheses (LocalAgreement-2; Machacek, Dabre and Bojar 2023).

    `update` takes hypotheses of the whole utterance; stable words are never taken back, also when
    a later hypothesis has others in their place: then it counts behind as many words.
    """

    def update(
        self, state: AgreementState, words: Sequence[str]
    ) -> tuple[AgreementState, TextUpdate]:
        """Take a hypothesis; what it and the last one both begin with becomes stable."""
        ahead = tuple(words[len(state.stable) :])
        agreed = _common(ahead, state.last or ())
        tail = ahead[len(agreed) :]
        after = AgreementState(state.stable + agreed, tail)
        update = TextUpdate(
            spaced(agreed, after=_last(state.stable)), spaced(tail, after=_last(after.stable))
        )
        return after, update

    def finish(
        self, state: AgreementState, words: Sequence[str] | None = None
    ) -> tuple[AgreementState, TextUpdate]:
        """End the utterance with a last hypothesis (without one: with the last that there was)."""
        ahead = tuple(words[len(state.stable) :]) if words is not None else state.last or ()
        return AgreementState(), TextUpdate(spaced(ahead, after=_last(state.stable)), "")


def _last(words: tuple[str, ...]) -> str:
    return words[-1] if words else ""


def _common(one: tuple[str, ...], other: tuple[str, ...]) -> tuple[str, ...]:
    """What both begin with."""
    pairs = takewhile(lambda pair: pair[0] == pair[1], zip(one, other, strict=False))
    return tuple(word for word, _ in pairs)
