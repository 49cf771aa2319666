"""Text that only grows: what clients get who append each fragment to the last."""

from typing import final

from streamgate.frontends.speech import TextEvent


@final
class Passage:
    """The stable text of any number of utterances, a space between them.

    All that `add` gives, joined, is `text`: there is no other text to be had.
    """

    def __init__(self) -> None:
        self._parts: list[str] = []
        self._is_between = False

    @property
    def text(self) -> str:
        return "".join(self._parts)

    @property
    def is_between(self) -> bool:
        """Whether the next fragment begins another utterance."""
        return self._is_between

    @classmethod
    def of(cls, text: str, *, is_between: bool) -> "Passage":
        """One that has come so far."""
        passage = cls()
        passage._parts = [text] if text else []
        passage._is_between = is_between
        return passage

    def add(self, event: TextEvent) -> str:
        """The fragment that this event brings, often none."""
        fragment = event.stable
        if not self._parts:
            fragment = fragment.lstrip()
        elif self._is_between and fragment:
            fragment = " " + fragment.lstrip()
        if fragment:
            self._parts.append(fragment)
            self._is_between = False
        self._is_between = self._is_between or event.final
        return fragment
