"""Hooks of a model that hang on its instance's thread, while no step runs there."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import numpy as np
import pytest

from streamgate.model.config import WorkerLimits
from tests.engine.house import WAIT_SECONDS
from tests.engine.python_stage import open_model, sequence_config
from tests.engine.stage import Stage
from tests.waiting import until

MODEL = """
class TritonPythonModel:
    def initialize(self, args):
        self.folder = args["model_repository"]

    def look(self, hook):
        if os.path.exists(f"{self.folder}/hang {hook}"):
            wait_for(f"{self.folder}/wake")

    def execute(self, requests):
        return [answer(OUT=value_of(request)) for request in requests]

    def get_state(self, correlation_id):
        self.look("get_state")
        return b"state"

    def set_state(self, correlation_id, state):
        self.look("set_state")

    def on_sequence_end(self, correlation_id, reason):
        self.look("on_sequence_end")

    def is_ready(self):
        self.look("is_ready")
        return True
"""
ONE = {"IN": np.array([1], np.int32)}


async def snapshot(stage: Stage) -> None:
    await stage.runtime.places.snapshot(1, 0, WAIT_SECONDS)


async def restore(stage: Stage) -> None:
    places = stage.runtime.places
    await places.restore(1, await places.snapshot(1, 0, WAIT_SECONDS), WAIT_SECONDS)


async def end(stage: Stage) -> None:
    await stage.step(1, ONE, end=True)


async def ask(stage: Stage) -> None:
    await stage.runtime.is_ready()


@pytest.mark.parametrize(
    ("hook", "provoke"),
    [("get_state", snapshot), ("set_state", restore), ("on_sequence_end", end), ("is_ready", ask)],
)
async def test_a_hook_that_hangs_is_found(
    tmp_path: Path, hook: str, provoke: Callable[[Stage], Awaitable[None]]
) -> None:
    config = sequence_config(worker_limits=WorkerLimits(step_timeout_ns=100_000_000))
    async with open_model(tmp_path, MODEL, config) as stage:
        await stage.step(1, ONE, start=True)
        instances = stage.runtime.statistics
        await until(lambda: not instances().instances.hung)
        (tmp_path / f"hang {hook}").touch()
        doing = asyncio.ensure_future(provoke(stage))
        await until(lambda: instances().instances.hung == 1)
        assert not await stage.runtime.is_ready()
        (tmp_path / "wake").touch()
        await doing
        await until(lambda: not instances().instances.hung)
        # Nobody looks when there is nothing to look at.
        await until(lambda: stage.runtime._instances._watch._timer is None)
