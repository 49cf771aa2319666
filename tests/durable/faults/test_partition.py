"""The network between a front end and an engine is cut, and mended: two network namespaces and a
cable between them. What the engine said meanwhile arrives after all: it is refused and counted."""

import asyncio
import os
import shutil
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from streamgate.link.addresses import Address, TcpAddress
from streamgate.link.client import EngineLink
from streamgate.link.remote_model import RemoteModel
from streamgate.session.gateway import ServerInfo
from streamgate.session.remote import RemoteGateway
from tests.durable.faults.crowd import ANSWERS, percentile, write_models
from tests.durable.house import Client
from tests.durable.models import HANG_ONCE, hashes, marks_of, write_objects
from tests.link.engine_process import ROOT, engine_process
from tests.model.settings import LONG
from tests.waiting import until

WAIT_SECONDS = 30.0
SEQUENCES = 48
CUTS = 5 if LONG else 1
CUT_SECONDS = 2.0 if LONG else 1.5
STEPS = 30
PACE_SECONDS = 0.15
PORT = 7411
SECRET = f"only {os.getpid()} knows"
SLEEPER = "hash_sleeper"


@dataclass(frozen=True)
class Cable:
    """Between this network and another, named `network`; over there are its `end` and the
    address `host`."""

    network: str
    end: str
    host: str

    def cut(self) -> None:
        """At the other end: at ours, what is meant for there would go by the default route, where
        others may answer it."""
        ip("-n", self.network, "link", "set", self.end, "down")

    def mend(self) -> None:
        ip("-n", self.network, "link", "set", self.end, "up")


def ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, capture_output=True)


def why_not() -> str:
    """Why there can't be a network namespace here; "" where there can."""
    if shutil.which("ip") is None:
        return "there is no `ip` here"
    if os.geteuid() != 0:
        return "only root may make network namespaces"
    name = f"sg-try-{os.getpid()}"
    tried = subprocess.run(["ip", "netns", "add", name], capture_output=True, check=False)
    if tried.returncode:
        return f"no network namespace can be made here: {tried.stderr.decode().strip()}"
    ip("netns", "delete", name)
    return ""


@contextmanager
def cabled() -> Iterator[Cable]:
    """A second network, on the other end of a cable."""
    number = os.getpid() % 10_000
    # Nobody else who runs this here at the same time has the same addresses, one would hope.
    subnet = f"10.213.{number % 256}"
    here, there = f"sg{number}a", f"sg{number}b"
    cable = Cable(f"sg-far-{number}", there, f"{subnet}.2")
    ip("netns", "add", cable.network)
    try:
        ip("link", "add", here, "type", "veth", "peer", "name", there)
        ip("link", "set", there, "netns", cable.network)
        ip("addr", "add", f"{subnet}.1/30", "dev", here)
        ip("link", "set", here, "up")
        ip("-n", cable.network, "addr", "add", f"{cable.host}/30", "dev", there)
        ip("-n", cable.network, "link", "set", there, "up")
        ip("-n", cable.network, "link", "set", "lo", "up")
        yield cable
    finally:
        ip("netns", "delete", cable.network)


@contextmanager
def far_engine(repository: Path, cable: Cable) -> Iterator[Address]:
    inside = ["ip", "netns", "exec", cable.network, sys.executable]
    what = ["-m", "tests.durable.faults.far_engine", str(repository), cable.host, str(PORT), SECRET]
    with subprocess.Popen([*inside, *what], cwd=ROOT, stdout=subprocess.PIPE) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == b"ready\n"
            yield TcpAddress(cable.host, PORT)
        finally:
            process.kill()


@asynccontextmanager
async def front_end(*links: EngineLink) -> AsyncIterator[RemoteGateway]:
    gateway = RemoteGateway(links, ServerInfo("front end", "0", ()))
    gateway.start()
    for link in links:
        link.start()
    try:
        async with asyncio.timeout(WAIT_SECONDS):
            for link in links:
                await link.wait_connected()
        yield gateway
    finally:
        await gateway.close()
        for link in links:
            await link.stop()


