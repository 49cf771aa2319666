"""What every session store does, whatever it keeps things in."""

import asyncio
import random

import pytest

from streamgate.snapshot.contract import (
    KeptKey,
    KeptResult,
    KeptSnapshot,
    KeptStep,
    NotTakenError,
    SequenceWriter,
    SessionStore,
    WhyNot,
)
from tests.snapshot.conftest import Shop
from tests.snapshot.watching import Watcher, new_key
from tests.waiting import until

LARGE = 300_000


async def refusal(store: SessionStore, key: KeptKey, *, only_from_dead: bool) -> NotTakenError:
    with pytest.raises(NotTakenError) as caught:
        await store.take(key, Watcher(), only_from_dead=only_from_dead)
    return caught.value


async def is_owned(store: SessionStore, key: KeptKey) -> bool:
    """Whether it still has an owner that lives. If not, it is taken."""
    try:
        await store.take(key, Watcher(), only_from_dead=True)
    except NotTakenError as error:
        if error.why is not WhyNot.OWNED:
            raise
        return True
    return False


async def stored(watcher: Watcher, writer: SequenceWriter, position: int, index: int = 0) -> None:
    """Put a result and wait until it is stored, and with it all that was written before it."""
    watcher.put(writer, KeptResult(position, index, b"result"))
    await until(lambda: (position, index) in watcher.stored)


async def test_another_takes_all_of_it(shop: Shop) -> None:
    one, other = await shop.store("one"), await shop.store("other")
    key, watcher = new_key(), Watcher()
    writer = one.open(key, "3", "note \u00e9", watcher)
    for position in range(4):
        writer.append(position, b"step %d" % position)
        watcher.put(writer, KeptResult(position, 0, b"result %d" % position))
    writer.put_snapshot(1, b"state after 1")
    watcher.put(writer, KeptResult(3, 1, b"a second one"))
    await until(lambda: len(watcher.stored) == 5)
    assert watcher.stored == [(0, 0), (1, 0), (2, 0), (3, 0), (3, 1)]

    kept, _ = await other.take(key, Watcher(), only_from_dead=False)
    assert (kept.version, kept.note, kept.next_position) == ("3", "note \u00e9", 4)
    assert kept.snapshot == KeptSnapshot(1, b"state after 1")
    assert list(kept.steps) == [KeptStep(2, b"step 2"), KeptStep(3, b"step 3")]
    expected = [KeptResult(position, 0, b"result %d" % position) for position in range(4)]
    assert list(kept.results) == [*expected, KeptResult(3, 1, b"a second one")]
    assert kept.results_dropped == 0


async def test_nothing_is_told_before_the_call_returns(shop: Shop) -> None:
    store, watcher = await shop.store("one"), Watcher()
    writer = store.open(new_key(), "1", "", watcher)
    writer.append(0, b"")
    watcher.put(writer, KeptResult(0, 0, b""))
    assert watcher.stored == []
    await until(lambda: watcher.stored == [(0, 0)])


async def test_who_asks_is_told_once_all_before_is_stored(shop: Shop) -> None:
    one, other = await shop.store("one"), await shop.store("other")
    key, watcher = new_key(), Watcher()
    writer = one.open(key, "1", "", watcher)
    writer.append(0, b"step")
    told = asyncio.Event()
    writer.when_stored(told.set)
    assert not told.is_set()
    await until(told.is_set)
    kept, _ = await other.take(key, Watcher(), only_from_dead=False)
    assert list(kept.steps) == [KeptStep(0, b"step")]
    # It has no more to write, and finds out all the same that it may not.
    again = asyncio.Event()
    writer.when_stored(again.set)
    await until(lambda: watcher.fenced)
    assert not again.is_set()


async def test_who_takes_it_goes_on_and_is_taken_from(shop: Shop) -> None:
    stores = [await shop.store(name) for name in ("a", "b", "c")]
    key = new_key()
    watcher = Watcher()
    writer = stores[0].open(key, "1", "", watcher)
    writer.append(0, b"0")
    await stored(watcher, writer, 0)
    epochs = []
    for turn, store in enumerate(stores[1:], 1):
        watcher = Watcher()
        kept, writer = await store.take(key, watcher, only_from_dead=False)
        epochs.append(kept.epoch)
        assert [step.position for step in kept.steps] == list(range(turn))
        writer.append(turn, b"%d" % turn)
        writer.drop_results(1)
        await stored(watcher, writer, turn)
    kept, _ = await stores[0].take(key, Watcher(), only_from_dead=False)
    assert [step.data for step in kept.steps] == [b"0", b"1", b"2"]
    assert [result.position for result in kept.results] == [2]
    assert kept.results_dropped == 2
    assert epochs[0] < epochs[1] < kept.epoch


