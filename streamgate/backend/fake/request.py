"""The fake as a model that sees requests and keeps its state itself, by correlation ID."""

from collections.abc import Sequence

import numpy as np

from streamgate.backend.contract import ModelRequest
from streamgate.backend.fake.hashing import Words, mix_rows, scramble_all
from streamgate.backend.fake.layout import Layout
from streamgate.backend.fake.plan import Fail, Nan, Plan
from streamgate.errors import BackendError, Code, ConfigError, Failure, StreamGateError
from streamgate.model.config import ControlKind
from streamgate.model.request import FLAG_SEQUENCE_END, FLAG_SEQUENCE_START, SequenceKey
from streamgate.model.tensor import Array, Tensor

_BOOLEANS = (ControlKind.START, ControlKind.END, ControlKind.READY)


class FakeRequestSession:
    """A `RequestSession`. START and END are the request's flags; controls must agree with them.

    A decoupled model sends as many responses as its parameter `responses` says (default 1), the
    first with the answer, each further one with the answer plus its index, scrambled; then the
    final flag alone.
    """

    def __init__(self, layout: Layout, instance: str, plan: Plan) -> None:
        config = layout.config
        if config.states:
            raise ConfigError(
                f"model '{config.name}': a fake model of style 'request' keeps its state itself, "
                "but the configuration declares implicit states"
            )
        self._layout = layout
        self._instance = instance
        self._plan = plan
        self._number = 0
        self._closed = False
        self._responses = int(config.parameters.get("responses", "1"))
        self._sequences: dict[SequenceKey, tuple[Words, Array]] = {}

    @property
    def open_sequences(self) -> list[SequenceKey]:
        """The correlation IDs whose state is being kept."""
        return list(self._sequences)

    def execute(self, requests: Sequence[ModelRequest]) -> None:
        if self._closed:
            raise BackendError(f"instance '{self._instance}' is closed", Code.UNAVAILABLE)
        number = self._number
        self._number += 1
        fault = self._plan.begin(self._instance, number, len(requests))
        for row, request in enumerate(requests):
            if isinstance(fault, Fail) and fault.row == row:
                request.reply.send((), Failure(fault.code, fault.message), final=True)
                continue
            try:
                self._answer(request, spoiled=isinstance(fault, Nan))
            except StreamGateError as error:
                request.reply.send((), error.failure, final=True)

    def close(self) -> None:
        self._closed = True
        self._sequences.clear()

    def _answer(self, request: ModelRequest, *, spoiled: bool) -> None:
        inputs = {tensor.name: tensor.array for tensor in request.inputs}
        hashes, counts = self._advance(request, inputs)
        if not self._layout.config.decoupled:
            outputs = self._outputs(request, hashes, counts, spoiled=spoiled)
            request.reply.send(outputs, final=True)
            return
        for index in range(self._responses):
            moved = hashes if index == 0 else scramble_all(hashes + np.uint64(index))
            outputs = self._outputs(request, moved, counts, spoiled=spoiled)
            request.reply.send(outputs, final=False)
        request.reply.finish()

    def _advance(self, request: ModelRequest, inputs: dict[str, Array]) -> tuple[Words, Array]:
        """The hash and the number of steps after this request, for each of its rows."""
        layout = self._layout
        rows = self._rows(inputs)
        start = bool(request.flags & FLAG_SEQUENCE_START)
        end = bool(request.flags & FLAG_SEQUENCE_END)
        self._check_controls(inputs, rows, (start, end, not request.null))
        fresh = (np.zeros(rows, np.uint64), np.zeros(rows, np.int64))
        key = request.correlation_id
        keeps = layout.config.sequences is not None and not request.null
        before = fresh if start or not keeps else self._sequences.get(key)
        if before is None or len(before[0]) != rows:
            known = "no such sequence" if before is None else f"one of {len(before[0])} rows"
            raise BackendError(
                f"a step of {rows} rows for sequence {key!r}, but there is {known}",
                Code.INVALID_ARG,
            )
        hashes = mix_rows(
            before[0],
            layout.digests(inputs, rows),
            np.full(rows, start),
            np.full(rows, end),
            layout.keys(inputs, rows),
        )
        after = (hashes, before[1] + 1)
        if keeps and end:
            self._sequences.pop(key, None)
        elif keeps:
            self._sequences[key] = after
        return after

    def _rows(self, inputs: dict[str, Array]) -> int:
        if not self._layout.config.batches:
            return 1
        return next((len(array) for array in inputs.values() if array.ndim), 1)

    def _check_controls(
        self, inputs: dict[str, Array], rows: int, expected: tuple[bool, bool, bool]
    ) -> None:
        for kind, value in zip(_BOOLEANS, expected, strict=True):
            found = self._layout.flags(kind, inputs, rows)
            if found is not None and not np.all(found == value):
                raise BackendError(
                    f"sequence control {kind.value} is {found.tolist()}, but the request's flags "
                    f"say {value}",
                    Code.INVALID_ARG,
                )

    def _outputs(
        self, request: ModelRequest, hashes: Words, counts: Array, *, spoiled: bool
    ) -> list[Tensor]:
        answers = self._layout.answers(hashes, counts, spoiled=spoiled)
        wanted = set(request.requested_outputs)
        return [
            Tensor.of(spec.name, answers[spec.name], spec.datatype)
            for spec in self._layout.config.outputs
            if not wanted or spec.name in wanted
        ]
