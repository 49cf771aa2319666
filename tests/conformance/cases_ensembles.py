"""Ensembles: what the models behind them see, sequences and decoupled steps through them.

Facts sections 4.11, 6.4 and 7.7.
"""

from __future__ import annotations

import json
from typing import Final

from tests.conformance.cases_decoupled import repeat
from tests.conformance.steps import (
    Await,
    Case,
    Counted,
    Infer,
    RawGrpc,
    RawHttp,
    RequestedOutput,
    SequenceStep,
    Stream,
    Transport,
    fp32,
    int32,
    text,
)

BOTH: Final[tuple[Transport, ...]] = ("grpc", "http")
NAMES: Final[tuple[tuple[Transport, int | str], ...]] = (
    ("grpc", "282"),
    ("http", 282),
    ("http", "a name"),
)


def _info(via: Transport = "grpc", **more: object) -> Infer:
    return Infer("ensemble_info", (int32("VALUE", 5),), via=via, **more)  # type: ignore[arg-type]


def _two(
    value: int, key: int, flags: str = "", *, via: Transport = "grpc", outputs: str = ""
) -> Infer:
    """A step of the two sums: flags `s` and `e`, and the outputs asked for."""
    return Infer(
        "ensemble_two_sequences",
        (int32("VALUE", value),),
        via=via,
        id=f"{key}{flags}",
        sequence=SequenceStep(key, start="s" in flags, end="e" in flags),
        outputs=tuple(RequestedOutput(name) for name in outputs.split()),
    )


def _shapes(*shape: int, via: Transport = "grpc", outputs: str = "") -> Infer:
    count = 1
    for size in shape:
        count *= size
    data = tuple(range(count))
    wanted = tuple(RequestedOutput(name) for name in outputs.split())
    return Infer("ensemble_shapes", (fp32("IN", *data, shape=shape),), via=via, outputs=wanted)


def _missing(way: bytes, via: Transport = "grpc", outputs: str = "") -> Infer:
    wanted = tuple(RequestedOutput(name) for name in outputs.split())
    return Infer("ensemble_missing", (text("TEXT", way),), via=via, outputs=wanted)


def _outer(*shape: int, via: Transport = "grpc") -> Infer:
    count = shape[0] * 4
    first, second = tuple(range(count)), (1,) * count
    return Infer(
        "ensemble_outer",
        (int32("A", *first, shape=shape), int32("B", *second, shape=shape)),
        via=via,
        id="outer",
    )


def _talk(count: int, key: int, flags: str = "") -> Infer:
    return Infer(
        "ensemble_talk",
        (int32("COUNT", count),),
        id=f"{key}{flags}",
        sequence=SequenceStep(key, start="s" in flags, end="e" in flags),
    )


def _chain(**more: object) -> Infer:
    inputs = (
        int32("INPUT0", 0, 1, 2, 3, shape=(1, 4)),
        int32("INPUT1", 10, 10, 10, 10, shape=(1, 4)),
    )
    return Infer("ensemble_chain", inputs, **more)  # type: ignore[arg-type]


def _generate(model: str, *, stream: bool = False, **body: object) -> RawHttp:
    path = f"/v2/models/{model}/generate{'_stream' if stream else ''}"
    return RawHttp("POST", path, json.dumps(body))


def _words(count: int, *, error_at: int = -1) -> Infer:
    request = repeat(count, error_at=error_at, final_with_last=True, id="w")
    return Infer("ensemble_decoupled", request.inputs, id="w")


