"""Differences between two servers' answers, and which of them are allowed.

Knows answers as nested values and paths into them. Must not know how answers come about.
"""

from __future__ import annotations

import fnmatch
import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final

from tests.conformance.answers import Answer

ABSENT: Final = "<absent>"
# Answers of different kinds, such as a result and a refusal, are told apart as a whole.
FOREIGN_KEYS_MAX: Final = 2


@dataclass(frozen=True, slots=True)
class Difference:
    """Two answers disagree at `path`, as in "2/outputs/0/data"; the step's number comes first."""

    case: str
    path: str
    triton: Answer
    streamgate: Answer

    def __str__(self) -> str:
        return (
            f"{self.case} at {self.path or 'top'}\n"
            f"    triton:     {_shown(self.triton)}\n"
            f"    streamgate: {_shown(self.streamgate)}"
        )


@dataclass(frozen=True, slots=True)
class AllowedDifference:
    """A place where StreamGate answers otherwise than Triton, on purpose.

    `case` and `path` are shell patterns. `streamgate` is a regular expression that the whole of
    StreamGate's value there, as JSON, must match: what we promise instead. `by_chance` is for what
    Triton does only now and then: when it does not, the entry is not stale.
    """

    case: str
    path: str
    reason: str
    streamgate: str = r".*"
    by_chance: bool = False

    def covers(self, difference: Difference) -> bool:
        return (
            fnmatch.fnmatchcase(difference.case, self.case)
            and fnmatch.fnmatchcase(difference.path, self.path)
            and re.fullmatch(self.streamgate, _json(difference.streamgate), re.DOTALL) is not None
        )


@dataclass(frozen=True, slots=True)
class Verdict:
    """The differences of a run: those to mend, those allowed, and entries that allowed nothing."""

    unexpected: tuple[Difference, ...]
    allowed: tuple[tuple[Difference, AllowedDifference], ...]
    unused: tuple[AllowedDifference, ...]


def differences(case: str, triton: Answer, streamgate: Answer, path: str = "") -> list[Difference]:
    """The innermost places where two answers differ; all of one if they have little alike."""
    return list(_walk(case, triton, streamgate, path))


def judge(
    found: Iterable[Difference], allowances: tuple[AllowedDifference, ...], cases: Iterable[str]
) -> Verdict:
    """Sort differences by the allowances; `cases` are the names that ran, to spot unused ones."""
    unexpected: list[Difference] = []
    allowed: list[tuple[Difference, AllowedDifference]] = []
    used: set[AllowedDifference] = set()
    for difference in found:
        covering = [entry for entry in allowances if entry.covers(difference)]
        if covering:
            allowed.append((difference, covering[0]))
            used.update(covering)
        else:
            unexpected.append(difference)
    ran = tuple(cases)
    unused = tuple(
        entry
        for entry in allowances
        if entry not in used and not entry.by_chance and fnmatch.filter(ran, entry.case)
    )
    return Verdict(tuple(unexpected), tuple(allowed), unused)


def _walk(case: str, triton: Answer, streamgate: Answer, path: str) -> Iterator[Difference]:
    if isinstance(triton, dict) and isinstance(streamgate, dict):
        if len(triton.keys() ^ streamgate.keys()) > FOREIGN_KEYS_MAX:
            yield Difference(case, path, triton, streamgate)
            return
        for key in sorted(triton.keys() | streamgate.keys()):
            yield from _walk(
                case,
                triton.get(key, ABSENT),
                streamgate.get(key, ABSENT),
                f"{path}/{key}" if path else key,
            )
    elif (
        isinstance(triton, list) and isinstance(streamgate, list) and len(triton) == len(streamgate)
    ):
        for index, (left, right) in enumerate(zip(triton, streamgate, strict=True)):
            yield from _walk(case, left, right, f"{path}/{index}" if path else str(index))
    elif type(triton) is not type(streamgate) or triton != streamgate:
        yield Difference(case, path, triton, streamgate)


def _json(answer: Answer) -> str:
    return json.dumps(answer, ensure_ascii=False, sort_keys=True)


def _shown(answer: Answer, characters_max: int = 600) -> str:
    text = _json(answer)
    return text if len(text) <= characters_max else f"{text[:characters_max]}... ({len(text)})"
