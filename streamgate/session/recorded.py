"""Records sequences: a link in front of a model's own, which notes what goes by.

It sees each request behind its checks, with its position, over whatever connection and dialect it
came, and each response as it is given to the client. It stands in front of what recovers and moves
sequences, in the process that holds their connections: a sequence that goes on elsewhere has one
recording. Where models are composed, what one sends to another is recorded where that runs. A model
that is not to be recorded has no such link in front of it, so nothing is paid then.
"""

import logging
import random
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import Final

from streamgate.core.ids import OwnerNumber, RequestNumber
from streamgate.errors import EndReason, Failure, StreamGateError
from streamgate.link.contract import (
    UNSTARTED,
    FindRoute,
    ModelLink,
    MovableLink,
    OnAnyEnd,
    OnHandOver,
    OnReservation,
    OnSnapshot,
    OnWarning,
)
from streamgate.link.passing import PassingLink
from streamgate.model.config import ModelConfig
from streamgate.model.request import Batch, Request, Response, SequenceKey
from streamgate.model.snapshot import Snapshot
from streamgate.recording.options import PARAMETER, RecordingOptions
from streamgate.recording.values import (
    Batched,
    Composing,
    End,
    Header,
    Origin,
    Result,
    Step,
    StoredTensor,
)
from streamgate.recording.writer import BundleWriter, Recording
from streamgate.snapshot.codec import CodecError, encode_snapshot

log = logging.getLogger(__name__)

REFUSED: Final = "refused"
"""The end of a sequence whose START was not admitted."""

MOVED: Final = "the sequence went on elsewhere"
"""Why a bundle has not all of its sequence."""

OTHERS_MAX: Final = 64
"""How many that shared a batch are named."""

Sink = Callable[[Response], None]


class Recorder:
    """Decides what is recorded. `find_route` finds the models that an ensemble is composed of."""

    def __init__(
        self,
        options: RecordingOptions,
        writer: BundleWriter,
        gateway_version: str,
        find_route: FindRoute,
    ) -> None:
        self._options = options
        self._writer = writer
        self._gateway_version = gateway_version
        self._find_route = find_route

    def front(self, link: ModelLink) -> ModelLink:
        """The link to use in place of this one: itself for a model that is not recorded."""
        config = link.config
        names = self._options.models
        if not config.stateful or (names and config.name not in names):
            return link
        if isinstance(link, MovableLink):
            return RecordedMovableLink(link, self)
        return RecordedLink(link, self)

    def begin(self, link: ModelLink, start: Request) -> "SequenceRecording | None":
        """A recording of the sequence that this START begins, if it is to be recorded."""
        if start.passed_recorder or not self._is_wanted(start):
            return None
        return self._begin(link, start.sequence)

    def go_on(
        self, link: ModelLink, sequence: SequenceKey, snapshot: Snapshot
    ) -> "SequenceRecording | None":
        """A recording of a sequence that comes from elsewhere. It is drawn anew whether there is
        one: whether there was one there is not known."""
        if not self._is_drawn():
            return None
        try:
            origin = Origin(snapshot.position, encode_snapshot(snapshot))
        except CodecError as error:
            log.error("the state of sequence %s could not be recorded: %s", sequence, error)
            return None
        recording = self._begin(link, sequence)
        if recording is not None:
            recording.note_origin(origin)
        return recording

    def _begin(self, link: ModelLink, sequence: SequenceKey) -> "SequenceRecording | None":
        config = link.config
        header = Header(
            self._gateway_version,
            config.name,
            link.version,
            config.json,
            datetime.now(UTC).isoformat(timespec="milliseconds"),
            sequence,
            self._composing(config),
        )
        recording = self._writer.begin(header)
        return None if recording is None else SequenceRecording(self._writer, recording)

    def _is_wanted(self, start: Request) -> bool:
        if self._options.on_request:
            asked = start.parameters.get(PARAMETER)
            if isinstance(asked, bool):
                return asked
        return self._is_drawn()

    def _is_drawn(self) -> bool:
        rate = self._options.rate
        return rate >= 1.0 or (rate > 0.0 and random.random() < rate)

    def _composing(self, config: ModelConfig) -> list[Composing]:
        """Every model that a request may reach, once, inner ensembles' too."""
        found: dict[tuple[str, str], Composing] = {}
        ensembles = [config.ensemble]
        while ensembles:
            ensemble = ensembles.pop()
            for step in ensemble.steps if ensemble is not None else ():
                try:
                    route = self._find_route(step.model, step.version)
                except StreamGateError:
                    # It went away just now: the request will be told.
                    continue
                key = route.config.name, route.version
                if key not in found:
                    found[key] = Composing(*key, route.config.json)
                    ensembles.append(route.config.ensemble)
        return list(found.values())