SEEN: Final = (
    Case(
        "ensemble_inherits",
        "id, sequence, timeout and parameters reach the model behind",
        (
            *(_info(via, id="given", parameters={"mine": 3, "yours": "x"}) for via in BOTH),
            _info(timeout_us=900_000, priority=2),
            _info(sequence=SequenceStep(12, start=True, end=True)),
            _info("http", sequence=SequenceStep("twelve", start=True)),
            Stream((_info(id="s", parameters={"flag": True}),)),
        ),
    ),
    Case(
        "ensemble_some_outputs",
        "what is not asked for is left out, and the steps before it are not run",
        (
            *(_info(via, outputs=(RequestedOutput("INFO"),)) for via in BOTH),
            _info(outputs=(RequestedOutput("VERSION_2"),)),
            _info(outputs=(RequestedOutput("VERSION_2"), RequestedOutput("INFO"))),
            _info(outputs=(RequestedOutput("extra"),)),
            Counted("two_versions", (_info(outputs=(RequestedOutput("INFO"),)),)),
        ),
    ),
    Case(
        "ensemble_of_ensembles",
        "an ensemble as a step, with batches",
        tuple(_outer(*shape, via=via) for via in BOTH for shape in ((1, 4), (3, 4), (5, 4))),
    ),
    Case(
        "ensemble_shapes",
        "a model without batch dimension between batching ones: one row passes, two do not",
        (
            *(_shapes(*shape, via=via) for via in BOTH for shape in ((1, 3), (2, 3), (1, 0))),
            _shapes(1, 2, outputs="MIDDLE"),
            _shapes(3),
            _shapes(9, 1),
        ),
    ),
    Case(
        "ensemble_missing_outputs",
        "a model leaves out an output that is an answer",
        tuple(
            _missing(way, via)
            for via in BOTH
            for way in (b"ok", b"reversed_outputs", b"extra_output", b"sender", b"sender_error")
        )
        + tuple(_missing(way, outputs="SECOND") for way in (b"ok", b"missing_output")),
    ),
    Case(
        "ensemble_refused_requests",
        "types, shapes, names and sizes are checked against the ensemble",
        tuple(
            step
            for via in BOTH
            for step in (
                Infer("ensemble_chain", (fp32("INPUT0", 1.0),), via=via),
                Infer("ensemble_info", (int32("VALUE", 1, 2),), via=via, id="two"),
                Infer("ensemble_info", (fp32("VALUE", 1.0),), via=via),
                Infer("ensemble_info", (int32("OTHER", 1),), via=via),
                Infer("ensemble_info", (int32("VALUE", 1),), via=via, version="7"),
                _shapes(5, 1, via=via),
            )
        ),
    ),
    Case(
        "ensemble_failing_models",
        "each way to fail, from behind an ensemble",
        tuple(
            _missing(way)
            for way in (
                b"invalid_arg",
                b"unavailable",
                b"cancelled",
                b"already_exists",
                b"default_code",
                b"raise_model_exception",
                b"empty_list",
                b"wrong_shape",
            )
        ),
    ),
    Case(
        "ensemble_statistics",
        "what an ensemble counts, and what its models do",
        (
            Counted("ensemble_chain", (_chain(),)),
            Counted("add_sub", (_chain(),)),
            Counted("ensemble_chain", (_chain(), _outer(3, 4))),
            Counted("ensemble_outer", (_outer(2, 4),)),
            Counted("ensemble_missing", (_missing(b"not_found"), _missing(b"ok"))),
            Counted("ensemble_decoupled", (Stream((_words(3),)),)),
        ),
    ),
    Case(
        "ensemble_described",
        "configuration and metadata of ensembles, by both wires",
        tuple(
            step
            for name in ("ensemble_decoupled", "ensemble_shapes", "ensemble_two_sequences")
            for step in (
                RawHttp("GET", f"/v2/models/{name}/config"),
                RawHttp("GET", f"/v2/models/{name}"),
                RawHttp("GET", f"/v2/models/{name}/ready"),
                RawGrpc("ModelConfig", f'name: "{name}"'),
                RawGrpc("ModelMetadata", f'name: "{name}" version: "1"'),
            )
        ),
    ),
)

SEQUENCES: Final = (
    Case(
        "ensemble_two_sequences",
        "START and END reach both models, state is kept in both",
        tuple(
            _two(value, key, flags, via=via)
            for key, via in zip((261, 262), BOTH, strict=True)
            for value, flags in ((1, "s"), (2, ""), (3, ""), (4, "e"), (5, ""))
        ),
    ),
    Case(
        "ensemble_two_sequences_streamed",
        "two sequences on one stream, each request sent before the answer to the one before",
        (
            Stream(
                tuple(
                    _two(value, key, flags)
                    for value, flags in ((1, "s"), (2, ""), (3, ""), (4, "e"))
                    for key in (263, 264)
                ),
                any_order=True,
            ),
        ),
    ),
    Case(
        "ensemble_sequence_restarted",
        "START on a live sequence begins anew in both models",
        (
            _two(1, 265, "s"),
            _two(2, 265),
            _two(10, 265, "s"),
            _two(20, 265, "e"),
            _two(7, 265, "se"),
            _two(8, 265),
        ),
    ),
    Case(
        "ensemble_sequence_refused",
        "no START, no ID, another ensemble's ID",
        (
            _two(1, 266),
            _two(1, 0, "s"),
            Infer("ensemble_two_sequences", (int32("VALUE", 1),)),
            _two(1, 267, "s"),
            Infer("ensemble_sequence", (int32("VALUE", 1),), sequence=SequenceStep(268)),
            _two(1, 267, "e"),
        ),
    ),
    Case(
        "ensemble_sequences_by_name",
        "IDs that are texts, beside numbers of the same digits",
        tuple(
            Infer(
                "ensemble_sequence",
                (int32("VALUE", value),),
                via=via,
                sequence=SequenceStep(key, start=value == 1, end=value == 3),
            )
            for value in (1, 2, 3)
            for via, key in NAMES
        ),
    ),
    Case(
        "ensemble_talk",
        "a decoupled sequence model behind an ensemble",
        (
            Stream((_talk(2, 270, "s"),)),
            Stream((_talk(1, 270), Await(1), _talk(0, 270), _talk(2, 270, "e"))),
            Stream((_talk(1, 270),)),
        ),
    ),
)

DECOUPLED: Final = (
    Case(
        "ensemble_decoupled_over_unary",
        "an ensemble with a decoupled step is decoupled",
        (
            _words(1),
            Infer("ensemble_decoupled", _words(1).inputs, via="http"),
        ),
    ),
    Case(
        "ensemble_generate",
        "generate and generate_stream: decoupled, plain, failing, of a sequence",
        (
            _generate("ensemble_decoupled", PROGRAM=[2, -1, 1, 0], stream=True),
            _generate("ensemble_decoupled", PROGRAM=[1, -1, 1, 0]),
            _generate("ensemble_decoupled", PROGRAM=[2, 0, 1, 0], stream=True),
            _generate("ensemble_info", VALUE=3),
            _generate("ensemble_missing", TEXT="not_found", stream=True),
            _generate("ensemble_sequence", VALUE=3, sequence_id=281, sequence_start=True),
        ),
    ),
    Case(
        "ensemble_decoupled_at_once",
        "several requests on one stream",
        (Stream((_words(2), Await(2), _words(1), Await(3), _words(3))),),
    ),
)

CASES: Final = (*SEEN, *SEQUENCES, *DECOUPLED)
