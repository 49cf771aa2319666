"""OpenAI's own SDK, unmodified, comes back to its session through its reconnect hook: the page's
program over wires that are cut."""

import random
import re
from pathlib import Path

import pytest

from tests.clients.environment import PYTHON, ROOT, needs_clients, run, wav_file
from tests.durable.proxy import Cut, Way, cutting
from tests.model.settings import LONG
from tests.speech.house import speech_house
from tests.speech.tones import tones, words_of

pytestmark = [needs_clients, pytest.mark.slow]

PROGRAM = 3
"""Which of the page's."""
RUNS = 20 if LONG else 3
CUTS = 5
UP_BYTES = 200_000
DOWN_BYTES = 16_000


def random_cuts(seed: int) -> list[Cut]:
    chance = random.Random(seed)
    # The first connection must get as far as its session's token.
    cuts = [Cut(Way.UP, chance.randrange(2_000, UP_BYTES // 2))]
    for _ in range(CUTS - 1):
        way = chance.choice(list(Way))
        size = UP_BYTES if way is Way.UP else DOWN_BYTES
        cuts.append(Cut(way, chance.randrange(600 + 2 * size // CUTS)))
    return cuts


def program(port: int, wav: Path) -> str:
    page = (ROOT / "docs/dialects/openai.md").read_text(encoding="utf-8")
    code: str = re.findall(r"```python\n(.*?)```", page, re.DOTALL)[PROGRAM]
    return code.replace("localhost:8000", f"127.0.0.1:{port}").replace("speech-24000.wav", str(wav))


async def test_the_sdk_comes_back_over_wires_that_are_cut(tmp_path: Path) -> None:
    wav = wav_file(tmp_path / "tones.wav", tones(rate_hz=24_000), 24_000)

    async def one(seed: int, port: int) -> tuple[str, int]:
        async with cutting(port, random_cuts(seed)) as proxy:
            script = tmp_path / f"program_{seed}.py"
            script.write_text(program(proxy.port, wav))
            return await run(PYTHON, script), proxy.cuts_done

    async with speech_house() as house:
        told = [await one(seed, house.ports.http or 0) for seed in range(RUNS)]
        assert house.server._front_ends is not None
        counts = house.server._front_ends.resume_counts
    assert [text for text, _ in told] == [" ".join(words_of())] * RUNS
    assert all(cuts >= 1 for _, cuts in told)
    assert counts is not None
    assert counts.resumed > 2 * RUNS
    assert counts.refused == {}
