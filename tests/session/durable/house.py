"""A durable link over engines that can be lost, and clients that note what they get."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from streamgate.core.ids import OwnerNumber, RequestNumber
from streamgate.errors import Code, EndReason, EndWarning
from streamgate.link.contract import UNSTARTED
from streamgate.model.config import Durability
from streamgate.model.request import Request, Response, SequenceKey
from streamgate.model.statistics import DurabilityStatistics
from streamgate.session.durable.link import DurableLink
from streamgate.session.durable.trials import Trials
from tests.durable.models import mix
from tests.engine.play_host import PlayHost
from tests.session.durable.fake_place import FakePlace, request_of, value_of
from tests.session.fake_link import sequence_config

PATIENCE_NS = 30_000_000_000


@dataclass(eq=False)
class Sent:
    """A request and what came of it."""

    number: RequestNumber
    request: Request
    position: int
    got: list[Response] = field(default_factory=list)

    @property
    def final(self) -> Response | None:
        return self.got[-1] if self.got and self.got[-1].final else None

    @property
    def results(self) -> list[int]:
        return [int(each.outputs[0].array.item()) for each in self.got if each.outputs]

    @property
    def has_run(self) -> bool:
        """Whether its input counts in the state of its sequence, as far as its client can tell."""
        final = self.final
        if final is None or not final.admitted:
            return bool(self.results)
        return final.failure is None or final.ran

    def sink(self, response: Response) -> None:
        assert self.final is None, "a response behind the final one"
        assert response.index == len(self.got)
        self.got.append(response)


@dataclass(eq=False)
class Tenancy:
    """One sequence as its client sees it."""

    key: SequenceKey
    sent: list[Sent] = field(default_factory=list)
    ends: list[EndReason] = field(default_factory=list)
    was_refused: bool = False

    def check(self) -> None:
        """What came is what an undisturbed engine gives, and in its order."""
        kept = 0
        for sent in self.sent:
            if not sent.has_run and sent.final is not None:
                continue
            kept = mix(kept, value_of(sent.request))
            count = value_of(sent.request) % 3
            expected = [mix(kept, index) for index in range(count)]
            assert sent.results == expected[: len(sent.results)], (self.key, sent.position)
            if sent.final is not None and sent.final.failure is None:
                assert len(sent.results) == count


class DurableHouse:
    """`places` are engines behind the link; the client numbers positions as a route does."""

    def __init__(
        self,
        places: int = 1,
        *,
        keeps_log: bool = True,
        trials: Trials | None = None,
        **durability: Any,
    ) -> None:
        self.host = PlayHost()
        changes = {"durability": Durability(**durability)}
        self.config = sequence_config(**changes)
        self.link = DurableLink(self.config, "1", self.host, keeps_log=keeps_log, trials=trials)
        self.places: list[FakePlace] = []
        self.live: dict[SequenceKey, list[Tenancy]] = {}
        self.all: list[Tenancy] = []
        self.stray: list[Sent] = []
        self.warned: list[tuple[SequenceKey, EndWarning]] = []
        self.link.watch_sequences(self._on_end, lambda *warned: self.warned.append(warned))
        for _ in range(places):
            self.add()

    def add(self, **options: Any) -> FakePlace:
        place = FakePlace(self.config, self.host, **options)
        self.places.append(place)
        self.link.add_place(place, f"place {len(self.places)}")
        return place

    def at(self, key: SequenceKey) -> FakePlace:
        """The place where a sequence lives."""
        (place,) = [each for each in self.places if key in each.lives]
        return place

    def _on_end(self, key: SequenceKey, reason: EndReason, place: int) -> None:
        assert place != UNSTARTED
        tenancy = self.live[key].pop(place)
        if not self.live[key]:
            del self.live[key]
        tenancy.ends.append(reason)

    def send(
        self,
        key: SequenceKey,
        value: int,
        *,
        start: bool = False,
        end: bool = False,
        owner: int = 1,
    ) -> Sent:
        request = request_of(key, value, start=start, end=end)
        line = self.live.get(key, [])
        sent = Sent(RequestNumber(0), request, -1)
        sink: Callable[[Response], None] = sent.sink
        if start:
            tenancy = Tenancy(key)
            self.live.setdefault(key, []).append(tenancy)
            self.all.append(tenancy)
            sink = self._start_sink(tenancy, sent)
        elif not line:
            self.stray.append(sent)
            sent.number = self.link.submit(request, sink, OwnerNumber(owner), -1)
            return sent
        else:
            tenancy = line[-1]
        sent.position = len(tenancy.sent)
        tenancy.sent.append(sent)
        sent.number = self.link.submit(request, sink, OwnerNumber(owner), sent.position)
        return sent

    def _start_sink(self, tenancy: Tenancy, sent: Sent) -> Callable[[Response], None]:
        def receive(response: Response) -> None:
            if response.final and not response.admitted:
                tenancy.was_refused = True
                line = self.live.get(tenancy.key, [])
                if tenancy in line:
                    line.remove(tenancy)
                    if not line:
                        del self.live[tenancy.key]
            sent.sink(response)

        return receive

    def run(self, key: SequenceKey, *values: int, end: bool = False) -> list[Sent]:
        """A START and what follows, each answered before the next is sent."""
        sent = []
        for index, value in enumerate(values):
            last = index == len(values) - 1
            is_new = index == 0 and key not in self.live
            sent.append(self.send(key, value, start=is_new, end=end and last))
            self.finish()
        return sent

    def finish(self) -> None:
        """Let the engines do all they have to do, and time pass where that is waited for."""
        for _ in range(10_000):
            self.host.settle()
            ready = [place for place in self.places if place.ready() and not place.is_away]
            if not ready:
                return
            ready[0].work(ready[0].ready()[0])
        raise AssertionError("there is no end to it")

    def wait(self, seconds: float) -> None:
        """Let time pass, and be done what comes of it."""
        for _ in range(round(seconds * 20)):
            self.host.settle()
            self.host.sleep(50_000_000)
        self.host.settle()

    @property
    def counted(self) -> DurabilityStatistics:
        durability = self.link.statistics().durability
        assert durability is not None
        return durability

    def come_to_rest(self) -> None:
        """Let everything end, and see that it has, once, and that nothing is left."""
        for place in self.places:
            place.is_away = False
        for _ in range(40):
            self.finish()
            self.host.sleep(1_000_000_000)
        self.finish()
        for _ in range(40):
            for key in list(self.live):
                self.link.end_sequence(key, EndReason.CLIENT_ABORT, drain=False)
                self.finish()
            self.host.sleep(1_000_000_000)
            self.finish()
        for tenancy in self.all:
            tenancy.check()
            assert len(tenancy.ends) == (0 if tenancy.was_refused else 1), tenancy.ends
            for sent in tenancy.sent:
                assert sent.final is not None, (tenancy.key, sent.position)
        assert all(sent.final is not None for sent in self.stray)
        sequences = self.link._sequences
        left = [sequences.lanes, sequences.steps, sequences.held, sequences.asleep]
        assert left == [{}, {}, {}, {}]
        assert sequences.asleep_bytes == 0
        for known in self.link._places:
            assert (known.lanes, known.ghosts) == (set(), {})
        for place in self.places:
            assert not place.lives
        counted = self.counted
        assert (counted.log_bytes, counted.snapshot_bytes_kept, counted.recovering) == (0, 0, 0)


def failure_codes(sent: list[Sent]) -> list[Code | None]:
    return [
        None if each.final is None or each.final.failure is None else each.final.failure.code
        for each in sent
    ]
