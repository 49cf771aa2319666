"""Runs a step on a session that sees requests one by one and answers them itself."""

import logging
import time
from collections.abc import Mapping, Sequence

from streamgate.backend.contract import ModelRequest, RequestSession
from streamgate.core.commands import Row, Step
from streamgate.engine.arena import Arena
from streamgate.engine.assembly import (
    Pair,
    Shapes,
    begin,
    blanks,
    is_positional,
    shapes_of,
    state_slot,
    trusted,
    zeros_like,
)
from streamgate.engine.controls import ControlTensors
from streamgate.engine.departures import Departure, farewell_rows, says_farewell
from streamgate.engine.live import NULL_REPLY, LiveRequest
from streamgate.engine.tensor_runner import Outcome
from streamgate.errors import StreamGateError
from streamgate.model.config import ControlInput, ModelConfig, StateSpec
from streamgate.model.request import FLAG_SEQUENCE_END, FLAG_SEQUENCE_START
from streamgate.model.tensor import Array, Tensor

log = logging.getLogger(__name__)


class RequestRunner:
    """One instance's way to run steps. Used by the stepper's thread."""

    def __init__(self, config: ModelConfig, session: RequestSession, arena: Arena) -> None:
        self._config = config
        self._session = session
        self._arena = arena
        self._controls = ControlTensors(config)
        self._says_farewell = says_farewell(config)
        self._shapes: Shapes = ()
        self._is_positional = is_positional(config)
        self._reshapes = {
            spec.name: spec.reshape for spec in config.inputs if spec.reshape is not None
        }
        self._all_outputs = tuple(spec.name for spec in config.outputs)

    def run(self, step: Step, lives: Sequence[LiveRequest | None]) -> Outcome:
        """Run the step; failures become responses. Never raises."""
        outcome = Outcome(step, started_ns=time.monotonic_ns())
        pairs = list(zip(step.rows, lives, strict=True))
        if self._config.states:
            begin(self._arena, step.rows)
            pairs, spoiled = trusted(self._arena, pairs, positional=self._is_positional)
            outcome.expel(spoiled)
        # A decoupled model's responses leave as they come; others leave with the step.
        outbox = None if self._config.decoupled else outcome.responses
        present = [live for _, live in pairs if live is not None]
        for live in present:
            live.open_outbox(outbox)
        requests: list[ModelRequest] = []
        try:
            if present:
                requests = self._run(pairs, present[0].request.inputs, outcome)
        except Exception as error:  # noqa: BLE001 - a model may raise anything
            outcome.answer_failed(present, outcome.fail(error))
        for live in present:
            live.outbox = None
        outcome.rescheduled = frozenset(
            row.request
            for (row, _), request in zip(pairs, requests, strict=False)
            if request.reschedule
        )
        outcome.ended_ns = time.monotonic_ns()
        outcome.input_ns = outcome.input_ns or outcome.ended_ns
        outcome.output_ns = outcome.output_ns or outcome.ended_ns
        return outcome

    def _run(
        self, pairs: Sequence[Pair], sample: Sequence[Tensor], outcome: Outcome
    ) -> list[ModelRequest]:
        if self._says_farewell:
            self._shapes = shapes_of(sample)
        controls = self._controls.arrays([row for row, _ in pairs])
        requests = self._requests(pairs, sample, controls)
        outcome.input_ns = time.monotonic_ns()
        self._session.execute(requests)
        outcome.output_ns = time.monotonic_ns()
        if self._config.states:
            self._keep_states(pairs, requests, outcome)
        return requests

    def farewell(self, departure: Departure) -> None:
        """Tell the model that a sequence is over, by a step with no request: what it answers and
        the states it writes are dropped. Raises what the session raises."""
        rows = farewell_rows(departure, is_positional=self._is_positional)
        pairs: list[Pair] = [(row, None) for row in rows]
        controls = self._controls.farewell(rows, departure.reason)
        self._session.execute(self._requests(pairs, blanks(self._shapes), controls))

    def _requests(
        self,
        pairs: Sequence[Pair],
        sample: Sequence[Tensor],
        controls: Sequence[tuple[ControlInput, Array]],
    ) -> list[ModelRequest]:
        requests = []
        states = self._state_inputs([row for row, _ in pairs])
        for index, (row, live) in enumerate(pairs):
            if live is not None and not self._reshapes:
                inputs = list(live.request.inputs)
            else:
                inputs = self._client_inputs(live, sample)
            for control, values in controls:
                inputs.append(Tensor.of(control.name, values[index : index + 1], control.datatype))
            if states:
                inputs.extend(states[index])
            requests.append(self._request(row, live, inputs))
        return requests

    def _client_inputs(self, live: LiveRequest | None, sample: Sequence[Tensor]) -> list[Tensor]:
        tensors = live.request.inputs if live else [zeros_like(tensor) for tensor in sample]
        return [self._reshaped(tensor) for tensor in tensors]

    def _reshaped(self, tensor: Tensor) -> Tensor:
        reshape = self._reshapes.get(tensor.name)
        if reshape is None:
            return tensor
        lead = tensor.shape[:1] if self._config.batches else ()
        return Tensor.of(tensor.name, tensor.array.reshape(lead + reshape), tensor.datatype)

    def _state_inputs(self, rows: Sequence[Row]) -> list[list[Tensor]]:
        """The states of each row; nothing for a model that has none."""
        states = self._config.states
        if not states:
            return []
        slots = [state_slot(row) for row in rows]
        if self._arena.varies or not self._config.batches:
            found = [self._arena.gather([slot]) for slot in slots]
        else:
            found = _rows_of(self._arena.gather(slots), states, len(rows))
        return [
            [Tensor.of(each.input_name, arrays[each.input_name], each.datatype) for each in states]
            for arrays in found
        ]

    def _request(self, row: Row, live: LiveRequest | None, inputs: list[Tensor]) -> ModelRequest:
        if live is None:
            flags = FLAG_SEQUENCE_END if row.end else 0
            return ModelRequest(
                inputs, NULL_REPLY, correlation_id=row.sequence, flags=flags, null=True
            )
        request = live.request
        flags = (FLAG_SEQUENCE_START if row.start else 0) | (FLAG_SEQUENCE_END if row.end else 0)
        if not row.sequence:
            flags = request.flags
        return ModelRequest(
            inputs,
            live,
            request.id,
            row.sequence or request.sequence,
            flags,
            request.timeout_us,
            request.priority,
            request.parameters,
            request.requested_outputs or self._all_outputs,
        )

    def _keep_states(
        self, pairs: Sequence[Pair], requests: Sequence[ModelRequest], outcome: Outcome
    ) -> None:
        """Keep the new states of each request, unless it failed: then the old ones stay."""
        failed = {live for live, response in outcome.responses if response.failure is not None}
        for (row, live), request in zip(pairs, requests, strict=True):
            if live is None or live in failed or not request.states:
                continue
            try:
                new_states = self._arena.check(request.states, 1)
            except StreamGateError as error:
                self._take_back(live, error, outcome)
            else:
                self._arena.scatter([row.slot], [0], new_states)

    def _take_back(self, live: LiveRequest, error: StreamGateError, outcome: Outcome) -> None:
        """Fail one request whose states don't fit, in place of what the model answered."""
        if self._config.decoupled:
            log.error(
                "model '%s', request '%s': %s; the old state stays",
                self._config.name,
                live.request.id,
                error,
            )
        else:
            outcome.responses = [sent for sent in outcome.responses if sent[0] is not live]
            live.open_outbox(outcome.responses)
            live.answered = False
        live.send((), error.failure, final=True)


def _rows_of(
    batch: Mapping[str, Array], states: Sequence[StateSpec], count: int
) -> list[dict[str, Array]]:
    """The states of a batch row by row, each with a batch dimension of 1."""
    before = {state.input_name: (slice(None),) * state.batch_axis for state in states}
    return [
        {name: array[(*before[name], slice(at, at + 1))] for name, array in batch.items()}
        for at in range(count)
    ]
