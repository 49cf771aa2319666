"""Word error rate: the least number of edits between what was heard and what was said."""

from collections import Counter
from dataclasses import dataclass, field
from typing import Self


@dataclass(slots=True)
class Edits:
    said: int = 0
    deleted: int = 0
    added: int = 0
    replaced: int = 0
    swaps: Counter[tuple[str, str]] = field(default_factory=Counter)

    @property
    def rate(self) -> float:
        """Percent of the words said. With none said, each added word counts as 100 %."""
        return 100 * (self.deleted + self.added + self.replaced) / max(1, self.said)

    def __iadd__(self, other: "Edits") -> Self:
        self.said += other.said
        self.deleted += other.deleted
        self.added += other.added
        self.replaced += other.replaced
        self.swaps.update(other.swaps)
        return self


def edits(heard: list[str], said: list[str]) -> Edits:
    """Returns the least edits that make `heard` out of `said`; of equal ways, replacing first."""
    costs = [[0] * (len(said) + 1) for _ in range(len(heard) + 1)]
    for i in range(len(heard) + 1):
        for j in range(len(said) + 1):
            if i and j:
                same = heard[i - 1] == said[j - 1]
                costs[i][j] = min(
                    costs[i - 1][j - 1] + (not same), costs[i - 1][j] + 1, costs[i][j - 1] + 1
                )
            else:
                costs[i][j] = i + j
    found = Edits(said=len(said))
    i, j = len(heard), len(said)
    while i or j:
        if i and j and costs[i][j] == costs[i - 1][j - 1] + (heard[i - 1] != said[j - 1]):
            if heard[i - 1] != said[j - 1]:
                found.replaced += 1
                found.swaps[said[j - 1], heard[i - 1]] += 1
            i, j = i - 1, j - 1
        elif j and costs[i][j] == costs[i][j - 1] + 1:
            found.deleted += 1
            j -= 1
            found.swaps[said[j], "-"] += 1
        else:
            found.added += 1
            i -= 1
            found.swaps["-", heard[i]] += 1
    return found
