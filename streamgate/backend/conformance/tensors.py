"""Checks of tensor sessions: a pure step over batched arrays."""

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from streamgate.backend.conformance.report import Broken, Unfit
from streamgate.backend.conformance.samples import control_values, initial_states
from streamgate.backend.conformance.subject import (
    Check,
    Subject,
    check_array,
    copied,
    frozen,
    shown,
)
from streamgate.backend.contract import TensorSession, TensorStep
from streamgate.model.config import ModelConfig
from streamgate.model.datatypes import DataType
from streamgate.model.tensor import Array, Shape

Arrays = dict[str, Array]


@dataclass(frozen=True, slots=True)
class _Declared:
    """A result as the configuration declares it; `axis` is where its batch dimension stands."""

    name: str
    datatype: DataType
    shape: Shape
    axis: int
    role: str


def answers_one(subject: Subject) -> None:
    """One row gets every output with its declared type and shape."""
    _check_outputs(subject, 1, "output")


def answers_batch(subject: Subject) -> None:
    """A full batch gets every output with its declared type and shape."""
    _check_outputs(subject, subject.rows, "output")


def answers_states(subject: Subject) -> None:
    """Every state output has its declared type, shape and batch axis."""
    _require_states(subject)
    _check_outputs(subject, 1, "state output")
    if subject.config.max_batch_size > 1:
        _check_outputs(subject, subject.rows, "state output")


def rows_are_apart(subject: Subject) -> None:
    """A row alone and among others gets the same answer."""
    rows = subject.rows
    subject.require_deterministic()
    with subject.tensor_session() as session:
        inputs = _fresh(subject, rows)
        together = _run(subject, session, inputs, rows)
        for row in range(rows):
            alone = _run(subject, session, _rows_of(subject.config, inputs, [row]), 1)
            how = ("alone", f"as row {row} of {rows}")
            _compare_rows(subject, alone, 0, together, row, how)


def null_rows_are_harmless(subject: Subject) -> None:
    """Null rows in a batch do not disturb the others."""
    rows = subject.rows
    subject.require_deterministic()
    with subject.tensor_session() as session:
        inputs = _fresh(subject, rows)
        expected = _run(subject, session, inputs, rows)
        nulls = np.arange(rows) % 2 == 0
        found = _run(subject, session, _with_nulls(subject, inputs, nulls), rows)
        for row in np.flatnonzero(~nulls).tolist():
            how = ("beside null rows", "beside others")
            _compare_rows(subject, found, row, expected, row, how)


def repeats_itself(subject: Subject) -> None:
    """The same inputs and states give the same answer."""
    subject.require_deterministic()
    rows = max(1, min(subject.samples.rows, subject.config.max_batch_size))
    with subject.tensor_session() as session:
        inputs = _fresh(subject, rows)
        first = copied(_run(subject, session, inputs, rows))
        _run(subject, session, _fresh(subject, rows, step=1), rows)
        again = _run(subject, session, inputs, rows)
        _compare(subject, first, again, ("at first", "when repeated"))


def leaves_inputs(subject: Subject) -> None:
    """A step leaves its inputs alone."""
    with subject.tensor_session() as session:
        inputs = _fresh(subject, 1)
        before = copied(inputs)
        _run(subject, session, inputs, 1)
        for name, array in inputs.items():
            if not np.array_equal(array, before[name], equal_nan=array.dtype.kind == "f"):
                raise Broken(f"the step changed its input '{name}' in place")


def takes_frozen_inputs(subject: Subject) -> None:
    """Inputs may be arrays that can't be written to."""
    with subject.tensor_session() as session:
        _run(subject, session, frozen(_fresh(subject, 1)), 1)


def leaves_answers(subject: Subject) -> None:
    """A later step leaves earlier answers alone."""
    with subject.tensor_session() as session:
        first = _run(subject, session, _fresh(subject, 1), 1)
        kept = copied(first)
        _run(subject, session, _fresh(subject, 1, step=1), 1)
        for name, array in first.items():
            if not np.array_equal(array, kept[name], equal_nan=array.dtype.kind == "f"):
                raise Broken(f"the next step overwrote the answer '{name}' in place")


def resumes_from_states(subject: Subject) -> None:
    """A copied state goes on like the original."""
    _require_states(subject)
    subject.require_deterministic()
    steps = subject.samples.steps
    with subject.tensor_session() as session:
        states = initial_states(subject.config, 1)
        states = _advance(subject, session, states, range(steps))[1]
        snapshot = copied(states)
        went_on, _ = _advance(subject, session, states, range(steps, 2 * steps))
        # Another sequence runs in between: what it leaves in the session must not matter.
        _advance(subject, session, initial_states(subject.config, 1), range(1))
        resumed, _ = _advance(subject, session, snapshot, range(steps, 2 * steps))
        for number, (one, other) in enumerate(zip(went_on, resumed, strict=True)):
            how = (f"{number + 1} steps after the copy was made", "when resumed from the copy")
            _compare(subject, one, other, how)


