"""Programs of several clients drawn from a seed, over sequence models and stateless ones.

Clients call by gRPC and HTTP and talk on streams that stay open; flags, ids, shapes, parameters
and outputs are right or wrong as chance has it. What a server does must follow from the program
alone, so that two servers can be compared. The writer therefore knows which sequences live, and:

- a step whose outcome depends on another is written after the other was answered;
- a START is not sent while an END of its id is still unanswered: Triton may run it before the END
  (facts 4.12, defect 1);
- more sequences than slots only where one waits for a slot that is then freed;
- text ids only go to models whose CORRID control is not a number: Triton gives those the bits of
  a pointer;
- the row of a batch is only asked for in programs without concurrent steps;
- a stream is only cancelled when it has no sequences: ours end with it, Triton's do not;
- calls are cancelled, and deadlines pass, only in the middle of a long execution;
- a request to a decoupled model that is refused has a stream of its own: after others, Triton's
  refusal may stay away until the next message, and now and then it ends Triton.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Final

from tests.conformance.cases_decoupled import repeat, talk
from tests.conformance.cases_sequences import BOTH, SUM, step, without_sequence
from tests.conformance.perform import requests_of
from tests.conformance.random_requests import misfit, stateless
from tests.conformance.steps import (
    Exchange,
    HangUp,
    Infer,
    Pause,
    SequenceStep,
    Step,
    Together,
    int32,
)

SLOTS: Final = 4
STREAMS: Final = ("a", "b")
OWN_STREAM: Final = "own"
FLAG_WORDS: Final = ("", "", "", "", "s", "e", "se")
CONTROLLED: Final = ("sequence_sum_direct", "sequence_sum_oldest")
MODELS: Final = (*CONTROLLED, "sequence_flags", "sequence_decoupled")
IDLE_LIMIT_MS: Final = 800  # of sequence_idle, which has one slot

Key = int | str


@dataclass(slots=True)
class Writer:
    """Writes one program: the steps so far, and the sequences that live after them."""

    source: random.Random
    first_id: int
    is_concurrent: bool
    steps: list[Step] = field(default_factory=list)
    live: dict[str, set[Key]] = field(default_factory=dict)
    requests_written: int = 0

    def write(self, actions: int) -> tuple[Step, ...]:
        choices = [choice for choice in ACTIONS if self.is_concurrent or not choice.concurrent]
        weights = [choice.weight for choice in choices]
        for choice in self.source.choices(choices, weights, k=actions):
            choice.act(self)
        self.end_all()
        return tuple(self.steps)

    def end_all(self) -> None:
        """End what still lives, so that the next program finds all slots free."""
        for model in MODELS:
            for key in sorted(self.live.get(model, ()), key=repr):
                self.stream_or_call(self.request(model, key, "e"))

    def keys(self, model: str) -> list[Key]:
        """The ids that this program uses for a model."""
        numbers: list[Key] = [self.first_id + index for index in range(SLOTS - 1)]
        numbers.append(2**64 - self.first_id)
        if model in CONTROLLED:
            return numbers
        return [*numbers[1:], f"text-{self.first_id}", str(self.first_id + 1)]

    def key(self, model: str, flags: str) -> Key:
        """An id for a step: one that finds a slot if the step starts it."""
        keys = self.keys(model)
        alive = self.live.setdefault(model, set())
        if "s" in flags and len(alive) >= SLOTS:
            return self.source.choice(sorted(alive, key=repr))
        return self.source.choice(keys)

    def request(self, model: str, key: Key, flags: str, *, value: int | None = None) -> Infer:
        """A proper step, whose effect on the sequence is noted."""
        self.requests_written += 1
        number = self.requests_written
        self.note(model, key, flags)
        if model == "sequence_decoupled":
            # Answers of consecutive steps mix, in Triton: each step's are compared on their own.
            request = talk(self.source.choice((0, 1, 1, 2, 5)), 0, empty_final=True)
            return replace(request, id=f"{key!r}-{number}#", sequence=_of(key, flags))
        identifier = f"{model}-{key!r}#{number}"
        if value is None:
            value = self.source.randint(-100, 100)
        outputs = SUM if self.is_concurrent and model in CONTROLLED else ()
        timeout_us = self.source.choice((None, None, None, 10_000_000))
        return step(model, value, key, flags, id=identifier, outputs=outputs, timeout_us=timeout_us)

    def note(self, model: str, key: Key, flags: str) -> None:
        alive = self.live.setdefault(model, set())
        if "s" in flags:
            alive.add(key)
        if "e" in flags:
            alive.discard(key)

    def stream_or_call(self, request: Infer, *, accepted: bool = True) -> None:
        """One request by any means that its model can be called by."""
        if request.model == "sequence_decoupled" and not accepted:
            self.steps += (Exchange(OWN_STREAM, (request,), 1), HangUp(OWN_STREAM))
        elif request.model == "sequence_decoupled" or self.chance(0.4):
            count = _answers(request) if accepted else 1
            self.steps.append(Exchange(self.source.choice(STREAMS), (request,), count))
        else:
            via = self.source.choice(BOTH)
            self.steps.append(replace(request, via=via, json=via == "http" and self.chance(0.3)))

    def has_sequence_on(self, stream: str) -> bool:
        """Whether a sequence lives whose last step went over this stream."""
        last: dict[tuple[str, Key], str] = {}
        for entry in self.steps:
            for request in requests_of((entry,)):
                if request.sequence is not None:
                    place = entry.stream if isinstance(entry, Exchange) else ""
                    last[request.model, request.sequence.id] = place
        return any(
            last.get((model, key)) == stream for model, alive in self.live.items() for key in alive
        )

    def chance(self, share: float) -> bool:
        return self.source.random() < share


def _of(key: Key, flags: str) -> SequenceStep:
    return SequenceStep(key, start="s" in flags, end="e" in flags)


def _answers(request: Infer) -> int:
    """How many messages a stream gets for a step that is accepted."""
    if request.model == "sequence_decoupled":
        return int(request.inputs[0].data[0]) + 1
    return 1


def _answers_of_repeat(request: Infer) -> int:
    count, _, final_with_last, raises = (int(entry) for entry in request.inputs[0].data)
    if raises:
        return 1
    return count + int(request.empty_final and not (final_with_last and count))


def _step(writer: Writer) -> None:
    """One step with any flags."""
    model = writer.source.choice(MODELS)
    flags = writer.source.choice(FLAG_WORDS)
    key = writer.key(model, flags)
    alive = key in writer.live.setdefault(model, set())
    writer.stream_or_call(writer.request(model, key, flags), accepted=alive or "s" in flags)


def _life(writer: Writer) -> None:
    """A whole sequence by one client: what most clients do."""
    model = writer.source.choice(MODELS)
    key = writer.key(model, "s")
    for flags in ("s", *[""] * writer.source.randint(0, 4), "e"):
        writer.stream_or_call(writer.request(model, key, flags))


def _burst(writer: Writer) -> None:
    """Steps of several sequences on one stream, sent without waiting."""
    model = writer.source.choice(MODELS)
    ended: set[Key] = set()
    requests = []
    responses = 0
    for _ in range(writer.source.randint(2, 10)):
        flags = writer.source.choice(FLAG_WORDS)
        key = writer.key(model, flags)
        if "s" in flags and key in ended:
            continue
        accepted = key in writer.live[model] or "s" in flags
        if model == "sequence_decoupled" and not accepted:
            continue
        if "e" in flags and accepted:
            ended.add(key)
        request = writer.request(model, key, flags)
        requests.append(request)
        responses += _answers(request) if accepted else 1
    if requests:
        writer.steps.append(Exchange(writer.source.choice(STREAMS), tuple(requests), responses))


def _together(writer: Writer) -> None:
    """Several sequences step at the same time, each by a client of its own."""
    model = writer.source.choice((*CONTROLLED, "sequence_flags"))
    alive = sorted(writer.live.setdefault(model, set()), key=repr)
    while len(alive) < 2:
        key = writer.source.choice([key for key in writer.keys(model) if key not in alive])
        writer.stream_or_call(writer.request(model, key, "s"))
        alive.append(key)
    requests = []
    for key in writer.source.sample(alive, writer.source.randint(2, len(alive))):
        flags = writer.source.choice(("", "", "", "s", "e"))
        request = writer.request(model, key, flags)
        requests.append(replace(request, via=writer.source.choice(BOTH)))
    writer.steps.append(Together(tuple(requests)))


def _backlog(writer: Writer) -> None:
    """A sequence that waits for a slot, until one is freed or its patience ends."""
    model = writer.source.choice((*CONTROLLED, "sequence_flags"))
    alive = writer.live.setdefault(model, set())
    for key in writer.keys(model):
        if key not in alive and len(alive) < SLOTS:
            writer.stream_or_call(writer.request(model, key, "s"))
    late = writer.first_id + 9
    if writer.chance(0.3):
        given_up = writer.request(model, late, "s")
        alive.discard(late)
        writer.steps.append(replace(given_up, timeout_us=150_000))
        return
    ending = writer.source.choice(sorted(alive, key=repr))
    waiting = replace(writer.request(model, late, "s"), timeout_us=None)
    writer.steps.append(Together((waiting, writer.request(model, ending, "e"))))
    writer.stream_or_call(writer.request(model, late, "e"))


def _refused_step(writer: Writer) -> None:
    """A step that is wrong whatever the state of its sequence."""
    model = writer.source.choice((*CONTROLLED, "sequence_flags"))
    key = writer.key(model, "s")
    one, two = ((1, 1), (2, 1)) if model in CONTROLLED else ((1,), (2,))
    wrong = writer.source.choice(
        (
            without_sequence(model),
            replace(without_sequence(model), sequence=_of(0, "s")),
            replace(without_sequence(model), sequence=_of("", "se")),
            Infer(model, (int32("INPUT", 1, 2, shape=two),), sequence=_of(key, "s")),
            Infer(model, (int32("WRONG", 1, shape=one),), sequence=_of(key, "se")),
            Infer(model, (), sequence=_of(key, "s")),
        )
    )
    writer.steps.append(replace(wrong, via=writer.source.choice(BOTH)))


def _failing_step(writer: Writer) -> None:
    """The model raises in mid-sequence, which goes on."""
    alive = sorted(writer.live.setdefault("sequence_flags", set()), key=repr)
    if alive:
        key = writer.source.choice(alive)
        writer.stream_or_call(writer.request("sequence_flags", key, "", value=-1000))


def _interrupted_step(writer: Writer) -> None:
    """A call that is cancelled, or whose deadline passes, while the model is at it."""
    alive = sorted(writer.live.setdefault("sequence_flags", set()), key=repr)
    if alive:
        request = writer.request("sequence_flags", writer.source.choice(alive), "", value=-2700)
        word = writer.source.choice(("cancel_after_ms", "deadline_ms"))
        writer.steps.append(replace(request, **{word: 250}))  # type: ignore[arg-type]


def _idle(writer: Writer) -> None:
    """A sequence before and after its idle limit."""
    model, key = "sequence_idle", writer.first_id
    writer.steps += (
        step(model, 1, key, "s"),
        Pause(IDLE_LIMIT_MS // 4),
        step(model, 2, key, via=writer.source.choice(BOTH)),
        Pause(IDLE_LIMIT_MS * 2),
        step(model, 3, key, writer.source.choice(("", "e")), via=writer.source.choice(BOTH)),
        step(model, 4, key, "se"),
    )


def _stateless(writer: Writer) -> None:
    writer.requests_written += 1
    request = stateless(writer.source, f"stateless#{writer.requests_written}")
    if request.via == "grpc" and writer.chance(0.3):
        writer.steps.append(Exchange(writer.source.choice(STREAMS), (request,), 1))
    else:
        writer.steps.append(request)


def _crowd(writer: Writer) -> None:
    """Clients that have nothing to do with one another call at the same time."""
    count = writer.source.randint(2, 6)
    writer.requests_written += 1
    writer.steps.append(
        Together(tuple(stateless(writer.source, f"crowd-{number}") for number in range(count)))
    )


def _misfit(writer: Writer) -> None:
    writer.requests_written += 1
    writer.steps.append(misfit(writer.source, f"misfit#{writer.requests_written}"))


def _decoupled(writer: Writer) -> None:
    """One or several requests with any number of responses each."""
    source = writer.source
    requests = []
    for _ in range(source.choice((1, 1, 2, 3))):
        writer.requests_written += 1
        count = source.choice((0, 1, 2, 3, 20))
        request = repeat(
            count,
            error_at=source.choice((-1, -1, 0, 1)),
            final_with_last=writer.chance(0.4),
            raises=writer.chance(0.1),
            empty_final=True,
            id=f"decoupled-{writer.requests_written}#",
            version=source.choice(("", "", "1")),
        )
        requests.append(request)
    responses = sum(map(_answers_of_repeat, requests))
    writer.steps.append(Exchange(source.choice(STREAMS), tuple(requests), responses))


def _hang_up(writer: Writer) -> None:
    """A client closes its stream; its sequences go on by other means."""
    is_open = {
        entry.stream: isinstance(entry, Exchange)
        for entry in writer.steps
        if isinstance(entry, Exchange | HangUp)
    }
    opened = sorted(stream for stream in is_open if is_open[stream])
    if opened:
        stream = writer.source.choice(opened)
        cancel = writer.chance(0.5) and not writer.has_sequence_on(stream)
        writer.steps.append(HangUp(stream, cancel=cancel))


@dataclass(frozen=True, slots=True)
class Action:
    """Something a client may do next, how often, and whether it makes steps concurrent."""

    act: Callable[[Writer], None]
    weight: float
    concurrent: bool = False


ACTIONS: Final = (
    Action(_step, 30),
    Action(_life, 8),
    Action(_burst, 10, concurrent=True),
    Action(_together, 6, concurrent=True),
    Action(_backlog, 2, concurrent=True),
    Action(_refused_step, 6),
    Action(_failing_step, 3),
    Action(_interrupted_step, 0.5),
    Action(_idle, 0.2),
    Action(_stateless, 15),
    Action(_crowd, 3, concurrent=True),
    Action(_misfit, 6),
    Action(_decoupled, 6),
    Action(_hang_up, 3),
)


def random_program(source: random.Random, number: int) -> tuple[Step, ...]:
    """A program of 8 to 24 actions, each of one or several requests."""
    writer = Writer(source, 10_000 + 10 * number, is_concurrent=source.random() < 0.7)
    return writer.write(source.randint(8, 24))
