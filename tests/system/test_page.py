"""The page at the HTTP port's root, in a real browser with a file as its microphone."""

from pathlib import Path

import numpy as np
import pytest
import soundfile

from tests.speech.house import speech_house
from tests.speech.tones import tones, words_of
from tests.system.browser import Page, browser

TRANSCRIPT = "[...document.querySelectorAll('#transcript li span')].map((e) => e.textContent)"
LIVE = "document.querySelector('#live .stable').textContent.trim()"
PROBLEM = "document.getElementById('problem').textContent"

pytestmark = [pytest.mark.slow, pytest.mark.timeout(150)]


@pytest.fixture
def recording(tmp_path: Path) -> Path:
    """Tones, with two seconds of silence in front and behind: a microphone starts anywhere."""
    silence = np.zeros(96_000, np.float32)
    path = tmp_path / "tones.wav"
    soundfile.write(path, np.concatenate([silence, tones(rate_hz=48_000), silence]), 48_000)
    return path


async def ready(page: Page, port: int | None) -> None:
    await page.go(f"http://127.0.0.1:{port}/")
    await page.until("document.getElementById('model')?.options.length > 0")


async def test_the_microphone_is_heard(recording: Path) -> None:
    async with speech_house() as house, browser(recording) as page:
        await ready(page, house.ports.http)
        await page.run("document.getElementById('start').click()")
        await page.until(f"{TRANSCRIPT}.length >= 1")
        # The recording goes round: what came first may have begun in the middle of it.
        assert await page.run(PROBLEM) == ""
        heard = (await page.run(TRANSCRIPT))[0].split()
        assert len(heard) >= 2
        assert "ms" in await page.run("document.getElementById('latency').textContent")
        rows = "[...document.querySelectorAll('#slots tr.own')].length"
        await page.until(f"{rows} === 1")
        await page.run("document.getElementById('stop').click()")
        await page.until("document.body.dataset.state === 'done'")
        assert await page.run(PROBLEM) == ""
        assert page.console == []


@pytest.mark.parametrize("at_pace", [True, False])
async def test_a_file_is_heard_word_for_word(recording: Path, at_pace: bool) -> None:
    async with speech_house() as house, browser() as page:
        await ready(page, house.ports.http)
        await page.run("document.querySelector('[value=file]').click()")
        root = await page.command("DOM.getDocument")
        node = await page.command(
            "DOM.querySelector", nodeId=root["root"]["nodeId"], selector="#file"
        )
        await page.command("DOM.setFileInputFiles", files=[str(recording)], nodeId=node["nodeId"])
        if not at_pace:
            await page.run("document.getElementById('pace').click()")
        await page.run("document.getElementById('start').click()")
        await page.until("document.body.dataset.state === 'done'")
        assert await page.run(PROBLEM) == ""
        assert await page.run(TRANSCRIPT) == [" ".join(words_of())]
        assert page.console == []


async def test_a_full_server_is_told(recording: Path) -> None:
    async with speech_house() as house, browser(recording) as page:
        model = await house.context.models.choose()
        connection = house.gateway.connect()
        for number in range(32):
            await connection.reserve(model.name, model.version, f"taken-{number}")
        await ready(page, house.ports.http)
        await page.run("document.getElementById('start').click()")
        await page.until(f"{PROBLEM} !== ''")
        assert "no free slot" in await page.run(PROBLEM)
        connection.close(abort=True)


async def test_it_can_be_used_without_a_mouse(recording: Path) -> None:
    async with speech_house() as house, browser(recording) as page:
        await ready(page, house.ports.http)
        unnamed = """[...document.querySelectorAll('button, select, input')].filter((each) =>
            !each.hidden && !(each.textContent.trim() || each.labels?.length
              || each.ariaLabel)).length"""
        assert await page.run(unnamed) == 0
        await page.run("document.getElementById('start').focus()")
        for kind in ("keyDown", "keyUp"):
            await page.command(
                "Input.dispatchKeyEvent",
                type=kind,
                key="Enter",
                code="Enter",
                windowsVirtualKeyCode=13,
                text="\r" if kind == "keyDown" else "",
            )
        await page.until("document.activeElement.id === 'stop'")
