"""A model that runs nothing until the test says so, and whose sequences can be moved and lost.

It answers with the running hash of the fake backend. What it is asked besides (snapshots, moves)
waits as its steps do, and snapshots before all steps that have not begun: as late as they may be.
"""

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial

from streamgate.backend.fake import Step, expected_answers
from streamgate.core.ids import NO_OWNER, OwnerNumber, RequestNumber
from streamgate.errors import Code, EndReason, Failure
from streamgate.link.contract import OnHandOver, OnReservation
from streamgate.model.datatypes import DataType
from streamgate.model.request import Request, Response, SequenceKey
from streamgate.model.snapshot import Snapshot
from streamgate.model.tensor import Tensor
from tests.session.fake_link import FakeMovableLink

SCHEMA = "play"
LOST = Failure(Code.UNAVAILABLE, "the instance was lost")


@dataclass
class Kept:
    """A sequence on the model: its hash, and the position of its last step."""

    value: int
    position: int
    owner: OwnerNumber


@dataclass(eq=False)
class Job:
    """Something that waits for its turn; `lose` is what comes of it otherwise."""

    number: int
    key: SequenceKey
    do: Callable[[], None]
    lose: Callable[[Failure, bool], None]
    owner: OwnerNumber = NO_OWNER


@dataclass(eq=False)
class PlayModel(FakeMovableLink):
    """`refuses` is why it takes no snapshots, if it does not."""

    jobs: deque[Job] = field(default_factory=deque)
    kept: dict[SequenceKey, Kept] = field(default_factory=dict)
    refuses: Failure | None = None
    schema: str = SCHEMA
    _numbers: int = 0

    # -- the link

    def submit(
        self,
        request: Request,
        sink: Callable[[Response], None],
        owner: OwnerNumber,
        position: int,
    ) -> RequestNumber:
        do = partial(self._run, request, sink, owner, position)

        def lose(failure: Failure, lost: bool) -> None:
            response = self._response(request, position, failure=failure, lost=lost)
            response.admitted = not request.start
            response.ran = False
            sink(response)

        return self._add(request.sequence, do, lose, owner)

    def reserve(self, sequence: SequenceKey, owner: OwnerNumber, on_answer: OnReservation) -> None:
        raise AssertionError("nothing is reserved here")

    def restore(
        self,
        sequence: SequenceKey,
        owner: OwnerNumber,
        snapshot: Snapshot,
        on_answer: OnReservation,
    ) -> None:
        def do() -> None:
            if snapshot.schema != self.schema:
                on_answer(Failure(Code.INVALID_ARG, f"no schema {snapshot.schema}"))
                return
            value = int.from_bytes(snapshot.objects or b"", "little")
            self.kept[sequence] = Kept(value, snapshot.position, owner)
            on_answer(None)

        self._add(sequence, do, lambda failure, lost: on_answer(failure), owner)

    def hand_over(self, sequence: SequenceKey, on_answer: OnHandOver) -> None:
        def do() -> None:
            answer = self._snapshot(sequence)
            if isinstance(answer, Snapshot):
                del self.kept[sequence]
            on_answer(answer)

        self._add(sequence, do, lambda failure, lost: on_answer(failure))

    def take_snapshot(self, sequence: SequenceKey, on_answer: OnHandOver) -> None:
        def do() -> None:
            on_answer(self._snapshot(sequence))

        self._add(sequence, do, lambda failure, lost: on_answer(failure))
        self.jobs.rotate(1)

    def cancel(self, number: RequestNumber) -> None:
        self._take_out(lambda job: job.number == number, Failure(Code.CANCELLED, ""))

    def pause(self, numbers: Sequence[RequestNumber]) -> None:
        raise AssertionError("nobody reads slowly here")

    def resume(self, numbers: Sequence[RequestNumber]) -> None:
        raise AssertionError("nobody reads slowly here")

    def hang_up(self, owner: OwnerNumber) -> None:
        for key in [key for key, kept in self.kept.items() if kept.owner == owner]:
            self.end_sequence(key, EndReason.CLIENT_ABORT, drain=False)
        self._take_out(lambda job: job.owner == owner, Failure(Code.CANCELLED, "hung up"))

    def end_sequence(self, sequence: SequenceKey, reason: EndReason, *, drain: bool) -> None:
        if drain:
            self._add(sequence, partial(self._end, sequence, reason), lambda *_: None)
            return
        self._take_out(lambda job: job.key == sequence, Failure(Code.CANCELLED, "it has ended"))
        self._end(sequence, reason)

    # -- the test

    def work(self) -> None:
        """Do what waits first."""
        self.jobs.popleft().do()

    def lose(self) -> None:
        """All that it has is gone."""
        jobs, self.jobs = self.jobs, deque()
        kept, self.kept = self.kept, {}
        for job in jobs:
            job.lose(LOST, True)
        for key in kept:
            self.on_end(key, EndReason.ENGINE_LOST, 0)

    def _add(
        self,
        key: SequenceKey,
        do: Callable[[], None],
        lose: Callable[[Failure, bool], None],
        owner: OwnerNumber = NO_OWNER,
    ) -> RequestNumber:
        self._numbers += 1
        self.jobs.append(Job(self._numbers, key, do, lose, owner))
        return RequestNumber(self._numbers)

    def _take_out(self, is_meant: Callable[[Job], bool], failure: Failure) -> None:
        for job in [job for job in self.jobs if is_meant(job)]:
            self.jobs.remove(job)
            job.lose(failure, False)

    def _end(self, key: SequenceKey, reason: EndReason) -> None:
        if self.kept.pop(key, None) is not None:
            self.on_end(key, reason, 0)

    def _run(
        self,
        request: Request,
        sink: Callable[[Response], None],
        owner: OwnerNumber,
        position: int,
    ) -> None:
        is_stateful = self.config.stateful
        key = request.sequence if is_stateful else None
        start, end = (request.start, request.end) if is_stateful else (False, False)
        before = 0
        if is_stateful and not start:
            if request.sequence not in self.kept:
                failure = Failure(Code.INVALID_ARG, f"no sequence {request.sequence}")
                sink(self._response(request, position, failure=failure))
                return
            kept = self.kept[request.sequence]
            assert position == kept.position + 1, f"step {position} follows {kept.position}"
            before = kept.value
        data = bytes(request.inputs[0].raw)
        (value,) = expected_answers([Step([data], start, end, key)], before)
        if start:
            self._end(request.sequence, EndReason.SUPERSEDED)
        if is_stateful:
            self.kept[request.sequence] = Kept(value, position, owner)
        raw = value.to_bytes(8, "little")
        response = self._response(request, position)
        response.outputs = [Tensor("HASH", DataType.UINT64, (1, 1), raw=raw)]
        sink(response)
        if end:
            self._end(request.sequence, EndReason.CLIENT_END)

    def _response(
        self,
        request: Request,
        position: int,
        *,
        failure: Failure | None = None,
        lost: bool = False,
    ) -> Response:
        name = self.config.name
        return Response(request, name, self.version, failure=failure, lost=lost, position=position)

    def _snapshot(self, key: SequenceKey) -> Snapshot | Failure:
        kept = self.kept.get(key)
        if kept is None:
            return Failure(Code.NOT_FOUND, f"no sequence {key} in '{self.config.name}'")
        if self.refuses is not None:
            return self.refuses
        return Snapshot(kept.position, self.schema, objects=kept.value.to_bytes(8, "little"))


def changed(snapshot: Snapshot, step: int, **changes: object) -> Snapshot:
    """The snapshot of an ensemble with one part another."""
    part = replace(snapshot.parts[step], **changes)  # type: ignore[arg-type]
    return replace(snapshot, parts={**snapshot.parts, step: part})
