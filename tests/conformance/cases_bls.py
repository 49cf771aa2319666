"""Models that call other models: one response or many, sequences, refusals, errors.

Facts section 10.5 and 10.8. PROGRAM is what the model `bls` does, see its model.py.
"""

from __future__ import annotations

import json
from typing import Any, Final, TypeAlias

from tests.conformance.cases_model_errors import CODES
from tests.conformance.steps import Case, Counted, Infer, Stream, int32, text

Call: TypeAlias = dict[str, Any]


def _program(*calls: Call) -> Infer:
    return Infer("bls", (text("PROGRAM", json.dumps(calls).encode()),))


def _case(name: str, about: str, *calls: Call) -> Case:
    return Case(f"bls_{name}", about, (_program(*calls),))


def _int32(name: str, *values: int, shape: tuple[int, ...] | None = None) -> list[Any]:
    return [name, "INT32", list(shape or (len(values),)), list(values)]


def _add_sub(*, do: str = "exec", first: int = 1, **more: Any) -> Call:
    inputs = [
        _int32("INPUT0", first, 2, 3, 4, shape=(1, 4)),
        _int32("INPUT1", 1, 1, 1, 1, shape=(1, 4)),
    ]
    return {"do": do, "model": "add_sub", "inputs": inputs, **more}


def _repeat(
    count: int, error_at: int = -1, final_with_last: int = 0, raises: int = 0, **more: Any
) -> Call:
    program = _int32("PROGRAM", count, error_at, final_with_last, raises)
    return {"do": "exec_many", "model": "decoupled_repeat", "inputs": [program], **more}


def _step(value: int, key: int | str, flags: int = 0, **more: Any) -> Call:
    inputs = [_int32("INPUT", value, shape=(1, 1))]
    fields = {"correlation_id": key, "flags": flags, "outputs": ["OUTPUT"], **more}
    return {"model": "sequence_sum_oldest", "inputs": inputs, **fields}


def _info(**more: Any) -> Call:
    return {"model": "request_info", "inputs": [_int32("INPUT", 7)], **more}


def _failing(way: str, **more: Any) -> Call:
    return {"model": "errors", "inputs": [["SELECTOR", "BYTES", [1], [way]]], **more}


def _streamed(*program: int) -> Infer:
    return Infer("bls_decoupled", (int32("PROGRAM", *program),), id="r")


START: Final = 1
END: Final = 2

