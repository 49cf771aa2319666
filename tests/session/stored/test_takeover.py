"""A sequence goes on at another server when its own is gone, as if nothing had been."""

import asyncio
import itertools
import time
from pathlib import Path
from typing import Any

import pytest
import redis as redis_client

from streamgate.errors import Code, EndReason, OverLimitError, StreamGateError
from streamgate.model.request import Response
from streamgate.model.snapshot import Snapshot
from streamgate.session.durable.link import DurableLink
from streamgate.session.named_position import POSITION_PARAMETER
from streamgate.session.stored.link import StoredLink
from streamgate.session.tenant import Tenant
from streamgate.session.tenants import hash_of
from tests.durable.house import Client
from tests.durable.models import decoupled_hashes, ensemble_hashes, hashes, write_graph
from tests.session.stored.houses import House, houses
from tests.snapshot.redis_server import RedisServer
from tests.waiting import until

VALUES = [3, 1, 4, 1, 5, 9, 2, 6, 5, 3, 5]
_keys = itertools.count(1000)

ANSWERS = {
    "often": [[value] for value in hashes(VALUES)],
    "seldom": [[value] for value in hashes(VALUES)],
    "objects": [[value] for value in hashes(VALUES)],
    "pinned": [[value] for value in hashes(VALUES)],
    "decoupled": decoupled_hashes(VALUES),
    "ensemble": [[value] for value in ensemble_hashes(VALUES)],
}


async def run(
    client: Client, model: str, key: int, steps: range, *, named: bool = False
) -> list[list[int]]:
    last = len(VALUES) - 1
    answers = []
    for index in steps:
        more: Any = {POSITION_PARAMETER: index} if named else {}
        more |= {"start": index == 0, "end": index == last}
        answers.append(await client.step(model, key, VALUES[index], **more))
    return answers


async def failure(client: Client, model: str, key: int) -> tuple[Code, str]:
    responses: list[Response] = await client.ask(model, key, 1)
    assert responses[-1].failure is not None
    return responses[-1].failure.code, responses[-1].failure.message


@pytest.mark.parametrize("model", list(ANSWERS))
@pytest.mark.parametrize("cut", [1, 3, 8])
async def test_it_goes_on_elsewhere(
    redis: RedisServer, repository: Path, model: str, cut: int
) -> None:
    key = next(_keys)
    async with houses(redis, repository) as (one, other):
        answers = await run(one.client, model, key, range(cut))
        await one.die()
        answers += await run(other.client, model, key, range(cut, len(VALUES)))
        assert answers == ANSWERS[model]
        assert other.stored.counts.resumed == 1
        await until(lambda: other.client.ends == [(model, key, EndReason.CLIENT_END)])


async def test_an_ensembles_models_are_kept_with_it_alone(
    redis: RedisServer, repository: Path
) -> None:
    key = next(_keys)
    async with houses(redis, repository, 1) as (house,):
        await run(house.client, "ensemble", key, range(4))
        store = house.stored.store
        await until(lambda: not store.health().waiting_bytes)
        with redis_client.Redis(port=redis.port) as client:
            found = [name.decode() for name in client.scan_iter(f"*{{*/i{key}}}:head")]
        assert found == [f"streamgate:{{ensemble/i{key}}}:head"]


async def test_it_moves_from_one_link_to_another_and_is_kept(
    redis: RedisServer, repository: Path
) -> None:
    """As when a model is loaded anew: it lives on in the same process, under the same owner."""
    key = next(_keys)
    async with houses(redis, repository) as (one, other):
        answers = await run(one.client, "often", key, range(4))
        old = one.server.gateway._table.route("often", "")
        handed: asyncio.Future[object] = asyncio.get_running_loop().create_future()
        old.hand_over(key, handed.set_result)
        snapshot = await handed
        assert isinstance(snapshot, Snapshot)
        back: asyncio.Future[object] = asyncio.get_running_loop().create_future()
        connection = one.client.connection
        listener = connection._listener(old)  # type: ignore[attr-defined]
        old.restore(key, connection._owner, listener, snapshot, back.set_result)  # type: ignore[attr-defined]
        assert await back is None
        answers += await run(one.client, "often", key, range(4, 6))
        await one.die()
        answers += await run(other.client, "often", key, range(6, len(VALUES)))
        assert answers == ANSWERS["often"]


