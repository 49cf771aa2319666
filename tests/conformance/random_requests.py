"""Single requests drawn from a seed: proper ones to stateless models, and ones with one fault."""

from __future__ import annotations

import random
from dataclasses import replace
from typing import Final

from tests.conformance.answers import DTYPES
from tests.conformance.cases_requests import SAMPLES, add_sub, identity, info
from tests.conformance.cases_sequences import BOTH
from tests.conformance.steps import (
    Infer,
    RequestedOutput,
    Scalar,
    SequenceStep,
    Tensor,
    fp32,
    int32,
    text,
)

BATCH_MAX: Final = 8
WORDS: Final = (b"", b"a", "grün".encode(), b"\x00\x01", b"long " * 40)


def stateless(source: random.Random, identifier: str) -> Infer:
    """A proper request to a stateless model."""
    make = source.choice(MAKERS)
    via = source.choice(BOTH)
    request = replace(make(source), id=source.choice(("", identifier)), via=via)
    if via == "http" and source.random() < 0.4 and _has_json_form(request):
        return replace(request, json=True)
    if source.random() < 0.1:
        return replace(request, compression=source.choice(("gzip", "deflate")))
    return request


def misfit(source: random.Random, identifier: str) -> Infer:
    """A request with one fault."""
    four = fp32("INPUT0", 1, 2, 3, 4, shape=(1, 4))
    pair = add_sub().inputs
    wrong = source.choice(
        (
            Infer("nobody", (four,)),
            identity(version=source.choice(("2", "9", "0"))),
            identity(fp32("WRONG", 1, shape=(1, 1))),
            identity(outputs=(RequestedOutput("NOBODY"),)),
            identity(int32("INPUT0", 1, 2, shape=(1, 2))),
            identity(text("INPUT0", b"a", shape=(1, 1))),
            identity(fp32("INPUT0", *range(9), shape=(9, 1))),
            identity(fp32("INPUT0", *range(8), shape=(1, 2, 4))),
            Infer("identity_fp32", ()),
            Infer("add_sub", pair[: source.randint(0, 1)]),
            Infer("add_sub", (pair[0], pair[0])),
            Infer("two_versions", (int32("INPUT", 1, 2, shape=source.choice(((2,), (1, 2)))),)),
            Infer("decoupled_repeat", (int32("PROGRAM", 1, -1, 1, 0),)),
            Infer("errors", (text("SELECTOR", source.choice(FAILURES)),)),
        )
    )
    return replace(wrong, id=source.choice(("", identifier)), via=source.choice(BOTH))


FAILURES: Final = (b"not_found", b"invalid_arg", b"unavailable", b"cancelled", b"raise_value_error")


def _identity(source: random.Random) -> Infer:
    rows, columns = source.randint(1, BATCH_MAX), source.choice((0, 1, 4, 33))
    # All different: the order of equal classes is a matter of the sort.
    values = [value / 8 for value in source.sample(range(-1000, 1000), rows * columns)]
    outputs = source.choice(
        ((), (), (RequestedOutput("OUTPUT0"),), (RequestedOutput("OUTPUT0", class_count=2),))
    )
    if not columns:
        outputs = ()
    return identity(fp32("INPUT0", *values, shape=(rows, columns)), outputs=outputs)


def _add_sub(source: random.Random) -> Infer:
    outputs = source.choice(((), ("OUTPUT0",), ("OUTPUT1",), ("OUTPUT1", "OUTPUT0")))
    return add_sub(
        batch=source.randint(1, BATCH_MAX),
        outputs=tuple(map(RequestedOutput, outputs)),
        sequence=source.choice((None, SequenceStep(5, start=True), SequenceStep("five", end=True))),
    )


def _typed(source: random.Random) -> Infer:
    datatypes = source.sample((*DTYPES, "STRING"), source.randint(1, 3))
    return Infer(
        "typed_echo",
        tuple(
            Tensor(f"IN_{name}", "BYTES" if name == "STRING" else name, (3,), SAMPLES[name])
            for name in datatypes
        ),
        outputs=tuple(RequestedOutput(f"OUT_{name}") for name in datatypes),
    )


def _texts(source: random.Random) -> Infer:
    words = source.choices(WORDS, k=source.randint(0, 6))
    return Infer("bytes_echo", (text("INPUT", *words, shape=(1, len(words))),))


def _info(source: random.Random) -> Infer:
    parameters: dict[str, Scalar] = {}
    values: dict[str, Scalar] = {"number": -9, "flag": True, "word": "ä", "real": 0.5}
    for name in source.sample(sorted(values), source.randint(0, 3)):
        parameters[name] = values[name]
    return info(
        parameters=parameters,
        priority=source.choice((0, 0, 1, 7)),
        timeout_us=source.choice((None, 5_000_000)),
        sequence=source.choice((None, None, SequenceStep(2**63 + 5, start=True))),
    )


def _doubled(source: random.Random) -> Infer:
    rows = source.randint(1, 4)
    values = [source.randint(-50, 50) / 4 for _ in range(2 * rows)]
    return Infer("auto_complete", (fp32("INPUT", *values, shape=(rows, 2)),))


def _versioned(source: random.Random) -> Infer:
    value = int32("INPUT", source.randint(-(2**20), 2**20))
    return Infer("two_versions", (value,), version=source.choice(("", "1", "3")))


def _chained(source: random.Random) -> Infer:
    request = add_sub(batch=source.randint(1, BATCH_MAX))
    return replace(request, model="ensemble_chain")


def _iterative(source: random.Random) -> Infer:
    return Infer("iterative_count", (int32("INPUT", source.randint(1, 6), shape=(1, 1)),))


MAKERS: Final = (
    _identity,
    _add_sub,
    _typed,
    _texts,
    _info,
    _doubled,
    _versioned,
    _chained,
    _iterative,
)


def _has_json_form(request: Infer) -> bool:
    """JSON has neither infinities nor FP16, nor bytes that are no UTF-8."""
    return request.model in {"identity_fp32", "add_sub", "two_versions", "request_info"}
