"""Drives the same cases against real Triton and StreamGate and reports where they differ.

As `python -m tests.conformance.differential`, with:

- `--everything`: all written cases and 10,000 random requests, live where a Triton is installed,
  else what is recorded of it; this is `make conformance`
- `--triton --streamgate`: both, live
- `--streamgate`: against Triton's recorded answers
- `--triton`: has Triton's record changed?
- `--triton --record --runs 8`: write the record anew
- `--triton --streamgate --random 7:200`: 200 cases drawn from seed 7
- `--triton --record --random`: write the record of the random cases anew
- `--only stream_ --only http_json`: some cases, by the beginning of their name
- `--any-order`: the order of the answers within a stream does not count
- `--show`: print the answers too

Where Triton's answer depends on chance, StreamGate is compared with the nearest of its variants.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Mapping, Sequence
from typing import Final

from benchmarks import triton_server
from tests.conformance import random_cases
from tests.conformance.allowed_differences import ALLOWED
from tests.conformance.answers import Answer, in_any_order
from tests.conformance.cases import CASES, select
from tests.conformance.compare import Difference, Verdict, differences, judge
from tests.conformance.open_defects import OPEN
from tests.conformance.records import (
    Variants,
    merged,
    merged_variants,
    read_golden,
    read_random,
    recorded,
    write_golden,
    write_random,
)
from tests.conformance.servers import SERVERS, Run, run_cases
from tests.conformance.steps import Case, client_steps

RECORDED: Final = random_cases.random_cases(*random_cases.RECORDED)
LIVE: Final = (7, 460)
"""Seed and number of the random cases of a live run: more than 10,000 requests."""


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
    lines.append(summary(verdict, cases))
    return "\n".join(lines)


def summary(verdict: Verdict, cases: Sequence[Case]) -> str:
    """The verdict in one line."""
    bad = {difference.case for difference in verdict.unexpected}
    count = sum(client_steps(case.steps) for case in cases)
    return (
        f"{len(cases)} cases of {count} requests: {len(cases) - len(bad)} agree, {len(bad)} differ "
        f"({len(verdict.unexpected)} places), {len(verdict.allowed)} allowed differences, "
        f"{len(verdict.unused)} stale allowances"
    )


def main(arguments: Sequence[str] | None = None) -> int:
    options = _parse(arguments)
    if options.everything:
        return everything()
    is_random = options.random is not None
    cases = random_cases.parse(options.random) if options.random else RECORDED
    if not is_random:
        cases = select(tuple(options.only))
    live: dict[str, Variants] = {}
    for name in SERVERS:
        if getattr(options, name):
            live[name] = merged([run_cases(name, cases).answers for _ in range(options.runs)])
            if options.any_order:
                live[name] = _unordered(live[name])
            if options.show:
                shown = json.dumps({name: live[name]}, indent=1, ensure_ascii=False)
                sys.stdout.write(f"{shown}\n")
    if options.record:
        _record(cases, live["triton"], is_random=is_random)
        return 0
    if not is_random:
        known = read_golden()
    else:
        known = {} if "triton" in live else read_random(cases)
    if options.any_order:
        known = _unordered(known)
    if "streamgate" in live:
        truth = merged_variants(live.get("triton", {}), known)
        answers = {name: variants[0] for name, variants in live["streamgate"].items()}
        verdict = compare(cases, truth, answers)
    else:
        sys.stdout.write("'streamgate' below is Triton now, 'triton' is its record\n")
        found = [
            difference
            for name, variants in live["triton"].items()
            for answer in variants
            for difference in nearest(name, known.get(name, []), answer)
        ]
        verdict = Verdict(tuple(found), (), ())
    sys.stdout.write(report(verdict, cases) + "\n")
    return 1 if verdict.unexpected or verdict.unused else 0


def everything() -> int:
    """All there is to compare: live beside a Triton if one is installed, else with its records."""
    is_live = triton_server.is_installed()
    against = "a live Triton" if is_live else "Triton's record (make triton-env: live)"
    drawn = random_cases.random_cases(*LIVE) if is_live else RECORDED
    lines = []
    failed = False
    for title, cases in (("written cases ", CASES), ("random clients", drawn)):
        begin = time.monotonic()
        streamgate = run_cases("streamgate", cases)
        triton = run_cases("triton", cases) if is_live else Run()
        known = read_golden() if cases is CASES else {} if is_live else read_random(cases)
        truth = merged_variants(merged([triton.answers]), known)
        compared = [case for case in cases if truth.get(case.name)]
        verdict = compare(compared, truth, streamgate.answers)
        sys.stdout.write(report(verdict, compared) + "\n")
        seconds = time.monotonic() - begin
        lines.append(f"{title}: {summary(verdict, compared)}, {seconds:.0f} s")
        if triton.ended_during:
            ended = ", ".join(dict.fromkeys(triton.ended_during))
            lines.append(f"{title}: Triton ended by itself and was started anew during {ended}")
        if len(compared) < len(cases):
            left_out = ", ".join(case.name for case in cases if case not in compared)
            lines.append(f"{title}: not compared, as Triton ended each time: {left_out}")
        if streamgate.ended_during:
            lines.append(f"{title}: STREAMGATE ENDED during {', '.join(streamgate.ended_during)}")
        failed |= bool(verdict.unexpected or verdict.unused or streamgate.ended_during)
    sys.stdout.write("\n".join((f"\nStreamGate beside {against}", *lines)) + "\n")
    return 1 if failed else 0


def unordered(answer: Answer) -> Answer:
    """The answers of each stream in an order that does not depend on when they came."""
    if not isinstance(answer, list):
        return answer
    return [in_any_order(entry) if isinstance(entry, list) else entry for entry in answer]


def _unordered(variants: Variants) -> Variants:
    return {name: [unordered(answer) for answer in variants[name]] for name in variants}


def _record(cases: Sequence[Case], triton: Variants, *, is_random: bool) -> None:
    if is_random:
        write_random(cases, {case.name: triton[case.name] for case in cases})
    else:
        written = recorded(read_golden(), triton)
        write_golden({case.name: written[case.name] for case in CASES if case.name in written})
    sys.stdout.write(f"recorded {len(triton)} cases\n")


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Compare StreamGate with a real Triton.")
    parser.add_argument("--everything", action="store_true", help="all cases, live if possible")
    parser.add_argument("--triton", action="store_true", help="run real Triton")
    parser.add_argument("--streamgate", action="store_true", help="run StreamGate")
    parser.add_argument("--record", action="store_true", help="store Triton's answers")
    parser.add_argument("--show", action="store_true", help="print the answers")
    parser.add_argument("--only", action="append", default=[], metavar="CASE")
    parser.add_argument(
        "--random",
        nargs="?",
        const="",
        metavar="SEED:COUNT",
        help="cases drawn from a seed instead; without seed those of the record",
    )
    parser.add_argument("--any-order", action="store_true", help="of a stream's answers")
    parser.add_argument("--runs", type=int, default=1, help="how often to run each server")
    options = parser.parse_args(arguments)
    if not (options.triton or options.streamgate or options.everything):
        parser.error("name at least one server: --triton, --streamgate")
    if options.record and not options.triton:
        parser.error("--record stores Triton's answers: it needs --triton")
    if options.random and (options.record or options.only or not options.triton):
        parser.error("--random SEED:COUNT is for a live --triton, without --record and --only")
    return options


if __name__ == "__main__":
    sys.exit(main())
