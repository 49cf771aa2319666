"""A step that hangs on a thread of an engine process: the engine is started anew."""

from pathlib import Path

import aiohttp

from tests.durable.models import HANG_ONCE, hashes, write_objects
from tests.server.processes.test_real_server import Running, running, runtime
from tests.waiting import until_so

__all__ = ["runtime"]

MODEL = "hash_objects"


async def step(run: Running, value: int, *, start: bool = False, end: bool = False) -> int:
    url = f"http://{run.server.addresses['http']}/v2/models/{MODEL}/infer"
    flags = {"sequence_id": 7, "sequence_start": start, "sequence_end": end}
    tensor = {"name": "IN", "datatype": "INT64", "shape": [1, 1], "data": [[value]]}
    body = {"inputs": [tensor], "parameters": flags}
    async with run.session.post(url, json=body, timeout=aiohttp.ClientTimeout(60)) as answer:
        told = await answer.json()
        assert answer.status == 200, told
        return int(told["outputs"][0]["data"][0])


async def test_an_engine_with_a_step_that_hangs_is_started_anew(
    tmp_path: Path, runtime: Path
) -> None:
    models = tmp_path / "models"
    write_objects(models, parameters={"streamgate.step_timeout_seconds": "0.5"})
    async with running(models, runtime, "--engines", "1") as run:
        values = [3, 1, HANG_ONCE, 4]
        answers = [await step(run, 3, start=True), await step(run, 1)]
        answers += [await step(run, HANG_ONCE), await step(run, 4, end=True)]
        assert answers == hashes(values)
        await until_so(lambda: run.is_back("engine-0", 1))
        reason = (await run.process("engine-0"))["last_reason"]
        assert reason == f"it was stuck: a step or hook of model '{MODEL}' hangs"
        # Where it hung is in the log.
        assert any("in _suffer" in line for line in run.server.errors)
