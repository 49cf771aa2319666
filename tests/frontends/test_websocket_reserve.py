"""`"reserve": true`: over WebSocket, who is told `opened` has a slot."""

from streamgate.backend.fake.hashing import Step, expected_answers
from streamgate.errors import EndReason
from streamgate.model.config import DirectStrategy, OldestStrategy, SequenceBatching
from tests.engine.house import samples
from tests.engine.test_engine_sequences import active_sequences
from tests.frontends.test_websocket_engine import MINUTE_NS, ended, hash_of, house_with_door, model
from tests.frontends.websocket_client import connected
from tests.waiting import until

ONE_SLOT = SequenceBatching(OldestStrategy(1), 1, max_idle_ns=MINUTE_NS)
TAKEN = {
    "type": "error",
    "code": "UNAVAILABLE",
    "message": "all 1 slots of model 'fake' are taken",
}


async def test_who_is_told_opened_has_a_slot_and_others_are_refused() -> None:
    async with (
        house_with_door(model(ONE_SLOT)) as (house, url),
        connected(url) as holder,
        connected(url) as other,
    ):
        opened = await holder.open("fake", reserve=True, sequence_id=7)
        assert opened == {
            "type": "opened",
            "model": "fake",
            "model_version": "1",
            "sequence_id": 7,
            "reserved": True,
            "position": 0,
        }
        assert active_sequences(house) == 1
        assert await other.open("fake", reserve=True, sequence_id=8) == TAKEN
        # Nothing was opened: a step has nothing to go to, another try is one.
        await other.frame(samples(1))
        assert "before 'open'" in (await other.hear())["message"]
        history = [Step([samples(1)], True, False, 7), Step([samples(2)], False, True, 7)]
        await holder.frame(samples(1))
        await holder.say("last")
        await holder.frame(samples(2))
        answers = [hash_of(await holder.hear()) for _ in history]
        assert answers == expected_answers(history)
        assert (await holder.hear_end())["reason"] == "client_end"
        assert (await other.open("fake", reserve=True, sequence_id=8))["reserved"]


async def test_frames_may_follow_at_once() -> None:
    async with house_with_door(model(ONE_SLOT)) as (_, url), connected(url) as client:
        await client.say("open", model="fake", reserve=True)
        await client.frame(samples(1))
        await client.say("end")
        opened = await client.hear()
        history = [Step([samples(1)], True, False, opened["sequence_id"])]
        assert [hash_of(await client.hear())] == expected_answers(history)
        assert (await client.hear_end())["positions"] == 1


async def test_end_before_a_step_gives_the_slot_back() -> None:
    async with house_with_door(model(ONE_SLOT)) as (house, url), connected(url) as client:
        await client.open("fake", reserve=True)
        await client.say("end")
        assert await client.hear_end() == {
            "type": "ended",
            "reason": "client_end",
            "positions": 0,
            "closed": 1000,
        }
        await until(lambda: ended(house, EndReason.CLIENT_END))
        assert active_sequences(house) == 0


async def test_who_goes_without_a_word_gives_the_slot_back() -> None:
    async with house_with_door(model(ONE_SLOT)) as (house, url):
        async with connected(url) as client:
            await client.open("fake", reserve=True)
        await until(lambda: ended(house, EndReason.CLIENT_ABORT))
        assert active_sequences(house) == 0


async def test_who_never_sends_is_told_that_it_was_idle() -> None:
    scheduling = SequenceBatching(DirectStrategy(), 4, max_idle_ns=50_000_000)
    async with house_with_door(model(scheduling)) as (_, url), connected(url) as client:
        await client.open("fake", reserve=True)
        assert await client.hear_end() == {
            "type": "ended",
            "reason": "idle",
            "positions": 0,
            "closed": 4001,
        }


async def test_an_id_that_lives_is_refused() -> None:
    async with (
        house_with_door(model()) as (_, url),
        connected(url) as first,
        connected(url) as second,
    ):
        await first.open("fake", sequence_id=7)
        await first.frame(samples(1))
        await first.hear()
        assert (await second.open("fake", reserve=True, sequence_id=7))["code"] == "ALREADY_EXISTS"


async def test_models_without_sequences_of_their_clients() -> None:
    scheduling = SequenceBatching(OldestStrategy(4, (4,)), 4, iterative=True)
    async with house_with_door(model(scheduling)) as (_, url), connected(url) as client:
        answer = await client.open("fake", reserve=True)
        assert answer["code"] == "INVALID_ARG"
        assert "no sequences that its clients name" in answer["message"]
        # Nothing was opened, and without the wish it can be.
        answer = await client.open("fake")
        assert answer["type"] == "opened"
        assert "reserved" not in answer
