"""The page on operations keeps up with the flags and the metrics."""

import argparse
import json
import re
from dataclasses import fields
from pathlib import Path

from prometheus_client import CollectorRegistry

from streamgate.cli import _parser
from streamgate.model.statistics import (
    DurabilityStatistics,
    Histogram,
    SequenceStatistics,
    SlotView,
)
from streamgate.observe.durability import render_durability
from streamgate.observe.exposition import render_registry
from streamgate.observe.families import Merged
from streamgate.observe.metrics import render
from streamgate.observe.resumption import ResumeCounts, render_resumption
from streamgate.observe.speech import render_speech
from streamgate.observe.store import StoreFigures, render_store
from streamgate.server.processes.scrape import supervised
from streamgate.session.gateway import SLOTS_SHOWN
from tests.observe.test_metrics import statistics

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "operations.md").read_text("utf-8")


def flags_of(parser: argparse.ArgumentParser) -> set[str]:
    return {
        flag
        for action in parser._actions
        for flag in action.option_strings
        if flag.startswith("--") and flag != "--help"
    }


def test_every_flag_is_described() -> None:
    (commands,) = (
        action for action in _parser()._actions if isinstance(action, argparse._SubParsersAction)
    )
    flags = flags_of(commands.choices["serve"])
    assert len(flags) > 15
    described = set(re.findall(r"`(--[a-z-]+)`", PAGE))
    assert flags - described == set()


def test_every_metric_is_described_with_its_type() -> None:
    sequences = SequenceStatistics(1, 1, 1, 1, {}, Histogram((), (0,), 0.0))
    registry = CollectorRegistry()
    merged = Merged()
    merged.add_sum(supervised([]))
    registry.register(merged)
    text = b"".join(
        [
            render([statistics(sequences=sequences)]),
            render_durability({("m", "1"): DurabilityStatistics()}),
            render_resumption(ResumeCounts()),
            render_speech({"m": Histogram((), (0,), 0.0)}),
            render_store(StoreFigures(True, 0, 0, 0, 0, 0, 0, 0, 0)),
            render_registry(registry),
        ]
    )
    families = dict(re.findall(r"^# TYPE (\S+) (\S+)$", text.decode(), re.MULTILINE))
    described = dict(re.findall(r"^\| `(\w+)` \| (\w+) \|", PAGE, re.MULTILINE))
    assert described == families


def test_the_slot_table_is_as_shown() -> None:
    example = PAGE.split("## The slot table")[1].split("```json\n")[1].split("```")[0]
    ((view,),) = (model["sequences"] for model in json.loads(example)["models"])
    assert list(view) == [field.name for field in fields(SlotView)]
    assert f"at most {SLOTS_SHOWN} are shown" in PAGE
