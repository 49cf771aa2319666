"""A check that never fails proves nothing: a model that restores a blank state is found out, by the
results that its replay gives once more."""

import asyncio
from pathlib import Path

from streamgate.errors import Code, EndReason
from tests.durable.house import DurableHouse, durable_house
from tests.durable.models import KILL_ONCE, hashes, write_objects
from tests.durable.test_worker_loss import durability

WAIT_SECONDS = 20.0
MODEL = "hash_objects"

SOUND = "        self.kept[correlation_id] = int(state)\n"
BLANK = "        self.kept[correlation_id] = 0\n"


def write_model(repository: Path, *, exact: bool) -> None:
    """A model that forgets what it is given to restore."""
    parameters = {"streamgate.snapshot_steps": "4"}
    if exact:
        parameters["streamgate.determinism"] = "fixed_bucket"
    write_objects(repository, MODEL, execution="process", parameters=parameters)
    code = repository / MODEL / "1" / "model.py"
    text = code.read_text()
    assert text.count(SOUND) == 1
    code.write_text(text.replace(SOUND, BLANK))


async def snapshot_is_there(house: DurableHouse) -> None:
    async with asyncio.timeout(WAIT_SECONDS):
        while (await durability(house, MODEL)).snapshots < 1:  # noqa: ASYNC110 - no event
            await asyncio.sleep(0.01)


VALUES = [*range(6), KILL_ONCE]
"""A snapshot is taken behind the first 4: two that were answered are replayed after the kill."""


async def test_a_blank_state_is_found_out(tmp_path: Path) -> None:
    write_model(tmp_path, exact=True)
    async with durable_house(tmp_path) as house:
        client = house.client()
        answers = []
        for index, value in enumerate(VALUES[:-1]):
            answers += await client.step(MODEL, 1, value, start=index == 0)
        assert answers == hashes(VALUES[:-1])
        await snapshot_is_there(house)
        (response,) = await client.ask(MODEL, 1, VALUES[-1])
        assert response.failure is not None
        assert response.failure.code is Code.INTERNAL
        assert "gave another result than the client has had" in response.failure.message
        assert client.ends == [(MODEL, 1, EndReason.ERROR)]
        assert (await durability(house, MODEL)).mismatches == 1


async def test_a_sound_one_is_not(tmp_path: Path) -> None:
    """The same story with the model as it is."""
    parameters = {"streamgate.snapshot_steps": "4", "streamgate.determinism": "fixed_bucket"}
    write_objects(tmp_path, MODEL, execution="process", parameters=parameters)
    async with durable_house(tmp_path) as house:
        client = house.client()
        answers = []
        for index, value in enumerate(VALUES):
            if value == KILL_ONCE:
                await snapshot_is_there(house)
            answers += await client.step(MODEL, 1, value, start=index == 0)
        assert answers == hashes(VALUES)
        counted = await durability(house, MODEL)
        assert (counted.recovered, counted.mismatches) == (1, 0)
        assert counted.suppressed_results > 0


async def test_without_that_promise_the_hash_itself_tells(tmp_path: Path) -> None:
    """Nothing is compared where bits are not promised: that tests see what clients would."""
    write_model(tmp_path, exact=False)
    async with durable_house(tmp_path) as house:
        client = house.client()
        for index, value in enumerate(VALUES[:-1]):
            await client.step(MODEL, 1, value, start=index == 0)
        await snapshot_is_there(house)
        answers = await client.step(MODEL, 1, VALUES[-1])
        assert answers != hashes(VALUES)[-1:]
