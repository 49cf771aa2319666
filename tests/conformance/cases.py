"""All written cases, in the order in which they run."""

from __future__ import annotations

from typing import Final

from tests.conformance import (
    cases_backlog,
    cases_bls,
    cases_decoupled,
    cases_ensembles,
    cases_generate,
    cases_model_errors,
    cases_raw_grpc,
    cases_raw_http,
    cases_requests,
    cases_scheduling,
    cases_sequences,
)
from tests.conformance.steps import Case

CASES: Final[tuple[Case, ...]] = (
    *cases_requests.CASES,
    *cases_sequences.CASES,
    *cases_backlog.CASES,
    *cases_scheduling.CASES,
    *cases_decoupled.CASES,
    *cases_model_errors.CASES,
    *cases_bls.CASES,
    *cases_ensembles.CASES,
    *cases_raw_grpc.CASES,
    *cases_raw_http.CASES,
    *cases_generate.CASES,
)


def select(patterns: tuple[str, ...]) -> tuple[Case, ...]:
    """The cases whose name is, or begins with, one of `patterns`; all without patterns.

    Raises `LookupError` for a pattern that selects nothing.
    """
    for pattern in patterns:
        if not any(case.name.startswith(pattern) for case in CASES):
            raise LookupError(f"no case is called or begins with {pattern!r}")
    return tuple(
        case
        for case in CASES
        if not patterns or any(case.name.startswith(pattern) for pattern in patterns)
    )
