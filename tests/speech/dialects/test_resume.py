"""Every dialect over WebSocket: its client comes back over wires that are cut, and hears what it
would have heard; and who brings a token that is none is refused in its words."""

import json

import pytest
from websockets.exceptions import InvalidStatus

from streamgate.server.settings import SpeechSettings
from tests.durable.proxy import cutting
from tests.durable.resuming import ResumingClient
from tests.durable.test_cut_wires import random_cuts
from tests.speech.dialects.coming_back import PORTS, Dialect, dialects_of
from tests.speech.dialects.talk import talk
from tests.speech.house import SpeechHouse, speech_house
from tests.speech.tones import tones, words_of

SEEDS = (1, 2)
DIALECTS = dialects_of(tones(), tones(rate_hz=24_000))


def settings_for(dialect: Dialect) -> SpeechSettings:
    return SpeechSettings(ports=dict.fromkeys(PORTS, 0), realtime_dialect=dialect.realtime)


def port_of(house: SpeechHouse, dialect: Dialect) -> int:
    if dialect.port:
        return house.ports.dialects[dialect.port]
    return house.ports.http or 0


@pytest.mark.parametrize("dialect", DIALECTS, ids=lambda dialect: str(dialect.name))
async def test_its_client_comes_back(dialect: Dialect) -> None:
    size = sum(len(frame) for frame in dialect.frames)
    async with speech_house(speech=settings_for(dialect)) as house:
        for seed in SEEDS:
            async with cutting(port_of(house, dialect), random_cuts(seed, size, 6_000)) as proxy:
                client = ResumingClient(
                    f"ws://127.0.0.1:{proxy.port}{dialect.target}",
                    dialect.frames,
                    numbers=False,
                    greets=dialect.greets,
                    is_last=dialect.is_last,
                    pause_seconds=0.001,
                )
                await client.run()
            assert client.close_code == 1000
            assert client.resumes >= 2
            assert dialect.words(client.heard) == " ".join(words_of())


@pytest.mark.parametrize("dialect", DIALECTS, ids=lambda dialect: str(dialect.name))
async def test_a_forged_token_is_refused_in_its_words(dialect: Dialect) -> None:
    target = dialect.target.partition("?")[0] + "?resume=forged"
    async with speech_house(speech=settings_for(dialect)) as house:
        status, body = await refusal_of(port_of(house, dialect), target)
    assert status == 400
    assert "the resume token is not valid" in body
    if dialect.port or dialect.name == "kyutai":
        return
    fields = json.loads(body)
    assert fields.keys() & {"error", "err_msg", "reason", "message", "detail"}


async def test_a_key_is_asked_for_again() -> None:
    settings = SpeechSettings(api_keys=["right"])
    right = {"Authorization": "Bearer right"}
    async with speech_house(speech=settings) as house:
        port = house.ports.http
        async with talk(port, "/v1/realtime?intent=transcription", right) as first:
            created = await first.hear("session.created")
            token = created["session"]["resume"]["token"]
            target = f"/v1/realtime?resume={token}&last_event=1"
            assert (await refusal_of(port or 0, target))[0] == 401
            async with talk(port, target, right) as second:
                greeting = await second.hear()
                assert greeting["type"] == "session.updated"
                assert greeting["session"]["resume"]["received"] == {"messages": 0}
                told = await first.hear("error")
                assert told["error"]["code"] == "session_superseded"
                assert (await first.hear_end())[0] == 4409


async def test_a_token_is_good_for_its_own_dialect_only() -> None:
    async with speech_house() as house:
        port = house.ports.http or 0
        async with talk(port, "/v1/realtime?intent=transcription") as first:
            created = await first.hear("session.created")
            token = created["session"]["resume"]["token"]
            status, body = await refusal_of(port, f"/v1/speech?resume={token}&last_event=0")
    assert status == 400
    assert "is for a session of 'openai-realtime', not of 'streamgate'" in body


async def test_a_stock_client_that_can_not_come_back_holds_no_slot() -> None:
    async with speech_house() as house:
        async with talk(house.ports.http, "/v1/listen?encoding=linear16&sample_rate=16000") as one:
            response = one.socket.response
            assert response is not None
            assert "StreamGate-Resume" not in response.headers
            one.socket.transport.abort()
        assert house.server._front_ends is not None
        counts = house.server._front_ends.resume_counts
    assert counts is not None
    assert counts.detachments == 0


async def refusal_of(port: int, target: str) -> tuple[int, str]:
    with pytest.raises(InvalidStatus) as refusal:
        async with talk(port, target):
            pass
    response = refusal.value.response
    assert response.body is not None
    return response.status_code, response.body.decode()
