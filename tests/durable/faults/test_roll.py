"""Engines are renewed one after another, and models are loaded anew, under live streams: no client
sees an error."""

import sys
import time
from pathlib import Path

import pytest

from tests.durable.faults.crowd import ANSWERS, Crowd, gaps_text, streams_of, write_models
from tests.durable.faults.ground import ground
from tests.model.settings import LONG, ONLY_LONG

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600 if LONG else 120)]

STREAMS = 200 if LONG else 36
ENGINES = 3 if LONG else 2
PACE_SECONDS = 0.25
DRAIN_STEPS = 240 if LONG else 36
RELOAD_STEPS = 120
NEW = 'parameters {{ key: "edition" value {{ string_value: "{}" }} }}\n'


async def test_engines_are_drained_one_after_another(tmp_path: Path) -> None:
    write_models(tmp_path)
    crowd = Crowd(streams_of(STREAMS), DRAIN_STEPS, PACE_SECONDS)
    begun: list[float] = []
    left: list[int] = []
    async with ground(tmp_path, "--engines", str(ENGINES)) as house:
        old = [each["pid"] for each in await house.processes() if each["kind"] == "engine"]

        async def roll() -> None:
            for number in range(ENGINES):
                begun.append(time.monotonic())
                left.append(await house.drain(f"engine-{number}"))
                await house.until_accepting(*old[: number + 1])

        await crowd.live_through(house.addresses, roll)
        metrics = await house.metrics()
        moved = metrics.sum("streamgate_sequences_moved_total")
        lost = metrics.sum("streamgate_sequences_lost_total")
        assert (left, lost) == ([0] * ENGINES, 0)
        assert moved >= STREAMS // 2
    sys.stdout.write(
        f"{ENGINES} engines drained under {STREAMS} streams, {moved:.0f} moves; drain to next "
        f"answer, the pace of {PACE_SECONDS} s included: {gaps_text(crowd.streams, begun)}\n"
    )


@ONLY_LONG
async def test_models_are_loaded_anew(tmp_path: Path) -> None:
    write_models(tmp_path)
    crowd = Crowd(streams_of(STREAMS), RELOAD_STEPS, PACE_SECONDS)
    begun: list[float] = []
    flags = ("--model-control-mode", "explicit", "--load-model", "*")
    async with ground(tmp_path, "--engines", "2", *flags) as house:

        async def reload_all() -> None:
            for edition, name in enumerate(sorted(ANSWERS)):
                with (tmp_path / name / "config.pbtxt").open("a") as config:
                    config.write(NEW.format(edition))
                begun.append(time.monotonic())
                await house.load(name)

        await crowd.live_through(house.addresses, reload_all)
        metrics = await house.metrics()
        moved = metrics.sum("streamgate_sequences_moved_total")
        assert metrics.sum("streamgate_sequences_lost_total") == 0
    sys.stdout.write(
        f"{len(ANSWERS)} models loaded anew under {STREAMS} streams, {moved:.0f} moves; load to "
        f"next answer, the pace of {PACE_SECONDS} s included: {gaps_text(crowd.streams, begun)}\n"
    )
