"""Drives the same cases against real Triton and StreamGate and reports where they differ.

As `python tests/conformance/differential.py`, with:

- `--triton --streamgate`: both, live
- `--streamgate`: against Triton's recorded answers
- `--triton`: has Triton's record changed?
- `--triton --record --runs 8`: write the record anew
- `--triton --streamgate --random 7:200`: 200 cases drawn from seed 7
- `--only stream_ --only http_json`: some cases, by the beginning of their name
- `--any-order`: the order of the answers within a stream does not count
- `--show`: print the answers too

Where Triton's answer depends on chance, the record holds each variant that was seen, and
StreamGate is compared with the nearest.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final, TypeAlias

from tests.conformance import random_cases
from tests.conformance.allowed_differences import ALLOWED
from tests.conformance.answers import Answer, in_any_order
from tests.conformance.cases import select
from tests.conformance.compare import Difference, Verdict, differences, judge
from tests.conformance.open_defects import OPEN
from tests.conformance.servers import SERVERS, run_cases
from tests.conformance.steps import Case, client_steps

ROOT: Final = Path(__file__).resolve().parents[2]
GOLDEN: Final = ROOT / "tests" / "conformance" / "triton-2.51-golden.json"
Variants: TypeAlias = dict[str, list[Answer]]


def read_golden() -> Variants:
    """Triton's recorded answers: for each case, every variant that was seen."""
    content: Variants = json.loads(GOLDEN.read_text())
    return content


def write_golden(variants: Variants) -> None:
    """One line per answer of a step, so that a change shows as a small diff."""
    blocks = []
    for name, answers in variants.items():
        shown = ",\n".join(_lines(answer) for answer in answers)
        blocks.append(f"  {json.dumps(name)}: [\n{shown}\n  ]")
    GOLDEN.write_text("{\n" + ",\n".join(blocks) + "\n}\n")


def _lines(answer: Answer) -> str:
    if not isinstance(answer, list):
        return "    " + json.dumps(answer, ensure_ascii=False)
    entries = ",\n".join("      " + json.dumps(entry, ensure_ascii=False) for entry in answer)
    return f"    [\n{entries}\n    ]" if entries else "    []"


def merged(runs: Sequence[Mapping[str, Answer]]) -> Variants:
    """The distinct answers of several runs, the first seen first."""
    variants: Variants = {}
    for run in runs:
        for name, answer in run.items():
            seen = variants.setdefault(name, [])
            if answer not in seen:
                seen.append(answer)
    return variants


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


def nearest(case: str, truth: Sequence[Answer], answer: Answer) -> list[Difference]:
    """The differences from the variant that `answer` is nearest to."""
    return min((differences(case, variant, answer) for variant in truth or [None]), key=len)


def compare(cases: Sequence[Case], truth: Variants, streamgate: Mapping[str, Answer]) -> Verdict:
    """Judge StreamGate's answers by Triton's."""
    names = [case.name for case in cases]
    found = [
        difference
        for name in names
        for difference in nearest(name, truth.get(name, []), streamgate.get(name))
    ]
    return judge(found, ALLOWED, names)


def report(verdict: Verdict, cases: Sequence[Case]) -> str:
    """What a person wants to read: unexpected first, then what is allowed and why."""
    about = {case.name: case.about for case in cases}
    lines: list[str] = []
    for difference in verdict.unexpected:
        lines += [f"DIFFERENT {difference}", f"    about:      {about[difference.case]}"]
        if difference.case in OPEN:
            lines.append(f"    known:      {OPEN[difference.case].reason}")
    for entry in verdict.unused:
        lines.append(f"STALE     allowance for {entry.case} at {entry.path}: {entry.reason}")
    for difference, entry in verdict.allowed:
        lines.append(f"allowed   {difference.case} at {difference.path}: {entry.reason}")
    bad = {difference.case for difference in verdict.unexpected}
    count = sum(client_steps(case.steps) for case in cases)
    lines.append(
        f"{len(cases)} cases of {count} requests: {len(cases) - len(bad)} agree, {len(bad)} differ "
        f"({len(verdict.unexpected)} places), {len(verdict.allowed)} allowed differences, "
        f"{len(verdict.unused)} stale allowances"
    )
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> int:
    options = _parse(arguments)
    cases = random_cases.parse(options.random) if options.random else select(tuple(options.only))
    live: dict[str, Variants] = {}
    for name in SERVERS:
        if getattr(options, name):
            live[name] = merged([run_cases(name, cases).answers for _ in range(options.runs)])
            if options.any_order:
                live[name] = _unordered(live[name])
            if options.show:
                shown = json.dumps({name: live[name]}, indent=1, ensure_ascii=False)
                sys.stdout.write(f"{shown}\n")
    golden = read_golden() if GOLDEN.exists() else {}
    if options.record:
        written = recorded(golden, live["triton"])
        write_golden({case.name: written[case.name] for case in select(()) if case.name in written})
        sys.stdout.write(f"recorded {len(live['triton'])} cases in {GOLDEN.name}\n")
        return 0
    if "streamgate" in live:
        truth = merged_variants(live.get("triton", {}), golden)
        if options.any_order:
            truth = _unordered(truth)
        answers = {name: variants[0] for name, variants in live["streamgate"].items()}
        verdict = compare(cases, truth, answers)
    else:
        sys.stdout.write("'streamgate' below is Triton now, 'triton' is its record\n")
        found = [
            difference
            for case in cases
            for answer in live["triton"][case.name]
            for difference in nearest(case.name, golden.get(case.name, []), answer)
        ]
        verdict = Verdict(tuple(found), (), ())
    sys.stdout.write(report(verdict, cases) + "\n")
    return 1 if verdict.unexpected or verdict.unused else 0


def unordered(answer: Answer) -> Answer:
    """The answers of each stream in an order that does not depend on when they came."""
    if not isinstance(answer, list):
        return answer
    return [in_any_order(entry) if isinstance(entry, list) else entry for entry in answer]


def _unordered(variants: Variants) -> Variants:
    return {name: [unordered(answer) for answer in variants[name]] for name in variants}


def merged_variants(first: Variants, second: Variants) -> Variants:
    """Both collections of variants as one."""
    return {
        name: first.get(name, [])
        + [answer for answer in second.get(name, []) if answer not in first.get(name, [])]
        for name in first.keys() | second.keys()
    }


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Compare StreamGate with a real Triton.")
    parser.add_argument("--triton", action="store_true", help="run real Triton")
    parser.add_argument("--streamgate", action="store_true", help="run StreamGate")
    parser.add_argument("--record", action="store_true", help="store Triton's answers")
    parser.add_argument("--show", action="store_true", help="print the answers")
    parser.add_argument("--only", action="append", default=[], metavar="CASE")
    parser.add_argument("--random", metavar="SEED:COUNT", help="cases drawn from a seed instead")
    parser.add_argument("--any-order", action="store_true", help="of a stream's answers")
    parser.add_argument("--runs", type=int, default=1, help="how often to run each server")
    options = parser.parse_args(arguments)
    if not (options.triton or options.streamgate):
        parser.error("name at least one server: --triton, --streamgate")
    if options.record and not options.triton:
        parser.error("--record stores Triton's answers: it needs --triton")
    if options.random and (options.record or options.only or not options.triton):
        parser.error("--random is for a live --triton, without --record and --only")
    return options


if __name__ == "__main__":
    sys.exit(main())
