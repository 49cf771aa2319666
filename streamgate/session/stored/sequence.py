"""One sequence that is kept in a store: what is written of it, and what waits for that.

A result is given to its client once it is stored, and with it every step up to it: what a client
has seen is never lost with the process that told it.
"""

import logging
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, final

from streamgate.errors import Code, EndReason, Failure
from streamgate.model.request import Request, Response
from streamgate.model.snapshot import Snapshot
from streamgate.snapshot.codec import (
    CodecError,
    decode_response,
    encode_request,
    encode_response,
    encode_snapshot,
)
from streamgate.snapshot.contract import KeptKey, KeptResult, KeptSequence, SequenceWriter

log = logging.getLogger(__name__)

RESULTS_KEPT: Final = 256
RESULT_BYTES_KEPT: Final = 2**20
"""Of a sequence's newest results: what a client that comes back may have missed."""

_GOES_ON: Final = frozenset({EndReason.DRAINED, EndReason.ENGINE_LOST})

TAKEN: Final = "the sequence has been taken over by another server"

Sink = Callable[[Response], None]


@dataclass(slots=True)
class StoreCounts:
    """What became of kept sequences here. `fenced`: taken from us. `resumed`: taken by us.
    `repeated`: steps that had come before. `unkept`: they live, but can't be taken any more."""

    fenced: int = 0
    resumed: int = 0
    repeated: int = 0
    unkept: int = 0