async def paced(gateway: RemoteGateway, model: str, key: int, moments: list[float]) -> None:
    """One sequence, checked; the moments of its answers are added."""
    client = Client.of(gateway)
    values = [key * 1000 + place for place in range(STEPS)]
    answers = []
    for place, value in enumerate(values):
        last = place == STEPS - 1
        answers += await client.step(model, key, value, start=place == 0, end=last)
        moments.append(time.monotonic())
        await asyncio.sleep(PACE_SECONDS)
    client.connection.close(abort=True)
    assert answers == ANSWERS[model](values), (model, key)


async def one_cut(
    gateway: RemoteGateway, far: EngineLink, cable: Cable, first_key: int
) -> list[float]:
    """New sequences live through a cut. Returns how long after the cut each had
    its next answer, in seconds."""
    models = sorted(ANSWERS)
    moments: list[list[float]] = [[] for _ in range(SEQUENCES)]
    streams = asyncio.gather(
        *(
            paced(gateway, models[number % 3], first_key + number, moments[number])
            for number in range(SEQUENCES)
        )
    )
    try:
        await asyncio.sleep(1.0)
        assert sum(model.sequences for model in far.models.values()) > 0
        cut = time.monotonic()
        cable.cut()
        await asyncio.sleep(CUT_SECONDS)
        cable.mend()
        await until(lambda: far.is_connected)
        await streams
    finally:
        streams.cancel()
    return [next(moment - cut for moment in each if moment > cut) for each in moments]


async def cut_in_a_step(gateway: RemoteGateway, far: EngineLink, cable: Cable, marks: Path) -> None:
    """The cable is cut while a step is under way over there. It comes to its end while the cable is
    cut, and what came of it is on its way until it is mended."""
    client = Client.of(gateway)
    (model,) = (each for each in far.models.values() if each.config.name == SLEEPER)
    key = await _begun_at(client, model)
    dreamt = asyncio.create_task(client.step(SLEEPER, key, HANG_ONCE))
    try:
        await until((marks / "hangs").exists)
        losses = far.counts.losses
        cable.cut()
        await until(lambda: far.counts.losses > losses)
        (marks / "wake").touch()
        answers = [*await dreamt, *await client.step(SLEEPER, key, 4, end=True)]
        assert answers == hashes([3, HANG_ONCE, 4])[1:]
        cable.mend()

        def has_been_refused() -> bool:
            found = gateway.durability()[SLEEPER, "1"]
            return found.stale_results >= 1 and found.stale_snapshots >= 1

        await until(has_been_refused)
        await until(lambda: far.is_connected)
    finally:
        dreamt.cancel()
        client.connection.close(abort=True)


async def _begun_at(client: Client, model: RemoteModel) -> int:
    """Begin sequences until one is at this engine. Returns its ID."""
    for key in range(1_000_001, 1_000_050):
        await client.step(SLEEPER, key, 3, start=True)
        if model.sequences:
            return key
    raise AssertionError("no sequence begins at that engine")


@pytest.mark.slow
@pytest.mark.timeout(300)
async def test_a_network_is_cut_and_mended(tmp_path: Path) -> None:
    reason = why_not()
    if reason:
        pytest.skip(reason)
    repository = tmp_path / "models"
    repository.mkdir()
    write_models(repository, parameters={"streamgate.snapshot_steps": "4"})
    # It runs on the engine's own loop, and stands still in a step.
    once = {"streamgate.snapshot_steps": "1"}
    write_objects(repository, SLEEPER, execution="inline", parameters=once)
    with (
        cabled() as cable,
        far_engine(repository, cable) as address,
        engine_process(repository, tmp_path / "sockets" / "near") as near,
    ):
        far = EngineLink(address, secret=SECRET.encode())
        async with front_end(far, EngineLink(near.address)) as gateway:
            gaps: list[float] = []
            for round_ in range(CUTS):
                gaps += await one_cut(gateway, far, cable, 1 + round_ * SEQUENCES)
            assert far.counts.losses >= CUTS, "and once more where this machine is held up"
            await cut_in_a_step(gateway, far, cable, marks_of(repository, SLEEPER))
            counted = gateway.durability().values()
            assert sum(each.recovered for each in counted) >= CUTS
            assert sum(each.lost + each.mismatches for each in counted) == 0
    sys.stdout.write(
        f"{SEQUENCES} sequences at {PACE_SECONDS} s a step, {CUTS} cuts of {CUT_SECONDS} s; cut to "
        f"next answer: p50 {percentile(gaps, 0.5):.3f} s, p99 {percentile(gaps, 0.99):.3f} s\n"
    )
