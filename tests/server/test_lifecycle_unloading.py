"""Unloading and stopping: what finishes, what is refused, what is told."""

import asyncio
import logging

import pytest

from streamgate.errors import Code, EndReason, StreamGateError
from tests.server.model_house import SEQUENCES, Gates, Models, model_house
from tests.waiting import until


async def test_requests_under_way_finish_and_new_ones_are_refused(
    models: Models, gates: Gates
) -> None:
    models.write("m")
    async with model_house(models.directory) as house:
        gates.close("execute m 1")
        running = house.ask(value=10)
        await gates.wait_entered("execute m 1")
        queued = house.ask(value=20)
        await house.unload()
        assert await house.states() == {"1": "UNLOADING"}
        assert house.gateway.is_ready()
        assert not await house.gateway.is_model_ready("m", "")
        with pytest.raises(StreamGateError, match="'m' has no available versions") as raised:
            house.ask()
        assert raised.value.code is Code.NOT_FOUND
        with pytest.raises(StreamGateError, match="1 is not at ready state") as raised:
            house.ask(version="1")
        assert raised.value.code is Code.UNAVAILABLE
        gates.open("execute m 1")
        assert await running.value() == 11
        assert await queued.value() == 21
        await house.until_state("UNAVAILABLE unloaded")
        assert gates.passed[-1] == "finalize m 1"


async def test_unloading_what_is_not_there_succeeds(models: Models) -> None:
    models.write("m")
    async with model_house(models.directory, wanted=()) as house:
        for name in ("m", "m", "nowhere", ""):
            await house.unload(name)
        assert await house.states("m") == {"": ""}
        assert await house.states("nowhere") == {}
        assert len(house.lifecycle._locks) == 0


async def test_a_model_comes_back_while_the_old_one_still_goes(
    models: Models, gates: Gates
) -> None:
    models.write("m", 1)
    async with model_house(models.directory) as house:
        gates.close("execute m 1")
        running = house.ask(value=10)
        await gates.wait_entered("execute m 1")
        await house.unload()
        models.write("m", 2)
        await house.load()
        assert await house.states() == {"1": "READY"}
        assert await house.ask(value=10).value() == 12
        gates.open("execute m 1")
        assert await running.value() == 11
        await until(lambda: gates.count("finalize m 1"))
        assert await house.states() == {"1": "READY"}


async def test_an_unload_waits_for_the_load_of_the_same_model(models: Models, gates: Gates) -> None:
    models.write("m")
    gates.close("initialize m 1")
    async with model_house(models.directory, wanted=()) as house:
        load = asyncio.create_task(house.load())
        await gates.wait_entered("initialize m 1")
        unload = asyncio.create_task(house.unload())
        assert await house.states() == {"1": "LOADING"}
        gates.open("initialize m 1")
        await asyncio.gather(load, unload)
        await house.until_state("UNAVAILABLE unloaded")
        assert gates.count("finalize m 1") == 1


async def test_sequences_end_as_drained_behind_their_steps(models: Models, gates: Gates) -> None:
    models.write("m", config=SEQUENCES)
    async with model_house(models.directory) as house:
        await house.ask(key=1, start=True).value()
        gates.close("execute m 1")
        running = house.ask(key=2, start=True, value=10)
        await gates.wait_entered("execute m 1")
        # Four slots: the last two wait in the backlog.
        others = [house.ask(key=key, start=True, value=key) for key in range(3, 7)]
        await house.unload()
        assert house.ended == [("m", 1, EndReason.DRAINED)]
        gates.open("execute m 1")
        assert await running.value() == 11
        assert [await other.value() for other in others] == [4, 5, 6, 7]
        await house.until_state("UNAVAILABLE unloaded")
        assert {reason for _, _, reason in house.ended} == {EndReason.DRAINED}
        assert sorted(int(key) for _, key, _ in house.ended) == [1, 2, 3, 4, 5, 6]


