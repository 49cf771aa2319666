"""Decoupled models and the gRPC stream: any number of responses, finals, errors in the middle.

Facts sections 6 and 12.4.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from tests.conformance.steps import Await, Case, Counted, Infer, SequenceStep, Stream, int32


def repeat(
    count: int,
    *,
    error_at: int = -1,
    final_with_last: bool = False,
    raises: bool = False,
    empty_final: bool = False,
    id: str = "",
    version: str = "",
) -> Infer:
    program = (count, error_at, int(final_with_last), int(raises))
    return Infer(
        "decoupled_repeat",
        (int32("PROGRAM", *program),),
        id=id,
        version=version,
        empty_final=empty_final,
    )


def talk(count: int, key: int, flags: str = "", *, empty_final: bool = False) -> Infer:
    return Infer(
        "sequence_decoupled",
        (int32("INPUT", count),),
        id=f"{key}{flags}",
        sequence=SequenceStep(key, start="s" in flags, end="e" in flags),
        empty_final=empty_final,
    )


def _ensemble(count: int, error_at: int = -1, *, empty_final: bool = False) -> Infer:
    # With FINAL sent apart, Triton's last answer is the third response or an empty one, by chance.
    request = repeat(
        count, error_at=error_at, final_with_last=True, empty_final=empty_final, id="ens"
    )
    return replace(request, model="ensemble_decoupled")


def _one(name: str, about: str, request: Infer) -> Case:
    return Case(f"decoupled_{name}", about, (Stream((request,)),))


CASES: Final = (
    _one("three", "three responses, then FINAL alone", repeat(3, id="r")),
    _one("three_empty_final", "FINAL alone, asked for", repeat(3, id="r", empty_final=True)),
    _one("final_with_last", "FINAL on the last response", repeat(3, final_with_last=True)),
    _one(
        "final_with_last_empty_final",
        "FINAL on the last response: nothing more even when asked for",
        repeat(2, final_with_last=True, empty_final=True),
    ),
    _one("zero", "no response at all", repeat(0, id="r")),
    _one("zero_empty_final", "no response, FINAL asked for", repeat(0, id="r", empty_final=True)),
    _one(
        "zero_empty_final_version",
        "the empty FINAL names the version as requested",
        repeat(0, version="1", empty_final=True),
    ),
    _one("error_first", "an error, then two responses", repeat(3, error_at=0, id="r")),
    _one("error_middle", "an error between two responses", repeat(3, error_at=1)),
    _one(
        "error_last_final",
        "FINAL on an error response",
        repeat(2, error_at=1, final_with_last=True),
    ),
    _one("raises", "the model raises", repeat(1, raises=True, id="r")),
    _one(
        "raises_empty_final",
        "the model raises, FINAL asked for",
        repeat(1, raises=True, empty_final=True),
    ),
    _one("many", "two hundred responses in order", repeat(200, empty_final=True)),
    _one("bad_input", "a refused request", Infer("decoupled_repeat", (int32("PROGRAM", 1),))),
    Case(
        "decoupled_several_requests",
        "three requests, one after another on one stream",
        (Stream((repeat(2, id="a"), repeat(0, id="b"), repeat(1, id="c", empty_final=True))),),
    ),
    Case(
        "decoupled_grpc_error_model",
        "asked to, the stream ends with the model's first error as its status",
        (Stream((repeat(1, error_at=0, final_with_last=True),), grpc_error=True),),
    ),
    Case(
        "decoupled_grpc_error_unknown_model",
        "a request for an unknown model when errors shall end the stream",
        (Stream((Infer("nobody", (), id="x"),), grpc_error=True),),
    ),
    Case(
        "decoupled_counted",
        "one inference per request, however many responses",
        (
            Counted(
                "decoupled_repeat",
                (
                    Stream(
                        (repeat(3), repeat(0), repeat(1)),
                    ),
                ),
            ),
        ),
    ),
    Case(
        "decoupled_sequence",
        "a decoupled sequence: responses of each step, and the flags the model saw",
        (
            Stream((talk(2, 201, "s"),)),
            Stream((talk(1, 201), talk(0, 201), talk(3, 201))),
            Stream((talk(1, 201, "e"), Await(1), talk(1, 201))),
        ),
    ),
    Case(
        "decoupled_sequence_empty_final",
        "with FINAL asked for, every step is answered",
        (
            Stream(
                (
                    talk(0, 202, "s", empty_final=True),
                    talk(2, 202, empty_final=True),
                    talk(0, 202, "e", empty_final=True),
                )
            ),
        ),
    ),
    Case(
        "decoupled_ensemble",
        "each response runs through the rest of an ensemble",
        (
            Stream((_ensemble(3),)),
            Stream((_ensemble(0, empty_final=True),)),
            Stream((_ensemble(2, empty_final=True),)),
        ),
    ),
    Case(
        "decoupled_ensemble_error",
        "an error in an ensemble is its last answer",
        (Stream((_ensemble(3, error_at=1),)),),
    ),
)
