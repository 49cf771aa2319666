"""Data flow through an ensemble: by example, and random graphs against a naive reference."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streamgate.core.dataflow import (
    REQUEST_LEVEL,
    Flow,
    Level,
    MixedOriginsError,
    Progress,
    Run,
    StepIndex,
    levels_of,
    plan_course,
)
from streamgate.model.config import EnsembleStep


def step(name: str, inputs: str, outputs: str) -> EnsembleStep:
    """A step whose model calls its tensors `i0, i1, ...` and `o0, o1, ...`."""
    taken = {f"i{place}": tensor for place, tensor in enumerate(inputs.split())}
    given = {f"o{place}": tensor for place, tensor in enumerate(outputs.split())}
    return EnsembleStep(name, "", taken, given)


def flow_of(
    steps: Sequence[EnsembleStep], inputs: str, wanted: str, decoupled: Sequence[int] = ()
) -> Flow[str]:
    return Flow(plan_course(steps, frozenset(decoupled), inputs.split(), wanted.split()))


def steps_in(progress: Progress[str]) -> list[int]:
    return [run.step for run in progress.ready]


CHAIN = (step("a", "x", "t"), step("b", "t", "y"))
FORK = (step("a", "x", "t"), step("b", "x", "u"), step("c", "t u", "y"))
STREAM = (step("a", "x", "t"), step("d", "t", "u"), step("b", "u", "y"))


def test_a_chain_runs_step_by_step() -> None:
    flow = flow_of(CHAIN, "x", "y")
    begun = flow.begin({"x": "X"})
    assert steps_in(begun) == [0]
    after = flow.respond(begun.ready[0], {"t": "T"}, final=True)
    assert steps_in(after) == [1]
    assert after.ready[0].frame.tensors["t"] == "T"
    done = flow.respond(after.ready[0], {"y": "Y"}, final=True)
    assert [frame.tensors["y"] for frame in done.answered] == ["Y"]
    assert flow.is_over


def test_independent_steps_run_at_once_and_are_joined() -> None:
    flow = flow_of(FORK, "x", "y")
    begun = flow.begin({"x": "X"})
    assert steps_in(begun) == [0, 1]
    assert steps_in(flow.respond(begun.ready[1], {"u": "U"}, final=True)) == []
    assert not flow.is_over
    assert steps_in(flow.respond(begun.ready[0], {"t": "T"}, final=True)) == [2]


def test_each_response_of_a_decoupled_step_flows_on_alone() -> None:
    flow = flow_of(STREAM, "x", "y", decoupled=[1])
    begun = flow.begin({"x": "X"})
    (decoupled,) = flow.respond(begun.ready[0], {"t": "T"}, final=True).ready
    first = flow.respond(decoupled, {"u": "U0"}, final=False)
    second = flow.respond(decoupled, {"u": "U1"}, final=True)
    assert [steps_in(each) for each in (first, second)] == [[2], [2]]
    assert [first.opened, second.opened] == [first.ready[0].frame, second.ready[0].frame]
    assert not first.ready[0].frame.is_last
    assert second.ready[0].frame.is_last
    done = flow.respond(second.ready[0], {"y": "Y1"}, final=True)
    assert [frame.tensors for frame in done.answered] == [{"u": "U1", "y": "Y1"}]
    assert not flow.is_over
    flow.respond(first.ready[0], {"y": "Y0"}, final=True)
    assert flow.is_over


def test_a_decoupled_step_may_end_without_a_response() -> None:
    flow = flow_of(STREAM, "x", "y", decoupled=[1])
    begun = flow.begin({"x": "X"})
    (decoupled,) = flow.respond(begun.ready[0], {"t": "T"}, final=True).ready
    assert flow.respond(decoupled, None, final=True) == Progress()
    assert flow.is_over


def test_only_what_is_wanted_runs() -> None:
    steps = (step("a", "x", "y"), step("b", "x", "t"), step("c", "t", "z"))
    course = plan_course(steps, frozenset(), ["x"], ["y"])
    assert course.steps == {REQUEST_LEVEL: (0,)}
    kept = plan_course(steps, frozenset(), ["x"], ["y"], kept=[2])
    assert kept.steps == {REQUEST_LEVEL: (0, 1, 2)}
    assert kept.asked == {0: ("o0",), 1: ("o0",), 2: ("o0",)}


def test_only_the_outputs_that_somebody_takes_are_asked_for() -> None:
    steps = (step("a", "x", "t unused"), step("b", "t", "y z"))
    assert plan_course(steps, frozenset(), ["x"], ["z"]).asked == {0: ("o0",), 1: ("o1",)}


def test_tensors_that_are_left_out_hold_nothing_up() -> None:
    flow = flow_of((step("a", "x maybe", "t u"), step("b", "t u", "y")), "x maybe", "y")
    (run,) = flow.begin({"x": "X"}).ready
    assert run.frame.tensors == {"x": "X", "maybe": None}
    (after,) = flow.respond(run, {"t": "T"}, final=True).ready
    assert after.frame.tensors["u"] is None
    (answer,) = flow.respond(after, None, final=True).answered
    assert answer.tensors["y"] is None


def test_an_input_may_be_an_answer_too() -> None:
    flow = flow_of(CHAIN, "x", "x")
    (answer,) = flow.begin({"x": "X"}).answered
    assert answer.tensors["x"] == "X"
    assert flow.is_over


MIXED = [
    # With the request's own tensors, of two decoupled steps, and of one behind the other.
    ((step("d", "x", "t"), step("b", "t x", "y")), [0], "y", 1),
    ((step("d", "x", "t"), step("e", "x", "u"), step("b", "t u", "y")), [0, 1], "y", 2),
    ((step("d", "x", "t"), step("e", "t", "u"), step("b", "t u", "y")), [0, 1], "y", 2),
    ((step("d", "x", "y"), step("b", "x", "z")), [0], "y z", None),
]


@pytest.mark.parametrize(("steps", "decoupled", "wanted", "where"), MIXED)
def test_frames_of_different_levels_are_not_mixed(
    steps: Sequence[EnsembleStep], decoupled: Sequence[int], wanted: str, where: int | None
) -> None:
    with pytest.raises(MixedOriginsError) as raised:
        levels_of(steps, decoupled, ["x"], wanted.split())
    assert raised.value.step == where


@dataclass
class Graph:
    """A random ensemble. Each step gives one tensor, called like its place."""

    steps: list[EnsembleStep]
    decoupled: frozenset[int]
    wanted: list[str]
    responses: Mapping[int, int]


@st.composite
def graphs(draw: st.DrawFn) -> Graph:
    """Steps that take tensors of one level, so that any of them may be decoupled."""
    steps: list[EnsembleStep] = []
    decoupled: set[int] = set()
    levels = {"x": REQUEST_LEVEL, "z": REQUEST_LEVEL}
    for index in range(draw(st.integers(1, 7))):
        level = draw(st.sampled_from(sorted(set(levels.values()))))
        names = sorted(name for name in levels if levels[name] == level)
        taken = draw(st.lists(st.sampled_from(names), min_size=1, max_size=3))
        steps.append(step(f"m{index}", " ".join(taken), str(index)))
        is_decoupled = draw(st.booleans()) and len(decoupled) < 3
        if is_decoupled:
            decoupled.add(index)
        levels[str(index)] = Level(index + 1) if is_decoupled else level
    level = draw(st.sampled_from(sorted(set(levels.values()))))
    names = sorted(name for name in levels if levels[name] == level)
    wanted = draw(st.lists(st.sampled_from(names), min_size=1, max_size=3, unique=True))
    counts = {index: draw(st.integers(0, 3)) for index in decoupled}
    order = draw(st.permutations(range(len(steps))))
    place = {old: new for new, old in enumerate(order)}
    return Graph(
        [steps[old] for old in order],
        frozenset(place[old] for old in decoupled),
        wanted,
        {place[old]: count for old, count in counts.items()},
    )


Value = tuple[tuple[tuple[int, int], ...], str]


def reference(graph: Graph) -> list[tuple[str, ...]]:
    """The answers, by brute force: a tensor is the list of all values that it ever has, each with
    the choices (which response of which decoupled step) that led to it."""
    makers = {next(iter(each.outputs.values())): i for i, each in enumerate(graph.steps)}

    def values(name: str) -> list[Value]:
        if name not in makers:
            return [((), name)]
        index = makers[name]
        inputs = [values(taken) for taken in graph.steps[index].inputs.values()]
        found: list[Value] = []
        for path, _ in inputs[0]:
            taken = [dict(each)[path] for each in inputs]
            text = f"{name}({','.join(taken)})"
            if index not in graph.decoupled:
                found.append((path, text))
                continue
            counts = range(graph.responses[index])
            found += [((*path, (index, count)), f"{text}#{count}") for count in counts]
        return found

    columns = [dict(values(name)) for name in graph.wanted]
    return sorted(tuple(column[path] for column in columns) for path in columns[0])


@dataclass
class Driver:
    """Runs a flow, whichever of the possible runs answers next being drawn."""

    graph: Graph
    data: st.DataObject
    answers: list[tuple[str, ...]] = field(default_factory=list)
    sent: dict[Run[str], int] = field(default_factory=dict)

    def drive(self) -> Flow[str]:
        flow = flow_of(
            self.graph.steps, "x z", " ".join(self.graph.wanted), sorted(self.graph.decoupled)
        )
        self.take(flow.begin({"x": "x", "z": "z"}))
        while self.sent:
            run = self.data.draw(st.sampled_from(list(self.sent)))
            self.respond(flow, run)
        return flow

    def respond(self, flow: Flow[str], run: Run[str]) -> None:
        each = self.graph.steps[run.step]
        (name,) = each.outputs.values()
        text = f"{name}({','.join(str(run.frame.tensors[t]) for t in each.inputs.values())})"
        if run.step not in self.graph.decoupled:
            del self.sent[run]
            self.take(flow.respond(run, {name: text}, final=True))
            return
        count = self.sent[run]
        total = self.graph.responses[run.step]
        apart = self.data.draw(st.booleans())
        if count == total:
            del self.sent[run]
            self.take(flow.respond(run, None, final=True))
            return
        is_final = count + 1 == total and not apart
        self.sent[run] += 1
        if is_final:
            del self.sent[run]
        self.take(flow.respond(run, {name: f"{text}#{count}"}, final=is_final))

    def take(self, progress: Progress[str]) -> None:
        for run in progress.ready:
            assert run not in self.sent
            self.sent[run] = 0
        for frame in progress.answered:
            self.answers.append(tuple(str(frame.tensors[name]) for name in self.graph.wanted))


@settings(max_examples=300, deadline=None)
@given(graphs(), st.data())
def test_random_graphs_answer_as_the_reference_does(graph: Graph, data: st.DataObject) -> None:
    driver = Driver(graph, data)
    flow = driver.drive()
    assert flow.is_over
    assert sorted(driver.answers) == reference(graph)


def test_places_are_steps() -> None:
    (run,) = flow_of(CHAIN, "x", "y").begin({"x": "X"}).ready
    assert run.step == StepIndex(0)
