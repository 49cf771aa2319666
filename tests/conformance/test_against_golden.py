"""StreamGate's answers to every case, beside those recorded from Triton 2.51.

Needs no Triton. A difference is either a defect of ours or stands, with its reason, in
allowed_differences.py; defects not mended yet stand in open_defects.py and fail as expected.
"""

from collections.abc import Iterator
from typing import Any, TypeAlias

import pytest

from benchmarks.server_process import ServerProcess
from tests.conformance.allowed_differences import ALLOWED
from tests.conformance.cases import CASES
from tests.conformance.compare import AllowedDifference, judge
from tests.conformance.differential import nearest
from tests.conformance.open_defects import OPEN
from tests.conformance.perform import Target, perform
from tests.conformance.records import Variants, read_golden
from tests.conformance.servers import running
from tests.conformance.steps import Case

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]


Running: TypeAlias = tuple[Target, ServerProcess]


@pytest.fixture(scope="module")
def streamgate() -> Iterator[Running]:
    with running("streamgate") as (target, server):
        yield target, server


@pytest.fixture(scope="module")
def golden() -> Variants:
    return read_golden()


@pytest.fixture(scope="module")
def allowances_used() -> set[AllowedDifference]:
    return set()


def _expected(case: Case) -> Any:
    defect = OPEN.get(case.name)
    if defect is None:
        return pytest.param(case, id=case.name)
    mark = pytest.mark.xfail(reason=defect.reason, strict=defect.shows_always)
    return pytest.param(case, marks=mark, id=case.name)


@pytest.mark.parametrize("case", [_expected(case) for case in CASES])
def test_case(
    case: Case, streamgate: Running, golden: Variants, allowances_used: set[AllowedDifference]
) -> None:
    target, server = streamgate
    answer = perform(case, target)
    assert server.is_alive(), server.log_tail()
    verdict = judge(nearest(case.name, golden[case.name], answer), ALLOWED, [case.name])
    allowances_used.update(entry for _, entry in verdict.allowed)
    shown = "\n".join(map(str, verdict.unexpected))
    assert not verdict.unexpected, f"{case.about}\n{shown}"


def test_no_allowance_is_stale(
    request: pytest.FixtureRequest, allowances_used: set[AllowedDifference]
) -> None:
    ran = {
        item.callspec.id
        for item in request.session.items
        if isinstance(item, pytest.Function) and hasattr(item, "callspec")
    }
    if not {case.name for case in CASES} <= ran:
        pytest.skip("not all cases were selected: an allowance may be for one of the others")
    certain = [entry for entry in ALLOWED if not entry.by_chance]
    assert [entry for entry in certain if entry not in allowances_used] == []