def answers_what_is_wanted(subject: Subject) -> None:
    """Exactly the wanted outputs come back."""
    names = [declared.name for declared in _declared(subject.config)]
    with subject.tensor_session() as session:
        inputs = _fresh(subject, 1)
        for wanted in ([name] for name in names):
            found = session.run(TensorStep(dict(inputs), wanted, 1))
            if set(found) != set(wanted):
                raise Broken(f"of {names} only {wanted} was wanted, but {list(found)} came back")


def survives_wrong_inputs(subject: Subject) -> None:
    """Wrong inputs are an error with a message, and the next step runs."""
    with subject.tensor_session() as session:
        good = _fresh(subject, 1)
        expected = copied(_run(subject, session, good, 1))
        for what, wrong in _wrong_inputs(good):
            _run_wrong(subject, session, what, wrong)
            after = _run(subject, session, good, 1)
            if subject.samples.deterministic:
                _compare(subject, expected, after, ("at first", f"after a step with {what}"))


def changes_threads(subject: Subject) -> None:
    """A session runs in another thread than it was loaded in."""
    with subject.tensor_session() as session:
        inputs = _fresh(subject, 1)
        expected = copied(_run(subject, session, inputs, 1))
        found = in_thread(subject, lambda: _run(subject, session, inputs, 1))
        if subject.samples.deterministic:
            _compare(subject, expected, found, ("in the first thread", "in another"))


def instances_are_apart(subject: Subject) -> None:
    """Two instances do not disturb each other."""
    subject.require_deterministic()
    with subject.tensor_session() as one, subject.tensor_session() as other:
        inputs = _fresh(subject, 1)
        expected = copied(_run(subject, one, inputs, 1))
        _run(subject, other, _fresh(subject, 1, step=1), 1)
        _compare(subject, expected, _run(subject, one, inputs, 1), ("at first", "after the other"))
        _compare(subject, expected, _run(subject, other, inputs, 1), ("in one", "in the other"))


def close_is_final(subject: Subject) -> None:
    """A step after close is an error."""
    with subject.tensor_session() as session:
        inputs = _fresh(subject, 1)
        _run(subject, session, inputs, 1)
    try:
        session.run(_step(subject.config, inputs, 1))
    except Exception:  # noqa: BLE001 - any error will do
        return
    raise Broken("a closed session still answers")


TENSOR_CHECKS: tuple[Check, ...] = (
    answers_one,
    answers_batch,
    answers_states,
    rows_are_apart,
    null_rows_are_harmless,
    repeats_itself,
    leaves_inputs,
    takes_frozen_inputs,
    leaves_answers,
    resumes_from_states,
    answers_what_is_wanted,
    survives_wrong_inputs,
    changes_threads,
    instances_are_apart,
    close_is_final,
)


def in_thread(subject: Subject, work: Callable[[], Mapping[str, Array]]) -> Mapping[str, Array]:
    """What `work` returns or raises in a thread of its own."""
    results: list[Mapping[str, Array]] = []
    errors: list[Exception] = []

    def body() -> None:
        try:
            results.append(work())
        except Exception as error:  # noqa: BLE001 - raised again below
            errors.append(error)

    thread = threading.Thread(target=body, daemon=True)
    thread.start()
    thread.join(subject.samples.timeout_ns / 1e9)
    if thread.is_alive():
        raise Broken(f"no answer within {subject.samples.timeout_ns / 1e9:g} s in another thread")
    if errors:
        raise errors[0]
    return results[0]


def _require_states(subject: Subject) -> None:
    if not subject.config.states:
        raise Unfit("the model has no states")


def _declared(config: ModelConfig) -> list[_Declared]:
    outputs = [
        _Declared(spec.name, spec.datatype, spec.model_shape, 0, "output")
        for spec in config.outputs
    ]
    return outputs + [
        _Declared(state.output_name, state.datatype, state.shape, state.batch_axis, "state output")
        for state in config.states
    ]


def _fresh(subject: Subject, rows: int, step: int = 0) -> Arrays:
    """All inputs of one step of fresh sequences."""
    config = subject.config
    return subject.samples.batch(config, rows, step) | initial_states(config, rows)


