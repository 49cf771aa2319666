"""What Triton answered: variants of answers by case, and the files that keep them.

Where Triton's answer depends on chance, a record holds each variant that was seen.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final, TypeAlias

from tests.conformance.answers import Answer
from tests.conformance.steps import Case

HERE: Final = Path(__file__).resolve().parent
GOLDEN: Final = HERE / "triton-2.51-golden.json"
RANDOM: Final = HERE / "triton-2.51-random.json"
PROGRAMS: Final = "programs"
"""The entry of the random record that tells which programs it is of."""

Variants: TypeAlias = dict[str, list[Answer]]


def read_golden() -> Variants:
    """Triton's recorded answers to the written cases."""
    return _read(GOLDEN)


def read_random(cases: Sequence[Case]) -> Variants:
    """Triton's recorded answers to random cases. Raises LookupError if it is of other ones."""
    record = _read(RANDOM)
    if record[PROGRAMS] != [digest(cases)]:
        raise LookupError(f"{RANDOM.name} is of other programs than these: record them anew")
    return record


def write_golden(variants: Variants) -> None:
    _write(GOLDEN, variants)


def write_random(cases: Sequence[Case], variants: Variants) -> None:
    _write(RANDOM, {PROGRAMS: [digest(cases)], **variants})


def digest(cases: Sequence[Case]) -> str:
    """What tells two collections of cases apart."""
    steps = repr([(case.name, case.steps) for case in cases])
    return hashlib.sha256(steps.encode()).hexdigest()[:16]


def merged(runs: Sequence[Mapping[str, Answer]]) -> Variants:
    """The distinct answers of several runs, the first seen first."""
    variants: Variants = {}
    for run in runs:
        for name, answer in run.items():
            seen = variants.setdefault(name, [])
            if answer not in seen:
                seen.append(answer)
    return variants


def merged_variants(first: Variants, second: Variants) -> Variants:
    """Both collections of variants as one."""
    return {
        name: first.get(name, [])
        + [answer for answer in second.get(name, []) if answer not in first.get(name, [])]
        for name in first.keys() | second.keys()
    }


def recorded(golden: Variants, live: Variants) -> Variants:
    """The record after new runs: what they showed, and what they merely did not happen to show.

    Older variants of a case are dropped when none of them was seen again: the case has changed.
    """
    return golden | {
        name: merged_variants({name: golden[name]}, {name: answers})[name]
        if any(answer in golden.get(name, []) for answer in answers)
        else answers
        for name, answers in live.items()
    }


def _read(path: Path) -> Variants:
    content: Variants = json.loads(path.read_text()) if path.exists() else {}
    return content


def _write(path: Path, variants: Variants) -> None:
    """One line per answer of a step, so that a change shows as a small diff."""
    blocks = []
    for name, answers in variants.items():
        shown = ",\n".join(_lines(answer) for answer in answers)
        blocks.append(f"  {json.dumps(name)}: [\n{shown}\n  ]")
    path.write_text("{\n" + ",\n".join(blocks) + "\n}\n")


def _lines(answer: Answer) -> str:
    if not isinstance(answer, list):
        return "    " + json.dumps(answer, ensure_ascii=False)
    entries = ",\n".join("      " + json.dumps(entry, ensure_ascii=False) for entry in answer)
    return f"    [\n{entries}\n    ]" if entries else "    []"