class SequenceRecording:
    """One sequence's recording. It is over when the sequence is and every request has had its last
    response. Whatever goes wrong here ends the recording only."""

    def __init__(self, writer: BundleWriter, recording: Recording) -> None:
        self._writer = writer
        self._recording = recording
        self._began = time.monotonic_ns()
        self._steps = 0
        self._open = 0
        self._end: End | None = None

    def note_origin(self, origin: Origin) -> None:
        """Before all requests."""
        self._writer.put(self._recording, origin)

    def note_request(self, request: Request, position: int) -> int:
        """The number of the step that this request is. It says from now on with whom it ran."""
        request.batch = Batch()
        number = self._steps
        self._steps += 1
        self._open += 1
        if not self._recording.is_over:
            try:
                self._writer.put(self._recording, self._step(request, number, position))
            except Exception as error:  # noqa: BLE001 - it must not reach the sequence
                self._fail("request", error)
        return number

    def note_response(self, response: Response, number: int) -> None:
        if not self._recording.is_over:
            try:
                self._writer.put(self._recording, self._result(response, number))
            except Exception as error:  # noqa: BLE001 - as above
                self._fail("response", error)
        if response.final:
            self._open -= 1
            self._finish_if_over()

    def note_end(self, reason: str) -> None:
        if self._end is None:
            self._end = End(reason, self._now())
            self._finish_if_over()

    def cut(self, why: str) -> None:
        """There is more of it, which is not seen here."""
        if not self._recording.is_over:
            self._writer.cut(self._recording, why)

    def _finish_if_over(self) -> None:
        if self._end is not None and not self._open and not self._recording.is_over:
            self._writer.put(self._recording, self._end)
            if not self._recording.is_over:
                self._writer.finish(self._recording)

    def _fail(self, what: str, error: Exception) -> None:
        log.error("a %s could not be recorded", what, exc_info=error)
        self._writer.cut(self._recording, f"a {what} could not be recorded")

    def _now(self) -> int:
        return time.monotonic_ns() - self._began

    def _step(self, request: Request, number: int, position: int) -> Step:
        return Step(
            number,
            position,
            self._now(),
            [StoredTensor.of(tensor) for tensor in request.inputs],
            tuple(request.requested_outputs),
            dict(request.parameters),
            request.start,
            request.end,
            request.id,
            request.priority,
            request.timeout_us,
        )

    def _result(self, response: Response, number: int) -> Result:
        return Result(
            number,
            response.index,
            self._now(),
            [StoredTensor.of(tensor) for tensor in response.outputs],
            response.failure,
            response.final,
            response.empty,
            response.admitted,
            dict(response.parameters),
            batched(response.request),
        )


def batched(request: Request) -> Batched | None:
    """With whom it ran, if it did and that was asked for."""
    batch = request.batch
    if batch is None or batch.number < 0:
        return None
    others = list(batch.sequences)
    if request.sequence in others:
        others.remove(request.sequence)
    shown = others[:OTHERS_MAX]
    return Batched(batch.number, batch.instance, batch.rows, len(batch.sequences), shown)


@dataclass(slots=True, eq=False)
class _Tenancy:
    """One sequence from its START on, or from when it came, recorded or not. One that came with a
    `snapshot` is recorded from its first step on, if that has not been seen in front."""

    key: SequenceKey
    recording: SequenceRecording | None
    snapshot: Snapshot | None = None


