"""The recordings of a sequence that moves: each can be run again on its own."""

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest

from streamgate.cli import main
from streamgate.core.ids import OwnerNumber
from streamgate.model.snapshot import Snapshot
from streamgate.recording.bundle import Bundle, read_bundle, write_redacted
from streamgate.recording.compare import compare_bundles
from streamgate.recording.format import BundleError
from streamgate.recording.options import RecordingOptions
from streamgate.recording.values import Entry, Origin
from tests.durable.house import Client, durable_house
from tests.durable.models import hashes, write_graph, write_objects
from tests.recording.entries import HEADER, floats, step, write

BEFORE, AFTER = [3, 1, 4], [1, 5, 9]


async def answer_of(ask: Callable[[Callable[[object], None]], None]) -> object:
    answer: asyncio.Future[object] = asyncio.get_running_loop().create_future()
    ask(answer.set_result)
    async with asyncio.timeout(20):
        return await answer


async def steps(client: Client, model: str, values: list[int]) -> list[int]:
    return [(await client.step(model, 7, value, start=value == BEFORE[0]))[0] for value in values]


async def record_a_move(models: Path, folder: Path, model: str) -> list[Bundle]:
    """The sequence's recordings at the server that it left and at the one that it went to."""
    expected = hashes([*BEFORE, *AFTER])
    snapshots = []
    async with durable_house(models, recording=RecordingOptions(folder / "a")) as house:
        assert await steps(house.client(), model, BEFORE) == expected[:3]
        route = house.server.route(model, "1")
        snapshots.append(await answer_of(lambda answer: route.hand_over(7, answer)))
    (snapshot,) = snapshots
    assert isinstance(snapshot, Snapshot)
    async with durable_house(models, recording=RecordingOptions(folder / "b")) as house:
        route = house.server.route(model, "1")
        owner = OwnerNumber(1)
        failure = await answer_of(lambda told: route.restore(7, owner, None, snapshot, told))
        assert failure is None
        assert await steps(house.client(), model, AFTER) == expected[3:]
    return [read_bundle(next((folder / name).iterdir())) for name in "ab"]


def replay(bundle: Bundle, models: Path) -> "asyncio.Future[int]":
    flags = ["replay", str(bundle.path), "--model-repository", str(models)]
    return asyncio.ensure_future(asyncio.to_thread(main, flags))


@pytest.mark.parametrize("model", ["hash", "hash_objects"])
async def test_both_parts_can_be_run_again(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], model: str
) -> None:
    models = tmp_path / "models"
    (write_graph if model == "hash" else write_objects)(models)
    first, second = await record_a_move(models, tmp_path, model)
    assert first.cut == "the sequence went on elsewhere"
    assert first.origin is None
    assert second.origin is not None
    assert second.origin.position == 2
    assert [each.step.position for each in second.steps] == [3, 4, 5]
    assert await replay(first, models) == 0
    assert await replay(second, models) == 0
    assert capsys.readouterr().out == "same: 3 steps, 3 responses\n" * 2


async def test_what_began_elsewhere_differs_where_it_does(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    models = tmp_path / "models"
    write_graph(models)
    _, second = await record_a_move(models, tmp_path, "hash")
    write_graph(tmp_path / "others", factor=5)
    assert await replay(second, tmp_path / "others") == 1
    assert capsys.readouterr().out.startswith("differs at position 3, response 0, output 'OUT'")
    # One that can't have this state says so.
    write_objects(tmp_path / "unlike", name="hash")
    assert await replay(second, tmp_path / "unlike") == 2
    assert "the state behind position 2, with which it begins, can't be restored" in (
        capsys.readouterr().err
    )


async def test_of_its_state_a_redacted_one_has_a_hash(tmp_path: Path) -> None:
    models = tmp_path / "models"
    write_graph(models)
    _, second = await record_a_move(models, tmp_path, "hash")
    write_redacted(second.path, tmp_path / "redacted")
    redacted = read_bundle(tmp_path / "redacted")
    assert redacted.origin is not None
    assert second.origin is not None
    assert redacted.origin.snapshot is None
    assert redacted.origin.digest == second.origin.digest
    assert compare_bundles(second, redacted) is None


def test_another_state_to_begin_with_is_the_first_difference(tmp_path: Path) -> None:
    def bundle(name: str, state: bytes) -> Bundle:
        entries: list[Entry] = [HEADER, Origin(4, state), step(0, floats("IN", 1))]
        return read_bundle(write(tmp_path / name, entries))

    difference = compare_bundles(bundle("a", b"1"), bundle("b", b"2"))
    assert difference is not None
    assert difference.what == "state to begin with"
    assert compare_bundles(bundle("c", b"1"), bundle("d", b"1")) is None


def test_an_origin_stands_at_the_beginning(tmp_path: Path) -> None:
    late = write(tmp_path / "late", [HEADER, step(0, floats("IN", 1)), Origin(4, b"1")])
    with pytest.raises(BundleError, match="its origin is not where it begins"):
        read_bundle(late)
