"""Requests of no sequence, while no engine is there: they wait for one, for so long."""

import asyncio
from pathlib import Path

import pytest

from streamgate.errors import Code
from streamgate.model.config import DefaultScheduling
from streamgate.model.request import Request, Response
from tests.link.pair import engine
from tests.link.test_mirror import front_of
from tests.session.fake_link import FakeMovableLink, sequence_config
from tests.session.plain_models import zeros
from tests.waiting import until


def stateless() -> FakeMovableLink:
    return FakeMovableLink(sequence_config(scheduling=DefaultScheduling()))


async def test_they_run_when_an_engine_is_back_and_once_more_at_most(tmp_path: Path) -> None:
    responses: list[Response] = []
    async with engine(tmp_path, stateless()) as first, front_of(first) as front:
        connection = front.gateway.connect()
        connection.submit(Request("m", inputs=[zeros("I", 1, 4)]), responses.append)
        await until(lambda: first.fake.submitted)
        await first.server.stop()
        await until(lambda: not front.links[0].is_connected)
        connection.submit(Request("m", inputs=[zeros("I", 1, 4)]), responses.append)
        given_up = connection.submit(Request("m", inputs=[zeros("I", 1, 4)]), responses.append)
        assert responses == []
        given_up.cancel()
        await until(lambda: responses)
        assert responses[0].failure is not None
        assert responses[0].failure.code is Code.CANCELLED
        async with engine(tmp_path, stateless()) as second:
            await until(lambda: len(second.fake.submitted) == 2)
            second.fake.answer(1)
            await until(lambda: len(responses) == 2)
            assert responses[1].failure is None
            # The first has been lost once already.
            await second.server.stop()
            await until(lambda: len(responses) == 3)
            assert responses[2].lost


async def test_they_do_not_wait_for_ever(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("streamgate.session.durable.stateless.WAIT_NS", 20_000_000)
    responses: list[Response] = []
    async with engine(tmp_path, stateless()) as first, front_of(first) as front:
        await first.server.stop()
        await until(lambda: not front.links[0].is_connected)
        request = Request("m", inputs=[zeros("I", 1, 4)])
        front.gateway.connect().submit(request, responses.append)
        await asyncio.sleep(0)
        assert responses == []
        await until(lambda: responses)
        assert responses[0].failure is not None
        assert responses[0].failure.code is Code.UNAVAILABLE
