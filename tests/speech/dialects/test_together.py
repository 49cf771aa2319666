"""A client of each dialect that has a connection of its own, at once, on one model: each hears what
it hears alone, and they share the model's batches."""

import asyncio
import re
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import aiohttp
import msgpack
import pytest

from streamgate.frontends.dialects.wyoming.events import Event
from streamgate.server.settings import SpeechSettings
from tests.speech.dialects.peer import Peer, dialled, pieces
from tests.speech.dialects.test_wyoming import called
from tests.speech.house import SpeechHouse, speech_house
from tests.speech.tones import s16le, tones, words_of

PORTS = SpeechSettings(ports=dict.fromkeys(("vosk", "sherpa-onnx", "whisper-live", "wyoming"), 0))
PCM = pieces(s16le(tones()), 5120)
FLOATS = pieces(tones().astype("<f4").tobytes(), 10_240)


async def paced(peer: Peer, frames: list[bytes]) -> None:
    for frame in frames:
        await peer.say(frame)
        await asyncio.sleep(0.01)


def heard(peer: Peer, **values: Any) -> list[Any]:
    return [
        each
        for each in peer.heard
        if isinstance(each, dict) and all(each.get(name) == value for name, value in values.items())
    ]


async def deepgram(house: SpeechHouse) -> str:
    path = "/v1/listen?encoding=linear16&sample_rate=16000&interim_results=true"
    async with dialled(house.ports.websocket or 0, path) as peer:
        await paced(peer, PCM)
        await peer.say({"type": "CloseStream"})
        await peer.hear_all()
    finals = heard(peer, type="Results", is_final=True)
    return " ".join(each["channel"]["alternatives"][0]["transcript"] for each in finals)


async def flux(house: SpeechHouse) -> str:
    path = "/v2/listen?model=flux-general-en&encoding=linear16&sample_rate=16000"
    async with dialled(house.ports.http or 0, path) as peer:
        await paced(peer, PCM)
        await peer.say({"type": "CloseStream"})
        await peer.hear_all()
    return " ".join(each["transcript"] for each in heard(peer, event="EndOfTurn"))


async def assemblyai(house: SpeechHouse) -> str:
    async with dialled(house.ports.websocket or 0, "/v3/ws?sample_rate=16000") as peer:
        await paced(peer, PCM)
        await peer.say({"type": "Terminate"})
        await peer.hear_all()
    return " ".join(each["transcript"] for each in heard(peer, end_of_turn=True))


async def speechmatics(house: SpeechHouse) -> str:
    form = {"type": "raw", "encoding": "pcm_s16le", "sample_rate": 16_000}
    async with dialled(house.ports.http or 0, "/v2") as peer:
        await peer.say({"message": "StartRecognition", "audio_format": form})
        await paced(peer, PCM)
        await peer.say({"message": "EndOfStream", "last_seq_no": len(PCM)})
        await peer.hear_all()
    finals = heard(peer, message="AddTranscript")
    return "".join(each["metadata"]["transcript"] for each in finals)


async def kyutai(house: SpeechHouse) -> str:
    samples = tones(rate_hz=24_000)
    audio = [
        msgpack.packb({"type": "Audio", "pcm": samples[at : at + 3840].tolist()})
        for at in range(0, len(samples), 3840)
    ]
    async with dialled(house.ports.websocket or 0, "/api/asr-streaming") as peer:
        await paced(peer, audio)
        await peer.say(msgpack.packb({"type": "Marker", "id": 1}))
        words = []
        while (message := msgpack.unpackb(await peer.hear()))["type"] != "Marker":
            if message["type"] == "Word":
                words.append(message["text"])
    return " ".join(words)


async def vosk(house: SpeechHouse) -> str:
    async with dialled(house.ports.dialects["vosk"]) as peer:
        await peer.say('{ "config" : { "sample_rate" : 16000 } }')
        for frame in PCM:
            await peer.say(frame)
            await peer.hear()
        await peer.say('{"eof" : 1}')
        await peer.hear_all()
    return " ".join(each["text"] for each in peer.heard if each.get("text"))


async def sherpa(house: SpeechHouse) -> str:
    async with dialled(house.ports.dialects["sherpa-onnx"]) as peer:
        await paced(peer, FLOATS)
        await peer.say("Done")
        await peer.hear_all()
    return " ".join(each["text"] for each in heard(peer, is_eof=True))


async def whisper_live(house: SpeechHouse) -> str:
    async with dialled(house.ports.dialects["whisper-live"]) as peer:
        await peer.say({"uid": "me", "language": "en", "model": "small"})
        await paced(peer, FLOATS)
        await peer.say(b"END_OF_AUDIO")
        await peer.hear_all()
    return " ".join(each["text"] for each in peer.heard[-1]["segments"])


async def wyoming(house: SpeechHouse) -> str:
    form = {"rate": 16_000, "width": 2, "channels": 1}
    async with called(house.ports.dialects["wyoming"]) as caller:
        for frame in PCM:
            await caller.say(Event("audio-chunk", form, frame))
            await asyncio.sleep(0.01)
        await caller.say(Event("audio-stop"))
        text: str = (await caller.hear_until("transcript"))[-1].data["text"]
    return text


CLIENTS: Mapping[str, Callable[[SpeechHouse], Awaitable[str]]] = {
    "deepgram": deepgram,
    "flux": flux,
    "assemblyai": assemblyai,
    "speechmatics": speechmatics,
    "kyutai": kyutai,
    "vosk": vosk,
    "sherpa": sherpa,
    "whisper_live": whisper_live,
    "wyoming": wyoming,
}


async def metric(house: SpeechHouse, name: str) -> float:
    async with (
        aiohttp.ClientSession() as session,
        session.get(f"http://127.0.0.1:{house.ports.metrics}/metrics") as answer,
    ):
        text = await answer.text()
    found = re.search(rf'^{name}{{.*model="tone_transcriber".*}} (\S+)$', text, re.MULTILINE)
    assert found is not None, text
    return float(found[1])


@pytest.mark.parametrize("name", CLIENTS)
async def test_each_dialect_hears_the_same_text_alone(name: str) -> None:
    async with speech_house(speech=PORTS) as house:
        assert (await CLIENTS[name](house)).split() == words_of()


async def test_all_of_them_at_once_share_batches_and_hear_the_same() -> None:
    async with speech_house(speech=PORTS) as house:
        texts = await asyncio.gather(*(client(house) for client in CLIENTS.values()))
        steps = await metric(house, "nv_inference_count")
        executions = await metric(house, "nv_inference_exec_count")
    assert {name: text.split() for name, text in zip(CLIENTS, texts, strict=True)} == dict.fromkeys(
        CLIENTS, words_of()
    )
    assert steps >= len(CLIENTS) * len(PCM)
    assert executions < steps
