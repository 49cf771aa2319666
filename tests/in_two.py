"""All tests in two processes at once.

    python -m tests.in_two [PYTEST ARGUMENTS]

Many tests wait for servers more than they compute; so on two cores all are done in little more
than half the time. A folder that is not named here belongs to the second half. Each line says which
half it is from; the last one has the numbers of both, in pytest's own form.
"""

import re
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Final

TESTS: Final = Path(__file__).parent

FIRST: Final = (
    "backend",
    "conformance",
    "core",
    "engine",
    "model",
    "observe",
    "proto",
    "recording",
    "repository",
    "server",
    "session",
    "simulation",
    "speech",
)
"""The folders of the first half, such that both take about as long."""

NOTHING_COLLECTED: Final = 5

CLOSING: Final = re.compile(r"(?:=+ )?((?:\d+ [a-z]+, )*\d+ [a-z]+) in [\d.]+s\b")
"""pytest's closing line: `3 failed, 466 passed in 4.05s`."""


def halves() -> Sequence[Sequence[str]]:
    """The arguments that select each half. Every test is in exactly one of them."""
    folders = [str(TESTS / name) for name in FIRST]
    return folders, [str(TESTS), *(f"--ignore={folder}" for folder in folders)]


def counts_in(line: str) -> Counter[str]:
    """What a closing line counts, by word, in the singular; empty for any other line."""
    match = CLOSING.match(line)
    if match is None:
        return Counter()
    parts = (part.split() for part in match[1].split(", "))
    return Counter({word.removesuffix("s"): int(number) for number, word in parts})


def closing_line(counts: Counter[str], seconds: float) -> str:
    """As pytest would say it: the worst first."""
    order = ("failed", "error", "passed", "skipped", "xfailed", "deselected", "warning")
    words = [word for word in order if counts[word]]
    words += sorted(word for word in counts if counts[word] and word not in order)
    told = (f"{counts[word]} {word}{_plural(word, counts[word])}" for word in words)
    return f"{', '.join(told) or '0 passed'} in {seconds:.2f}s"


def _plural(word: str, count: int) -> str:
    return "s" if word in ("error", "warning") and count > 1 else ""


def status_of(codes: Sequence[int]) -> int:
    """The exit status of both together: one of them may have had nothing to do."""
    told = [code for code in codes if code != NOTHING_COLLECTED]
    return max(told, key=abs) if told else NOTHING_COLLECTED


def main(arguments: Sequence[str]) -> int:
    begin = time.monotonic()
    counts: Counter[str] = Counter()
    with ExitStack() as running:
        processes = [running.enter_context(_half(selected, arguments)) for selected in halves()]
        printing = threading.Lock()
        followers = [
            threading.Thread(target=_follow, args=(number, half, counts, printing))
            for number, half in enumerate(processes, 1)
        ]
        for follower in followers:
            follower.start()
        try:
            codes = [half.wait() for half in processes]
        finally:
            for half in processes:
                half.terminate()
            for follower in followers:
                follower.join()
    sys.stdout.write(closing_line(counts, time.monotonic() - begin) + "\n")
    return status_of(codes)


def _half(selected: Sequence[str], arguments: Sequence[str]) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-m", "pytest", *selected, *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
    )


def _follow(
    number: int, half: "subprocess.Popen[str]", counts: Counter[str], printing: threading.Lock
) -> None:
    assert half.stdout is not None
    for line in half.stdout:
        with printing:
            counts.update(counts_in(line))
            sys.stdout.write(f"[{number}] {line}")
            sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
