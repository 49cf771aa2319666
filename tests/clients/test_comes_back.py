"""Riva's own client and Google's come back: by the demo, while their wires are cut, and by hand.
They hear what they would have heard."""

from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from streamgate.server.settings import GrpcTransport
from tests.clients.environment import PYTHON, ROOT, drive, needs_clients, run, wav_file
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
        proxies = [await stack.enter_async_context(cutting(port, CUTS)) for _ in range(3)]
        heard = await drive("comes_back", *(proxy.port for proxy in proxies), wav)
    for name, proxy in zip(("riva", "v1", "v2"), proxies, strict=True):
        assert heard[name]["returns"] > 0
        assert proxy.cuts_done > 1
        assert heard[name]["text"] == TEXT


async def test_the_demo_as_a_program(tmp_path: Path) -> None:
    wav = wav_file(tmp_path / "tones.wav", tones())
    async with speech_house() as house, cutting(house.ports.grpc or 0, CUTS[:1]) as proxy:
        server = f"--server=127.0.0.1:{proxy.port}"
        said = await run(PYTHON, ROOT / "demos/comes_back.py", wav, server)
    assert "(came back after" in said
    assert TEXT in said


@pytest.mark.parametrize("transport", list(GrpcTransport))
async def test_libraries_begin_each_call_with_the_configuration(
    transport: GrpcTransport, tmp_path: Path
) -> None:
    wav = wav_file(tmp_path / "tones.wav", tones())
    async with speech_house(grpc_transport=transport) as house:
        heard = await drive("config_again", house.ports.grpc or 0, wav)
    for whole, parts in heard.values():
        assert parts["received"] > 1
        assert parts["text"] == whole["text"] == TEXT
        assert parts["messages"] == whole["messages"]
