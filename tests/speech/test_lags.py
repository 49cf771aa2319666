"""How far results are behind the audio."""

import asyncio

import aiohttp
from prometheus_client.parser import text_string_to_metric_families

from streamgate.frontends.speech.lags import AudioLags
from streamgate.observe.speech import render_speech
from streamgate.server.settings import SpeechSettings
from tests.speech.dialects.peer import dialled, pieces
from tests.speech.house import speech_house
from tests.speech.test_stream import PCM, opened
from tests.speech.tones import RATE_HZ, s16le, tones

NAME = "streamgate_speech_lag_seconds"


async def test_each_result_notes_the_audio_that_has_none_yet() -> None:
    samples = tones()
    async with speech_house() as house:
        stream, listener = await opened(house, PCM)
        stream.feed(s16le(samples))
        stream.finish()
        async with asyncio.timeout(20):
            await listener.ended
        (lags,) = house.context.models.lags.read().values()
        chunks = -(-len(samples) // stream.model.chunk_samples)
        assert sum(lags.counts) == chunks
        # All of the audio was there before the first result: each lag is a chunk less than the one
        # before, and the last is none.
        whole, chunk = len(samples) / RATE_HZ, stream.model.chunk_seconds
        wanted = [max(0.0, whole - chunk * (place + 1)) for place in range(chunks)]
        assert abs(lags.total - sum(wanted)) < 1e-6
        assert lags.counts[0] == 1
        # Whoever asks for the model again finds the same.
        assert (await house.context.models.choose()).lags is stream.model.lags


async def test_a_scrape_shows_them() -> None:
    async with speech_house(speech=SpeechSettings(ports={"vosk": 0})) as house:
        url = f"http://127.0.0.1:{house.ports.metrics}/metrics"
        async with aiohttp.ClientSession() as session:
            async with session.get(url) as answer:
                assert NAME not in await answer.text()
            async with dialled(house.ports.dialects["vosk"]) as peer:
                await peer.say('{ "config" : { "sample_rate" : 16000.0 } }')
                for frame in pieces(s16le(tones()), 8000):
                    await peer.say(frame)
                    await peer.hear()
                await peer.say('{"eof" : 1}')
                await peer.hear_all()
            async with session.get(url) as answer:
                text = await answer.text()
    families = {each.name: each for each in text_string_to_metric_families(text)}
    samples = {each.name: each for each in families[NAME].samples}
    assert samples[f"{NAME}_count"].value > 10
    assert samples[f"{NAME}_count"].labels == {"model": "tone_transcriber"}


def test_without_speech_there_is_nothing_to_show() -> None:
    assert render_speech({}) == b""
    assert f'{NAME}_count{{model="m"}} 0.0' in render_speech({"m": AudioLags().read()}).decode()
