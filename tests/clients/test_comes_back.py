"""The demo that comes back, under Riva's own client and Google's: their wires are cut, and they
hear what they would have heard."""

from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from streamgate.server.settings import GrpcTransport
from tests.clients.environment import drive, needs_clients, wav_file
from tests.durable.proxy import Cut, Way, cutting
from tests.speech.house import speech_house
from tests.speech.tones import tones, words_of

pytestmark = [needs_clients, pytest.mark.slow]
TEXT = " ".join(words_of())
CUTS = [
    Cut(Way.UP, 30_000),
    Cut(Way.DOWN, 200),
    Cut(Way.UP, 20_000),
    Cut(Way.DOWN, 700),
    Cut(Way.UP, 5_000),
]


@pytest.mark.parametrize("transport", list(GrpcTransport))
async def test_the_clients_do_not_notice(transport: GrpcTransport, tmp_path: Path) -> None:
    wav = wav_file(tmp_path / "tones.wav", tones())
    async with AsyncExitStack() as stack:
        house = await stack.enter_async_context(speech_house(grpc_transport=transport))
        port = house.ports.grpc or 0
        good = await drive("comes_back", port, port, port, wav)
        proxies = [await stack.enter_async_context(cutting(port, CUTS)) for _ in range(3)]
        heard = await drive("comes_back", *(proxy.port for proxy in proxies), wav)
    for name, proxy in zip(("riva", "v1", "v2"), proxies, strict=True):
        assert good[name]["returns"] == 0
        assert heard[name]["returns"] > 0
        assert proxy.cuts_done > 1
        assert heard[name]["text"] == good[name]["text"] == TEXT
        assert heard[name]["messages"] == good[name]["messages"]
