"""Requests that belong to no sequence: run again once, elsewhere, when what ran them is lost."""

from functools import partial
from typing import Final, final

from streamgate.core.commands import Rejection
from streamgate.core.ids import Ns, OwnerNumber, RequestNumber
from streamgate.engine.host import Host, Timer
from streamgate.engine.rejections import failure_for
from streamgate.errors import Code, Failure
from streamgate.model.config import ModelConfig
from streamgate.model.request import Request, Response
from streamgate.session.durable.counters import DurabilityCounters
from streamgate.session.durable.lane import Place, Sink
from streamgate.session.durable.places import Places

RUNS: Final = 2
"""How often a request is run whose engine is lost each time."""

WAIT_NS: Final = 10_000_000_000
"""How long a request waits for a place while there is none: an engine may be coming back."""

WAITING_MAX: Final = 10_000
"""Requests that may wait so. More are refused at once."""


@final
class _Call:
    """One request. `delivered` counts its responses that were handed on; `place` is where it runs,
    or ran last; `runs_left` is how often it may still be given to an engine."""

    __slots__ = (
        "delivered",
        "inner",
        "is_paused",
        "number",
        "owner",
        "place",
        "position",
        "request",
        "runs",
        "runs_left",
        "sink",
    )

    def __init__(
        self,
        number: RequestNumber,
        request: Request,
        sink: Sink,
        owner: OwnerNumber,
        position: int,
        runs_left: int,
    ) -> None:
        self.number = number
        self.request = request
        self.sink = sink
        self.owner = owner
        self.position = position
        self.place: Place | None = None
        self.inner = RequestNumber(0)
        self.delivered = 0
        self.runs = 0
        self.runs_left = runs_left
        self.is_paused = False


class Stateless:
    """The requests of no sequence of one model version."""

    def __init__(
        self, config: ModelConfig, places: Places, host: Host, counters: DurabilityCounters
    ) -> None:
        is_iterative = config.sequences is not None and config.sequences.iterative
        self._names_sequences = config.stateful and not is_iterative
        self._places = places
        self._host = host
        self._counters = counters
        self._calls: dict[RequestNumber, _Call] = {}
        self._waiting: dict[RequestNumber, tuple[_Call, Timer]] = {}

    def __len__(self) -> int:
        return len(self._calls)

    def __contains__(self, number: RequestNumber) -> bool:
        return number in self._calls

    def submit(
        self,
        number: RequestNumber,
        request: Request,
        sink: Sink,
        owner: OwnerNumber,
        position: int,
        place: Place | None,
    ) -> None:
        """Run a request, at this place if one is given. One that names a sequence, which is not
        known here, is given to an engine once, which refuses it. A second time the sequence might
        have come there, and would take a step too many."""
        is_stray = self._names_sequences and bool(request.sequence)
        call = _Call(number, request, sink, owner, position, 1 if is_stray else RUNS)
        self._begin(call, place or self._places.for_request())

    def _wait(self, call: _Call) -> None:
        """There is no place for it just now. Only what can be run anywhere waits for one."""
        if call.request.sequence or len(self._waiting) >= WAITING_MAX:
            self._host.call_soon(partial(call.sink, _refused(call.request, call.position)))
            return
        due = Ns(self._host.now() + WAIT_NS)
        timer = self._host.call_at(due, partial(self._give_up, call))
        self._waiting[call.number] = call, timer

    def _give_up(self, call: _Call) -> None:
        if self._waiting.pop(call.number, None) is not None:
            call.sink(_refused(call.request, call.position))

    def welcome(self) -> None:
        """There is a place again, for what waits for one."""
        waiting, self._waiting = self._waiting, {}
        for call, timer in waiting.values():
            timer.cancel()
            self._begin(call, self._places.for_request())

    def cancel(self, number: RequestNumber) -> None:
        """Its client no longer wants a request, if it is one of these."""
        if number in self._calls:
            place, inner = self.place_of(number)
            place.link.cancel(inner)
            return
        call, timer = self._waiting.pop(number, (None, None))
        if call is None or timer is None:
            return
        timer.cancel()
        response = _refused(call.request, call.position)
        response.failure, response.lost = failure_for(Rejection.CANCELLED, call.request), False
        self._host.call_soon(partial(call.sink, response))

    def _begin(self, call: _Call, place: Place | None) -> None:
        if place is None:
            self._wait(call)
            return
        self._calls[call.number] = call
        self._run(call, place)

    def _run(self, call: _Call, place: Place) -> None:
        call.place = place
        call.runs += 1
        call.runs_left -= 1
        place.open += 1
        link = place.link
        receive = partial(self._receive, call, call.runs)
        call.inner = link.submit(call.request, receive, call.owner, call.position)
        if call.is_paused:
            link.pause((call.inner,))

    def _receive(self, call: _Call, run: int, response: Response) -> None:
        if run != call.runs or call.number not in self._calls:
            self._counters.stale_results += not response.lost
            return
        if response.final:
            assert call.place is not None
            call.place.open -= 1
            if response.lost and call.runs_left:
                other = self._places.for_request(but=call.place)
                if other is not None:
                    self._counters.retried += 1
                    self._run(call, other)
                    return
                if not (call.delivered or len(self._places)):
                    del self._calls[call.number]
                    self._counters.retried += 1
                    self._wait(call)
                    return
            del self._calls[call.number]
        if response.index < call.delivered and response.failure is None:
            self._counters.suppressed_results += 1
            if not response.final:
                return
            response = Response(
                call.request, response.model, response.version, empty=True, position=call.position
            )
        response.index = call.delivered
        call.delivered += 1
        call.sink(response)

    def place_of(self, number: RequestNumber) -> tuple[Place, RequestNumber]:
        """Where a request runs, and under which number there."""
        call = self._calls[number]
        assert call.place is not None
        return call.place, call.inner

    def pause(self, number: RequestNumber, *, paused: bool) -> None:
        self._calls[number].is_paused = paused

    def leave(self, place: Place) -> None:
        """A place is gone without a word: what ran there is run elsewhere, or lost."""
        for call in [each for each in self._calls.values() if each.place is place]:
            failure = Failure(Code.UNAVAILABLE, f"what ran model '{call.request.model}' is lost")
            self._receive(
                call,
                call.runs,
                Response(
                    call.request,
                    call.request.model,
                    call.request.version,
                    failure=failure,
                    position=call.position,
                    lost=True,
                ),
            )


def _refused(request: Request, position: int) -> Response:
    return Response(
        request,
        request.model,
        request.version,
        failure=Failure(Code.UNAVAILABLE, f"no engine serves model '{request.model}' just now"),
        admitted=False,
        position=position,
        lost=True,
        ran=False,
    )
