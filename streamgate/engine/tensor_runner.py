"""Runs a step on a session that is a pure function of batched arrays.

Assembles the rows of a step into one batch, adds controls and states, runs it, keeps the new
states and splits the outputs into one response for each row.
"""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from streamgate.backend.contract import SessionLostError, TensorSession, TensorStep
from streamgate.core.commands import Row, Step
from streamgate.core.ids import NO_REQUEST, RequestNumber
from streamgate.engine.arena import Arena
from streamgate.engine.assembly import (
    Pair,
    Shapes,
    begin,
    blanks,
    is_positional,
    null_row,
    padding,
    shapes_of,
    state_slot,
    trusted,
    zeros_like,
)
from streamgate.engine.canary import spoiled_error
from streamgate.engine.controls import ControlTensors
from streamgate.engine.departures import Departure, farewell_rows, says_farewell
from streamgate.engine.live import LiveRequest, Outbox
from streamgate.errors import Code, Failure, StreamGateError
from streamgate.model.config import ModelConfig
from streamgate.model.datatypes import DataType
from streamgate.model.tensor import Array, Tensor, TensorSpec


@dataclass(slots=True)
class Outcome:
    """What came of a step: responses in order, and when its phases ended (monotonic ns).

    `failure` is what failed all of the step's rows, if something did; `lost` that the session
    can't run any more. `spoiled` are the rows that did not run, because their states were not what
    their sequences left there: those end.
    """

    step: Step
    responses: Outbox = field(default_factory=list)
    failure: Failure | None = None
    lost: SessionLostError | None = None
    rescheduled: frozenset[RequestNumber] = frozenset()
    spoiled: frozenset[RequestNumber] = frozenset()
    started_ns: int = 0
    input_ns: int = 0
    output_ns: int = 0
    ended_ns: int = 0

    def fail(self, error: Exception) -> Failure:
        """Note what the session raised."""
        self.failure = failure_of(error)
        if isinstance(error, SessionLostError):
            self.lost = error
        return self.failure

    def answer_failed(self, lives: Sequence[LiveRequest], failure: Failure) -> None:
        """Answer the rows that have failed together."""
        for live in lives:
            if self.lost is not None:
                live.lose(failure)
            else:
                live.send((), failure, final=True)

    def expel(self, spoiled: Sequence[tuple[Row, LiveRequest]]) -> None:
        """Fail rows that must not run."""
        for row, live in spoiled:
            self.spoiled |= {row.request}
            live.open_outbox(self.responses)
            live.send((), spoiled_error(row.sequence).failure, final=True)
            live.outbox = None


