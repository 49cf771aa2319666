"""Many live streams at once, mixed over all protocols, each at its pace, each checked in full."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from tests.durable.faults.tongues import Tongue, tongues
from tests.durable.models import (
    ensemble_hashes,
    hashes,
    write_ensemble,
    write_graph,
    write_objects,
)

TONGUES: Final = ("gRPC stream", "gRPC unary", "HTTP unary", "WebSocket")
ANSWERS: Final[Mapping[str, Callable[[Iterable[int]], list[int]]]] = {
    "hash": hashes,
    "hash_objects": hashes,
    "hash_ensemble": ensemble_hashes,
}


def write_models(
    repository: Path,
    slots: int = 256,
    parameters: Mapping[str, str] | None = None,
    idle_seconds: float = 600,
) -> None:
    """All models of a crowd. `parameters` are those of the two that have states."""
    write_graph(repository, slots=slots, idle_seconds=idle_seconds, parameters=parameters)
    write_objects(repository, slots=slots, idle_seconds=idle_seconds, parameters=parameters)
    write_ensemble(repository)


@dataclass
class Stream:
    """One sequence. `answered` are the moments of its answers, `asked` those of its requests, in
    seconds of this process."""

    tongue: str
    model: str
    key: int
    asked: list[float] = field(default_factory=list)
    answered: list[float] = field(default_factory=list)
    answers: list[int] = field(default_factory=list)

    def value(self, place: int) -> int:
        return self.key * 1000 + place

    async def run(self, spoken: Mapping[str, Tongue], steps: int, pace_seconds: float) -> None:
        """All its steps, one each pace, or as soon as the last one is answered."""
        talk = spoken[self.tongue](self.model, self.key)
        due = time.monotonic() + pace_seconds * (self.key % 100) / 100
        for place in range(steps):
            await asyncio.sleep(max(0.0, due - time.monotonic()))
            self.asked.append(time.monotonic())
            first, last = place == 0, place == steps - 1
            self.answers.append(await talk.step(self.value(place), start=first, end=last))
            self.answered.append(time.monotonic())
            due = max(due + pace_seconds, time.monotonic())

    def check(self, steps: int) -> None:
        """Every output once, in order, the same as in peace."""
        expected = ANSWERS[self.model](self.value(place) for place in range(steps))
        assert self.answers == expected, self

    def gap_after(self, moment: float) -> float | None:
        """From that moment to the next answer; None when there was none, or it was answered to
        nothing at that time: it began later or was over."""
        if not self.asked or self.asked[0] > moment:
            return None
        return next((each - moment for each in self.answered if each > moment), None)


def streams_of(count: int, first_key: int = 1) -> list[Stream]:
    """Mixed evenly over protocols and models."""
    models = sorted(ANSWERS)
    return [
        Stream(TONGUES[number % 4], models[number // 4 % 3], first_key + number)
        for number in range(count)
    ]


async def run_all(
    addresses: Mapping[str, str], streams: Sequence[Stream], steps: int, pace_seconds: float
) -> None:
    """All of them to their end, and checked."""
    async with tongues(addresses) as spoken, asyncio.TaskGroup() as group:
        for stream in streams:
            group.create_task(stream.run(spoken, steps, pace_seconds))
    for stream in streams:
        stream.check(steps)


@dataclass
class Crowd:
    """Streams that run while something happens to their server."""

    streams: list[Stream]
    steps: int
    pace_seconds: float

    async def live_through(
        self, addresses: Mapping[str, str], harm: Callable[[], Awaitable[None]]
    ) -> None:
        """Run all, and do the harm once all have been answered; all must end well."""
        harmed = asyncio.create_task(self._when_all_live(harm))
        try:
            await run_all(addresses, self.streams, self.steps, self.pace_seconds)
            await harmed
        finally:
            harmed.cancel()

    async def _when_all_live(self, harm: Callable[[], Awaitable[None]]) -> None:
        while not all(stream.answered for stream in self.streams):  # noqa: ASYNC110, no event
            await asyncio.sleep(0.01)
        await harm()


def percentile(values: Sequence[float], share: float) -> float:
    """The smallest value that so large a share of all does not exceed."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def gaps_text(streams: Sequence[Stream], moments: Sequence[float]) -> str:
    """Of all streams and moments: from each to the stream's next answer, in words."""
    found = [stream.gap_after(moment) for moment in moments for stream in streams]
    gaps = [gap for gap in found if gap is not None]
    told = [f"p{round(share * 100)} {percentile(gaps, share):.3f} s" for share in (0.5, 0.9, 0.99)]
    return f"{len(gaps)} gaps: {', '.join(told)}, longest {max(gaps):.3f} s"