class RecordedLink(PassingLink):
    """Implements `streamgate.link.contract.ModelLink` in front of another link.

    It keeps who lives under which ID as `streamgate.session.positions` does, but for reservations,
    of which there is nothing to record.
    """

    def __init__(self, link: ModelLink, recorder: Recorder) -> None:
        super().__init__(link)
        self._recorder = recorder
        self._live: dict[SequenceKey, deque[_Tenancy]] = {}

    def submit(
        self, request: Request, sink: Sink, owner: OwnerNumber, position: int
    ) -> RequestNumber:
        tenancy = self._tenancy(request) if position >= 0 else None
        if tenancy is not None:
            if tenancy.snapshot is not None:
                self._go_on(tenancy, tenancy.snapshot, request)
            request.passed_recorder = True
            recording = tenancy.recording
            number = recording.note_request(request, position) if recording is not None else 0
            if recording is not None or request.start:
                sink = partial(self._receive, tenancy, number, sink)
        return self._behind.submit(request, sink, owner, position)

    def _tenancy(self, request: Request) -> _Tenancy | None:
        if not request.start:
            tenancies = self._live.get(request.sequence)
            return tenancies[-1] if tenancies else None
        return self._add(request.sequence, self._recorder.begin(self._behind, request))

    def _go_on(self, tenancy: _Tenancy, snapshot: Snapshot, request: Request) -> None:
        tenancy.snapshot = None
        if not request.passed_recorder:
            tenancy.recording = self._recorder.go_on(self._behind, tenancy.key, snapshot)

    def _add(
        self,
        key: SequenceKey,
        recording: SequenceRecording | None,
        snapshot: Snapshot | None = None,
    ) -> _Tenancy:
        tenancy = _Tenancy(key, recording, snapshot)
        self._live.setdefault(key, deque()).append(tenancy)
        return tenancy

    def _receive(self, tenancy: _Tenancy, number: int, sink: Sink, response: Response) -> None:
        try:
            sink(response)
        finally:
            recording = tenancy.recording
            if response.request.start and response.final and not response.admitted:
                self._remove(tenancy)
                if recording is not None:
                    recording.note_end(REFUSED)
            if recording is not None:
                recording.note_response(response, number)

    def _remove(self, tenancy: _Tenancy) -> None:
        tenancies = self._live.get(tenancy.key)
        if tenancies is not None and tenancy in tenancies:
            tenancies.remove(tenancy)
            if not tenancies:
                del self._live[tenancy.key]

    def watch_sequences(self, on_end: OnAnyEnd, on_warning: OnWarning) -> None:
        def ended(key: SequenceKey, reason: EndReason, place: int) -> None:
            tenancies = self._live.get(key, ())
            if place != UNSTARTED and place < len(tenancies):
                tenancy = tenancies[place]
                self._remove(tenancy)
                if tenancy.recording is not None:
                    tenancy.recording.note_end(reason.value)
            on_end(key, reason, place)

        self._behind.watch_sequences(ended, on_warning)


class RecordedMovableLink(RecordedLink):
    """Implements `streamgate.link.contract.MovableLink` in front of another such link. What leaves
    cuts its recording, and that of what comes from elsewhere begins with its state."""

    def __init__(self, link: MovableLink, recorder: Recorder) -> None:
        super().__init__(link, recorder)
        self._movable = link

    def restore(
        self,
        sequence: SequenceKey,
        owner: OwnerNumber,
        snapshot: Snapshot,
        on_answer: OnReservation,
    ) -> None:
        tenancy = self._add(sequence, None, snapshot)

        def answered(failure: Failure | None) -> None:
            if failure is not None:
                self._remove(tenancy)
                if tenancy.recording is not None:
                    tenancy.recording.note_end(REFUSED)
            on_answer(failure)

        self._movable.restore(sequence, owner, snapshot, answered)

    def hand_over(self, sequence: SequenceKey, on_answer: OnHandOver) -> None:
        def answered(answer: Snapshot | Failure) -> None:
            if isinstance(answer, Snapshot):
                self._leave(sequence)
            on_answer(answer)

        self._movable.hand_over(sequence, answered)

    def take_snapshot(self, sequence: SequenceKey, on_answer: OnHandOver) -> None:
        self._movable.take_snapshot(sequence, on_answer)

    def watch_snapshots(self, on_snapshot: OnSnapshot) -> None:
        def taken(sequence: SequenceKey, snapshot: Snapshot, has_left: bool) -> bool:
            is_kept = on_snapshot(sequence, snapshot, has_left) is not False
            if has_left and is_kept:
                self._leave(sequence)
            return is_kept

        self._movable.watch_snapshots(taken)

    def _leave(self, sequence: SequenceKey) -> None:
        """The oldest sequence of this ID lives elsewhere now."""
        tenancies = self._live.get(sequence)
        if tenancies:
            tenancy = tenancies[0]
            self._remove(tenancy)
            if tenancy.recording is not None:
                tenancy.recording.cut(MOVED)
