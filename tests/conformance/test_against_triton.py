"""The same cases against a real Triton, live: its record still holds, and StreamGate agrees.

Needs .venv-triton (`make triton-env`).
"""

import pytest

from benchmarks import triton_server
from tests.conformance.answers import Answer
from tests.conformance.cases import CASES
from tests.conformance.compare import Difference
from tests.conformance.differential import (
    compare,
    merged,
    merged_variants,
    nearest,
    read_golden,
    report,
    run_cases,
    running,
)
from tests.conformance.open_defects import OPEN

pytestmark = [
    pytest.mark.triton,
    pytest.mark.slow,
    pytest.mark.timeout(300),
    pytest.mark.skipif(not triton_server.is_installed(), reason=triton_server.MISSING_REASON),
]


@pytest.fixture(scope="module")
def triton_answers() -> dict[str, Answer]:
    with running("triton") as (target, server):
        return run_cases(CASES, target, server)


def test_the_record_is_what_triton_says(triton_answers: dict[str, Answer]) -> None:
    golden = read_golden()
    found: list[Difference] = []
    for case in CASES:
        found += nearest(case.name, golden[case.name], triton_answers[case.name])
    assert not found, "\n".join(map(str, found))


def test_streamgate_answers_like_triton(triton_answers: dict[str, Answer]) -> None:
    with running("streamgate") as (target, server):
        answers = run_cases(CASES, target, server)
    verdict = compare(CASES, merged_variants(merged([triton_answers]), read_golden()), answers)
    unexpected = [entry for entry in verdict.unexpected if entry.case not in OPEN]
    assert not unexpected, report(verdict, CASES)
