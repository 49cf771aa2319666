"""What the pages of dialects show is run as it stands there, but for the port and the file."""

import re
from pathlib import Path

import pytest

from streamgate.server.settings import SpeechSettings
from tests.clients.environment import PYTHON, ROOT, needs_clients, run, wav_file
from tests.speech.house import speech_house
from tests.speech.tones import tones, words_of

pytestmark = [needs_clients, pytest.mark.slow]

TEXT = " ".join(words_of())
GERMAN = " ".join(word[::-1] for word in words_of())


@pytest.mark.parametrize(
    ("page", "number", "said"),
    [
        ("assemblyai", 0, TEXT),
        ("deepgram", 0, TEXT),
        ("kyutai", 0, TEXT),
        ("openai", 0, TEXT),
        ("openai", 1, TEXT),
        ("openai", 2, GERMAN),
        ("openai", 3, TEXT),
        ("riva-realtime", 0, TEXT),
        ("speechmatics", 0, TEXT),
        ("vosk", 0, TEXT),
        ("wyoming", 0, TEXT),
    ],
)
async def test_a_snippet_is_true(page: str, number: int, said: str, tmp_path: Path) -> None:
    wav_file(tmp_path / "speech.wav", tones())
    wav_file(tmp_path / "speech-24000.wav", tones(rate_hz=24_000), 24_000)
    text = (ROOT / "docs/dialects" / f"{page}.md").read_text(encoding="utf-8")
    code = re.findall(r"```python\n(.*?)```", text, re.DOTALL)[number]
    ports = SpeechSettings(ports={"vosk": 0, "wyoming": 0})
    async with speech_house(speech=ports) as house:
        code = code.replace("localhost:8000", f"127.0.0.1:{house.ports.http}")
        code = code.replace("localhost:8003", f"127.0.0.1:{house.ports.websocket}")
        code = code.replace("localhost:2700", f"127.0.0.1:{house.ports.dialects['vosk']}")
        code = code.replace('"localhost", 10300', f'"127.0.0.1", {house.ports.dialects["wyoming"]}')
        code = code.replace('"speech', f'"{tmp_path}/speech')
        script = tmp_path / "snippet.py"
        script.write_text(code)
        assert said in await run(PYTHON, script)
