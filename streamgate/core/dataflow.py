"""How tensors flow through the steps of an ensemble: what can run now, and what is an answer.

The tensors of a request make its first frame. A step adds its outputs to the frame that it runs
in, unless its model is decoupled: then each of its responses opens a frame of its own, in which the
steps behind it run once more.

    request -> [ a -> b -> decoupled c ]  -> [ d -> answer ]  [ d -> answer ]  [ d -> answer ]
                    first frame                 one frame for each of c's responses

Steps are named by their places, tensors by the ensemble's names for them. What a tensor is, and
how a step is run, is not known here.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Generic, NamedTuple, NewType, TypeVar, final

from streamgate.model.config import EnsembleStep

T = TypeVar("T")

StepIndex = NewType("StepIndex", int)
"""The place of a step in the ensemble's configuration, from 0."""

Level = NewType("Level", int)
"""Which frames a tensor is in: 0 for the request's own, n + 1 for those that step n opens."""

REQUEST_LEVEL = Level(0)


class MixedOriginsError(Exception):
    """A step, or with None the ensemble's answer, takes tensors from frames of different levels."""

    def __init__(self, step: StepIndex | None) -> None:
        super().__init__(step)
        self.step = step


def levels_of(
    steps: Sequence[EnsembleStep],
    decoupled: Iterable[int],
    inputs: Iterable[str],
    outputs: Iterable[str],
) -> dict[str, Level]:
    """The level of each tensor that can come to be. Raises MixedOriginsError."""
    opening = frozenset(decoupled)
    levels = dict.fromkeys(inputs, REQUEST_LEVEL)
    waiting = list(range(len(steps)))
    while waiting:
        blocked = []
        for index in waiting:
            step = steps[index]
            if not all(name in levels for name in step.inputs.values()):
                blocked.append(index)
                continue
            level = _common({levels[name] for name in step.inputs.values()}, StepIndex(index))
            after = Level(index + 1) if index in opening else level
            levels.update(dict.fromkeys(step.outputs.values(), after))
        if len(blocked) == len(waiting):
            break
        waiting = blocked
    _common({levels[name] for name in outputs if name in levels}, None)
    return levels


def flow_order(steps: Sequence[EnsembleStep], inputs: Iterable[str]) -> list[StepIndex]:
    """The steps in an order in which each comes behind all whose tensors it takes."""
    known = set(inputs)
    order: list[StepIndex] = []
    waiting = [StepIndex(index) for index in range(len(steps))]
    while waiting:
        able = [index for index in waiting if known.issuperset(steps[index].inputs.values())]
        if not able:
            break
        order += able
        known.update(name for index in able for name in steps[index].outputs.values())
        waiting = [index for index in waiting if index not in able]
    return order


def _common(levels: set[Level], step: StepIndex | None) -> Level:
    if len(levels) > 1:
        raise MixedOriginsError(step)
    return levels.pop() if levels else REQUEST_LEVEL


@dataclass(frozen=True, slots=True)
class Course:
    """The part of an ensemble that a request needs.

    `steps` are the needed ones by level, `consumers` those of them that take a tensor, `asked` the
    outputs that each is asked for (by the model's names). `wanted` are the tensors of an answer,
    all of `answer_level`.
    """

    all_steps: tuple[EnsembleStep, ...]
    decoupled: frozenset[int]
    inputs: tuple[str, ...]
    wanted: tuple[str, ...]
    answer_level: Level
    steps: Mapping[Level, tuple[StepIndex, ...]]
    consumers: Mapping[str, tuple[StepIndex, ...]]
    asked: Mapping[StepIndex, tuple[str, ...]]


def plan_course(
    steps: Sequence[EnsembleStep],
    decoupled: frozenset[int],
    inputs: Sequence[str],
    wanted: Sequence[str],
    kept: Iterable[int] = (),
) -> Course:
    """What it takes to have the `wanted` tensors. The steps `kept` run whatever is wanted."""
    levels = levels_of(steps, decoupled, inputs, wanted)
    makers = {
        name: StepIndex(index) for index, step in enumerate(steps) for name in step.outputs.values()
    }
    needed: set[StepIndex] = set()
    used = set(wanted)
    looked_at = [makers[name] for name in wanted if name in makers]
    looked_at += [StepIndex(index) for index in kept]
    while looked_at:
        index = looked_at.pop()
        if index in needed:
            continue
        needed.add(index)
        for name in steps[index].inputs.values():
            used.add(name)
            if name in makers:
                looked_at.append(makers[name])
    by_level: dict[Level, tuple[StepIndex, ...]] = {}
    consumers: dict[str, tuple[StepIndex, ...]] = {}
    asked: dict[StepIndex, tuple[str, ...]] = {}
    for index in sorted(needed):
        step = steps[index]
        level = levels[next(iter(step.inputs.values()))]
        by_level[level] = (*by_level.get(level, ()), index)
        for name in dict.fromkeys(step.inputs.values()):
            consumers[name] = (*consumers.get(name, ()), index)
        asked[index] = tuple(
            name for name, tensor in step.outputs.items() if tensor in used
        ) or tuple(step.outputs)
    return Course(
        tuple(steps),
        decoupled,
        tuple(inputs),
        tuple(wanted),
        levels[wanted[0]] if wanted else REQUEST_LEVEL,
        by_level,
        consumers,
        asked,
    )


