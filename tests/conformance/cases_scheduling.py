"""When and together with what a request runs: options of the batchers, priorities, queue policies.

Facts sections 4.3, 4.4, 4.9, 5.2 to 5.4, 12.2 and 12.9. Requests whose order of arrival matters go
over one stream; what they shared a batch with, or ran after, is in their answers.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from tests.conformance.cases_requests import delayed
from tests.conformance.cases_sequences import BOTH
from tests.conformance.steps import (
    Case,
    Counted,
    Exchange,
    Infer,
    Pause,
    SequenceStep,
    Stream,
    Together,
    int32,
)

ARRIVAL_MS: Final = 150  # in which a request that was sent has surely arrived


def row(model: str, value: int, key: int, flags: str = "") -> Infer:
    """A step of a batching sequence model; each sequence is a lane of its own."""
    return Infer(
        model,
        (int32("INPUT", value, shape=(1, 1)),),
        id=f"{key}#{value}",
        sequence=SequenceStep(key, start="s" in flags, end="e" in flags),
    )


def queued(model: str, value: int, *, takes_ms: int = 0, priority: int = 0) -> Infer:
    """A request to a model with a journal and no sequences."""
    tensor = int32("INPUT", value, takes_ms, shape=(1, 2))
    return Infer(model, (tensor,), id=f"{value}#", priority=priority)


def rows(count: int, columns: int = 2, *, model: str = "dynamic_rows", id: str = "") -> Infer:
    values = [0] * (count * columns)
    return Infer(model, (int32("INPUT", *values, shape=(count, columns)),), id=id)


def _shared(name: str, about: str, *shapes: tuple[int, int], model: str = "dynamic_rows") -> Case:
    """Requests of (rows, columns) that arrive one after another, none waiting for another."""
    requests = tuple(
        rows(*shape, model=model, id=f"{number}#") for number, shape in enumerate(shapes)
    )
    return Case(f"dynamic_{name}", about, (Exchange("a", requests, len(requests)),))


def _at_once(model: str, keys: tuple[int, ...], flags: str, value: int) -> Exchange:
    return Exchange("a", tuple(row(model, value, key, flags) for key in keys), len(keys))


DIRECT: Final = (
    Case(
        "direct_delay_lone",
        "one of four slots is ready: it waits out the delay",
        (row("sequence_delay", 1, 301, "s"), row("sequence_delay", 2, 301, "e")),
    ),
    Case(
        "direct_delay_enough",
        "three of four slots are ready: they run together, each in its row",
        tuple(
            _at_once("sequence_delay", (302, 303, 304), flags, value)
            for value, flags in ((1, "s"), (2, ""), (3, "e"))
        ),
    ),
    Case(
        "direct_delay_two",
        "two of four slots are ready: they wait, and run together",
        tuple(
            _at_once("sequence_delay", (305, 306), flags, value)
            for value, flags in ((1, "s"), (2, "e"))
        ),
    ),
    Case(
        "direct_delay_third_releases",
        "a third joins two that wait",
        (
            Exchange("a", tuple(row("sequence_delay", 1, key, "s") for key in (307, 308)), 0),
            Pause(ARRIVAL_MS),
            Exchange("a", (row("sequence_delay", 1, 309, "s"),), 3),
            _at_once("sequence_delay", (307, 308, 309), "e", 2),
        ),
    ),
    Case(
        "direct_delay_gap",
        "a slot in the middle falls silent: its row is padding",
        (
            _at_once("sequence_delay", (310, 311, 312), "s", 1),
            _at_once("sequence_delay", (310, 312), "", 2),
            _at_once("sequence_delay", (312,), "e", 3),
            _at_once("sequence_delay", (310, 311), "e", 3),
        ),
    ),
    Case(
        "direct_delay_ends_refill",
        "slots freed by ENDs are taken by what waits",
        (
            _at_once("sequence_delay", (313, 314, 315), "se", 1),
            _at_once("sequence_delay", (316, 317, 318), "se", 1),
        ),
    ),
)

OLDEST: Final = (
    Case(
        "oldest_delay_lone",
        "one request where four are preferred: it waits out the delay",
        (row("sequence_preferred", 1, 321, "s"), row("sequence_preferred", 2, 321, "e")),
    ),
    Case(
        "oldest_preferred_reached",
        "four requests are enough to run at once",
        tuple(
            _at_once("sequence_preferred", (322, 323, 324, 325), flags, value)
            for value, flags in ((1, "s"), (2, ""), (3, "e"))
        ),
    ),
    Case(
        "oldest_preferred_two",
        "two requests wait, and run together",
        tuple(
            _at_once("sequence_preferred", (336, 337), flags, value)
            for value, flags in ((1, "s"), (2, "e"))
        ),
    ),
    Case(
        "oldest_one_of_each",
        "steps of one sequence never share a batch",
        (
            Exchange(
                "a",
                tuple(
                    row("sequence_preferred", value, 338, flags)
                    for value, flags in ((1, "s"), (2, ""), (3, "e"))
                ),
                3,
            ),
        ),
    ),
)

QUEUES: Final = (
    Case(
        "queue_priorities",
        "the highest priority first; none and one too many are the default",
        (
            Exchange("a", (queued("queue_priority", 0, takes_ms=800),), 0),
            Pause(ARRIVAL_MS),
            Exchange(
                "a",
                (
                    queued("queue_priority", 31, priority=3),
                    queued("queue_priority", 21, priority=2),
                    queued("queue_priority", 11, priority=1),
                    queued("queue_priority", 22),
                    queued("queue_priority", 23, priority=99),
                    queued("queue_priority", 12, priority=1),
                    queued("queue_priority", 32, priority=3),
                ),
                8,
            ),
        ),
    ),
    Case(
        "queue_expired_last",
        "what waited too long is served after what did not",
        (
            Exchange(
                "a",
                (
                    queued("queue_expired_last", 0, takes_ms=900),
                    queued("queue_expired_last", 1),
                    queued("queue_expired_last", 2),
                ),
                0,
            ),
            Pause(750),
            Exchange("a", (queued("queue_expired_last", 3),), 4),
        ),
    ),
    Case(
        "queue_timeout_longer",
        "a longer timeout than the model's own is not granted",
        (
            Exchange("a", (delayed(900, model="queue_timeout", id="busy#"),), 0),
            Pause(ARRIVAL_MS),
            Exchange(
                "b", (delayed(1, model="queue_timeout", id="longer#", timeout_us=5_000_000),), 1
            ),
            Exchange("a", (), 1),
        ),
    ),
    Case(
        "queue_counted",
        "what a queue policy refuses is a failure in the statistics",
        (
            Counted(
                "queue_timeout",
                (
                    Stream(
                        (
                            delayed(900, model="queue_timeout", id="busy"),
                            Pause(ARRIVAL_MS),
                            delayed(1, model="queue_timeout", id="late"),
                        ),
                        any_order=True,
                    ),
                ),
            ),
        ),
    ),
)

DYNAMIC: Final = (
    _shared("lone", "one row of eight waits out the delay", (1, 2)),
    _shared("full", "eight rows run at once", *([(1, 2)] * 8)),
    _shared("two_batches", "nine rows: eight run at once, the ninth waits", *([(1, 2)] * 9)),
    _shared(
        "does_not_fit", "four and three rows wait; two more do not fit", (4, 2), (3, 2), (2, 2)
    ),
    _shared("fits_exactly", "five and three rows are a full batch", (5, 2), (3, 2)),
    _shared("one_full_request", "a request of eight rows needs no company", (8, 2), (1, 2)),
    _shared("other_shape", "another shape ends the batch", (1, 2), (1, 2), (1, 3), (1, 2)),
    _shared("preferred", "four rows are preferred", *([(1, 2)] * 4), model="dynamic_preferred"),
    _shared(
        "preferred_missed",
        "three and three rows: no prefix has four",
        (3, 2),
        (3, 2),
        model="dynamic_preferred",
    ),
    Case(
        "dynamic_whatever_else",
        "ids, parameters, priorities, outputs and wires do not keep requests apart",
        (
            Together(
                (
                    rows(2, id="one"),
                    replace(rows(2), via="http"),
                    replace(rows(2), parameters={"k": 1}),
                    replace(rows(2), timeout_us=9_000_000, sequence=SequenceStep(5)),
                )
            ),
        ),
    ),
    Case(
        "dynamic_counted",
        "two requests, five rows, one execution",
        (Counted("dynamic_rows", (Stream((rows(3), rows(2))),)),),
    ),
)


def _passes(count: int, **rest: object) -> Infer:
    tensors = (int32("INPUT", count, shape=(1, 1)),)
    return Infer("iterative_count", tensors, **rest)  # type: ignore[arg-type]


ITERATIVE: Final = (
    Case(
        "iterative_passes",
        "a request comes again as often as the model wants, without any flag but the first",
        tuple(_passes(count, via=via) for via in BOTH for count in (1, 2, 5)),
    ),
    Case(
        "iterative_together",
        "requests of different length side by side",
        (Together(tuple(_passes(count) for count in (3, 7, 1, 5))),),
    ),
    Case(
        "iterative_stream",
        "three requests on a stream",
        (Stream(tuple(_passes(count, id=f"{count}") for count in (4, 1, 2)), any_order=True),),
    ),
    Case(
        "iterative_more_than_slots",
        "more requests than slots",
        (Together(tuple(_passes(count) for count in (6, 5, 4, 3, 2, 1))),),
    ),
    Case(
        "iterative_own_id",
        "a client may name the sequence",
        (_passes(2, sequence=SequenceStep(481, start=True)),),
    ),
    Case(
        "iterative_refused",
        "a request of two rows",
        (Infer("iterative_count", (int32("INPUT", 1, 2, shape=(2, 1)),)),),
    ),
)

CASES: Final = (
    *DIRECT,
    *OLDEST,
    *QUEUES,
    *DYNAMIC,
    *ITERATIVE,
)