async def test_a_writer_that_was_taken_from_is_fenced(shop: Shop) -> None:
    one, other = await shop.store("one"), await shop.store("other")
    key, watcher = new_key(), Watcher()
    writer = one.open(key, "1", "", watcher)
    writer.append(0, b"0")
    await stored(watcher, writer, 0)
    _, heir = await other.take(key, Watcher(), only_from_dead=False)
    refused = one.health().refused_writes

    writer.append(1, b"from the dead")
    writer.put_snapshot(1, b"from the dead")
    watcher.put(writer, KeptResult(1, 0, b"from the dead"))
    await until(lambda: watcher.fenced == 1)
    writer.end("client_end")
    heir.append(1, b"1")
    second = Watcher()
    await stored(second, heir, 1)

    kept, _ = await one.take(key, Watcher(), only_from_dead=False)
    assert [step.data for step in kept.steps] == [b"0", b"1"]
    assert kept.snapshot is None
    assert watcher.stored == [(0, 0)], "a result of a fenced writer is never told stored"
    assert watcher.fenced == 1
    assert one.health().refused_writes > refused
    assert second.fenced == 0


async def test_a_large_snapshot_of_a_fenced_writer_changes_nothing(shop: Shop) -> None:
    one, other = await shop.store("one"), await shop.store("other")
    key, watcher = new_key(), Watcher()
    writer = one.open(key, "1", "", watcher)
    writer.append(0, b"0")
    writer.put_snapshot(0, b"good" * LARGE)
    await stored(watcher, writer, 0)
    _, heir = await other.take(key, Watcher(), only_from_dead=False)
    writer.put_snapshot(0, b"evil" * LARGE)
    await until(lambda: watcher.fenced == 1)
    heir.append(1, b"1")
    await stored(Watcher(), heir, 1)
    kept, _ = await one.take(key, Watcher(), only_from_dead=False)
    assert kept.snapshot == KeptSnapshot(0, b"good" * LARGE)


async def test_opening_anew_fences_and_begins_at_nothing(shop: Shop) -> None:
    one, other = await shop.store("one"), await shop.store("other")
    key, watcher, second = new_key(), Watcher(), Watcher()
    writer = one.open(key, "1", "first", watcher)
    writer.append(0, b"old")
    writer.put_snapshot(0, b"old")
    await stored(watcher, writer, 0)
    heir = other.open(key, "2", "second", second)
    heir.append(0, b"new")
    await stored(second, heir, 0)
    writer.append(1, b"old")
    await until(lambda: watcher.fenced == 1)
    kept, _ = await one.take(key, Watcher(), only_from_dead=False)
    assert (kept.version, kept.note, kept.snapshot) == ("2", "second", None)
    assert [step.data for step in kept.steps] == [b"new"]


async def test_steps_of_which_nothing_came(shop: Shop) -> None:
    one, other = await shop.store("one"), await shop.store("other")
    key, watcher = new_key(), Watcher()
    writer = one.open(key, "1", "", watcher)
    writer.append(0, b"0")
    writer.append(1, b"1")
    writer.void(1)
    await stored(watcher, writer, 0)
    writer.append(2, b"2")
    writer.append(3, b"3")
    await stored(watcher, writer, 2)
    writer.put_snapshot(1, b"state")
    writer.void(2)
    await stored(watcher, writer, 3)
    kept, _ = await other.take(key, Watcher(), only_from_dead=False)
    assert list(kept.steps) == [KeptStep(2, b""), KeptStep(3, b"3")]


async def test_ended_and_unknown(shop: Shop) -> None:
    one, other = await shop.store("one"), await shop.store("other")
    key, watcher = new_key(), Watcher()
    writer = one.open(key, "1", "", watcher)
    writer.append(0, b"0")
    watcher.put(writer, KeptResult(0, 0, b"last"))
    writer.end("idle")
    await until(lambda: watcher.stored == [(0, 0)])
    error = await refusal(other, key, only_from_dead=False)
    assert (error.why, error.detail) == (WhyNot.ENDED, "idle")
    assert list(error.results) == [KeptResult(0, 0, b"last")]
    assert (await refusal(other, new_key(), only_from_dead=False)).why is WhyNot.UNKNOWN
    assert (await refusal(other, KeptKey("hash", str(key.sequence)), only_from_dead=False)).why is (
        WhyNot.UNKNOWN
    )


