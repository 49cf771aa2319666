"""Sequences: admission, controls, slots, backlog, idleness, failures in mid-sequence.

Facts sections 4.1 to 4.8 and 12.1, 12.2.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from tests.conformance.steps import (
    Await,
    Case,
    Counted,
    Infer,
    Join,
    Pause,
    RequestedOutput,
    SequenceStep,
    Start,
    Stream,
    Tensor,
    Transport,
    int32,
)

BOTH: Final[tuple[Transport, Transport]] = ("grpc", "http")
ENSEMBLE_IDS: Final[tuple[tuple[Transport, int | str], ...]] = (("grpc", 165), ("http", "text-165"))
STRATEGIES: Final = ("direct", "oldest")
CONTROLLED: Final = tuple(f"sequence_sum_{strategy}" for strategy in STRATEGIES)
# Where steps run concurrently, the row a step gets is a matter of timing: ask for the rest only.
SUM: Final = (RequestedOutput("OUTPUT"), RequestedOutput("CONTROLS"))


def step(
    model: str,
    value: int,
    key: int | str,
    flags: str = "",
    *,
    via: Transport = "grpc",
    id: str = "",
    timeout_us: int | None = None,
    outputs: tuple[RequestedOutput, ...] = (),
) -> Infer:
    """One step of a sequence; `flags` holds "s" for START and "e" for END."""
    shape = (1, 1) if model in CONTROLLED else (1,)
    return Infer(
        model,
        (int32("INPUT", value, shape=shape),),
        via=via,
        id=id,
        sequence=SequenceStep(key, start="s" in flags, end="e" in flags),
        timeout_us=timeout_us,
        outputs=outputs,
    )


def without_sequence(model: str, via: Transport = "grpc") -> Infer:
    shape = (1, 1) if model in CONTROLLED else (1,)
    return Infer(model, (int32("INPUT", 1, shape=shape),), via=via)


def _with_tensors(model: str, *tensors: Tensor, flags: str = "s", key: int = 61) -> Infer:
    return Infer(model, tensors, sequence=SequenceStep(key, start="s" in flags, end="e" in flags))


def _protocol(model: str, via: Transport) -> list[Case]:
    """What every sequence model does, whatever its strategy."""
    name = f"{model.removeprefix('sequence_')}_{via}"
    return [
        Case(
            f"sequence_life_{name}",
            "start, two steps, end; a step after the end is refused",
            (
                step(model, 1, 11, "s", via=via, id="one"),
                step(model, 2, 11, via=via, id="two"),
                step(model, 3, 11, via=via),
                step(model, 4, 11, "e", via=via, id="four"),
                step(model, 5, 11, via=via, id="five"),
            ),
        ),
        Case(
            f"sequence_without_id_{name}",
            "no correlation id",
            (without_sequence(model, via),),
        ),
        Case(
            f"sequence_without_start_{name}",
            "the first step lacks START; END alone is no better",
            (step(model, 1, 12, via=via, id="r"), step(model, 1, 12, "e", via=via)),
        ),
        Case(
            f"sequence_one_shot_{name}",
            "START and END on one request; then the id is unknown",
            (step(model, 7, 13, "se", via=via), step(model, 7, 13, via=via)),
        ),
        Case(
            f"sequence_start_twice_{name}",
            "a second START on a live id begins anew in the same slot",
            (
                step(model, 1, 14, "s", via=via),
                step(model, 2, 14, via=via),
                step(model, 10, 14, "s", via=via),
                step(model, 1, 14, "e", via=via),
            ),
        ),
        Case(
            f"sequence_again_after_end_{name}",
            "an id may be used again once its sequence has ended",
            (
                step(model, 1, 15, "s", via=via),
                step(model, 1, 15, "e", via=via),
                step(model, 5, 15, "s", via=via),
                step(model, 5, 15, "e", via=via),
            ),
        ),
        Case(
            f"sequence_interleaved_{name}",
            "three sequences side by side keep their own sums",
            tuple(
                step(model, value * key, key, flags, via=via)
                for value, flags in ((1, "s"), (2, ""), (3, "e"))
                for key in (21, 22, 23)
            ),
        ),
    ]


def _controlled(model: str) -> list[Case]:
    """What only models with batching and control tensors can show."""
    name = model.removeprefix("sequence_")
    one = int32("INPUT", 1, shape=(1, 1))
    return [
        Case(
            f"sequence_batched_request_{name}",
            "a request of two rows is refused and starts nothing",
            (
                _with_tensors(model, int32("INPUT", 1, 2, shape=(2, 1))),
                step(model, 1, 61),
            ),
        ),
        Case(
            f"sequence_bad_start_{name}",
            "a START of the wrong shape starts nothing",
            (_with_tensors(model, int32("INPUT", 1)), step(model, 1, 61)),
        ),
        Case(
            f"sequence_client_sends_control_{name}",
            "control tensors are the server's, not the client's",
            (_with_tensors(model, one, int32("START", 1, shape=(1, 1)), flags="se"),),
        ),
    ]


def _slots(model: str) -> list[Case]:
    """Four slots, and more sequences than that."""
    name = model.removeprefix("sequence_")
    return [
        Case(
            f"sequence_slots_freed_{name}",
            "four slots, used three times over",
            tuple(
                step(model, 100 + key, key, flags)
                for first in (31, 41, 51)
                for flags in ("s", "e")
                for key in range(first, first + 4)
            ),
        ),
        Case(
            f"sequence_backlog_{name}",
            "the fifth of four sequences waits until another ends",
            (
                *(step(model, key, key, "s") for key in (71, 72, 73, 74)),
                Start("fifth", step(model, 75, 75, "s", id="waits")),
                Pause(150),
                step(model, 0, 73, "e"),
                Join("fifth"),
                step(model, 1, 75, "e"),
            ),
        ),
        Case(
            f"sequence_backlog_timeout_{name}",
            "a timeout parameter ends the waiting of a sequence without a slot",
            (
                *(step(model, key, key, "s") for key in (81, 82, 83, 84)),
                step(model, 85, 85, "s", id="late", timeout_us=200_000),
                step(model, 1, 85),
            ),
        ),
    ]


def _ids_and_streams(model: str) -> list[Case]:
    """Ids of 64 bits, and steps sent without waiting."""
    name = model.removeprefix("sequence_")
    return [
        Case(
            f"sequence_large_ids_{name}",
            "ids at the edge of 64 bits",
            (
                step(model, 1, 2**63 - 1, "se"),
                step(model, 1, 2**64 - 1, "se", via="http"),
            ),
        ),
        Case(
            f"sequence_stream_{name}",
            "two sequences on one stream, pipelined",
            (
                Stream(
                    tuple(
                        step(model, value, key, flags, id=f"{key}-{value}", outputs=SUM)
                        for value, flags in ((1, "s"), (2, ""), (3, ""), (4, "e"))
                        for key in (91, 92)
                    ),
                    any_order=True,
                ),
            ),
        ),
        Case(
            f"sequence_stream_pipelined_{name}",
            "one sequence on a stream, sent without waiting: answers in order",
            (
                Stream(
                    tuple(
                        step(model, value, 93, flags, id=f"{value}", outputs=SUM)
                        for value, flags in enumerate(("s", "", "", "", "", "", "e"))
                    )
                ),
            ),
        ),
    ]


CASES: Final = (
    *(
        case
        for via in BOTH
        for model in (*CONTROLLED, "sequence_flags")
        for case in _protocol(model, via)
    ),
    *(
        case
        for model in CONTROLLED
        for case in (*_controlled(model), *_slots(model), *_ids_and_streams(model))
    ),
    Case(
        "sequence_direct_places",
        "row is slot: the lowest free slot is taken, a lone high slot is padded",
        (
            *(step("sequence_sum_direct", key, key, "s") for key in (101, 102, 103)),
            step("sequence_sum_direct", 0, 101, "e"),
            step("sequence_sum_direct", 1, 103),
            step("sequence_sum_direct", 9, 104, "s"),
            step("sequence_sum_direct", 1, 102, "e"),
            step("sequence_sum_direct", 1, 103, "e"),
            step("sequence_sum_direct", 1, 104, "e"),
        ),
    ),
    Case(
        "sequence_direct_counted",
        "padding counts in the batch size but not as an inference",
        (
            Counted(
                "sequence_sum_direct",
                (
                    step("sequence_sum_direct", 1, 111, "s"),
                    step("sequence_sum_direct", 1, 112, "s"),
                    step("sequence_sum_direct", 1, 112),
                    step("sequence_sum_direct", 1, 112, "e"),
                    step("sequence_sum_direct", 1, 111, "e"),
                    step("sequence_sum_direct", 1, 111),
                ),
            ),
        ),
    ),
    Case(
        "sequence_string_id_on_number_control",
        "a text id on a model whose CORRID control is a number",
        (step("sequence_sum_direct", 1, "abc", "s"), step("sequence_sum_direct", 1, "abc", "e")),
    ),
    Case(
        "sequence_text_ids",
        "text ids, one of 128 bytes, one too long; text and number ids never meet",
        (
            step("sequence_flags", 1, "talk", "s"),
            step("sequence_flags", 2, "talk", "e"),
            step("sequence_flags", 1, "é" * 64, "se"),
            step("sequence_flags", 1, "x" * 129, "s"),
            step("sequence_flags", 1, 7, "s"),
            step("sequence_flags", 1, "7"),
            step("sequence_flags", 1, 7, "e"),
            step("sequence_flags", 1, "7", "se", via="http"),
        ),
    ),
    Case(
        "sequence_step_fails",
        "a step that raises does not end the sequence",
        (
            step("sequence_flags", 1, 121, "s"),
            step("sequence_flags", -1000, 121, id="fails"),
            step("sequence_flags", 2, 121),
            step("sequence_flags", 3, 121, "e"),
        ),
    ),
    Case(
        "sequence_crosses_transports",
        "a sequence begun by gRPC goes on by HTTP and ends on a stream",
        (
            step("sequence_flags", 1, 122, "s"),
            step("sequence_flags", 2, 122, via="http"),
            Stream((step("sequence_flags", 3, 122, "e"),)),
        ),
    ),
    Case(
        "sequence_survives_stream",
        "a sequence that is idle when its stream is cancelled goes on elsewhere",
        (
            Stream((step("sequence_flags", 1, 123, "s"), Await(1)), cancel=True),
            step("sequence_flags", 2, 123),
            step("sequence_flags", 3, 123, "e"),
        ),
    ),
    Case(
        "sequence_idle_expires",
        "silence beyond the idle limit ends a sequence",
        (
            step("sequence_idle", 1, 131, "s"),
            Pause(2000),
            step("sequence_idle", 1, 131),
            step("sequence_idle", 5, 131, "se"),
        ),
    ),
    Case(
        "sequence_idle_refreshed",
        "each step starts the idle time anew",
        (
            step("sequence_idle", 1, 132, "s"),
            Pause(350),
            step("sequence_idle", 1, 132),
            Pause(350),
            step("sequence_idle", 1, 132),
            Pause(350),
            step("sequence_idle", 1, 132, "e"),
        ),
    ),
    Case(
        "sequence_idle_frees_slot",
        "one slot: the next sequence gets it when the first is given up",
        (
            step("sequence_idle", 1, 133, "s"),
            step("sequence_idle", 2, 134, "s"),
            step("sequence_idle", 1, 134, "e"),
            step("sequence_idle", 1, 133),
        ),
    ),
    Case(
        "sequence_stream_refusals",
        "refusals of sequence steps in a stream, the rest unharmed",
        (
            Stream(
                (
                    step("sequence_flags", 1, 141, "s", id="a"),
                    step("sequence_flags", 1, 142, id="no-start"),
                    without_sequence("sequence_flags"),
                    step("sequence_flags", 2, 141, id="b"),
                    step("sequence_flags", 3, 141, "e", id="c"),
                    step("sequence_flags", 4, 141, id="after-end"),
                ),
                any_order=True,
            ),
        ),
    ),
    Case(
        "sequence_stream_long",
        "thirty steps of three sequences through two streams",
        (
            Stream(
                tuple(
                    step("sequence_sum_oldest", value, key, "" if value else "s", outputs=SUM)
                    for value in range(5)
                    for key in (151, 152, 153)
                ),
                any_order=True,
            ),
            Stream(
                tuple(
                    step("sequence_sum_oldest", value, key, "e" * (value == 9), outputs=SUM)
                    for value in range(5, 10)
                    for key in (153, 151, 152)
                ),
                any_order=True,
            ),
        ),
    ),
    Case(
        "sequence_cancelled_while_executing",
        "a step cancelled during its execution does not end the sequence",
        (
            step("sequence_flags", 1, 161, "s"),
            replace(step("sequence_flags", -2600, 161), cancel_after_ms=100),
            step("sequence_flags", 2, 161),
            step("sequence_flags", 3, 161, "e"),
        ),
    ),
    Case(
        "sequence_deadline_while_executing",
        "neither does a client's deadline",
        (
            step("sequence_flags", 1, 162, "s"),
            replace(step("sequence_flags", -2600, 162), deadline_ms=100),
            step("sequence_flags", 2, 162),
            step("sequence_flags", 3, 162, "e"),
        ),
    ),
    Case(
        "sequence_long_step_is_not_idle",
        "a step that takes longer than the idle limit",
        (
            step("sequence_idle", 1, 163, "s"),
            step("sequence_idle", -3300, 163),
            step("sequence_idle", 1, 163),
            step("sequence_idle", 1, 163, "e"),
        ),
    ),
    Case(
        "sequence_end_then_start_pipelined",
        "an id used again while its END still waits: the new sequence runs after it",
        (
            Stream(
                (
                    step("sequence_flags", 1, 164, "s", id="1"),
                    step("sequence_flags", -2200, 164, id="2"),
                    step("sequence_flags", 2, 164, id="3"),
                    step("sequence_flags", 3, 164, "e", id="4"),
                    step("sequence_flags", 10, 164, "s", id="5"),
                    step("sequence_flags", 20, 164, "e", id="6"),
                )
            ),
        ),
    ),
    Case(
        "sequence_ensemble",
        "a sequence model behind an ensemble",
        tuple(
            Infer(
                "ensemble_sequence",
                (int32("VALUE", value),),
                via=via,
                id=f"e{value}",
                sequence=SequenceStep(key, start=value == 1, end=value == 3),
            )
            for via, key in ENSEMBLE_IDS
            for value in (1, 2, 3, 4)
        ),
    ),
)
