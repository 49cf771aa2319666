"""Speech clients with limits: refused at the handshake in their dialect's words, or read slowly."""

import asyncio
from contextlib import suppress
from pathlib import Path

from websockets.exceptions import InvalidStatus

from streamgate.frontends.speech import SpeechStream
from streamgate.server.settings import SpeechSettings
from streamgate.session.metered import MeteredGateway, Meters
from streamgate.session.tenant import Rate, Tenant
from streamgate.session.tenants import NS, Tenants, hash_of
from tests.speech.dialects.peer import dialled, refusal, small_repository
from tests.speech.house import speech_house
from tests.speech.test_stream import PCM, Listener
from tests.speech.tones import s16le, tones
from tests.waiting import until_so

OPENAI = "/v1/realtime?intent=transcription"
NATIVE = "/v1/speech"
KEY = {"Authorization": "Bearer tenants-key"}
OTHER = {"Authorization": "Bearer servers-key"}


async def test_a_tenant_has_its_streams_and_no_more_on_every_dialect(tmp_path: Path) -> None:
    tenant = Tenant("t", (hash_of("tenants-key"),), streams_max=1)
    speech = SpeechSettings(api_keys=("servers-key",))
    async with speech_house(small_repository(tmp_path, 8), speech, tenants=(tenant,)) as house:
        port = house.ports.websocket
        assert port is not None
        assert (await refusal(port, OPENAI, additional_headers={}))[0] == 401
        async with dialled(port, OPENAI, additional_headers=KEY) as first:
            await first.hear()
            status, body = await refusal(port, OPENAI, additional_headers=KEY)
            assert (status, body["error"]["code"]) == (429, "rate_limit_exceeded")
            assert body["error"]["message"] == "tenant 't' has all its 1 streams; try again later"
            status, body = await refusal(port, NATIVE, additional_headers=KEY)
            assert (status, body["code"]) == (503, "UNAVAILABLE")
            async with dialled(port, NATIVE, additional_headers=OTHER) as other:
                assert (await other.hear())["type"] == "ready"
        # Its place is free again as soon as the server knows that it is gone.
        await until_so(lambda: is_let_in(port))


async def is_let_in(port: int) -> bool:
    with suppress(InvalidStatus):
        async with dialled(port, NATIVE, additional_headers=KEY):
            return True
    return False


async def test_audio_that_comes_too_fast_waits(tmp_path: Path) -> None:
    """The stream says that it has no room, and says when it has some again; all is heard."""
    audio = s16le(tones())
    async with speech_house(small_repository(tmp_path, 8)) as house:
        now = 0
        tenants = Tenants([Tenant("", bytes=Rate(len(audio) * 50, 1))])
        gateway = MeteredGateway(house.gateway, Meters(tenants, now=lambda: now))
        model = await house.context.models.choose()
        listener = Listener()
        stream = SpeechStream(gateway, model, PCM, listener)
        await stream.open()
        begin = asyncio.get_running_loop().time()
        stream.feed(audio)
        has_room = stream.has_room
        assert not has_room
        async with asyncio.timeout(20):
            await listener.has_room.wait()
        assert stream.has_room
        assert asyncio.get_running_loop().time() - begin >= 0.019
        now += NS
        stream.finish()
        async with asyncio.timeout(20):
            await listener.ended
        (told,) = tenants.statistics()
        assert (told.received_bytes, told.pauses) == (len(audio), 1)