async def test_from_the_dead_only(shop: Shop) -> None:
    one, other = await shop.store("one"), await shop.store("other")
    key, watcher = new_key(), Watcher()
    writer = one.open(key, "1", "", watcher)
    writer.append(0, b"0")
    await stored(watcher, writer, 0)
    error = await refusal(other, key, only_from_dead=True)
    assert (error.why, error.detail) == (WhyNot.OWNED, "one")
    await shop.die(one, "one")

    async with asyncio.timeout(10):
        while await is_owned(other, key):  # noqa: ASYNC110, nobody tells of it
            await asyncio.sleep(0.01)


async def test_left_behind_on_purpose(shop: Shop) -> None:
    one, other = await shop.store("one"), await shop.store("other")
    key, watcher = new_key(), Watcher()
    writer = one.open(key, "1", "", watcher)
    writer.append(0, b"0")
    await stored(watcher, writer, 0)
    writer.leave()
    await one.close(1)
    kept, _ = await other.take(key, Watcher(), only_from_dead=True)
    assert kept.next_position == 1


async def test_large_data_comes_back_as_it_was(shop: Shop) -> None:
    one, other = await shop.store("one"), await shop.store("other")
    key, watcher = new_key(), Watcher()
    writer = one.open(key, "1", "", watcher)
    for position in range(3):
        writer.append(position, b"%d" % position * LARGE)
        watcher.put(writer, KeptResult(position, 0, b"r%d" % position * LARGE))
    writer.put_snapshot(0, b"s" * LARGE)
    await until(lambda: len(watcher.stored) == 3)
    writer.put_snapshot(1, b"t" * LARGE)
    writer.drop_results(1)
    await stored(watcher, writer, 2, 1)
    kept, heir = await other.take(key, Watcher(), only_from_dead=False)
    assert kept.snapshot == KeptSnapshot(1, b"t" * LARGE)
    assert list(kept.steps) == [KeptStep(2, b"2" * LARGE)]
    assert [result.data for result in kept.results[:2]] == [b"r1" * LARGE, b"r2" * LARGE]
    second = Watcher()
    heir.put_snapshot(2, b"u")
    heir.drop_results(3)
    await stored(second, heir, 3)
    kept, _ = await one.take(key, Watcher(), only_from_dead=False)
    assert (kept.snapshot, list(kept.steps)) == (KeptSnapshot(2, b"u"), [])
    assert [(result.position, result.index) for result in kept.results] == [(3, 0)]


@pytest.mark.parametrize("seed", range(12))
async def test_random_lives(shop: Shop, seed: int) -> None:
    """Whatever is written, by whoever has the sequence, is what the next one takes."""
    chance = random.Random(seed)
    stores = [await shop.store("one"), await shop.store("other")]
    key, watcher = new_key(), Watcher()
    writer = stores[0].open(key, "1", "", watcher)
    steps: dict[int, bytes] = {}
    results: list[KeptResult] = []
    snapshot: KeptSnapshot | None = None
    position = dropped = index = 0
    for turn in range(120):
        choice = chance.random()
        size = LARGE if chance.random() < 0.02 else chance.randrange(50)
        data = chance.randbytes(size)
        if choice < 0.45:
            writer.append(position, data)
            steps[position] = data
            position += 1
        elif choice < 0.75:
            index += 1
            results.append(KeptResult(position, index, data))
            watcher.put(writer, results[-1])
        elif choice < 0.82 and results:
            count = chance.randrange(len(results))
            writer.drop_results(count)
            del results[:count]
            dropped += count
        elif choice < 0.87 and steps:
            voided = chance.choice(list(steps))
            writer.void(voided)
            steps[voided] = b""
        elif choice < 0.92 and steps:
            snapshot = KeptSnapshot(chance.choice(list(steps)), data)
            writer.put_snapshot(snapshot.position, data)
            steps = {at: step for at, step in steps.items() if at > snapshot.position}
        elif choice < 0.96:
            index += 1
            results.append(KeptResult(position, index, b"result"))
            await stored(watcher, writer, position, index)
            watcher = Watcher()
            kept, writer = await stores[turn % 2].take(key, watcher, only_from_dead=False)
            assert {step.position: step.data for step in kept.steps} == steps
            assert list(kept.results) == results
            assert (kept.snapshot, kept.results_dropped) == (snapshot, dropped)
            assert kept.next_position == position
