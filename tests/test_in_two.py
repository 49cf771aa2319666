"""The tests in two processes: none is left out or run twice, and the last line counts them all."""

import re
import sys
from collections import Counter
from pathlib import Path

import pytest

from tests import in_two

ROOT = Path(__file__).resolve().parents[1]


def test_the_folders_that_are_named_exist_and_the_rest_is_the_other_half() -> None:
    first, second = in_two.halves()
    assert all(Path(folder).is_dir() for folder in first)
    assert second[0] == str(in_two.TESTS)
    assert second[1:] == [f"--ignore={folder}" for folder in first]


@pytest.mark.parametrize(
    ("line", "counts"),
    [
        ("466 passed in 4.05s", {"passed": 466}),
        (
            "=== 1 failed, 2 passed, 3 skipped, 1 warning, 2 errors in 68.53s (0:01:08) ===",
            {"failed": 1, "passed": 2, "skipped": 3, "warning": 1, "error": 2},
        ),
        ("I waited for 2 seconds in 4 s", {}),
        ("tests/core/test_x.py ..... [ 4%]", {}),
    ],
)
def test_closing_lines_are_read(line: str, counts: dict[str, int]) -> None:
    assert in_two.counts_in(line) == Counter(counts)


def test_the_last_line_counts_both_and_is_what_ci_looks_for() -> None:
    counts = in_two.counts_in("1 failed, 2 passed, 1 error in 1.00s")
    counts += in_two.counts_in("=== 3 passed, 1 error in 2.00s ===")
    line = in_two.closing_line(counts, 2.5)
    assert line == "1 failed, 2 errors, 5 passed in 2.50s"
    wanted = re.search(r"grep -E '([^']+)'", (ROOT / ".ci" / "run").read_text())
    assert wanted is not None
    pattern = wanted[1].replace(r"\b", r"(?!\w)")
    assert re.match(pattern, line)
    assert re.match(pattern, in_two.closing_line(Counter(passed=7, skipped=1), 3))


@pytest.mark.parametrize(
    ("codes", "status"),
    [((0, 0), 0), ((0, 1), 1), ((1, 0), 1), ((5, 0), 0), ((0, 5), 0), ((5, 5), 5), ((0, -9), -9)],
)
def test_one_half_that_fails_fails_all(codes: tuple[int, int], status: int) -> None:
    assert in_two.status_of(codes) == status


def test_both_halves_run(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """With a test in each that passes here, and one that fails in the second."""
    place = in_two.TESTS
    first = [str(place / "test_in_two.py"), "-k", "test_closing_lines_are_read"]
    second = [str(place / "test_in_two.py"), "-k", "test_one_half_that_fails_fails_all"]
    monkeypatch.setattr(in_two, "halves", lambda: (first, second))
    monkeypatch.setattr(sys, "stdout", sys.__stdout__)
    assert in_two.main(["-q"]) == 0
    assert in_two.main(["-q", "--no-such-option"]) == 4
    told = capfd.readouterr().out.splitlines()
    assert any(line.startswith("[1] ") for line in told)
    assert any(line.startswith("[2] ") for line in told)
    closing = [line for line in told if not line.startswith("[")]
    assert re.fullmatch(r"11 passed, \d+ deselected in [\d.]+s", closing[0])
