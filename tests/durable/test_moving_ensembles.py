"""Sequences of ensembles that move to and fro between two engines while they are at work."""

import asyncio
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from streamgate.core.ids import OwnerNumber
from streamgate.engine.host import AsyncioHost
from streamgate.link.contract import movable
from streamgate.model.datatypes import DataType
from streamgate.model.request import Request, Response
from streamgate.model.tensor import Tensor
from streamgate.session.durable.link import DurableLink
from streamgate.session.routing import Route
from tests.durable.house import DurableHouse, durable_house
from tests.durable.models import ensemble_hashes, write_ensemble, write_graph, write_objects

MODEL = "hash_ensemble"
SEQUENCES = 12
STEPS = 60
MOVES = 4
OWNER = OwnerNumber(1)


def front_of(houses: Sequence[DurableHouse]) -> DurableLink:
    """One log in front of the ensemble in all of these engines."""
    links = [movable(house.server._models.table.route(MODEL, "").link) for house in houses]
    front = DurableLink(links[0].config, "1", AsyncioHost(asyncio.get_running_loop()))
    for link in links:
        front.add_place(link)
    return front


class Talk:
    """One sequence: what it was answered."""

    def __init__(self, route: Route, key: int) -> None:
        self.answers: list[int] = []
        self._route = route
        self._key = key

    async def run(self, *, at_once: int) -> None:
        """So many requests are under way at a time."""
        for first in range(0, STEPS, at_once):
            for answer in [self._send(value) for value in range(first, first + at_once)]:
                response = await answer
                assert response.failure is None, response.failure
                self.answers.append(int(response.outputs[0].array.item()))
            await asyncio.sleep(0.005 * at_once)

    def _send(self, value: int) -> "asyncio.Future[Response]":
        answer: asyncio.Future[Response] = asyncio.get_running_loop().create_future()
        tensor = Tensor.of("IN", np.array([[value]], np.int64), DataType.INT64)
        request = Request(
            MODEL,
            inputs=[tensor],
            sequence=self._key,
            start=value == 0,
            end=value == STEPS - 1,
        )
        self._route.submit(request, answer.set_result, OWNER, None)
        return answer


async def test_sequences_of_ensembles_move_while_they_are_at_work(tmp_path: Path) -> None:
    write_graph(tmp_path, slots=16)
    write_objects(tmp_path, slots=16, step_ms=1)
    write_ensemble(tmp_path)
    async with durable_house(tmp_path) as one, durable_house(tmp_path) as other:
        front = front_of([one, other])
        route = Route(front)
        talks = [Talk(route, key) for key in range(1, SEQUENCES + 1)]
        runs = [
            asyncio.create_task(talk.run(at_once=1 if place % 2 else 10))
            for place, talk in enumerate(talks)
        ]
        await asyncio.sleep(0.1)
        for move in range(MOVES):
            place = movable([one, other][move % 2].server._models.table.route(MODEL, "").link)
            assert await front.drain_place(place, 20.0) == 0
            front.set_draining(place, draining=False)
        async with asyncio.timeout(30):
            await asyncio.gather(*runs)
        assert [talk.answers for talk in talks] == [ensemble_hashes(range(STEPS))] * SEQUENCES
        durability = front.statistics().durability
        assert durability is not None
        assert durability.moved > SEQUENCES
        assert (durability.recovered, durability.lost, durability.replayed_steps) == (0, 0, 0)
        assert len(route.positions) == 0
