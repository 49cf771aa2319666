"""Sequences that wait for a slot, sequences that are cancelled, and every type of control.

Facts sections 4.2, 4.5, 4.6, 4.8 and 12.1 to 12.3.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from tests.conformance.cases_scheduling import ARRIVAL_MS, row
from tests.conformance.cases_sequences import BOTH, step
from tests.conformance.steps import (
    Case,
    Exchange,
    Infer,
    Join,
    Pause,
    SequenceStep,
    Start,
    Step,
    Stream,
    int32,
)

TEXT_128: Final = "x" * 128


def entry(value: int, key: int, flags: str = "", *, takes_ms: int = 0) -> Infer:
    """A step of sequence_journal; 0 begins the journal anew."""
    return Infer(
        "sequence_journal",
        (int32("INPUT", value, takes_ms),),
        id=f"{key}#{value}",
        sequence=SequenceStep(key, start="s" in flags, end="e" in flags),
    )


def _two_live(first: int) -> tuple[Step, ...]:
    """Both slots of sequence_journal are taken, the journal begins anew."""
    return entry(0, first, "s"), entry(1, first + 1, "s")


BACKLOG: Final = (
    Case(
        "backlog_in_order",
        "sequences without slot get one in the order of their arrival",
        (
            *_two_live(361),
            Exchange("waiting", (entry(2, 363, "s"), entry(3, 364, "s")), 0),
            Pause(ARRIVAL_MS),
            entry(4, 362, "e"),
            Exchange("waiting", (), 1),
            entry(5, 363, "e"),
            Exchange("waiting", (), 1),
            entry(6, 364, "e"),
            entry(7, 361, "e"),
        ),
    ),
    Case(
        "backlog_complete",
        "a sequence that ended while it waited runs when it can, then the next",
        (
            *_two_live(371),
            Exchange(
                "waiting",
                (entry(2, 373, "s"), entry(3, 373), entry(4, 373, "e"), entry(5, 374, "se")),
                0,
            ),
            Pause(ARRIVAL_MS),
            entry(6, 372, "e"),
            Exchange("waiting", (), 4),
            entry(7, 371, "e"),
        ),
    ),
    Case(
        "backlog_patience_of_one_request",
        "the timeout of one request ends the waiting of its whole sequence, not of others",
        (
            *_two_live(381),
            Exchange(
                "waiting",
                (replace(entry(2, 383, "s"), timeout_us=300_000), entry(3, 383)),
                2,
            ),
            entry(4, 383, "e"),
            Exchange("other", (entry(5, 384, "s"),), 0),
            Pause(ARRIVAL_MS),
            entry(6, 382, "e"),
            Exchange("other", (), 1),
            entry(7, 384, "e"),
            entry(8, 381, "e"),
        ),
    ),
    Case(
        "backlog_start_twice",
        "a second START joins the sequence that waits",
        (
            *_two_live(391),
            Exchange("waiting", (entry(2, 393, "s"), entry(3, 393), entry(4, 393, "s")), 0),
            Pause(ARRIVAL_MS),
            entry(5, 392, "e"),
            Exchange("waiting", (), 3),
            entry(6, 393, "e"),
            entry(7, 391, "e"),
        ),
    ),
    Case(
        "backlog_cancelled",
        "a waiting START is cancelled: the next in line gets the slot, the id is unknown",
        (
            *_two_live(401),
            replace(entry(2, 403, "s"), cancel_after_ms=ARRIVAL_MS),
            Exchange("waiting", (entry(3, 404, "s"),), 0),
            Pause(ARRIVAL_MS),
            entry(4, 402, "e"),
            Exchange("waiting", (), 1),
            entry(5, 403),
            entry(6, 404, "e"),
            entry(7, 401, "e"),
        ),
    ),
    Case(
        "backlog_deadline",
        "a waiting START whose client has given up",
        (
            *_two_live(411),
            replace(entry(2, 413, "s"), deadline_ms=ARRIVAL_MS),
            entry(3, 412, "e"),
            entry(4, 413),
            entry(5, 413, "se"),
            entry(6, 411, "e"),
        ),
    ),
    Case(
        "slots_without_batching",
        "two sequences interleave request by request",
        (
            Exchange(
                "a",
                (
                    entry(0, 421, "s", takes_ms=200),
                    entry(1, 422, "s"),
                    entry(2, 421),
                    entry(3, 422),
                    entry(4, 421, "e"),
                    entry(5, 422, "e"),
                ),
                6,
            ),
            entry(6, 423, "se"),
        ),
    ),
    Case(
        "timeout_in_a_slot",
        "a timeout parameter means nothing to a sequence that has a slot",
        (
            entry(0, 441, "s"),
            Exchange(
                "a",
                (
                    entry(1, 441, takes_ms=400),
                    replace(entry(2, 441), timeout_us=50_000),
                    entry(3, 441, "e"),
                ),
                3,
            ),
        ),
    ),
)

CANCELLED: Final = (
    Case(
        "sequence_cancelled_in_the_middle",
        "a queued step is cancelled: the steps behind it",
        (
            step("sequence_flags", 1, 451, "s"),
            Start("busy", step("sequence_flags", -2800, 451)),
            Pause(ARRIVAL_MS),
            Start("queued", replace(step("sequence_flags", 5, 451), cancel_after_ms=ARRIVAL_MS)),
            Pause(ARRIVAL_MS // 2),
            Start("behind", step("sequence_flags", 7, 451)),
            Join("queued"),
            Join("busy"),
            Join("behind"),
            step("sequence_flags", 9, 451, "e"),
        ),
    ),
    Case(
        "sequence_stream_cancelled_busy",
        "a stream is cancelled while its sequence executes and more is queued: it is gone",
        (
            Stream(
                (
                    step("sequence_flags", 1, 452, "s"),
                    step("sequence_flags", -2500, 452),
                    step("sequence_flags", 1, 452),
                    step("sequence_flags", 1, 452),
                    Pause(ARRIVAL_MS),
                ),
                cancel=True,
                any_order=True,
            ),
            Pause(800),
            step("sequence_flags", 1, 452),
            step("sequence_flags", 5, 452, "se"),
        ),
    ),
)

CONTROLS: Final = (
    Case(
        "controls_of_other_types",
        "controls as FP32, BOOL and INT32, each with values of its own",
        tuple(
            replace(row("sequence_controls", value, 461, flags), via=via)
            for via in BOTH
            for value, flags in ((1, "s"), (2, ""), (3, "e"), (4, "se"))
        ),
    ),
    Case(
        "controls_narrow_id",
        "an INT32 control gets the low bits of the id",
        (
            row("sequence_controls", 1, 2**32 + 5, "se"),
            row("sequence_controls", 1, 2**64 - 1, "se"),
            row("sequence_controls", 1, 2**31, "se"),
        ),
    ),
    Case(
        "controls_text_id",
        "a control of text, and an id of 128 bytes",
        (
            step("sequence_text_control", 1, TEXT_128, "s"),
            step("sequence_text_control", 1, TEXT_128, "e", via="http"),
        ),
    ),
    Case(
        "controls_short_text_id",
        "a control of text, and an id of fewer bytes",
        (
            step("sequence_text_control", 1, "short", "s"),
            step("sequence_text_control", 1, "short", "e"),
        ),
    ),
    Case(
        "controls_number_id",
        "a control of text, and a number for an id",
        (step("sequence_text_control", 1, 471, "se"),),
    ),
)

CASES: Final = (*BACKLOG, *CANCELLED, *CONTROLS)
