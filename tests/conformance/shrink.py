"""Makes a differing case short: drops steps as long as the two servers still differ.

As `python -m tests.conformance.shrink SEED:NUMBER` for one random case, or with a case's name.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence

from tests.conformance.allowed_differences import ALLOWED
from tests.conformance.cases import select
from tests.conformance.compare import Difference, differences, judge
from tests.conformance.perform import perform
from tests.conformance.random_cases import random_cases
from tests.conformance.servers import running
from tests.conformance.steps import Case, Step


def shortest(
    steps: Sequence[Step], differs: Callable[[tuple[Step, ...]], bool]
) -> tuple[Step, ...]:
    """A sublist for which `differs` holds, and of which no single step can be left out.

    Halves go first, then quarters, and so on. `differs` must hold for all of `steps`.
    """
    kept = tuple(steps)
    size = max(1, len(kept) // 2)
    while True:
        at = 0
        shrunk = False
        while at < len(kept):
            candidate = kept[:at] + kept[at + size :]
            if candidate and differs(candidate):
                kept, shrunk = candidate, True
            else:
                at += size
        if size == 1 and not shrunk:
            return kept
        size = max(1, size // 2)


def main(arguments: Sequence[str]) -> int:
    (word,) = arguments
    seed, separator, number = word.partition(":")
    case = random_cases(int(seed), int(number) + 1)[-1] if separator else select((word,))[0]
    with running("triton") as (triton, _), running("streamgate") as (streamgate, _):

        def found(steps: tuple[Step, ...]) -> tuple[Difference, ...]:
            candidate = Case(case.name, case.about, steps)
            truth, answer = perform(candidate, triton), perform(candidate, streamgate)
            return judge(differences(case.name, truth, answer), ALLOWED, [case.name]).unexpected

        if not found(case.steps):
            sys.stdout.write(f"{case.name}: no difference\n")
            return 0
        steps = shortest(case.steps, lambda steps: bool(found(steps)))
        sys.stdout.write("\n".join(map(repr, steps)) + "\n")
        sys.stdout.write("\n".join(map(str, found(steps))) + "\n")
    return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