async def test_sleepers_wake_up_here_and_elsewhere(redis: RedisServer, tmp_path: Path) -> None:
    write_graph(tmp_path, "sleepy", slots=1, parameters={"streamgate.hibernate_after_ms": "1"})
    keys = [next(_keys) for _ in range(3)]
    answers: dict[int, list[list[int]]] = {key: [] for key in keys}
    async with houses(redis, tmp_path) as (one, other):
        for index in range(len(VALUES)):
            client = one.client if index < 5 else other.client
            for key in keys:
                answers[key] += await run(client, "sleepy", key, range(index, index + 1))
            if index == 4:
                await one.die()
    assert answers == {key: [[value] for value in hashes(VALUES)] for key in keys}


async def test_it_goes_on_again_and_again(redis: RedisServer, repository: Path) -> None:
    key = next(_keys)
    async with houses(redis, repository, 4) as all_of_them:
        answers = []
        for number, house in enumerate(all_of_them):
            first = number * 3
            steps = range(first, min(first + 3, len(VALUES)))
            answers += await run(house.client, "often", key, steps)
            if house is not all_of_them[-1]:
                await house.die()
        assert answers == ANSWERS["often"]


async def test_a_step_that_comes_again_is_not_run_again(
    redis: RedisServer, repository: Path
) -> None:
    """The client has not seen what came of its last requests, nor knows whether they came."""
    key = next(_keys)
    async with houses(redis, repository) as (one, other):
        for model in ("often", "decoupled"):
            await run(one.client, model, key, range(6))
        await one.die()
        for model in ("often", "decoupled"):
            steps = range(4, len(VALUES))
            answers = await run(other.client, model, key, steps, named=True)
            assert answers == ANSWERS[model][4:]
        assert other.stored.counts.repeated == 4
        # The last of them, whose sequence is over.
        last = len(VALUES) - 1
        for model in ("often", "decoupled"):
            (answer,) = await run(other.client, model, key, range(last, last + 1), named=True)
            assert answer == ANSWERS[model][last]


async def test_steps_without_an_answer_are_answered_elsewhere(
    redis: RedisServer, repository: Path
) -> None:
    """They were stored, but their server was gone before their results were."""
    key = next(_keys)
    async with houses(redis, repository) as (one, other):
        await run(one.client, "seldom", key, range(2))
        sequence = one.server.gateway._table.route("seldom", "").link.sequence_of(key)  # type: ignore[attr-defined]
        writer, put = sequence._writer, sequence._writer.put_result
        writer.put_result = lambda *_: None
        for index in (2, 3, 4):
            waiting = one.client.send("seldom", key, VALUES[index])
        await asyncio.sleep(0.1)
        await one.die()
        writer.put_result = put
        answers = await run(other.client, "seldom", key, range(2, len(VALUES)), named=True)
        assert answers == ANSWERS["seldom"][2:]
        assert not waiting.done()


async def test_a_server_that_lives_keeps_its_sequences(
    redis: RedisServer, repository: Path
) -> None:
    key = next(_keys)
    async with houses(redis, repository) as (one, other):
        answers = await run(one.client, "often", key, range(4))
        code, text = await failure(other.client, "often", key)
        assert code is Code.UNAVAILABLE
        assert f"sequence {key} lives at another server" in text
        answers += await run(one.client, "often", key, range(4, len(VALUES)))
        assert answers == ANSWERS["often"]


async def test_one_that_wakes_up_has_nothing_to_say(redis: RedisServer, repository: Path) -> None:
    key = next(_keys)
    async with houses(redis, repository) as (one, other):
        await run(one.client, "often", key, range(4))
        await one.die()
        answers = await run(other.client, "often", key, range(4, 7))
        # It wakes up, and goes on as if nothing had been: nobody is told of it.
        store = one.stored.store
        await store.start()
        code, text = await failure(one.client, "often", key)
        assert (code, text) == (
            Code.UNAVAILABLE,
            "the sequence has been taken over by another server",
        )
        await until(lambda: one.client.ends == [("often", key, EndReason.SUPERSEDED)])
        assert one.stored.counts.fenced == 1
        assert store.health().refused_writes == 1
        answers += await run(other.client, "often", key, range(7, len(VALUES)))
        assert answers == ANSWERS["often"][4:]


