"""Twice as many streams as fit: who is let in, how late are they, and how soon do others know?

The device is a model that sleeps as a GPU would compute: fixed + per_row·rows milliseconds a step,
which are changed while it runs. Clients come over WebSocket with a step every 100 ms and stay for
5 s; who is refused comes again after a second. Peer: the same server with a fixed number of slots,
the number that fits the fast device, and the one that fits the slow one. Limit: results within the
pace (100 ms), refusals within 50 ms.

    python -m benchmarks.overload [--seconds 20] [--alone]
"""

from __future__ import annotations

import argparse
import asyncio
import shutil
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from benchmarks import machine
from benchmarks.paced_streams import Diary, keep_coming, percentile
from benchmarks.streamgate_server import streamgate_server

MODEL: Final = "paced_sleep"
PACE_MS: Final = 100.0
LIFE_SECONDS: Final = 5.0
ROWS: Final = 16
USE: Final = 0.85
"""The share of a pace that admission plans with."""
SETTLING_SECONDS: Final = 8.0
"""After a change of speed, until everybody who was let in before is gone."""
REFUSAL_MS: Final = 50.0
SAMPLE_SECONDS: Final = 0.25

FAST: Final = (20.0, 1.0)
SLOW: Final = (35.0, 2.0)
PHASES: Final = (("fast", FAST), ("slow", SLOW), ("fast again", FAST))

_CONFIG: Final = """
backend: "python"
max_batch_size: {rows}
input {{ name: "IN" data_type: TYPE_INT32 dims: 1 }}
output {{ name: "OUT" data_type: TYPE_INT32 dims: 1 }}
instance_group {{ kind: KIND_CPU }}
sequence_batching {{ oldest {{ max_candidate_sequences: {slots} }} }}
parameters {{ key: "knob" value {{ string_value: "{knob}" }} }}
{pace}
"""


@dataclass(frozen=True, slots=True)
class Rule:
    """How it is decided who is let in: by the pace, or by a number of slots alone."""

    name: str
    slots: int
    has_pace: bool = False


@dataclass(frozen=True, slots=True)
class Phase:
    """What was, once it had settled, while the device had one speed. Times are milliseconds."""

    rule: str
    speed: str
    streams: float
    lag_p50: float
    lag_p99: float
    refused: int
    refusal_p50: float
    refusal_p99: float
    failures: int


def fitting(fixed_ms: float, per_row_ms: float) -> int:
    """How many streams fit, as `docs/admission.md` derives it."""
    streams = 1
    while True:
        more = streams + 1
        wait_ms = fixed_ms * (1 + -(-(more - 1) // ROWS)) + per_row_ms * more
        if wait_ms > PACE_MS * USE:
            return streams
        streams = more


def turn(knob: Path, speed: tuple[float, float]) -> None:
    """The device has this speed from the next step on."""
    ready = knob.with_suffix(".new")
    ready.write_text("{:g} {:g}".format(*speed))
    ready.replace(knob)


def write_repository(place: Path, knob: Path, rule: Rule) -> None:
    pace = f'parameters {{ key: "streamgate.pace_ms" value {{ string_value: "{PACE_MS:g}" }} }}'
    config = _CONFIG.format(
        rows=ROWS, slots=rule.slots, knob=knob, pace=pace if rule.has_pace else ""
    )
    shutil.copytree(Path(__file__).parent / "unconfigured_models" / MODEL, place / MODEL)
    (place / MODEL / "config.pbtxt").write_text(config)


async def measure(url: str, knob: Path, rule: Rule, seconds: float) -> list[Phase]:
    """All phases, one after the other, with the same clients."""
    diary = Diary()
    clients = 2 * fitting(*FAST)
    until = time.monotonic() + seconds * len(PHASES)
    coming = [asyncio.create_task(_come(n / clients, url, until, diary)) for n in range(clients)]
    phases = [await _phase(diary, knob, rule, name, speed, seconds) for name, speed in PHASES]
    await asyncio.gather(*coming)
    return phases


async def _come(after_seconds: float, url: str, until: float, diary: Diary) -> None:
    await asyncio.sleep(after_seconds)
    await keep_coming(url, MODEL, PACE_MS / 1000, LIFE_SECONDS, until, diary)


async def _phase(
    diary: Diary, knob: Path, rule: Rule, name: str, speed: tuple[float, float], seconds: float
) -> Phase:
    end = time.monotonic() + seconds
    turn(knob, speed)
    await asyncio.sleep(SETTLING_SECONDS)
    begin, failures = time.monotonic(), diary.failures
    counts: list[int] = []
    while time.monotonic() < end - SAMPLE_SECONDS:
        counts.append(diary.live)
        await asyncio.sleep(SAMPLE_SECONDS)
    lags = [1000 * each.lag for each in diary.results if begin <= each.at < end]
    refusals = [1000 * each.seconds for each in diary.refusals if begin <= each.at < end]
    return Phase(
        rule.name,
        name,
        sum(counts) / max(1, len(counts)),
        percentile(lags, 0.5),
        percentile(lags, 0.99),
        len(refusals),
        percentile(refusals, 0.5),
        percentile(refusals, 0.99),
        diary.failures - failures,
    )


def report(phases: Sequence[Phase]) -> str:
    lines = [
        "| let in by | device | streams | lag p50 / p99, ms | refused | told after p50 / p99, ms |",
        "|---|---|---|---|---|---|",
    ]
    for each in phases:
        late = "**" if each.lag_p99 > PACE_MS else ""
        lines.append(
            f"| {each.rule} | {each.speed} | {each.streams:.0f} | "
            f"{each.lag_p50:.0f} / {late}{each.lag_p99:.0f}{late} | {each.refused} | "
            f"{each.refusal_p50:.1f} / {each.refusal_p99:.1f} |"
        )
    failures = sum(each.failures for each in phases)
    lines.append("")
    lines.append(f"Connections and steps that failed otherwise: {failures}.")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--seconds", type=float, default=20.0, help="of each phase (%(default)s)")
    parser.add_argument("--alone", action="store_true", help="by headroom only, without peers")
    parser.add_argument("--options", default="", help="further options of `streamgate serve`")
    options = parser.parse_args()
    rules = (
        Rule("headroom", 4 * fitting(*FAST), has_pace=True),
        Rule(f"{fitting(*FAST)} slots", fitting(*FAST)),
        Rule(f"{fitting(*SLOW)} slots", fitting(*SLOW)),
    )
    print({"machine": machine.describe()})
    print(f"fit: {fitting(*FAST)} fast, {fitting(*SLOW)} slow; {2 * fitting(*FAST)} clients\n")
    phases: list[Phase] = []
    for rule in rules[:1] if options.alone else rules:
        with tempfile.TemporaryDirectory() as folder:
            place = Path(folder)
            knob = place / "knob"
            turn(knob, FAST)
            write_repository(place / "models", knob, rule)
            with streamgate_server(place / "models", place, options.options.split()) as server:
                url = f"ws://{server.websocket}/v1/sequence"
                phases += asyncio.run(measure(url, knob, rule, options.seconds))
    print(report(phases))


if __name__ == "__main__":
    main()