class TensorRunner:
    """One instance's way to run steps. Used by the stepper's thread."""

    def __init__(self, config: ModelConfig, session: TensorSession, arena: Arena) -> None:
        self._config = config
        self._session = session
        self._arena = arena
        self._controls = ControlTensors(config)
        self._specs = {spec.name: spec for spec in config.inputs}
        self._output_specs = {spec.name: spec for spec in config.outputs}
        self._all_outputs = tuple(self._output_specs)
        self._state_axes = {state.output_name: state.batch_axis for state in config.states}
        self._says_farewell = says_farewell(config)
        self._shapes: Shapes = ()
        self._is_positional = is_positional(config)
        self._is_stateful = config.sequences is not None
        self._bucket = config.max_batch_size if config.durability.fixed_bucket else 0

    def run(self, step: Step, lives: Sequence[LiveRequest | None]) -> Outcome:
        """Run the step; failures become responses. Never raises."""
        outcome = Outcome(step, started_ns=time.monotonic_ns())
        pairs = list(zip(step.rows, lives, strict=True))
        if self._config.states:
            begin(self._arena, step.rows)
            pairs, spoiled = trusted(self._arena, pairs, positional=self._is_positional)
            outcome.expel(spoiled)
        parts = self._parts(pairs)
        succeeded = False
        for part in parts:
            try:
                self._run_part(part, outcome)
                succeeded = True
            except Exception as error:  # noqa: BLE001 - a model may raise anything
                failure = outcome.fail(error)
                present = [live for _, live in part if live is not None]
                for live in present:
                    live.open_outbox(outcome.responses)
                outcome.answer_failed(present, failure)
                for live in present:
                    live.outbox = None
        if len(parts) > 1 or outcome.spoiled:
            places = {live: place for place, live in enumerate(lives)}
            outcome.responses.sort(key=lambda sent: places[sent[0]])
            if succeeded:
                outcome.failure = None
        outcome.ended_ns = time.monotonic_ns()
        outcome.input_ns = outcome.input_ns or outcome.ended_ns
        outcome.output_ns = outcome.output_ns or outcome.ended_ns
        return outcome

    def _parts(self, pairs: list[Pair]) -> list[list[Pair]]:
        """The step in parts that can share a batch: rows whose states have equal shapes.

        Where a row's place counts, each part has null rows in the places of the others.
        """
        if not self._arena.varies:
            return [pairs] if pairs else []
        parts: dict[object, list[Pair]] = {}
        for place, pair in enumerate(pairs):
            row = pair[0]
            if row.request == NO_REQUEST:
                continue
            part = parts.setdefault(self._arena.shapes_of(row.slot), [])
            if self._is_positional:
                part += [(null_row(row), None) for row, _ in pairs[len(part) : place]]
            part.append(pair)
        return list(parts.values())

    def _run_part(self, pairs: Sequence[Pair], outcome: Outcome) -> None:
        config = self._config
        if self._bucket:
            pairs = [*pairs, *padding(pairs, self._bucket, is_stateful=self._is_stateful)]
        rows = [row for row, _ in pairs]
        real = [live for _, live in pairs if live is not None]
        sample = real[0].request.inputs
        if self._says_farewell:
            self._shapes = shapes_of(sample)
        inputs = self._inputs(pairs, sample)
        size = sum(row.rows for row in rows)
        for control, values in self._controls.arrays(rows):
            inputs[control.name] = values
        if config.states:
            inputs.update(self._arena.gather([state_slot(row) for row in rows]))
        step = TensorStep(inputs, self._wanted(real), size)
        outcome.input_ns = time.monotonic_ns()
        outputs = self._session.run(step)
        outcome.output_ns = time.monotonic_ns()
        if config.batches:
            self._check_batch(outputs, size)
        new_states = self._arena.check(outputs, len(rows)) if config.states else ()
        answers = self._split(pairs, outputs)
        # From here on nothing fails: what is answered and what is kept agree.
        if new_states:
            kept = [index for index, row in enumerate(rows) if row.request != NO_REQUEST]
            self._arena.scatter([rows[index].slot for index in kept], kept, new_states)
        for live, tensors in answers:
            live.open_outbox(outcome.responses)
            live.send(tensors, final=True)
            live.outbox = None

    def farewell(self, departure: Departure) -> None:
        """Tell the model that a sequence is over, by a step with no request: what it answers and
        the states it writes are dropped. Raises what the session raises."""
        rows = farewell_rows(departure, is_positional=self._is_positional)
        inputs = self._inputs([(row, None) for row in rows], blanks(self._shapes))
        for control, values in self._controls.farewell(rows, departure.reason):
            inputs[control.name] = values
        inputs.update(self._arena.gather([state_slot(row) for row in rows]))
        self._session.run(TensorStep(inputs, self._all_outputs + self._state_only, len(rows)))

    def _inputs(self, pairs: Sequence[Pair], sample: Sequence[Tensor]) -> dict[str, Array]:
        """The clients' tensors by name, batched; null rows are zeros shaped like the sample's."""
        if len(pairs) == 1:
            return {tensor.name: self._reshaped(tensor.array, tensor.name) for tensor in sample}
        by_name: dict[str, list[Tensor]] = {tensor.name: [] for tensor in sample}
        for row, live in pairs:
            for tensor in live.request.inputs if live else sample:
                by_name[tensor.name].append(tensor if live else zeros_like(tensor, row.rows))
        return {
            name: self._reshaped(_concatenated(tensors), name) for name, tensors in by_name.items()
        }

    def _reshaped(self, array: Array, name: str) -> Array:
        reshape = self._specs[name].reshape
        if reshape is None:
            return array
        lead = array.shape[:1] if self._config.batches else ()
        return array.reshape(lead + reshape)

    def _wanted(self, lives: Sequence[LiveRequest]) -> tuple[str, ...]:
        wanted: set[str] = set()
        for live in lives:
            if not live.request.requested_outputs:
                return self._all_outputs + self._state_only
            wanted.update(live.request.requested_outputs)
        ordered = tuple(name for name in self._all_outputs if name in wanted)
        return ordered + tuple(name for name in self._state_axes if name not in wanted)

    @property
    def _state_only(self) -> tuple[str, ...]:
        return tuple(name for name in self._state_axes if name not in self._output_specs)

    def _check_batch(self, outputs: Mapping[str, Array], size: int) -> None:
        for name in self._output_specs:
            if name in self._state_axes:
                continue  # The arena checks it, whose axis it has.
            output = outputs.get(name)
            if output is not None and (output.ndim == 0 or output.shape[0] != size):
                raise StreamGateError(
                    Code.INTERNAL,
                    f"output '{name}' of model '{self._config.name}' has shape "
                    f"{list(output.shape)}, expected a batch dimension of {size}",
                )

    def _split(
        self, pairs: Sequence[Pair], outputs: Mapping[str, Array]
    ) -> list[tuple[LiveRequest, list[Tensor]]]:
        """What each real row answers: the outputs that its client asked for."""
        answers = []
        offset = 0
        for row, live in pairs:
            if live is not None:
                asked = live.request.requested_outputs
                tensors = [
                    self._output_tensor(spec, outputs[name], offset, row.rows)
                    for name, spec in self._output_specs.items()
                    if name in outputs and (not asked or name in asked)
                ]
                answers.append((live, tensors))
            offset += row.rows
        return answers

    def _output_tensor(self, spec: TensorSpec, output: Array, offset: int, rows: int) -> Tensor:
        if self._config.batches:
            axis = self._state_axes.get(spec.name, 0)
            if axis:
                output = np.moveaxis(output, axis, 0)
            output = output[offset : offset + rows]
        if spec.reshape is not None:
            lead = output.shape[:1] if self._config.batches else ()
            output = output.reshape(lead + spec.shape)
        return Tensor.of(spec.name, output, spec.datatype)


def _concatenated(tensors: Sequence[Tensor]) -> Array:
    """The tensors joined along the batch dimension, by one copy of their bytes where possible."""
    first = tensors[0]
    if first.datatype is DataType.BYTES or not all(tensor.is_raw for tensor in tensors):
        return np.concatenate([tensor.array for tensor in tensors])
    joined = b"".join([tensor.raw for tensor in tensors])
    batch = sum(tensor.shape[0] for tensor in tensors)
    return np.frombuffer(joined, first.datatype.dtype).reshape((batch, *first.shape[1:]))


def failure_of(error: Exception) -> Failure:
    if isinstance(error, StreamGateError):
        return error.failure
    return Failure(Code.INTERNAL, f"{type(error).__name__}: {error}")
