"""Sequences that lived in a process that is gone go on here, when their next request comes.

A request without START for an ID that does not live here is looked for in the store. If its owner
is dead, the sequence is taken: its snapshot is restored, the steps behind it are run again, and the
request goes on from there. A client that does not know whether its last request came through says
its position, in the parameter `streamgate_position`: one that came before is not run again, but
answered with what was answered then.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Final, final

from streamgate.errors import Code, EndReason, Failure, StreamGateError
from streamgate.link.contract import ModelLink, MovableLink
from streamgate.model.request import Response, SequenceKey
from streamgate.model.snapshot import Snapshot
from streamgate.observe.store import StoreFigures
from streamgate.session.connection import Asked, nowhere
from streamgate.session.gateway import ComeSink
from streamgate.session.named_position import out_of_turn, take_position
from streamgate.session.routing import Route
from streamgate.session.stored.link import StoredLink
from streamgate.session.stored.sequence import StoreCounts, StoredSequence
from streamgate.snapshot.codec import (
    CodecError,
    decode_request,
    decode_response,
    decode_snapshot,
)
from streamgate.snapshot.contract import (
    KeptKey,
    KeptResult,
    KeptSequence,
    NotTakenError,
    SessionStore,
    WhyNot,
)

log = logging.getLogger(__name__)

WINDOW: Final = 16
"""Steps of one sequence that are run again at a time."""

ARRIVAL_SECONDS: Final = 30.0
"""How long a sequence that is taken may wait for its slot, and each of its steps for its answer."""

RETRY_SECONDS: Final = 0.1
"""Between attempts to restore a sequence that an engine still has from the process that died."""

_REASONS: Final = frozenset(reason.value for reason in EndReason)

_Place = tuple[StoredLink, SequenceKey]
_Waiting = tuple[Asked, int | None]


@final
class StoredSequences:
    """All kept sequences of this process. Implements `streamgate.session.connection.Takeover`.

    Each is opened with the time of its START by `now`, in seconds of a clock that servers share:
    that is what its lifetime counts from, wherever it goes on.
    """

    def __init__(self, store: SessionStore, now: Callable[[], float] = time.time) -> None:
        self.store = store
        self.now = now
        self.counts = StoreCounts()
        self._waiting: dict[_Place, list[_Waiting]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._moving: dict[KeptKey, StoredSequence] = {}
        self._on_come: ComeSink = lambda *_: None

    def front(self, link: ModelLink) -> ModelLink:
        """The link that keeps a model's sequences; itself where there is nothing to keep."""
        if not link.config.stateful:
            return link
        if not isinstance(link, MovableLink):
            log.warning("sequences of '%s' are not kept: they can't be moved", link.config.name)
            return link
        return StoredLink(link, self.store, self.counts, self._moving, lambda: f"{self.now():.3f}")

    def figures(self) -> StoreFigures:
        """What was written, refused and taken over."""
        health, counts = self.store.health(), self.counts
        return StoreFigures(
            health.is_up,
            health.waiting_bytes,
            health.writes,
            health.refused_writes,
            health.reconnects,
            counts.fenced,
            counts.resumed,
            counts.repeated,
            counts.unkept,
        )

    async def close(self, seconds: float) -> None:
        """Look for nothing any more, and write what waits."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self.store.close(seconds)

    def watch(self, on_come: ComeSink) -> None:
        self._on_come = on_come

    def submit(self, asked: Asked) -> None:
        link = asked.route.link
        if not isinstance(link, StoredLink):
            asked.submit()
            return
        request = asked.request
        position = take_position(request)
        waiting = self._waiting.get((link, request.sequence))
        lives = link.sequence_of(request.sequence) is not None
        if waiting is not None or not (
            lives or request.start or request.sequence in asked.route.positions
        ):
            asked.route.checker.check(request)
            if waiting is None:
                waiting = self._waiting[link, request.sequence] = []
                self._look_for(asked, link)
            waiting.append((asked, position))
            return
        self._go_on(asked, position, link)

    async def finish(self, route: Route, sequence: SequenceKey) -> EndReason:
        """Take a sequence and end it, without bringing it to life."""
        link = route.link
        if not isinstance(link, StoredLink):
            raise nowhere(route.config.name, sequence)
        if (link, sequence) in self._waiting:
            text = f"sequence {sequence} is being taken over just now: try again"
            raise StreamGateError(Code.UNAVAILABLE, text)
        taken = link.new_sequence(sequence)
        try:
            kept, writer = await self.store.take(taken.key, taken, only_from_dead=True)
        except NotTakenError as error:
            if error.why is WhyNot.UNKNOWN:
                raise nowhere(route.config.name, sequence) from None
            if error.why is WhyNot.ENDED and error.detail in _REASONS:
                return EndReason(error.detail)
            failure = _told(error, sequence)
            raise StreamGateError(failure.code, failure.message) from None
        taken.go_on(kept, writer)
        taken.end(EndReason.CLIENT_END)
        return EndReason.CLIENT_END

    def _go_on(self, asked: Asked, position: int | None, link: StoredLink) -> None:
        """A request whose sequence lives here, or nowhere. Raises StreamGateError."""
        request = asked.request
        sequence = link.sequence_of(request.sequence)
        if request.start:
            link.expect(request)
        if position is None or request.start:
            asked.submit()
            return
        if sequence is None:
            if request.sequence not in asked.route.positions:
                text = f"state lost: nothing is kept of sequence {request.sequence}"
                raise StreamGateError(Code.UNAVAILABLE, text)
            asked.submit()
            return
        following = sequence.next_position
        if position == following:
            asked.submit()
        elif position > following:
            raise out_of_turn(request, position, following)
        else:
            repeat = partial(self._repeat, sequence, asked, position)
            asyncio.get_running_loop().call_soon(repeat)

    @staticmethod
    def _repeat(sequence: StoredSequence, asked: Asked, position: int) -> None:
        if not sequence.repeat(asked.request, position, asked.call.receive):
            text = f"what was answered at position {position} is not kept any more"
            _fail(asked, Failure(Code.NOT_FOUND, text))

    # -- looking for sequences

    def _look_for(self, asked: Asked, link: StoredLink) -> None:
        task = asyncio.get_running_loop().create_task(self._find(asked, link))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _find(self, first: Asked, link: StoredLink) -> None:
        key = first.request.sequence
        failure: Failure | None = None
        results: Sequence[KeptResult] = ()
        try:
            await self._take(first, link, key)
        except NotTakenError as error:
            failure, results = _told(error, key), error.results
        except StreamGateError as error:
            failure = error.failure
        except Exception:
            log.exception("sequence %r of '%s' could not be taken", key, link.config.name)
            failure = Failure(Code.INTERNAL, f"sequence {key} could not be taken over")
        finally:
            waiting = self._waiting.pop((link, key))
        for asked, position in waiting:
            self._settle(asked, position, link, failure, results)

    def _settle(
        self,
        asked: Asked,
        position: int | None,
        link: StoredLink,
        failure: Failure | None,
        results: Sequence[KeptResult],
    ) -> None:
        """What becomes of a request that waited for its sequence."""
        request = asked.request
        if asked.call.is_cancelled:
            _fail(asked, Failure(Code.CANCELLED, "request was cancelled"))
            return
        known = [each for each in results if each.position == position]
        if known:
            self.counts.repeated += 1
            for each in known:
                asked.call.receive(decode_response(each.data, request))
            return
        if failure is not None and not request.start:
            _fail(asked, failure)
            return
        try:
            self._go_on(asked, position, link)
        except StreamGateError as error:
            _fail(asked, error.failure)

    async def _take(self, asked: Asked, link: StoredLink, key: SequenceKey) -> None:
        """Take the sequence and bring it to life. Nothing of it is here when that fails. A name
        that nobody has ever had is no failure: its request is refused as others are."""
        sequence = link.new_sequence(key)
        try:
            kept, writer = await self.store.take(sequence.key, sequence, only_from_dead=True)
        except NotTakenError as error:
            if error.why is WhyNot.UNKNOWN:
                return
            raise
        sequence.go_on(kept, writer)
        if not kept.next_position:
            sequence.leave()
            return
        age_ns = self._age_ns(kept)
        if 0 < _lifetime_ns(link) <= age_ns:
            sequence.end(EndReason.LIFETIME)
            text = f"sequence {key} has ended ({EndReason.LIFETIME.value})"
            raise StreamGateError(Code.NOT_FOUND, text)
        link.adopt(sequence)
        try:
            await self._revive(asked, link, kept, age_ns)
        except BaseException as error:
            link.disown(sequence)
            link.end_sequence(key, EndReason.ENGINE_LOST, drain=False)
            if isinstance(error, CodecError):
                text = f"state lost: what is kept of sequence {key} can't be read: {error}"
                raise StreamGateError(Code.UNAVAILABLE, text) from None
            raise
        self.counts.resumed += 1
        if key in asked.route.positions:
            self._on_come(link.config.name, key)
        log.info("sequence %r of '%s' goes on here", key, link.config.name)

    def _age_ns(self, kept: KeptSequence) -> int:
        """How long it has lived. 0 for one that was opened with no time."""
        try:
            return max(0, round((self.now() - float(kept.note)) * 1e9))
        except (ValueError, OverflowError):
            return 0

    async def _revive(
        self, asked: Asked, link: StoredLink, kept: KeptSequence, age_ns: int
    ) -> None:
        key = asked.request.sequence
        if kept.snapshot is not None:
            await self._restore(asked, replace(decode_snapshot(kept.snapshot.data), age_ns=age_ns))
        window = asyncio.Semaphore(WINDOW)
        failures: list[Failure] = []

        def answered(response: Response) -> None:
            if response.final:
                window.release()
                if response.lost or not response.admitted:
                    failures.append(response.failure or Failure(Code.INTERNAL, "it was refused"))

        for step in kept.steps:
            if not step.data:
                asked.route.positions.skip(key)
                continue
            request = decode_request(step.data, link.config.name)
            request.age_ns = age_ns if request.start else 0
            async with asyncio.timeout(ARRIVAL_SECONDS):
                await window.acquire()
            if failures:
                break
            asked.route.submit(request, answered, asked.owner, asked.listener)
        if failures:
            raise StreamGateError(failures[0].code, f"state lost: {failures[0].message}")

    async def _restore(self, asked: Asked, snapshot: Snapshot) -> None:
        """Put its state into a slot. An engine may have the sequence yet, of the process that died:
        it is tried again for a while."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + ARRIVAL_SECONDS
        while True:
            answer: asyncio.Future[Failure | None] = loop.create_future()
            asked.route.restore(
                asked.request.sequence, asked.owner, asked.listener, snapshot, answer.set_result
            )
            failure = await answer
            if failure is None:
                return
            is_late = loop.time() > deadline
            if failure.code not in {Code.ALREADY_EXISTS, Code.UNAVAILABLE} or is_late:
                raise StreamGateError(failure.code, failure.message)
            await asyncio.sleep(RETRY_SECONDS)


def _lifetime_ns(link: ModelLink) -> int:
    """How long a sequence may live, 0 for ever. Of an ensemble's, its models see to it."""
    rules = link.config.sequences
    return rules.max_lifetime_ns if rules is not None else 0


def _told(error: NotTakenError, key: SequenceKey) -> Failure:
    """What a client is told of a sequence that can't be taken."""
    match error.why:
        case WhyNot.ENDED:
            if error.detail.startswith("kept no more"):
                return Failure(Code.UNAVAILABLE, f"state lost: sequence {key} was {error.detail}")
            return Failure(Code.NOT_FOUND, f"sequence {key} has ended ({error.detail})")
        case WhyNot.OWNED:
            text = f"sequence {key} lives at another server ({error.detail}), which answers"
            return Failure(Code.UNAVAILABLE, text)
        case WhyNot.BROKEN:
            return Failure(Code.UNAVAILABLE, f"state lost: of sequence {key}, {error.detail}")
        case _:
            return Failure(Code.UNAVAILABLE, f"the session store can't be reached: {error.detail}")


def _fail(asked: Asked, failure: Failure) -> None:
    request = asked.request
    asked.call.receive(
        Response(request, request.model, request.version, failure=failure, admitted=False)
    )
