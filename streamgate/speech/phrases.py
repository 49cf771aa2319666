"""A bonus for phrases that are likelier here than elsewhere: names, commands, terms.

The phrases make one trie of tokens with failure links (Aho and Corasick 1975). A hypothesis stands
in a node; each token that goes on in a phrase earns its bonus at once, and what was earned is taken
back when the phrase breaks off. A complete phrase keeps what it earned. What a hypothesis has
earned depends on its tokens alone.
"""

from collections.abc import Sequence
from dataclasses import dataclass

ROOT = 0


@dataclass(frozen=True, slots=True)
class _Node:
    """`earned` is what a hypothesis has that stands here, `kept` what it keeps if it breaks off."""

    children: dict[int, int]
    earned: float
    kept: float
    failure: int


@dataclass(frozen=True, slots=True)
class PhraseBonus:
    """The trie. Without phrases nothing is earned."""

    nodes: tuple[_Node, ...] = (_Node({}, 0.0, 0.0, ROOT),)

    @classmethod
    def of(cls, phrases: Sequence[tuple[Sequence[int], float]]) -> "PhraseBonus":
        """Phrases as tokens, each with its bonus for each token (a difference of log-probability).

        Where phrases begin alike, the larger bonus counts. Raises ValueError for a phrase without
        tokens.
        """
        children: list[dict[int, int]] = [{}]
        bonuses = [0.0]
        complete = [False]
        for tokens, bonus in phrases:
            if not tokens:
                raise ValueError("expected phrases of at least one token")
            node = ROOT
            for token in tokens:
                if token not in children[node]:
                    children[node][token] = len(children)
                    children.append({})
                    bonuses.append(bonus)
                    complete.append(False)
                node = children[node][token]
                bonuses[node] = max(bonuses[node], bonus)
            complete[node] = True
        earned, kept = [0.0] * len(children), [0.0] * len(children)
        for node, each in enumerate(children):  # a node's number is above that of its parent
            for below in each.values():
                earned[below] = earned[node] + bonuses[below]
                kept[below] = earned[below] if complete[below] else kept[node]
        rows = zip(children, earned, kept, _failures(children), strict=True)
        return cls(tuple(_Node(*row) for row in rows))

    def step(self, node: int, token: int) -> tuple[int, float]:
        """Where a hypothesis stands after a token, and what it earns (or gives back)."""
        here = self.nodes[node]
        below = here.children.get(token)
        if below is not None:
            return below, self.nodes[below].earned - here.earned
        at = node
        while at != ROOT:
            at = self.nodes[at].failure
            if token in self.nodes[at].children:
                break
        found = self.nodes[at].children.get(token, ROOT)
        return found, self.leave(node) + self.nodes[found].earned

    def leave(self, node: int) -> float:
        """What a hypothesis earns (or gives back) that ends here."""
        at = self.nodes[node]
        return at.kept - at.earned


def _failures(children: list[dict[int, int]]) -> list[int]:
    """For each node the longest other one that ends like it, level by level."""
    failures = [ROOT] * len(children)
    level = list(children[ROOT].values())
    while level:
        deeper = []
        for node in level:
            for token, below in children[node].items():
                at = failures[node]
                while at != ROOT and token not in children[at]:
                    at = failures[at]
                found = children[at].get(token, ROOT)
                failures[below] = found if found != below else ROOT
                deeper.append(below)
        level = deeper
    return failures
