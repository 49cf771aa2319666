from collections.abc import Collection

import pytest

from streamgate.core.commands import Command
from streamgate.core.events import Completed, Event, Submit
from streamgate.core.factory import create_scheduler
from streamgate.core.ids import Ns, RequestNumber, StepNumber
from streamgate.core.scheduler import Scheduler, SchedulerStatistics, SlotHolder
from streamgate.core.trace import decode, encode, replay
from streamgate.model.config import (
    DefaultScheduling,
    DynamicBatching,
    QueuePolicy,
    Scheduling,
    TimeoutAction,
)
from streamgate.model.request import SequenceKey
from tests.core.scenarios import SCENARIOS, TRACES

HEADER = '{"scheduling":{"DefaultScheduling":{}},"max_batch_size":0,"instances":1}'


def kept(name: str) -> list[str]:
    return (TRACES / f"{name}.jsonl").read_text(encoding="utf-8").splitlines()


def test_every_trace_has_its_scenario() -> None:
    assert {path.stem for path in TRACES.glob("*.jsonl")} == set(SCENARIOS)


@pytest.mark.parametrize("name", SCENARIOS)
def test_trace_replays_line_by_line(name: str) -> None:
    lines = kept(name)
    assert list(replay(lines, create_scheduler)) == lines


@pytest.mark.parametrize("name", SCENARIOS)
def test_trace_is_what_its_scenario_writes(name: str) -> None:
    assert SCENARIOS[name]().lines == kept(name)


@pytest.mark.parametrize("name", SCENARIOS)
def test_trace_comes_to_rest(name: str) -> None:
    assert SCENARIOS[name]().scheduler.statistics().running_steps == 0


def test_other_behaviour_shows() -> None:
    class Forgetful:
        def __init__(self, scheduler: Scheduler) -> None:
            self.scheduler = scheduler

        def receive(self, event: Event, now: Ns) -> None:
            self.scheduler.receive(event, now)

        def poll(self, now: Ns) -> list[Command]:
            return self.scheduler.poll(now)[1:]

        def wake_at(self) -> Ns | None:
            return self.scheduler.wake_at()

        def statistics(self) -> SchedulerStatistics:
            return self.scheduler.statistics()

        def holders(
            self, limit: int, only: Collection[SequenceKey] | None = None
        ) -> list[SlotHolder]:
            return self.scheduler.holders(limit, only)

    def create(scheduling: Scheduling, max_batch_size: int, instances: int) -> Scheduler:
        return Forgetful(create_scheduler(scheduling, max_batch_size, instances))

    lines = kept("direct-gaps")
    assert list(replay(lines, create)) != lines


@pytest.mark.parametrize(
    "value",
    [
        Submit(RequestNumber(1), "a", start=True, signature=("x", (1, 2), None, 1.5)),
        Completed(StepNumber(3), frozenset({RequestNumber(2), RequestNumber(1)})),
        DefaultScheduling(),
        DynamicBatching((2,), policies={2: QueuePolicy(TimeoutAction.DELAY), 1: QueuePolicy()}),
    ],
)
def test_value_survives(value: object) -> None:
    assert decode(encode(value)) == value


def test_value_that_no_trace_can_hold() -> None:
    with pytest.raises(TypeError, match="a trace can't hold b'raw'"):
        encode(Submit(RequestNumber(1), signature=b"raw"))


@pytest.mark.parametrize(
    ("lines", "number"),
    [
        (['{"now":1,"poll":[],"wake_at":null}'], 1),
        ([HEADER, '{"now":1}'], 2),
        ([HEADER, "7"], 2),
    ],
    ids=["no header", "no event", "no object"],
)
def test_no_trace_names_the_line(lines: list[str], number: int) -> None:
    with pytest.raises(ValueError, match=f"line {number} is not one of a trace"):
        list(replay(lines, create_scheduler))
