"""An ensemble over models whose every step and move waits for the test.

first (sequences) -> middle (stateless) -> last (sequences)
"""

from dataclasses import dataclass, field, replace

from streamgate.core.ids import OwnerNumber
from streamgate.engine.ensemble.runtime import EnsembleRuntime
from streamgate.errors import Failure
from streamgate.model.config import Durability, ModelConfig
from streamgate.model.request import SequenceKey
from streamgate.model.snapshot import Snapshot
from streamgate.repository.composition import compose
from streamgate.session.routing import READY, ModelTable, Route, VersionState
from tests.engine.ensemble_house import (
    CHAIN,
    CHAIN_MODELS,
    EnsembleHouse,
    Talk,
)
from tests.engine.play_host import PlayHost
from tests.engine.play_model import PlayModel

FIRST, LAST = 0, 2
"""The places of the stateful steps."""

STEPS = 4
LIVELY = Durability(snapshot_steps=STEPS, snapshot_ns=0, snapshot_bytes_per_second=0)
"""Due after so many steps, whatever the time and the cost."""


@dataclass(repr=False)
class MovingHouse(EnsembleHouse):
    """The models by name, and what snapshots were handed out unasked, each with how many answers
    had been given to its sequence's client by then."""

    models: dict[str, PlayModel] = field(default_factory=dict)
    snapshots: list[tuple[SequenceKey, Snapshot]] = field(default_factory=list)

    @classmethod
    def build(
        cls,
        durability: Durability = LIVELY,
        config: ModelConfig = CHAIN,
        *,
        watched: bool = True,
    ) -> "MovingHouse":
        host = PlayHost()
        table = ModelTable()
        models = {each.name: PlayModel(each) for each in CHAIN_MODELS}
        for name, model in models.items():
            table.set(name, 1, VersionState(READY, route=Route(model)))
        known = {name: model.config for name, model in models.items()}
        config = replace(compose(config, known), durability=durability)
        ensemble = EnsembleRuntime(config, "1", table.route, host)
        table.set("e", 1, VersionState(READY, route=Route(ensemble)))
        house = cls(host, table, {"e": ensemble}, {}, models=models)
        if watched:
            ensemble.watch_snapshots(house._note_snapshot)
        return house

    def _note_snapshot(self, key: SequenceKey, snapshot: Snapshot, hibernates: bool) -> None:
        assert not hibernates
        self.snapshots.append((key, snapshot))

    @property
    def ensemble(self) -> EnsembleRuntime:
        runtime = self.runtimes["e"]
        assert isinstance(runtime, EnsembleRuntime)
        return runtime

    @property
    def route(self) -> Route:
        return self.table.route("e", "")

    def work(self, *names: str) -> None:
        """Let these models do what waits first."""
        self.host.settle()
        for name in names:
            self.models[name].work()
            self.host.settle()

    def busy(self) -> list[str]:
        return [name for name, model in self.models.items() if model.jobs]

    def finish(self) -> None:
        """Let all models work until nothing is left to do."""
        self.host.settle()
        for _ in range(10_000):
            busy = self.busy()
            if not busy:
                return
            self.work(busy[0])
        raise AssertionError("the models do not come to rest")

    def lose(self, name: str) -> None:
        self.models[name].lose()
        self.host.settle()

    def hand_over(self, key: SequenceKey) -> list[Snapshot | Failure]:
        """Ask the sequence to leave; what comes of it."""
        answers: list[Snapshot | Failure] = []
        self.route.hand_over(key, answers.append)
        self.host.settle()
        return answers

    def restore(self, key: SequenceKey, snapshot: Snapshot, owner: int = 1) -> list[Failure | None]:
        """Ask the sequence to come back; what comes of it."""
        answers: list[Failure | None] = []
        connection = self.connection(owner)
        listener = connection._listener(self.route)
        self.route.restore(key, OwnerNumber(owner), listener, snapshot, answers.append)
        connection._add_route(self.route, listener)
        return answers

    def alive(self) -> dict[str, list[SequenceKey]]:
        """The sequences of each stateful model."""
        return {name: list(self.models[name].kept) for name in ("first", "last")}

    def check_nothing_left(self) -> None:
        assert self.alive() == {"first": [], "last": []}
        assert self.busy() == []
        for route in self.table.routes():
            assert len(route.positions) == 0, route.config.name
            assert not route.is_held, route.config.name
        assert self.ensemble._calls == {}
        assert self.ensemble._owned == {}
        assert self.ensemble._sequences.open_keys() == []


def sent(talk: Talk, count: int, *, end: bool = False) -> None:
    """So many more requests of the talk, the first of all with START, the last of these with END if
    told."""
    for place in range(count):
        talk.send(len(talk.sent), start=not talk.sent, end=end and place == count - 1)


def went_on(talk: Talk, house: MovingHouse) -> Talk:
    """The same talk in another house: what it sends follows what it sent."""
    other = Talk(house, talk.key, owner=talk.owner)
    other.sent = list(talk.sent)
    other.finals = dict(talk.finals)
    return other
