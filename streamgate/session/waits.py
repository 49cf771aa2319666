"""Which model instances wait for which, so that none waits for itself.

An instance whose model calls another model, and waits, runs nothing else meanwhile. When instances
wait for calls that only they themselves could serve, none of them ever goes on: Triton hangs then.
Here the call that would close such a circle is refused.

What holds at all times: every instance that waits goes on some day. A call that gets an instance
gets one that waits for nothing, so only new calls could change that.
"""

from collections.abc import Sequence
from typing import Protocol

from streamgate.link.contract import Holder, Needs


class Waiting(Protocol):
    """A call that an instance waits for."""

    def needs(self) -> Needs:
        """Which instances it needs just now."""


class Waits:
    """The calls that hold an instance. Used on one thread."""

    def __init__(self) -> None:
        self._calls: dict[Holder, list[Waiting]] = {}

    def begin(self, holder: Holder, call: Waiting) -> bool:
        """An instance wants to wait for a call.

        False when it would wait for ever; then nothing is noted. Otherwise `end` must follow.
        """
        self._calls.setdefault(holder, []).append(call)
        if self._goes_on(holder, frozenset()):
            return True
        self.end(holder, call)
        return False

    def end(self, holder: Holder, call: Waiting) -> None:
        """The call is over."""
        calls = self._calls[holder]
        calls.remove(call)
        if not calls:
            del self._calls[holder]

    def __len__(self) -> int:
        """How many instances wait."""
        return len(self._calls)

    def _goes_on(self, holder: Holder, above: frozenset[Holder]) -> bool:
        """Whether the instance waits for nothing, or for nothing but what goes on."""
        calls: Sequence[Waiting] = self._calls.get(holder, ())
        if calls and holder in above:
            return False
        above |= {holder}
        return all(
            any(self._goes_on(other, above) for other in group)
            for call in calls
            for group in call.needs()
        )
