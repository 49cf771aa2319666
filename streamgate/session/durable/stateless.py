"""Requests that belong to no sequence: run again once, elsewhere, when what ran them is lost."""

from functools import partial
from typing import Final, final

from streamgate.core.ids import OwnerNumber, RequestNumber
from streamgate.engine.host import Host
from streamgate.errors import Code, Failure
from streamgate.model.request import Request, Response
from streamgate.session.durable.counters import DurabilityCounters
from streamgate.session.durable.lane import Place, Sink
from streamgate.session.durable.places import Places

RUNS: Final = 2
"""How often a request is run whose engine is lost each time."""


@final
class _Call:
    """One request under way. `delivered` counts its responses that were handed on."""

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
        "sink",
    )

    def __init__(
        self,
        number: RequestNumber,
        request: Request,
        sink: Sink,
        owner: OwnerNumber,
        position: int,
        place: Place,
    ) -> None:
        self.number = number
        self.request = request
        self.sink = sink
        self.owner = owner
        self.position = position
        self.place = place
        self.inner = RequestNumber(0)
        self.delivered = 0
        self.runs = 0
        self.is_paused = False


class Stateless:
    """The requests of no sequence of one model version."""

    def __init__(self, places: Places, host: Host, counters: DurabilityCounters) -> None:
        self._places = places
        self._host = host
        self._counters = counters
        self._calls: dict[RequestNumber, _Call] = {}

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
        """Run a request, at this place if one is given."""
        place = place or self._places.for_request()
        if place is None:
            self._host.call_soon(partial(sink, _refused(request, position)))
            return
        call = _Call(number, request, sink, owner, position, place)
        self._calls[number] = call
        self._run(call)

    def _run(self, call: _Call) -> None:
        call.runs += 1
        call.place.open += 1
        link = call.place.link
        receive = partial(self._receive, call, call.runs)
        call.inner = link.submit(call.request, receive, call.owner, call.position)
        if call.is_paused:
            link.pause((call.inner,))

    def _receive(self, call: _Call, run: int, response: Response) -> None:
        if run != call.runs or call.number not in self._calls:
            self._counters.stale_results += 1
            return
        if response.final:
            call.place.open -= 1
            if response.lost and call.runs < RUNS:
                other = self._places.for_request(but=call.place)
                if other is not None:
                    self._counters.retried += 1
                    call.place = other
                    self._run(call)
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