async def test_a_model_that_does_not_get_done_is_closed_all_the_same(
    models: Models, gates: Gates, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("streamgate.server.retiring.CLOSE_SECONDS", 0.02)
    models.write("m")
    async with model_house(models.directory, drain_seconds=0.02) as house:
        gates.close("execute m 1")
        running = house.ask()
        await gates.wait_entered("execute m 1")
        await house.unload()
        failure = (await running.response()).failure
        assert failure is not None
        assert (failure.code, failure.message) == (Code.UNAVAILABLE, "Server exiting")
        await house.until_state("UNAVAILABLE unloaded")
        assert "model 'm' version 1 is not idle after 0.02 s: closing it" in caplog.messages
        gates.open("execute m 1")
        await until(lambda: gates.count("finalize m 1"))


async def test_stopping_lets_a_live_sequence_go_on_to_its_end(models: Models, gates: Gates) -> None:
    models.write("m", config=SEQUENCES)
    async with model_house(models.directory) as house:
        await house.ask(key=1, start=True).value()
        stopping = asyncio.create_task(house.lifecycle.stop(20))
        await asyncio.sleep(0)
        refused = await house.ask(key=2, start=True).response()
        assert refused.failure is not None
        assert refused.failure.message == (
            "Server is stopping, scheduler for model has stopped accepting new inference requests"
        )
        for value in range(3):
            assert await house.ask(key=1, value=value).value() == value + 1
        assert not stopping.done()
        assert await house.ask(key=1, end=True).value() == 1
        await stopping
        assert house.ended == [("m", 1, EndReason.CLIENT_END)]
        assert gates.passed[-1] == "finalize m 1"


async def test_stopping_ends_what_does_not_end_in_time(
    models: Models, gates: Gates, caplog: pytest.LogCaptureFixture
) -> None:
    models.write("m", config=SEQUENCES)
    async with model_house(models.directory) as house:
        await house.ask(key=1, start=True).value()
        await house.lifecycle.stop(0.02)
        assert house.ended == [("m", 1, EndReason.DRAINED)]
        assert "model 'm' is not idle after 0.02 s: closing it" in caplog.messages
        assert gates.passed[-1] == "finalize m 1"


async def test_stopping_does_not_wait_for_a_model_that_hangs(
    models: Models, gates: Gates, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("streamgate.server.retiring.CLOSE_SECONDS", 0.02)
    models.write("a")
    models.write("b")
    async with model_house(models.directory) as house:
        gates.close("execute a 1")
        gates.close("execute b 1")
        answers = [house.ask("a"), house.ask("b")]
        await gates.wait_entered("execute a 1")
        await gates.wait_entered("execute b 1")
        await house.unload("b")
        await house.lifecycle.stop(0.02)
        for answer in answers:
            failure = (await answer.response()).failure
            assert failure is not None
            assert failure.message == "Server exiting"


async def test_stopping_gives_up_what_is_being_loaded(models: Models, gates: Gates) -> None:
    models.write("m")
    models.write("n")
    gates.close("initialize m 1")
    async with model_house(models.directory, wanted=["n"]) as house:
        load = asyncio.create_task(house.load())
        await gates.wait_entered("initialize m 1")
        await house.lifecycle.stop(5)
        with pytest.raises(asyncio.CancelledError):
            await load
        assert await house.states() == {"1": "UNAVAILABLE Unavailable: loading was given up"}
        gates.open("initialize m 1")
        await until(lambda: gates.count("finalize m 1"))


async def test_stopping_twice_is_stopping_once(models: Models, gates: Gates) -> None:
    models.write("m")
    async with model_house(models.directory) as house:
        await house.lifecycle.stop(5)
        await house.lifecycle.stop(5)
        assert gates.count("finalize m 1") == 1


async def test_nothing_is_logged_that_is_no_news(
    models: Models, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    models.write("m")
    async with model_house(models.directory) as house:
        await house.load()
        await house.unload()
        await house.until_state("UNAVAILABLE unloaded")
    ready, unloaded = caplog.messages
    assert ready.startswith("model 'm' version 1 is ready after ")
    assert unloaded == "model 'm' version 1 is unloaded"
