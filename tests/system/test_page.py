"""The page at the HTTP port's root, in a real browser with a file as its microphone."""

import asyncio
from pathlib import Path

import numpy as np
import pytest
import soundfile

from streamgate.observe.resumption import ResumeCounts
from tests.durable.proxy import cutting
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


async def choose(page: Page, recording: Path) -> None:
    await page.run("document.querySelector('[value=file]').click()")
    root = await page.command("DOM.getDocument")
    node = await page.command("DOM.querySelector", nodeId=root["root"]["nodeId"], selector="#file")
    await page.command("DOM.setFileInputFiles", files=[str(recording)], nodeId=node["nodeId"])


@pytest.mark.parametrize("at_pace", [True, False])
async def test_a_file_is_heard_word_for_word(recording: Path, at_pace: bool) -> None:
    async with speech_house() as house, browser() as page:
        await ready(page, house.ports.http)
        await choose(page, recording)
        if not at_pace:
            await page.run("document.getElementById('pace').click()")
        await page.run("document.getElementById('start').click()")
        await page.until("document.body.dataset.state === 'done'")
        assert await page.run(PROBLEM) == ""
        assert await page.run(TRANSCRIPT) == [" ".join(words_of())]
        assert page.console == []


async def test_a_page_comes_back_when_its_connection_is_lost(recording: Path) -> None:
    heard = "parseFloat(document.getElementById('heard').textContent)"
    async with (
        speech_house() as house,
        cutting(house.ports.http or 0) as proxy,
        browser() as page,
    ):

        def counts() -> ResumeCounts:
            assert house.server._front_ends is not None
            found = house.server._front_ends.resume_counts
            assert found is not None
            return found

        await ready(page, proxy.port)
        await choose(page, recording)
        await page.run("document.getElementById('start').click()")
        for times, seconds in enumerate((2.5, 3.5, 5.5), 1):
            await page.until(f"{heard} > {seconds}")
            proxy.cut_now()
            async with asyncio.timeout(20):
                while counts().resumed < times:  # noqa: ASYNC110 - the server tells nobody
                    await asyncio.sleep(0.05)
        await page.until("document.body.dataset.state === 'done'")
        assert await page.run(PROBLEM) == ""
        assert await page.run(TRANSCRIPT) == [" ".join(words_of())]
        assert counts().resumed == 3


async def test_a_page_that_is_left_gives_its_place_back(recording: Path) -> None:
    async with speech_house() as house, browser(recording) as page:
        await ready(page, house.ports.http)
        await page.run("document.getElementById('start').click()")
        await page.until("document.querySelectorAll('#slots tr.own').length === 1")
        await page.command("Page.navigate", url="about:blank")
        async with asyncio.timeout(10):
            while any(table.taken for table in await house.gateway.slots("", "")):  # noqa: ASYNC110
                await asyncio.sleep(0.05)
        assert house.server._front_ends is not None
        counts = house.server._front_ends.resume_counts
    assert counts is not None
    assert counts.detachments == 0


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
