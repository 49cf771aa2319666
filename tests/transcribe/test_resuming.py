"""`streamgate transcribe` over wires that are cut: nothing is lost, nothing is written twice."""

import asyncio
import random
from pathlib import Path

import numpy as np
import pytest
import soundfile

from streamgate.errors import StreamGateError
from streamgate.transcribe.audio import FileAudio, read_file
from streamgate.transcribe.dialects import FLOAT_BYTES, _Native
from streamgate.transcribe.outbox import UNSENT_MAX, Outbox
from streamgate.transcribe.resuming import ResumingTalk
from streamgate.transcribe.transcript import Utterance
from tests.durable.proxy import Cut, Way, cutting
from tests.model.settings import LONG
from tests.speech.house import speech_house
from tests.speech.tones import MELODY, RATE_HZ, tones, words_of
from tests.transcribe.test_transcribe import KEY, run

RUNS = 40 if LONG else 4
CUTS = 5
SILENCE = np.zeros(24_000, np.float32)


class Screen:
    """A `Listener` that keeps whole utterances."""

    def __init__(self) -> None:
        self.said: list[str] = []

    def on_progress(self, seconds: float) -> None:
        """Nobody looks."""

    def on_tail(self, text: str) -> None:
        """Nobody looks."""

    def on_utterance(self, utterance: Utterance) -> None:
        self.said.append(utterance.text)


@pytest.fixture
def recording(tmp_path: Path) -> Path:
    """Three utterances of the same melody, 13 s."""
    path = tmp_path / "recording.wav"
    soundfile.write(path, np.concatenate([tones(), SILENCE, tones(), SILENCE, tones()]), RATE_HZ)
    return path


def random_cuts(seed: int, up_bytes: int) -> list[Cut]:
    chance = random.Random(seed)
    cuts = [Cut(Way.UP, chance.randrange(2_000, up_bytes // 4))]
    for _ in range(CUTS - 1):
        way = chance.choice(list(Way))
        size = up_bytes if way is Way.UP else 20_000
        cuts.append(Cut(way, chance.randrange(500 + size // CUTS)))
    return cuts


async def test_a_file_is_transcribed_over_wires_that_are_cut(recording: Path) -> None:
    audio = FileAudio(recording, read_file(recording), realtime=False)
    assert audio.seconds is not None
    up_bytes = round(audio.seconds * RATE_HZ * FLOAT_BYTES)
    texts, resumes = [], 0
    query = "encoding=f32le&sample_rate=16000"
    async with speech_house() as house:
        for seed in range(RUNS):
            async with cutting(house.ports.http or 0, random_cuts(seed, up_bytes)) as proxy:
                screen = Screen()
                url = f"ws://127.0.0.1:{proxy.port}/v1/speech?{query}"
                talk = ResumingTalk(url, "", _Native(screen), RATE_HZ * FLOAT_BYTES)
                async with asyncio.timeout(30):
                    await talk.run(audio)
                texts.append(" ".join(screen.said).split())
                resumes += talk.resumes
    assert texts == [words_of(MELODY * 3)] * RUNS
    assert resumes > RUNS


async def test_the_command_prints_each_utterance_once(
    recording: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STREAMGATE_API_KEY", KEY)
    async with speech_house() as house:
        assert await run(recording, "--url", f"http://127.0.0.1:{house.ports.http}") == 0
        undisturbed = capsys.readouterr().out
        cuts = [Cut(Way.UP, 200_000), Cut(Way.DOWN, 900), Cut(Way.UP, 100_000)]
        async with cutting(house.ports.http or 0, cuts) as proxy:
            assert await run(recording, "--url", f"http://127.0.0.1:{proxy.port}") == 0
            assert proxy.cuts_done >= 2
    assert capsys.readouterr() == (undisturbed, "")


async def test_a_server_that_is_gone_for_good_is_told(
    recording: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cuts = [Cut(Way.UP, 200_000), Cut(Way.UP, 0), Cut(Way.UP, 0)]
    async with speech_house() as house, cutting(house.ports.http or 0, cuts) as proxy:
        running = asyncio.create_task(run(recording, "--url", f"http://127.0.0.1:{proxy.port}"))
        while not proxy.cuts_done:  # noqa: ASYNC110 - the proxy tells nobody
            await asyncio.sleep(0.005)
        assert house.server._front_ends is not None
        assert house.server._front_ends._resumption is not None
        house.server._front_ends._resumption.stop()
        assert await running == 1
    assert "the session of the resume token is over" in capsys.readouterr().err


async def test_what_may_have_to_be_said_again_is_kept_and_no_more() -> None:
    said: list[str | bytes] = []

    class Mouth:
        async def send(self, message: str | bytes) -> None:
            said.append(message)

    outbox = Outbox()
    speaking = asyncio.create_task(_speak(outbox, 20))
    await asyncio.sleep(0)
    assert outbox.kept == UNSENT_MAX + 1
    emptying = asyncio.create_task(outbox.empty_into(Mouth()))
    await speaking
    await asyncio.sleep(0)
    assert said == [*(bytes([each, each]) for each in range(20)), "end"]
    outbox.confirm(31)
    assert outbox.kept == 21 - 15
    emptying.cancel()
    with pytest.raises(StreamGateError, match="14 messages have come, expected 15 to 21"):
        outbox.rewind(14)
    said.clear()
    outbox.rewind(18)
    emptying = asyncio.create_task(outbox.empty_into(Mouth()))
    await asyncio.sleep(0.01)
    assert said == [b"\x12\x12", b"\x13\x13", "end"]
    outbox.confirm(1_000)
    assert outbox.kept == 1, "that the end came is not known by how much audio was heard"
    emptying.cancel()


async def _speak(outbox: Outbox, count: int) -> None:
    for each in range(count):
        await outbox.send(bytes([each, each]))
    await outbox.send("end")
