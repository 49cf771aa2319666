"""A speech model that can't keep its pace any more refuses clients at the handshake."""

import asyncio
from pathlib import Path

import numpy as np
import pytest

from streamgate.errors import Code, StreamGateError
from streamgate.frontends.speech import Declared
from tests.speech.dialects.peer import refusal, small_repository
from tests.speech.house import speech_house
from tests.speech.test_stream import PCM, opened
from tests.speech.tones import s16le, tones

PATH = "/v1/realtime?intent=transcription"


def repository_at(place: Path, pace: str) -> Path:
    parameter = f'parameters {{ key: "streamgate.pace_ms" value {{ string_value: "{pace}" }} }}'
    changes = {
        " max_queue_delay_microseconds: 2000": "",
        "instance_group": f"{parameter}\n\ninstance_group",
    }
    return small_repository(place, 8, changes)


async def test_who_can_t_be_heard_in_time_is_refused_and_the_others_are_heard(
    tmp_path: Path,
) -> None:
    # No step takes less than a microsecond: one stream at a time, once that is known.
    async with speech_house(repository_at(tmp_path, "0.001")) as house:
        stream, listener = await opened(house, PCM)
        early, _ = await opened(house, PCM)
        port = house.ports.websocket
        assert port is not None
        stream.feed(s16le(tones()))
        stream.flush("heard")
        async with asyncio.timeout(20):
            while "heard" not in listener.markers:
                listener.heard.clear()
                await listener.heard.wait()
        with pytest.raises(StreamGateError, match="pace of one more stream beside the 2") as error:
            await opened(house, PCM)
        assert error.value.code is Code.UNAVAILABLE
        status, body = await refusal(port, PATH)
        assert (status, body["error"]["code"]) == (429, "rate_limit_exceeded")
        assert "can't keep the pace" in body["error"]["message"]
        early.close()
        stream.finish()
        async with asyncio.timeout(20):
            await listener.ended
        late, _ = await opened(house, Declared("s16le", 16_000))
        (statistics,) = await house.gateway.statistics("tone_transcriber", "")
        assert statistics.reservations.refused["no_headroom"] == 2
        late.close()


async def test_a_chunk_is_a_pace(tmp_path: Path) -> None:
    async with speech_house(repository_at(tmp_path, "chunk")) as house:
        model = await house.context.models.choose()
        assert model.config.sequences is not None
        assert model.config.sequences.pace_ns == round(model.chunk_seconds * 1e9) == 160_000_000
        stream, listener = await opened(house, PCM)
        stream.feed(np.zeros(16_000, "<i2").tobytes())
        stream.finish()
        async with asyncio.timeout(20):
            await listener.ended
