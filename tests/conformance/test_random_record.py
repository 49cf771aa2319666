"""StreamGate's answers to random client programs, beside those recorded from Triton 2.51.

Needs no Triton: the short form of the random part of `make conformance`.
"""

from collections.abc import Iterator

import pytest

from benchmarks.server_process import ServerProcess
from tests.conformance.allowed_differences import ALLOWED
from tests.conformance.compare import judge
from tests.conformance.differential import RECORDED, nearest
from tests.conformance.perform import Target, perform
from tests.conformance.records import Variants, read_random
from tests.conformance.servers import running
from tests.conformance.steps import Case

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]


@pytest.fixture(scope="module")
def streamgate() -> Iterator[tuple[Target, ServerProcess]]:
    with running("streamgate") as (target, server):
        yield target, server


@pytest.fixture(scope="module")
def record() -> Variants:
    return read_random(RECORDED)


@pytest.mark.parametrize("case", RECORDED, ids=[case.name for case in RECORDED])
def test_case(case: Case, streamgate: tuple[Target, ServerProcess], record: Variants) -> None:
    target, server = streamgate
    answer = perform(case, target)
    assert server.is_alive(), server.log_tail()
    verdict = judge(nearest(case.name, record[case.name], answer), ALLOWED, [case.name])
    assert not verdict.unexpected, "\n".join(map(str, verdict.unexpected))
