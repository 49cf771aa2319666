"""Stateless requests: what is accepted, how it is echoed and how bad ones are refused.

Facts sections 1.3 to 1.8, 3.3, 3.5, 3.6.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from tests.conformance.answers import DTYPES
from tests.conformance.steps import (
    Case,
    Counted,
    Element,
    Infer,
    Join,
    Pause,
    RequestedOutput,
    SequenceStep,
    Start,
    Stream,
    Tensor,
    Transport,
    fp32,
    int32,
    text,
)

FOUR: Final = (1.0, 2.0, 3.0, 4.0)
BOTH: Final[tuple[Transport, Transport]] = ("grpc", "http")
SAMPLES: Final[dict[str, tuple[Element, ...]]] = {
    "BOOL": (True, False, True),
    "UINT8": (0, 1, 255),
    "UINT16": (0, 1, 65535),
    "UINT32": (0, 1, 2**32 - 1),
    "UINT64": (0, 1, 2**64 - 1),
    "INT8": (-128, 0, 127),
    "INT16": (-(2**15), 0, 2**15 - 1),
    "INT32": (-(2**31), 0, 2**31 - 1),
    "INT64": (-(2**63), 0, 2**63 - 1),
    "FP16": (0.5, -2.0, float("inf")),
    "FP32": (0.1, -1e38, float("inf")),
    "FP64": (0.1, 1e308, float("-inf")),
    "STRING": (b"", b"one", "zwölf".encode()),
}


def identity(*inputs: Tensor, via: Transport = "grpc", **rest: object) -> Infer:
    """A request to the identity model; [1, 4] of FP32 unless inputs are given."""
    tensors = inputs or (fp32("INPUT0", *FOUR, shape=(1, 4)),)
    return Infer("identity_fp32", tensors, via=via, **rest)  # type: ignore[arg-type]


def add_sub(via: Transport = "grpc", batch: int = 1, **rest: object) -> Infer:
    count = 4 * batch
    return Infer(
        "add_sub",
        (
            int32("INPUT0", *range(count), shape=(batch, 4)),
            int32("INPUT1", *([10] * count), shape=(batch, 4)),
        ),
        via=via,
        **rest,  # type: ignore[arg-type]
    )


def typed(datatype: str, via: Transport, json: bool = False) -> Infer:
    """The samples of one datatype through the model that has an input for each."""
    wire = "BYTES" if datatype == "STRING" else datatype
    tensor = Tensor(f"IN_{datatype}", wire, (3,), SAMPLES[datatype])
    outputs = (RequestedOutput(f"OUT_{datatype}", binary=not json),)
    return Infer("typed_echo", (tensor,), via=via, outputs=outputs, json=json)


def info(via: Transport = "grpc", **rest: object) -> Infer:
    return Infer("request_info", (int32("INPUT", 5),), via=via, **rest)  # type: ignore[arg-type]


def delayed(duration_ms: int, *, model: str = "delayed", **rest: object) -> Infer:
    shape = (1,) if model == "delayed" else (1, 1)
    tensors = (int32("INPUT", duration_ms, shape=shape),)
    return Infer(model, tensors, **rest)  # type: ignore[arg-type]


def _echoed(via: Transport) -> list[Case]:
    """What goes in comes out."""
    return [
        Case(f"identity_{via}", "a batch of one", (identity(via=via),)),
        Case(
            f"identity_batch_{via}",
            "a batch sent by the client",
            (identity(fp32("INPUT0", *range(16), shape=(4, 4)), via=via),),
        ),
        Case(
            f"identity_id_{via}", "the request id comes back", (identity(via=via, id="request-1"),)
        ),
        Case(
            f"identity_zero_elements_{via}",
            "a dimension of zero is legal",
            (identity(fp32("INPUT0", shape=(1, 0)), via=via),),
        ),
        Case(f"add_sub_{via}", "two inputs, two outputs", (add_sub(via), add_sub(via, batch=3))),
        Case(
            f"add_sub_one_output_{via}",
            "only the requested output comes back",
            (add_sub(via, outputs=(RequestedOutput("OUTPUT1"),)),),
        ),
        Case(
            f"add_sub_output_order_{via}",
            "outputs come in the model's order, not the client's",
            (add_sub(via, outputs=(RequestedOutput("OUTPUT1"), RequestedOutput("OUTPUT0"))),),
        ),
        Case(
            f"bytes_echo_{via}",
            "byte strings: empty, text, not UTF-8",
            (
                Infer(
                    "bytes_echo",
                    (text("INPUT", b"", "grün".encode(), b"\xff\x00\xfe", shape=(1, 3)),),
                    via=via,
                ),
            ),
        ),
        Case(
            f"classification_{via}",
            "the two best classes as text",
            (
                identity(via=via, outputs=(RequestedOutput("OUTPUT0", class_count=2),)),
                identity(via=via, outputs=(RequestedOutput("OUTPUT0", class_count=9),)),
                identity(
                    fp32("INPUT0", 1, 5, 3, 9, 2, 4, shape=(2, 3)),
                    via=via,
                    outputs=(RequestedOutput("OUTPUT0", class_count=1),),
                ),
            ),
        ),
        Case(
            f"compressed_{via}",
            "gzip and deflate requests are understood",
            (identity(via=via, compression="gzip"), identity(via=via, compression="deflate")),
        ),
    ]


def _told(via: Transport) -> list[Case]:
    """What reaches the model beside its tensors, and optional things left out."""
    return [
        Case(
            f"what_the_model_sees_{via}",
            "id, parameters, timeout and requested outputs reach the model",
            (
                info(via),
                info(via, id="abc", parameters={"k": 1, "b": True, "s": "text"}),
                info(via, parameters={"d": 1.5}),
                info(via, timeout_us=5_000_000, priority=3),
                info(via, outputs=(RequestedOutput("INFO"),)),
            ),
        ),
        Case(
            f"sequence_parameters_on_stateless_{via}",
            "a model without sequences still sees flags and correlation id",
            (
                info(via, sequence=SequenceStep(77, start=True)),
                info(via, sequence=SequenceStep(77, end=True)),
                info(via, sequence=SequenceStep("text-id", start=True, end=True)),
            ),
        ),
        Case(
            f"auto_complete_{via}",
            "a model without config.pbtxt",
            (Infer("auto_complete", (fp32("INPUT", 1, 2, shape=(1, 2)),), via=via),),
        ),
        Case(
            f"versions_{via}",
            "no version means the highest; each version answers with its number",
            tuple(
                Infer("two_versions", (int32("INPUT", 10),), via=via, version=version)
                for version in ("", "1", "3")
            ),
        ),
        Case(
            f"all_optional_inputs_absent_{via}",
            "every input is optional and none is given",
            (Infer("typed_echo", (), via=via),),
        ),
        Case(
            f"two_optional_inputs_{via}",
            "two of the optional inputs",
            (
                Infer(
                    "typed_echo",
                    (int32("IN_INT32", 1, 2), fp32("IN_FP32", 0.5)),
                    via=via,
                    outputs=(RequestedOutput("OUT_FP32"), RequestedOutput("OUT_INT32")),
                ),
            ),
        ),
    ]


def _refused(via: Transport) -> list[Case]:
    """Names that do not exist, and calls of the wrong kind."""
    four = fp32("INPUT0", *FOUR, shape=(1, 4))
    return [
        Case(f"unknown_model_{via}", "no such model", (Infer("nobody", (four,), via=via, id="r"),)),
        Case(
            f"unknown_version_{via}",
            "no such version",
            tuple(identity(via=via, version=version) for version in ("2", "0")),
        ),
        Case(
            f"unknown_input_{via}",
            "an input that the model lacks",
            (identity(fp32("WRONG", *FOUR, shape=(1, 4)), via=via),),
        ),
        Case(
            f"unknown_output_{via}",
            "an output that the model lacks",
            (identity(via=via, outputs=(RequestedOutput("NOBODY"),)),),
        ),
        Case(
            f"unary_to_decoupled_{via}",
            "a decoupled model can't answer a unary call",
            (Infer("decoupled_repeat", (int32("PROGRAM", 1, -1, 1, 0),), via=via),),
        ),
    ]


def _refused_inputs(via: Transport) -> list[Case]:
    """Inputs that do not fit the model."""
    pair = add_sub(via).inputs
    return [
        Case(f"no_inputs_{via}", "no inputs at all", (Infer("identity_fp32", (), via=via),)),
        Case(
            f"missing_input_{via}",
            "one of two inputs, with and without request id",
            (
                Infer("add_sub", pair[:1], via=via),
                Infer("add_sub", pair[1:], via=via, id="with-id"),
            ),
        ),
        Case(
            f"extra_input_{via}",
            "one input too many",
            (Infer("add_sub", (*pair, int32("INPUT2", 1, 2, 3, 4, shape=(1, 4))), via=via),),
        ),
        Case(
            f"duplicate_input_{via}",
            "the same input twice",
            (Infer("add_sub", (pair[0], pair[0]), via=via),),
        ),
        Case(
            f"wrong_datatype_{via}",
            "another datatype than the model expects",
            (identity(int32("INPUT0", 1, 2, 3, 4, shape=(1, 4)), via=via, id="r-7"),),
        ),
        Case(
            f"wrong_shape_{via}",
            "shapes that do not fit, on a batching model and on one that does not batch",
            (
                Infer("add_sub", (int32("INPUT0", *range(5), shape=(1, 5)), pair[1]), via=via),
                Infer("add_sub", (int32("INPUT0", *range(4)), pair[1]), via=via),
                identity(fp32("INPUT0", *FOUR, shape=(1, 1, 4)), via=via),
                Infer("two_versions", (int32("INPUT", 1, 2),), via=via),
                Infer("two_versions", (int32("INPUT", 1, shape=(1, 1)),), via=via, id="x"),
            ),
        ),
        Case(
            f"batch_too_large_{via}",
            "nine rows where eight are allowed",
            (identity(fp32("INPUT0", *range(36), shape=(9, 4)), via=via),),
        ),
        Case(
            f"batch_sizes_differ_{via}",
            "inputs that disagree about the batch size",
            (
                Infer(
                    "add_sub", (pair[0], int32("INPUT1", *range(8), shape=(2, 4))), via=via, id="b"
                ),
            ),
        ),
    ]


STREAMED: Final = (
    Case(
        "stream_identity",
        "stateless requests on a stream",
        (Stream(tuple(identity(id=f"s{number}") for number in range(5))),),
    ),
    Case(
        "stream_many_models",
        "one stream may carry requests to several models",
        (Stream((identity(id="a"), add_sub(id="b"), info(id="c"), add_sub(id="d"))),),
    ),
    Case(
        "stream_refused",
        "refusals arrive in the stream, which goes on",
        (
            Stream(
                (
                    identity(id="good"),
                    Infer("nobody", (fp32("INPUT0", *FOUR, shape=(1, 4)),), id="bad-model"),
                    identity(fp32("WRONG", 1.0, shape=(1, 1)), id="bad-input"),
                    identity(version="9", id="bad-version"),
                    identity(id="good-again"),
                )
            ),
        ),
    ),
    Case(
        "stream_order",
        "unary-style answers leave in request order, slow ones first",
        (
            Stream(
                (
                    Infer("delayed", (int32("INPUT", 150),), id="slow"),
                    identity(id="fast"),
                    Infer("nobody", (), id="unknown"),
                )
            ),
        ),
    ),
    Case(
        "stream_same_id_twice",
        "the server does not mind equal request ids",
        (Stream((identity(id="same"), add_sub(id="same"))),),
    ),
    Case("stream_empty", "a stream of nothing ends well", (Stream(()),)),
    Case(
        "counted_requests",
        "the counters of the statistics extension",
        (
            Counted("add_sub", (add_sub(), add_sub(batch=3), Infer("add_sub", ()))),
            Counted("delayed", (Infer("delayed", (int32("INPUT", 0),)),)),
        ),
    ),
)

QUEUED: Final = (
    Case(
        "cancelled_while_executing",
        "a cancelled call, and the next one",
        (replace(delayed(500), cancel_after_ms=60), delayed(0, id="next")),
    ),
    Case(
        "deadline_while_executing",
        "a client that waits no longer, and the next one",
        (replace(delayed(500), deadline_ms=60), delayed(0, id="next")),
    ),
    Case(
        "cancelled_while_queued",
        "a waiting request is cancelled: it never runs, its neighbours do",
        (
            Start("busy", delayed(700, id="busy")),
            Pause(80),
            Start("waits", replace(delayed(1, id="waits"), cancel_after_ms=60)),
            Pause(20),
            Start("behind", delayed(2, id="behind")),
            Join("waits"),
            Join("busy"),
            Join("behind"),
        ),
    ),
    Case(
        "queue_full",
        "one executes, two wait, the next is refused",
        (
            Start("executing", delayed(900, model="queue_limited")),
            Pause(100),
            Start("first", delayed(1, model="queue_limited")),
            Pause(50),
            Start("second", delayed(2, model="queue_limited")),
            Pause(50),
            delayed(3, model="queue_limited", id="refused"),
            Join("executing"),
            Join("first"),
            Join("second"),
            delayed(4, model="queue_limited"),
        ),
    ),
    Case(
        "queue_timeout",
        "a request that waited too long is rejected, one that overrides the limit sooner",
        (
            Start("executing", delayed(800, model="queue_timeout")),
            Pause(100),
            Start("late", delayed(1, model="queue_timeout", id="late")),
            Start("sooner", delayed(2, model="queue_timeout", id="sooner", timeout_us=50_000)),
            Join("sooner"),
            Join("late"),
            Join("executing"),
        ),
    ),
    Case(
        "ensemble_chain",
        "two steps of an ensemble, by gRPC, HTTP and stream",
        (
            *(replace(add_sub(via), model="ensemble_chain", id="e") for via in BOTH),
            Stream((replace(add_sub(), model="ensemble_chain", id="e"),)),
            replace(add_sub(), model="ensemble_chain", outputs=(RequestedOutput("OUTPUT1"),)),
            replace(add_sub(), model="ensemble_chain", inputs=add_sub().inputs[:1]),
            replace(add_sub(), model="ensemble_chain", sequence=SequenceStep(9, start=True)),
        ),
    ),
)

DATATYPES: Final = tuple(
    Case(
        f"datatype_{datatype.lower()}",
        f"{datatype} through gRPC, HTTP binary and HTTP JSON",
        (
            typed(datatype, "grpc"),
            typed(datatype, "http"),
            *((typed(datatype, "http", json=True),) if datatype != "FP16" else ()),
        ),
    )
    for datatype in (*DTYPES, "STRING")
)

PARTS: Final = (_echoed, _told, _refused, _refused_inputs)
CASES: Final = (
    *(case for via in BOTH for part in PARTS for case in part(via)),
    *STREAMED,
    *QUEUED,
    *DATATYPES,
)
