"""Every dialect over WebSocket: its server dies in the middle, and its client goes on at another one
over the same session store; it hears what it would have heard, each event once."""

import random

import pytest

from tests.durable.resuming import ResumingClient
from tests.frontends.two_houses import two_houses
from tests.speech.dialects.test_resume import DIALECTS, Dialect, settings_for
from tests.speech.tones import REPOSITORY, words_of

WORDS = " ".join(words_of())


async def heard_with(dialect: Dialect, writes: int) -> tuple[int, ResumingClient]:
    """What is heard when the first server dies at this write; and how many writes there were."""
    async with two_houses([REPOSITORY], settings_for(dialect), dialect.port) as houses:
        houses.fates[0].writes_left = writes
        client = ResumingClient(
            f"ws://127.0.0.1:{houses.wire.port}{dialect.target}",
            dialect.frames,
            numbers=False,
            greets=dialect.greets,
            is_last=dialect.is_last,
            pause_seconds=0.001,
        )
        await client.run()
        assert client.restarts == 1
        return houses.fates[0].writes, client


@pytest.mark.parametrize("dialect", DIALECTS, ids=lambda dialect: str(dialect.name))
async def test_its_client_goes_on_at_another_server(dialect: Dialect) -> None:
    writes, client = await heard_with(dialect, 10**9)
    assert dialect.words(client.heard) == WORDS
    for number in random.Random(1).sample(range(1, writes), 3):
        _, client = await heard_with(dialect, number)
        assert client.close_code == 1000, number
        assert dialect.words(client.heard) == WORDS, number
