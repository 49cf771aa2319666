"""Models that fail: each error code, exceptions, wrong returns, wrong outputs, odd senders.

Facts sections 10.4, 10.6, 10.7 and 12.7.
"""

from __future__ import annotations

from typing import Final

from tests.conformance.steps import Case, Counted, Infer, RequestedOutput, Stream, Transport, text

BOTH: Final[tuple[Transport, Transport]] = ("grpc", "http")
CODES: Final = (
    "unknown",
    "internal",
    "not_found",
    "invalid_arg",
    "unavailable",
    "unsupported",
    "already_exists",
    "cancelled",
)
WAYS: Final = (
    "ok",
    "default_code",
    "error_with_outputs",
    "raise_value_error",
    "raise_model_exception",
    "empty_list",
    "two_responses",
    "tuple_of_responses",
    "list_of_text",
    "wrong_datatype",
    "wrong_shape",
    "unknown_output",
    "extra_output",
    "missing_output",
    "reversed_outputs",
    "no_outputs",
    "sender",
    "sender_final_apart",
    "sender_error",
    "sender_final_only",
    "sender_bad_flags",
    "sender_nothing",
    "unnamed_tensor",
    "tensor_from_list",
    "error_from_text",
    "none_in_outputs",
    "no_such_way",
)


def failing(way: str, via: Transport = "grpc", id: str = "") -> Infer:
    return Infer("errors", (text("SELECTOR", way.encode()),), via=via, id=id)


CASES: Final = (
    *(
        Case(
            f"model_code_{code}",
            f"TritonError with code {code.upper()}, by gRPC, HTTP and stream",
            (failing(code), failing(code, "http", "r"), Stream((failing(code, id="s"),))),
        )
        for code in CODES
    ),
    *(
        Case(
            f"model_{way}",
            f"a model that does {way}, by gRPC, HTTP and stream",
            (failing(way), failing(way, "http"), Stream((failing(way, id="s"),))),
        )
        for way in WAYS
    ),
    Case(
        "model_requested_unsent_output",
        "the client names an output that the model does not send this time",
        (
            Infer(
                "errors",
                (text("SELECTOR", b"missing_output"),),
                outputs=(RequestedOutput("OUTPUT"),),
            ),
        ),
    ),
    Case(
        "model_recovers",
        "after a failure the next request is served",
        (failing("raise_value_error"), failing("ok"), failing("list_of_text"), failing("ok")),
    ),
    Case(
        "model_failures_counted",
        "an exception counts as a failure",
        (Counted("errors", (failing("ok"), failing("raise_value_error"))),),
    ),
    Case(
        "model_error_counted",
        "an error response in the statistics",
        (Counted("errors", (failing("ok"), failing("not_found"))),),
    ),
    Case(
        "ensemble_errors",
        "a model's failures from behind an ensemble",
        tuple(
            Infer("ensemble_errors", (text("TEXT", way),), via=via, id="e")
            for via in BOTH
            for way in (b"ok", b"not_found", b"raise_value_error", b"missing_output")
        ),
    ),
)