def _step(config: ModelConfig, inputs: Arrays, rows: int) -> TensorStep:
    names = dict.fromkeys(declared.name for declared in _declared(config))
    return TensorStep(dict(inputs), tuple(names), rows)


def _run(
    subject: Subject, session: TensorSession, inputs: Arrays, rows: int
) -> Mapping[str, Array]:
    """All outputs of a step; those that are missing are a finding."""
    step = _step(subject.config, inputs, rows)
    results = session.run(step)
    missing = [name for name in step.outputs if name not in results]
    if missing:
        raise Broken(f"there is no {', '.join(missing)} among the answers {list(results)}")
    return results


def _check_outputs(subject: Subject, rows: int, role: str) -> None:
    with subject.tensor_session() as session:
        results = _run(subject, session, _fresh(subject, rows), rows)
    for declared in _declared(subject.config):
        if declared.role == role:
            shape = list(declared.shape)
            if subject.config.batches:
                shape.insert(declared.axis, rows)
            what = f"{role} '{declared.name}' of {rows} rows"
            check_array(what, results[declared.name], declared.datatype, shape)


def _compare(
    subject: Subject, one: Mapping[str, Array], other: Mapping[str, Array], how: tuple[str, str]
) -> None:
    for declared in _declared(subject.config):
        what = f"{declared.role} '{declared.name}'"
        name = declared.name
        subject.compare(what, declared.datatype, one[name], other[name], how)


def _compare_rows(
    subject: Subject,
    one: Mapping[str, Array],
    one_row: int,
    other: Mapping[str, Array],
    other_row: int,
    how: tuple[str, str],
) -> None:
    for declared in _declared(subject.config):
        what = f"{declared.role} '{declared.name}'"
        one_part = np.take(one[declared.name], one_row, axis=declared.axis)
        other_part = np.take(other[declared.name], other_row, axis=declared.axis)
        subject.compare(what, declared.datatype, np.asarray(one_part), np.asarray(other_part), how)


def _axes(config: ModelConfig) -> dict[str, int]:
    return {state.input_name: state.batch_axis for state in config.states}


def _rows_of(config: ModelConfig, inputs: Arrays, rows: Sequence[int]) -> Arrays:
    """These rows of every input."""
    axes = _axes(config)
    return {name: np.take(array, rows, axes.get(name, 0)) for name, array in inputs.items()}


def _with_nulls(subject: Subject, inputs: Arrays, nulls: Array) -> Arrays:
    """The inputs with null rows as the engine makes them: zeros, not ready, fresh states."""
    config = subject.config
    found = copied(inputs)
    for spec in config.inputs:
        found[spec.name][nulls] = b"" if spec.datatype is DataType.BYTES else 0
    keys = np.arange(1, len(nulls) + 1)
    for control in config.controls:
        found[control.name] = control_values(
            control, (len(nulls),), start=True, ready=~nulls, keys=keys
        )
    return found


def _advance(
    subject: Subject, session: TensorSession, states: Arrays, steps: range
) -> tuple[list[Mapping[str, Array]], Arrays]:
    """Run one sequence from `states`; the answers, and the states after them."""
    answers: list[Mapping[str, Array]] = []
    for number in steps:
        inputs = subject.samples.batch(subject.config, 1, number) | states
        results = _run(subject, session, inputs, 1)
        answers.append(copied(results))
        states = {
            state.input_name: results[state.output_name].copy() for state in subject.config.states
        }
    return answers, states


def _wrong_inputs(good: Arrays) -> list[tuple[str, Arrays]]:
    """Steps of which one input has a wrong type, a wrong shape, or is missing."""
    found = []
    for name, array in good.items():
        other = np.float64 if array.dtype != np.float64 else np.float32
        if array.dtype == np.object_:
            retyped = np.zeros(array.shape, other)
        else:
            retyped = array.astype(other)
        found.append((f"'{name}' as {shown(retyped)}", good | {name: retyped}))
        deeper = np.stack([array, array], axis=-1)
        found.append((f"'{name}' as {shown(deeper)}", good | {name: deeper}))
        rest = {key: value for key, value in good.items() if key != name}
        found.append((f"'{name}' missing", rest))
    return found


def _run_wrong(subject: Subject, session: TensorSession, what: str, inputs: Arrays) -> None:
    """Run a wrong step: any error will do that says something, and so will an answer."""
    try:
        session.run(_step(subject.config, inputs, 1))
    except Exception as error:
        if not str(error).strip():
            raise Broken(
                f"with {what} it raised {type(error).__name__} without a message"
            ) from error
    except SystemExit as error:
        raise Broken(f"with {what} it raised {type(error).__name__}, which ends threads") from error
