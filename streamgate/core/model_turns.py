"""The turns of one model's instances on the devices that they share with others'."""

from collections.abc import Callable, Iterable
from typing import final

from streamgate.core.device_line import DeviceLine
from streamgate.core.ids import InstanceIndex, Ns
from streamgate.core.party import Party
from streamgate.core.urgency import Urgency
from streamgate.model.request import SequenceKey


@final
class ModelTurns:
    """Implements `streamgate.core.gate.Gate`. `on_change` is told of each line in which it may be
    somebody else's turn now, or at another time."""

    def __init__(self, urgency: Urgency, on_change: Callable[[DeviceLine], None]) -> None:
        self._urgency = urgency
        self._on_change = on_change
        self._places: dict[InstanceIndex, tuple[DeviceLine, Party]] = {}

    def join(self, instance: InstanceIndex, line: DeviceLine) -> Party:
        """The instance's steps run on this device from now on."""
        party = line.join(self._urgency)
        self._places[instance] = line, party
        return party

    def part(self, instance: InstanceIndex, now: Ns) -> None:
        """The instance is gone, with what it ran; whatever is said of it later is of no account."""
        line, party = self._places.pop(instance)
        line.part(party, now)
        self._on_change(line)

    def ask(
        self,
        instance: InstanceIndex,
        least: int,
        most: int,
        requests: Iterable[tuple[int, int]],
        now: Ns,
    ) -> int:
        place = self._places.get(instance)
        if place is None:
            return 0
        line, party = place
        line.claim(party, least, most, self._urgency.deadline_at(requests, now), now)
        self._on_change(line)
        return line.rows(party, now)

    def rest(self, instance: InstanceIndex, now: Ns) -> None:
        place = self._places.get(instance)
        if place is not None and (place[1].claim is not None or place[1].stirs):
            line, party = place
            line.drop(party, now)
            self._on_change(line)

    def arrived(self, instance: InstanceIndex, sequence: SequenceKey, now: Ns) -> None:
        place = self._places.get(instance)
        if place is not None:
            place[1].expect_next(sequence, now)

    def stir(self, instance: InstanceIndex) -> None:
        place = self._places.get(instance)
        if place is not None:
            place[1].stirs = True

    def start(self, instance: InstanceIndex, rows: int, now: Ns) -> None:
        line, party = self._places[instance]
        line.start(party, rows, now)

    def end(self, instance: InstanceIndex, now: Ns) -> None:
        place = self._places.get(instance)
        if place is not None:
            line, party = place
            line.end(party, now)
            self._on_change(line)