@final
class Frame(Generic[T]):
    """Tensors that belong together. None stands for one that was left out where it was optional.

    `is_last` tells that no frame of this level follows in its request; false if it isn't known.
    """

    __slots__ = ("is_last", "level", "missing", "tensors", "unanswered")

    def __init__(self, level: Level, *, is_last: bool) -> None:
        self.level = level
        self.is_last = is_last
        self.tensors: dict[str, T | None] = {}
        self.missing: dict[StepIndex, int] = {}
        self.unanswered = 0


class Run(NamedTuple, Generic[T]):
    """One step in one frame. A tuple, since these are looked up much."""

    frame: Frame[T]
    step: StepIndex


@dataclass(slots=True)
class Progress(Generic[T]):
    """What came of new tensors: a frame, runs that are possible now, frames that are answers."""

    opened: Frame[T] | None = None
    ready: list[Run[T]] = field(default_factory=list)
    answered: list[Frame[T]] = field(default_factory=list)


@final
class Flow(Generic[T]):
    """One request's way through an ensemble."""

    def __init__(self, course: Course) -> None:
        self.course = course
        # The runs that are possible or under way; whether each has given its outputs.
        self._open: dict[Run[T], bool] = {}

    @property
    def is_over(self) -> bool:
        """Nothing is under way, so nothing more will come of it."""
        return not self._open

    def begin(self, tensors: Mapping[str, T]) -> Progress[T]:
        """The request with its tensors. Inputs that it leaves out are optional ones."""
        names = self.course.inputs
        return self._open_frame(
            REQUEST_LEVEL, {name: tensors.get(name) for name in names}, is_last=True
        )

    def respond(self, run: Run[T], outputs: Mapping[str, T] | None, *, final: bool) -> Progress[T]:
        """A run's response: its outputs by the ensemble's names, None if it only closes the run.

        A run has one final response, its last. Outputs that it owes and does not give are left out.
        """
        step = run.step
        progress: Progress[T] = Progress()
        if step in self.course.decoupled:
            if outputs is not None:
                is_last = final and run.frame.is_last
                progress = self._open_frame(
                    Level(step + 1), self._given(step, outputs), is_last=is_last
                )
        elif (outputs is not None or final) and not self._open[run]:
            self._open[run] = True
            self._put(run.frame, self._given(step, outputs or {}), progress)
        if final:
            del self._open[run]
        return progress

    def _given(self, step: StepIndex, outputs: Mapping[str, T]) -> dict[str, T | None]:
        names = self.course.all_steps[step].outputs.values()
        return {name: outputs.get(name) for name in names}

    def _open_frame(
        self, level: Level, tensors: Mapping[str, T | None], *, is_last: bool
    ) -> Progress[T]:
        course = self.course
        progress: Progress[T] = Progress()
        steps = course.steps.get(level, ())
        is_answer = level == course.answer_level and bool(course.wanted)
        if not steps and not is_answer:
            return progress
        frame: Frame[T] = Frame(level, is_last=is_last)
        for step in steps:
            frame.missing[step] = len(set(course.all_steps[step].inputs.values()))
        frame.unanswered = len(course.wanted) if is_answer else -1
        progress.opened = frame
        self._put(frame, tensors, progress)
        return progress

    def _put(self, frame: Frame[T], tensors: Mapping[str, T | None], progress: Progress[T]) -> None:
        for name, tensor in tensors.items():
            frame.tensors[name] = tensor
            for step in self.course.consumers.get(name, ()):
                frame.missing[step] -= 1
                if not frame.missing[step]:
                    run = Run(frame, step)
                    self._open[run] = False
                    progress.ready.append(run)
            if name in self.course.wanted and frame.unanswered > 0:
                frame.unanswered -= 1
                if not frame.unanswered:
                    progress.answered.append(frame)