@final
class StoredSequence:
    """A `SequenceWatcher` to its writer. `on_fenced` is called when another has the sequence;
    `on_calm` whenever nothing waits to be stored any more.

    Of one that was taken, steps are run again: those up to `next_position` are kept already, and
    results that are kept are not given again. One that `is_foreign` is none of a client's, and is
    not kept: the sequence of an ensemble is, not those of its models.
    """

    def __init__(
        self,
        key: KeptKey,
        counts: StoreCounts,
        on_fenced: Callable[["StoredSequence"], None],
        on_calm: Callable[["StoredSequence"], None],
        log_bytes: int,
    ) -> None:
        self.key = key
        self.is_foreign = False
        self.waiting = 0
        self.awaits_start = False
        self.next_position = 0
        self._log_bytes = log_bytes
        self._steps: deque[tuple[int, int]] = deque()
        self._step_bytes = 0
        self._results: deque[KeptResult] = deque()
        self._result_bytes = 0
        # What was answered before it was taken: these, and all before the first of them.
        self._had: set[tuple[int, int]] = set()
        self._had_before = (-1, -1)
        self._open: set[int] = set()
        # Who waits for more of a step's results than up to this one.
        self._repeats: dict[int, list[tuple[Sink, int]]] = {}
        self._unstored = 0
        self._counts = counts
        self._on_fenced = on_fenced
        self._on_calm = on_calm
        self._writer: SequenceWriter | None = None
        self._held: deque[tuple[Response, Sink]] = deque()
        self._is_fenced = False
        self._ended = ""

    def move(
        self,
        on_fenced: Callable[["StoredSequence"], None],
        on_calm: Callable[["StoredSequence"], None],
    ) -> None:
        """It lives on another link of this process from now on."""
        self._on_fenced = on_fenced
        self._on_calm = on_calm

    def begin(self, writer: SequenceWriter) -> None:
        """It begins, and is written from now on."""
        self._writer = writer

    def go_on(self, kept: KeptSequence, writer: SequenceWriter) -> None:
        """It was taken."""
        self._writer = writer
        self.awaits_start = kept.snapshot is None
        self.next_position = kept.next_position
        self._results.extend(kept.results)
        self._result_bytes = sum(len(result.data) for result in kept.results)
        self._had = {(result.position, result.index) for result in kept.results}
        if kept.results and kept.results_dropped:
            self._had_before = min(self._had)
        self._open = {step.position for step in kept.steps if step.data} - self._finals()
        self._steps.extend((step.position, len(step.data)) for step in kept.steps)
        self._step_bytes = sum(len(step.data) for step in kept.steps)

    # -- what happens to it

    def step(self, position: int, request: Request) -> None:
        """A step came, new or run again."""
        self.awaits_start = False
        if self.is_foreign or position < self.next_position:
            return
        self.next_position = position + 1
        self._open.add(position)
        if self._writer is None:
            return
        try:
            data = encode_request(request)
        except CodecError as error:
            self._give_up(str(error))
            return
        self._steps.append((position, len(data)))
        self._step_bytes += len(data)
        if self._log_bytes and self._step_bytes > self._log_bytes:
            self._give_up(f"its steps since its last snapshot outgrew {self._log_bytes} bytes")
            return
        self._writer.append(position, data)

    def result(self, response: Response, sink: Sink) -> None:
        """A response to one of its steps, for this sink."""
        if self.is_foreign:
            sink(response)
            return
        if self._is_fenced:
            if response.final:
                sink(_refused(response, TAKEN))
            return
        place = (response.position, response.index)
        if place in self._had or place < self._had_before:
            # It is run again, and nobody waits for this.
            sink(response)
            return
        if response.final:
            self._open.discard(response.position)
        try:
            data = encode_response(response)
        except CodecError as error:
            self._give_up(str(error))
            sink(response)
            return
        self._keep(KeptResult(*place, data))
        if self._writer is None and not self._unstored:
            self._give(response, sink)
            return
        self.waiting += 1
        self._held.append((response, sink))
        if self._writer is None:
            # Behind those that still wait.
            return
        if not (response.admitted and response.ran):
            self._writer.void(response.position)
        self._unstored += 1
        self._writer.put_result(*place, data, self._stored)
        if self._ended and not self._open:
            self._writer.end(self._ended)

    def snapshot(self, snapshot: Snapshot) -> None:
        """Its state after one of its steps."""
        while self._steps and self._steps[0][0] <= snapshot.position:
            self._step_bytes -= self._steps.popleft()[1]
        if self._writer is None:
            return
        try:
            data = encode_snapshot(snapshot)
        except CodecError as error:
            self._give_up(f"a snapshot of it can't be written: {error}")
            return
        self._writer.put_snapshot(snapshot.position, data)

    def end(self, reason: EndReason) -> None:
        """It is over here. What waits to be stored is given to its clients yet, and where it ended
        through no doing of theirs, it may go on elsewhere."""
        if self._writer is None:
            return
        if reason in _GOES_ON:
            self._writer.leave()
        elif self._open:
            # A decoupled model may answer its last steps yet.
            self._ended = reason.value
        else:
            self._writer.end(reason.value)

    def refuse(self) -> None:
        """Its START was not admitted: it has never been."""
        if self._writer is not None:
            self._writer.end("refused")

    def abandon(self) -> None:
        """Another begins under its name: it is kept no more."""
        writer, self._writer = self._writer, None
        if writer is not None:
            writer.abandon()

    def leave(self) -> None:
        """It could not go on here: anybody may take it."""
        writer, self._writer = self._writer, None
        if writer is not None:
            writer.leave()

    # -- steps that come again

    def repeat(self, request: Request, position: int, sink: Sink) -> bool:
        """A client sends a step again whose answer it has not seen. Gives it what was answered, and
        what is answered to it yet; False if that is not known any more."""
        known = [result for result in self._results if result.position == position]
        if not known and position not in self._open:
            return False
        self._counts.repeated += 1
        response = None
        for result in known:
            response = decode_response(result.data, request)
            sink(response)
        if response is None or not response.final:
            last = -1 if response is None else response.index
            self._repeats.setdefault(position, []).append((sink, last))
        return True

    # -- what the store says

    def on_fenced(self) -> None:
        self._is_fenced = True
        self._writer = None
        self._counts.fenced += 1
        held, self._held = self._held, deque()
        self.waiting = self._unstored = 0
        for response, sink in held:
            if response.final:
                sink(_refused(response, TAKEN))
        self._on_fenced(self)
        self._on_calm(self)

    def on_unkept(self, why: str) -> None:
        log.warning("sequence %r of '%s': %s", self.key.sequence, self.key.model, why)
        self._counts.unkept += 1
        self._writer = None

    def _finals(self) -> set[int]:
        """The steps whose last response is kept."""
        request = Request(self.key.model)
        responses = (decode_response(result.data, request) for result in self._results)
        return {response.position for response in responses if response.final}

    def _stored(self) -> None:
        """The oldest result that waits is stored."""
        if not self._held:
            return
        self._unstored -= 1
        self._give_oldest()
        while self._held and not self._unstored:
            self._give_oldest()
        if not self.waiting:
            self._on_calm(self)

    def _give_oldest(self) -> None:
        response, sink = self._held.popleft()
        self.waiting -= 1
        self._give(response, sink)

    def _give(self, response: Response, sink: Sink) -> None:
        """To its client, and to those who have sent its step again."""
        sink(response)
        for repeat, last in self._repeats.get(response.position, ()):
            if response.index > last:
                repeat(response)
        if response.final:
            self._repeats.pop(response.position, None)

    def _keep(self, result: KeptResult) -> None:
        results = self._results
        results.append(result)
        self._result_bytes += len(result.data)
        dropped = 0
        while len(results) > 1 and (
            len(results) > RESULTS_KEPT or self._result_bytes > RESULT_BYTES_KEPT
        ):
            self._result_bytes -= len(results.popleft().data)
            dropped += 1
        if dropped and self._writer is not None:
            self._writer.drop_results(dropped)

    def _give_up(self, why: str) -> None:
        """What is kept of it must not be taken for all of it."""
        writer, self._writer = self._writer, None
        self._counts.unkept += 1
        log.warning("sequence %r of '%s' is kept no more: %s", *_named(self.key), why)
        if writer is not None:
            writer.end(f"kept no more: {why}")


def _refused(response: Response, text: str) -> Response:
    return Response(
        response.request,
        response.model,
        response.version,
        failure=Failure(Code.UNAVAILABLE, text),
        position=response.position,
        index=response.index,
    )


def _named(key: KeptKey) -> tuple[object, str]:
    return key.sequence, key.model
