"""The same cases against a real Triton, live: its record still holds, and StreamGate agrees.

Needs .venv-triton (`make triton-env`), and minutes: `make test-long` runs it, as does
`make conformance`.
"""

import pytest

from benchmarks import triton_server
from tests.conformance.cases import CASES
from tests.conformance.compare import Difference
from tests.conformance.differential import compare, nearest, report
from tests.conformance.open_defects import OPEN
from tests.conformance.records import merged, merged_variants, read_golden
from tests.conformance.servers import Run, run_cases
from tests.model.settings import ONLY_LONG

pytestmark = [
    pytest.mark.triton,
    ONLY_LONG,
    pytest.mark.slow,
    pytest.mark.timeout(300),
    pytest.mark.skipif(not triton_server.is_installed(), reason=triton_server.MISSING_REASON),
]


@pytest.fixture(scope="module")
def triton() -> Run:
    return run_cases("triton", CASES)


def test_the_record_is_what_triton_says(triton: Run) -> None:
    golden = read_golden()
    found: list[Difference] = []
    for name, answer in triton.answers.items():
        found += nearest(name, golden[name], answer)
    assert not found, "\n".join(map(str, found))


def test_streamgate_answers_like_triton(triton: Run) -> None:
    streamgate = run_cases("streamgate", CASES)
    assert streamgate.ended_during == []
    truth = merged_variants(merged([triton.answers]), read_golden())
    verdict = compare(CASES, truth, streamgate.answers)
    unexpected = [entry for entry in verdict.unexpected if entry.case not in OPEN]
    assert not unexpected, report(verdict, CASES)
