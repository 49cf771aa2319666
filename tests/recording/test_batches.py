"""With whom a step ran, as a bundle tells it."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from streamgate.cli import main
from streamgate.recording.bundle import Bundle, read_bundle, write_redacted
from streamgate.recording.compare import compare_bundles
from streamgate.recording.options import RecordingOptions
from streamgate.recording.values import Batched
from tests.durable.house import DurableHouse, durable_house
from tests.durable.models import hashes, write_ensemble, write_graph, write_objects


@asynccontextmanager
async def recorded(models: Path, bundles: Path, *names: str) -> AsyncIterator[DurableHouse]:
    async with durable_house(models, recording=RecordingOptions(bundles, names)) as house:
        yield house


def bundles_of(folder: Path) -> dict[object, Bundle]:
    return {bundle.header.sequence: bundle for bundle in map(read_bundle, folder.iterdir())}


def batches(bundle: Bundle) -> list[Batched]:
    found = [result.batch for step in bundle.steps for result in step.results]
    assert all(found)
    return [each for each in found if each is not None]


async def test_each_step_names_those_that_shared_its_batch(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    models, folder = tmp_path / "models", tmp_path / "bundles"
    write_graph(models)
    async with recorded(models, folder) as house:
        client = house.client()
        answers = [client.send("hash", key, 3, start=True) for key in (1, 2, "three")]
        await asyncio.gather(*answers)
        assert await client.step("hash", 1, 4, end=True) == [hashes([3, 4])[-1]]
    found = bundles_of(folder)
    together, alone = batches(found[1])
    assert (together.instance, together.rows, together.sequences) == ("hash_0_0", 3, 3)
    assert list(together.others) == [2, "three"]
    assert (alone.rows, alone.sequences, list(alone.others)) == (1, 1, [])
    assert alone.number > together.number
    assert [list(batches(found[key])[0].others) for key in (2, "three")] == [[1, "three"], [1, 2]]
    # Who it was is hashed where nothing else is told either, and does not count as a difference.
    write_redacted(found[1].path, tmp_path / "redacted")
    redacted = read_bundle(tmp_path / "redacted")
    hashed = batches(redacted)[0]
    assert (hashed.rows, hashed.sequences) == (3, 3)
    assert all(str(each).startswith("sha256:") for each in hashed.others)
    assert compare_bundles(found[1], redacted) is None
    # A replay that differs tells both batches.
    write_graph(tmp_path / "others", factor=5)
    flags = ["replay", str(found[1].path), "--model-repository", str(tmp_path / "others")]
    assert await asyncio.to_thread(main, flags) == 1
    shown = capsys.readouterr()
    assert shown.out.startswith("differs at position 1, response 0, output 'OUT'")
    assert (
        "note: the step that differs ran in a batch of 1 on 'hash_0_0' then, in a batch of 1 on "
        "'hash_0_0' now\n"
    ) in shown.err


async def test_a_difference_names_both_batches(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    models, folder = tmp_path / "models", tmp_path / "bundles"
    write_graph(models)
    async with recorded(models, folder) as house:
        client = house.client()
        await client.step("hash", 1, 1, start=True)
        await client.step("hash", "two", 1, start=True)
        await asyncio.gather(*(client.send("hash", key, 3) for key in (1, "two")))
    bundle = bundles_of(folder)[1]
    write_graph(tmp_path / "others", factor=5)
    flags = ["replay", str(bundle.path), "--model-repository", str(tmp_path / "others")]
    assert await asyncio.to_thread(main, flags) == 1
    assert (
        "note: the step that differs ran in a batch of 2 on 'hash_0_0' with 'two' then, in a batch "
        "of 1 on 'hash_0_0' now\n"
    ) in capsys.readouterr().err


async def test_of_an_ensemble_its_models_tell_it(tmp_path: Path) -> None:
    models, folder = tmp_path / "models", tmp_path / "bundles"
    write_graph(models)
    write_objects(models)
    write_ensemble(models)
    async with recorded(models, folder) as house:
        client = house.client()
        await client.sequence("hash_ensemble", 1, [3, 1])
    bundles = [read_bundle(path) for path in folder.iterdir()]
    found = {bundle.header.model: bundle for bundle in bundles}
    assert [batch.rows for batch in batches(found["hash"])] == [1, 1]
    assert {batch.instance for batch in batches(found["hash_objects"])} == {"hash_objects_0_0"}
    outer = found["hash_ensemble"]
    assert [result.batch for step in outer.steps for result in step.results] == [None, None]