async def test_what_never_was_is_refused_as_ever(redis: RedisServer, repository: Path) -> None:
    async with houses(redis, repository, 1) as (house,):
        key = next(_keys)
        code, text = await failure(house.client, "often", key)
        assert code is Code.INVALID_ARG
        assert "must specify the START flag on the first request" in text


async def test_what_has_ended_says_so(redis: RedisServer, repository: Path) -> None:
    key = next(_keys)
    async with houses(redis, repository) as (one, other):
        await run(one.client, "often", key, range(len(VALUES)))
        await one.die()
        assert await failure(other.client, "often", key) == (
            Code.NOT_FOUND,
            f"sequence {key} has ended (client_end)",
        )


async def test_positions_that_can_not_be(redis: RedisServer, repository: Path) -> None:
    key = next(_keys)
    async with houses(redis, repository, 1) as (house,):
        await run(house.client, "often", key, range(3))
        with pytest.raises(Exception, match=r"is 5, but 3 requests of sequence \d+ have come"):
            await run(house.client, "often", key, range(5, 6), named=True)
        with pytest.raises(Exception, match=r"'streamgate_position' is True, expected a number"):
            await house.client.step("often", key, 1, **{POSITION_PARAMETER: True})
        rest = await run(house.client, "often", key, range(3, len(VALUES)), named=True)
        assert rest == ANSWERS["often"][3:]


async def test_requests_that_wait_for_their_sequence_keep_their_order(
    redis: RedisServer, repository: Path
) -> None:
    key = next(_keys)
    async with houses(redis, repository) as (one, other):
        await run(one.client, "seldom", key, range(5))
        await one.die()
        asked = [other.client.send("seldom", key, VALUES[index]) for index in range(5, 9)]
        responses = await asyncio.gather(*asked)
        outputs = [int(each[0].outputs[0].array.item()) for each in responses]
        assert [[output] for output in outputs] == ANSWERS["seldom"][5:9]


async def test_a_server_that_goes_down_leaves_its_sequences(
    redis: RedisServer, repository: Path
) -> None:
    key = next(_keys)
    async with houses(redis, repository) as (one, other):
        answers = await run(one.client, "often", key, range(4))
        await one.server.stop()
        answers += await run(other.client, "often", key, range(4, len(VALUES)))
        assert answers == ANSWERS["often"]


async def test_a_log_that_outgrew_its_bound_is_lost_and_says_so(
    redis: RedisServer, repository: Path
) -> None:
    key = next(_keys)
    async with houses(redis, repository) as (one, other):
        await run(one.client, "pinned", key, range(2))
        link = one.server.gateway._table.route("pinned", "").link
        link.sequence_of(key)._log_bytes = 10  # type: ignore[attr-defined]
        answers = await run(one.client, "pinned", key, range(2, 5))
        assert answers == ANSWERS["pinned"][2:5], "it goes on here"
        assert one.stored.counts.unkept == 1
        await one.die()
        code, text = await failure(other.client, "pinned", key)
        assert code is Code.UNAVAILABLE
        assert text.startswith(f"state lost: sequence {key} was kept no more")


async def test_two_that_come_at_once(redis: RedisServer, repository: Path) -> None:
    """One of two servers gets it, and the other's client is told."""
    key = next(_keys)
    async with houses(redis, repository, 3) as (one, *others):
        await run(one.client, "often", key, range(4))
        await one.die()
        asked = [house.client.ask("often", key, VALUES[4]) for house in others]
        outcomes = [responses[-1] for responses in await asyncio.gather(*asked)]
        good = [outcome for outcome in outcomes if outcome.failure is None]
        bad = [outcome.failure for outcome in outcomes if outcome.failure is not None]
        assert len(good) == 1
        assert [[int(good[0].outputs[0].array.item())]] == ANSWERS["often"][4:5]
        assert bad[0].code is Code.UNAVAILABLE


