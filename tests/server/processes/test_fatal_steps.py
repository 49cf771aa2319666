"""Steps that cost their engine process each time they run, and steps that only seem to."""

import asyncio
import os
import signal
from pathlib import Path

import pytest

from tests.durable.faults.tongues import tongues
from tests.durable.models import HANG_ONCE, KILL, hashes, marks_of, write_objects
from tests.server.processes.test_real_server import Running, running, runtime
from tests.waiting import until

__all__ = ["runtime"]

FATAL, OTHER = "fatal", "other"
PATIENT = ("--link-silence-ms", "20000", "--freeze-limit-secs", "60")
"""The machine may have other things to do."""


async def restarts(run: Running) -> int:
    return sum(each["restarts"] for each in (await run.ask("status"))["processes"])


async def test_a_step_that_kills_its_engine_is_not_run_for_ever(
    tmp_path: Path, runtime: Path
) -> None:
    """Sequences of another model, which are lost with it, go on: nothing but a pause."""
    models = tmp_path / "models"
    write_objects(models, FATAL)
    write_objects(models, OTHER)
    async with (
        running(models, runtime, "--engines", "2", *PATIENT) as run,
        tongues(run.server.addresses) as spoken,
    ):
        others = [spoken["HTTP unary"](OTHER, key) for key in range(1, 5)]
        begun = [await talk.step(3, start=True) for talk in others]
        assert begun == hashes([3]) * 4
        killer = spoken["HTTP unary"](FATAL, 9)
        assert await killer.step(3, start=True) == hashes([3])[0]
        # Three times where the word of how an engine ended came late.
        blamed = "an engine was lost or stuck [23] times with the request at position 1"
        with pytest.raises(AssertionError, match=blamed):
            await killer.step(KILL)
        for talk in others:
            assert await talk.step(1, end=True) == hashes([3, 1])[-1]
        assert await restarts(run) >= 2


async def test_a_step_that_is_killed_from_outside_twice_is_not_to_blame(
    tmp_path: Path, runtime: Path
) -> None:
    models = tmp_path / "models"
    write_objects(models, OTHER)
    marks = marks_of(models, OTHER)
    async with (
        running(models, runtime, "--engines", "1", *PATIENT) as run,
        tongues(run.server.addresses) as spoken,
    ):
        talk = spoken["HTTP unary"](OTHER, 1)
        assert await talk.step(3, start=True) == hashes([3])[0]
        answer = asyncio.create_task(talk.step(HANG_ONCE))
        for _ in range(2):
            await until((marks / "hangs").exists)
            await until((marks / "hangs").read_text)
            pid = int((marks / "hangs").read_text())
            (marks / "hangs").unlink()
            for mark in marks.glob("suffered *"):
                mark.unlink()
            os.kill(pid, signal.SIGKILL)
        await until((marks / "hangs").exists)
        (marks / "wake").touch()
        assert await answer == hashes([3, HANG_ONCE])[-1]
        assert await talk.step(4, end=True) == hashes([3, HANG_ONCE, 4])[-1]
        assert await restarts(run) >= 2
