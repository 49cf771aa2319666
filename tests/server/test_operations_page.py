"""The page on operations keeps up with the flags and the metrics."""

import argparse
import re
from pathlib import Path

from streamgate.cli import _parser
from streamgate.model.statistics import Histogram, SequenceStatistics
from streamgate.observe.metrics import render
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
    text = render([statistics(sequences=sequences)]).decode()
    families = dict(re.findall(r"^# TYPE (\S+) (\S+)$", text, re.MULTILINE))
    described = dict(re.findall(r"^\| `(\w+)` \| (\w+) \|", PAGE, re.MULTILINE))
    assert described == families