@pytest.mark.parametrize("model", ["often", "pinned"])
async def test_a_sequence_counts_for_its_tenant_where_it_goes_on(
    redis: RedisServer, repository: Path, model: str
) -> None:
    first, second = next(_keys), next(_keys)
    tenant = Tenant("us", (hash_of("ours"),), streams_max=1)
    async with houses(redis, repository, tenants=(tenant,)) as (one, other):
        here, there = (Client.of(house.metered.of("ours")) for house in (one, other))
        answers = await run(here, model, first, range(4))
        assert await there.step(model, second, 1, start=True)
        await one.die()
        # It was let in once: no limit is for it.
        answers += await run(there, model, first, range(4, 6))
        assert other.streams("us") == 2
        assert other.streams("") == 0
        assert await there.step(model, second, 1, end=True)
        assert other.streams("us") == 1
        with pytest.raises(OverLimitError, match="has all its 1 streams"):
            await there.ask(model, second, 1, start=True)
        # What is not there does not count.
        assert (await failure(there, model, next(_keys)))[0] is Code.INVALID_ARG
        answers += await run(there, model, first, range(6, len(VALUES)))
        assert answers == ANSWERS[model]
        assert other.streams("us") == 0
        assert await there.step(model, second, 1, start=True, end=True)


@pytest.mark.parametrize("model", ["mortal", "mortal_pinned"])
async def test_the_lifetime_of_a_sequence_counts_from_its_start_wherever_it_goes_on(
    redis: RedisServer, repository: Path, model: str
) -> None:
    """With its snapshot, or from its START on."""
    young, old = next(_keys), next(_keys)
    async with houses(redis, repository) as (one, other):
        for key in (young, old):
            await run(one.client, model, key, range(4))
        await one.die()
        other.stored.now = lambda: time.time() + 300
        await run(other.client, model, young, range(4, 6))
        (left_ns,) = left_to_live(other, model, young)
        assert 200e9 < left_ns <= 300e9
        other.stored.now = lambda: time.time() + 600
        for _ in range(2):
            assert await failure(other.client, model, old) == (
                Code.NOT_FOUND,
                f"sequence {old} has ended (lifetime)",
            )
            await other.write()


def left_to_live(house: House, model: str, key: int) -> list[int]:
    """In how many nanoseconds its log ends a sequence."""
    link = house.server.gateway._table.route(model, "").link
    assert isinstance(link, StoredLink)
    log = link._link
    assert isinstance(log, DurableLink)
    arrivals, host = log._arrivals, log._host
    return [
        tenancy.began_ns + arrivals._lifetime_ns - host.now()
        for tenancy in log._sequences.lanes[key].tenancies
        if tenancy.is_timed
    ]


@pytest.mark.parametrize("model", ["often", "pinned"])
async def test_the_sequence_of_a_dead_server_is_ended_without_a_step(
    redis: RedisServer, repository: Path, model: str
) -> None:
    key = next(_keys)
    async with houses(redis, repository) as (one, other):
        await run(one.client, model, key, range(4))
        with pytest.raises(StreamGateError, match="lives at another server") as alive:
            await other.client.connection.finish(model, "", key)
        assert alive.value.code is Code.UNAVAILABLE
        await one.die()
        # The second time it is over already, as for a client that has not heard of the first.
        for _ in range(2):
            reason = await other.client.connection.finish(model, "", key)
            assert reason is EndReason.CLIENT_END
            await other.write()
        assert other.stored.counts.resumed == 0
        assert await failure(other.client, model, key) == (
            Code.NOT_FOUND,
            f"sequence {key} has ended (client_end)",
        )
        with pytest.raises(StreamGateError, match=f"no sequence 7{key} of model") as unknown:
            await other.client.connection.finish(model, "", int(f"7{key}"))
        assert unknown.value.code is Code.NOT_FOUND


async def test_a_sequence_of_another_connection_is_ended_where_it_lives(
    redis: RedisServer, repository: Path
) -> None:
    key = next(_keys)
    async with houses(redis, repository, 1) as (house,):
        await run(house.client, "often", key, range(4))
        other = Client.of(house.server.gateway)
        assert await other.connection.finish("often", "", key) is None
        await until(lambda: other.ends == [("often", key, EndReason.CLIENT_END)])
        assert house.client.ends == []
        other.connection.close(abort=False)