CASES: Final = (
    _case("exec", "one call, all outputs", _add_sub()),
    _case("async_exec", "one call of a coroutine", _add_sub(do="async_exec")),
    _case(
        "gather",
        "several calls of a coroutine at a time, of one model and of two",
        {"do": "gather", "calls": [_add_sub(first=5), _add_sub(first=6), _failing("ok")]},
    ),
    _case("requested_output", "one output of two", _add_sub(outputs=["OUTPUT1"])),
    _case("single_as_many", "a model with one response, iterated", _add_sub(do="exec_many")),
    _case("single_as_many_async", "the same, awaited", _add_sub(do="async_exec_many")),
    _case("ensemble", "a call of an ensemble", _add_sub() | {"model": "ensemble_chain"}),
    _case("strings", "text in, text out", _failing("ok")),
    _case(
        "versions",
        "the newest version, a chosen one, one that is not there",
        *(
            {"model": "two_versions", "inputs": [_int32("INPUT", 1)], "model_version": version}
            for version in (-1, 1, 3, 2)
        ),
    ),
    _case("unknown_model", "a model that is not there", {"model": "nobody"}),
    _case("unknown_model_async", "the same, awaited", {"do": "async_exec", "model": "nobody"}),
    _case("unknown_model_many", "the same, iterated", {"do": "exec_many", "model": "nobody"}),
    _case("missing_input", "an input is missing", {"model": "request_info"}),
    _case(
        "unknown_input",
        "an input that the model does not have",
        {"model": "request_info", "inputs": [_int32("OTHER", 1)]},
    ),
    _case(
        "wrong_datatype",
        "an input of another type",
        {"model": "request_info", "inputs": [["INPUT", "FP32", [1], [1.0]]]},
    ),
    _case(
        "wrong_shape",
        "an input of another shape",
        {"model": "request_info", "inputs": [_int32("INPUT", 1, 2)]},
    ),
    _case("unknown_output", "an output that the model does not have", _info(outputs=["OTHER"])),
    _case(
        "request_info",
        "what the called model sees: ID, parameters, timeout, outputs",
        _info(outputs=["INFO"]),
        _info(request_id="r7", timeout=30_000_000, outputs=["INFO"]),
        _info(parameters={"text": "a", "number": 7, "truth": True}, outputs=["INFO"]),
        _info(correlation_id=9, flags=START, outputs=["INFO"]),
    ),
    *(
        _case(f"code_{code}", f"the called model answers {code.upper()}", _failing(code))
        for code in CODES
    ),
    *(
        _case(f"called_{way}", f"the called model does {way}", _failing(way))
        for way in (
            "raise_value_error",
            "raise_model_exception",
            "list_of_text",
            "missing_output",
            "extra_output",
            "no_outputs",
            "sender",
            "sender_error",
        )
    ),
    _case("many", "three responses, then the final flag alone", _repeat(3)),
    _case("many_async", "the same, awaited", _repeat(3, do="async_exec_many")),
    _case("many_final_with_last", "the final flag on the last", _repeat(3, final_with_last=1)),
    _case("many_none", "the final flag alone", _repeat(0)),
    _case("many_one", "one response with the final flag", _repeat(1, final_with_last=1)),
    _case("many_hundred", "a hundred responses in order", _repeat(100)),
    _case("many_twice", "the same iterator again", _repeat(2, do="exec_many_twice")),
    _case("many_refused", "a refused call, iterated", _repeat(3) | {"inputs": []}),
    _case("many_not_asked", "a decoupled model called for one response", _repeat(2, do="exec")),
    _case("many_not_asked_async", "the same, awaited", _repeat(2, do="async_exec")),
    _case(
        "sequence",
        "a sequence of the called model's, from START to END",
        _step(1, 901, START),
        _step(2, 901),
        _step(3, 901, END),
        _step(4, 901),
    ),
    Case(
        "bls_sequence_over_requests",
        "a sequence goes on in the model's next request",
        (
            _program(_step(1, 902, START)),
            _program(_step(2, 902)),
            _program(_step(3, 902, END, do="async_exec")),
        ),
    ),
    _case(
        "sequences_mixed",
        "two sequences at a time",
        _step(1, 903, START),
        _step(10, 904, START),
        _step(2, 903, END),
        _step(20, 904, END),
    ),
    _case("sequence_one_step", "a sequence of one request", _step(5, 905, START | END)),
    _case("sequence_without_start", "a request of a sequence that is not there", _step(1, 906)),
    _case("sequence_without_id", "a sequence model without correlation ID", _step(1, 0)),
    _case(
        "sequence_string_id",
        "a string as correlation ID",
        *(
            {
                "model": "sequence_flags",
                "inputs": [_int32("INPUT", value)],
                "correlation_id": "talk",
                "flags": flags,
                "outputs": ["OUTPUT", "FLAGS", "CORRELATION"],
            }
            for value, flags in ((1, START), (2, 0), (3, END))
        ),
    ),
    _case(
        "sequence_decoupled",
        "steps of a decoupled sequence",
        *(
            {
                "do": "exec_many",
                "model": "sequence_decoupled",
                "inputs": [_int32("INPUT", count)],
                "correlation_id": 907,
                "flags": flags,
            }
            for count, flags in ((2, START), (0, 0), (1, END))
        ),
    ),
    _case("in_initialize", "a call while the model is being loaded", {"do": "in_initialize"}),
    _case(
        "is_model_ready",
        "the readiness of models and versions",
        *(
            {"do": "is_model_ready", "model": model, "version": version}
            for model, version in (
                ("add_sub", ""),
                ("add_sub", "1"),
                ("add_sub", "7"),
                ("nobody", ""),
                ("bls", ""),
                ("bls_decoupled", "1"),
            )
        ),
    ),
    _case(
        "load_not_allowed",
        "loading where the server loads by itself",
        {"do": "load_model", "model": "add_sub"},
        {"do": "unload_model", "model": "add_sub"},
        {"do": "load_model", "model": "nobody"},
    ),
    _case(
        "mixed",
        "failures in between do no harm",
        _add_sub(),
        {"model": "nobody"},
        _repeat(2),
        _failing("raise_value_error"),
        _add_sub(do="async_exec"),
    ),
    Case(
        "bls_counted",
        "a call counts as a request of the called model",
        (Counted("add_sub", (_program(_add_sub(), _add_sub()),)),),
    ),
    *(
        Case(
            f"bls_streamed_{name}",
            f"a coroutine hands on a decoupled model's responses: {about}",
            (Stream((_streamed(*program),)),),
        )
        for name, about, program in (
            ("three", "three", (3, -1, 0, 0)),
            ("none", "none", (0, -1, 0, 0)),
            ("final_with_last", "the last is final", (2, -1, 1, 0)),
        )
    ),
    Case(
        "bls_streamed_several",
        "several requests to the coroutine on one stream, one after another",
        (Stream((_streamed(2, -1, 0, 0),)), Stream((_streamed(3, -1, 1, 0),))),
    ),
)
