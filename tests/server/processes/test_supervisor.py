"""The supervisor over toys: what it keeps running, and that nothing is left of it."""

import asyncio
import os
import random
import re
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import psutil
import pytest

from streamgate.errors import Code, StreamGateError
from streamgate.server.processes.keeper import Keeper
from streamgate.server.processes.supervisor import Supervisor
from streamgate.server.processes.tree import ProcessView
from tests.model.settings import ONLY_LONG
from tests.server.processes.toy_server import WAIT_SECONDS, toy_supervisor, toys
from tests.waiting import until

SERVER = Path(__file__).with_name("toy_server.py")
ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture
def directory() -> Iterator[Path]:
    """A runtime directory. pytest's own have too long names."""
    with TemporaryDirectory(prefix="sg-") as name:
        yield Path(name)


@pytest.fixture(autouse=True)
def toys_find_this_tree(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(ROOT))


@pytest.fixture
async def no_children_left() -> AsyncIterator[None]:
    before = set(psutil.Process().children(recursive=True))
    yield
    assert set(psutil.Process().children(recursive=True)) == before


def process(supervisor: Supervisor, name: str) -> ProcessView:
    (view,) = (each for each in supervisor.view().processes if each.name == name)
    return view


def is_back(supervisor: Supervisor, name: str, restarts: int) -> bool:
    """Whether a process accepts again, after so many restarts."""
    view = process(supervisor, name)
    return view.restarts == restarts and view.is_accepting


def names_in(directory: Path) -> list[str]:
    return [each.name for each in directory.iterdir()]


def keeper(supervisor: Supervisor, name: str) -> Keeper:
    (found,) = (each for each in (*supervisor.engines, *supervisor.front_ends) if each.name == name)
    return found


@pytest.mark.usefixtures("no_children_left")
async def test_a_killed_process_comes_back_and_the_others_stay(directory: Path) -> None:
    async with toys(directory) as supervisor:
        names = ["supervisor", "engine-0", "engine-1", "front-0", "front-1"]
        before = {view.name: view for view in supervisor.view().processes}
        assert list(before) == names
        assert {view.state for view in before.values()} == {"accepting"}
        assert before["engine-0"].sequences == 5
        assert before["engine-0"].memory_bytes > 2**20
        for name in ("engine-1", "front-0"):
            os.kill(before[name].pid, signal.SIGKILL)
            await until(partial(is_back, supervisor, name, 1))
        after = {view.name: view for view in supervisor.view().processes}
        changed = {name for name in names if after[name].pid != before[name].pid}
        assert changed == {"engine-1", "front-0"}
        assert "SIGKILL" in after["engine-1"].last_reason


@pytest.mark.usefixtures("no_children_left")
async def test_a_frozen_process_is_killed_and_comes_back(directory: Path) -> None:
    async with toys(directory, silence_seconds=1.0, front_ends=1) as supervisor:
        before = process(supervisor, "engine-0").pid
        os.kill(before, signal.SIGSTOP)
        await until(lambda: process(supervisor, "engine-0").restarts)
        await until(lambda: process(supervisor, "engine-0").is_accepting)
        view = process(supervisor, "engine-0")
        assert view.last_reason.startswith("it was frozen: no sign of life for 1.")
        assert not psutil.pid_exists(before)
        assert process(supervisor, "engine-1").restarts == 0


@pytest.mark.usefixtures("no_children_left")
async def test_front_ends_are_told_why_engines_ended(
    directory: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ended: list[tuple[int, str]] = []
    options = {"words": "stuck-first=engine-1", "silence_seconds": 1.0}
    async with toys(directory, **options) as supervisor:
        ended.append((process(supervisor, "engine-1").pid, "its own"))
        await until(partial(is_back, supervisor, "engine-1", 1))
        for count, (number, cause) in enumerate(
            [(signal.SIGKILL, "unexplained"), (signal.SIGSTOP, "outside")], 1
        ):
            pid = process(supervisor, "engine-0").pid
            os.kill(pid, number)
            ended.append((pid, cause))
            await until(partial(is_back, supervisor, "engine-0", count))
        (directory / "engine-1.toy").unlink()
    log = capsys.readouterr().err
    for name in ("front-0", "front-1"):
        for pid, cause in ended:
            assert f"{name} hears engine ended [{pid}, '{cause}']" in log


@pytest.mark.usefixtures("no_children_left")
async def test_a_process_that_hangs_says_where(
    directory: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = {"words": "hang-later=engine-0", "silence_seconds": 1.0, "front_ends": 1}
    async with toys(directory, **options) as supervisor:
        await supervisor._answer("stacks", None)
        await until(lambda: process(supervisor, "engine-0").restarts)
    log = capsys.readouterr().err
    assert re.search(r"^engine-0   \|   File .* in hang$", log, re.MULTILINE)
    assert re.search(r"^engine-1   \|   File .* in select$", log, re.MULTILINE)


@pytest.mark.usefixtures("no_children_left")
async def test_a_process_that_says_that_it_is_stuck_is_started_anew(
    directory: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    async with toys(directory, words="stuck-first=engine-0", front_ends=1) as supervisor:
        await until(partial(is_back, supervisor, "engine-0", 1))
        reason = process(supervisor, "engine-0").last_reason
        assert reason == "it was stuck: a step of model 'toy' hangs"
        assert process(supervisor, "engine-1").restarts == 0
        (directory / "engine-0.toy").unlink()
    # It says where, as one that is frozen does.
    assert re.search(r"^engine-0   \|   File .* in select$", capsys.readouterr().err, re.MULTILINE)


@pytest.mark.parametrize(
    ("words", "expected"),
    [("", ["at once", "in 0.1 s", "in 0.5 s"]), ("serve=engine-0", ["at once"] * 3)],
)
@pytest.mark.usefixtures("no_children_left")
async def test_restarts_come_less_often_where_nothing_was_served(
    directory: Path,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
    words: str,
    expected: list[str],
) -> None:
    # However slow the machine is, none of them has been there for long.
    monkeypatch.setattr("streamgate.server.processes.restarts.PROVEN_SECONDS", 1e9)
    async with toys(directory, words=words, engines=1, front_ends=1) as supervisor:
        for count in range(1, 4):
            await until(lambda: keeper(supervisor, "engine-0").has_begun)
            os.kill(process(supervisor, "engine-0").pid, signal.SIGKILL)
            await until(partial(is_back, supervisor, "engine-0", count))
        await until(lambda: keeper(supervisor, "engine-0").has_begun)
    delays = [
        each.partition("starting it again ")[2] for each in caplog.messages if "again" in each
    ]
    assert delays == expected


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("refuse=engine-1", "engine-1 does not want to"),
        ("refuse=front-0", "front-0 does not want to"),
        (
            "crash=front-1",
            "front-1 could not start: it ended with exit status 3\n  front-1 begins\n  last words",
        ),
    ],
)
@pytest.mark.usefixtures("no_children_left")
async def test_what_can_not_start_ends_the_server(
    words: str, message: str, directory: Path
) -> None:
    with pytest.raises(StreamGateError) as raised:
        await toy_supervisor(directory, words=words).start()
    assert raised.value.message == message
    assert names_in(directory) == []


@pytest.mark.usefixtures("no_children_left")
async def test_a_server_that_starts_can_be_killed(directory: Path) -> None:
    supervisor = toy_supervisor(directory, words="hang=engine-0")
    starting = asyncio.ensure_future(supervisor.start())
    await until(lambda: len(psutil.Process().children(recursive=True)) >= 4)
    assert not starting.done()
    starting.cancel()
    await asyncio.gather(starting, return_exceptions=True)


@pytest.mark.usefixtures("no_children_left")
async def test_an_engine_that_is_drained_starts_anew(directory: Path) -> None:
    async with toys(directory) as supervisor:
        before = process(supervisor, "engine-0")
        outcome = await supervisor.drain("engine-0", 5.0)
        after = process(supervisor, "engine-0")
        assert outcome == {"left": 0, "pid": after.pid}
        assert after.pid != before.pid
        assert (after.restarts, after.last_reason) == (1, "it was drained")
        with pytest.raises(StreamGateError) as raised:
            await supervisor.drain("front-0", 5.0)
        assert raised.value.code is Code.NOT_FOUND
        assert raised.value.message.endswith("expected one of: engine-0, engine-1")


@pytest.mark.usefixtures("no_children_left")
async def test_a_server_that_is_drained_lets_in_nothing_new(directory: Path) -> None:
    async with toys(directory, engines=1, front_ends=1) as supervisor:
        assert await supervisor.drain("", 0.1) == {"left": 5}
        assert supervisor.view().state == "draining"
        assert {view.state for view in supervisor.view().processes} == {"draining"}
        assert process(supervisor, "front-0").is_accepting is False


@pytest.mark.usefixtures("no_children_left")
async def test_what_has_not_begun_again_does_not_hold_up_a_stop(directory: Path) -> None:
    async with toys(directory, engines=1, front_ends=1, exit_timeout_seconds=600) as supervisor:
        os.kill(process(supervisor, "engine-0").pid, signal.SIGKILL)
        await until(lambda: process(supervisor, "engine-0").state == "starting")
        os.kill(process(supervisor, "engine-0").pid, signal.SIGSTOP)
        async with asyncio.timeout(WAIT_SECONDS):
            await supervisor.stop()


def tree_of(pid: int) -> list[psutil.Process]:
    parent = psutil.Process(pid)
    return [parent, *parent.children(recursive=True)]


@pytest.mark.parametrize("stopped", [False, True])
def test_nothing_outlives_a_supervisor_that_is_killed(stopped: bool, directory: Path) -> None:
    with subprocess.Popen(
        [sys.executable, str(SERVER), str(directory)],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as server:
        assert server.stdout is not None
        pids = [int(word) for word in server.stdout.readline().split()]
        everybody = [psutil.Process(pid) for pid in pids]
        assert len(tree_of(server.pid)) == len(everybody) == 5
        if stopped:
            for each in everybody[1:]:
                each.suspend()
        server.kill()
        _, alive = psutil.wait_procs(everybody[1:], timeout=WAIT_SECONDS)
        assert alive == []


@ONLY_LONG
@pytest.mark.timeout(300)
@pytest.mark.usefixtures("no_children_left")
async def test_many_deaths_leave_nothing_behind(directory: Path) -> None:
    """Kills and stops of all kinds at random, several at a time."""
    seed = random.randrange(10**6)
    sys.stderr.write(f"seed {seed}\n")
    dice = random.Random(seed)
    async with toys(directory, silence_seconds=1.0) as supervisor:
        await until(lambda: is_whole(supervisor))
        descriptors = psutil.Process().num_fds()
        for _ in range(25):
            for view in dice.sample(supervisor.view().processes[1:], dice.randint(1, 4)):
                if view.pid and psutil.pid_exists(view.pid):
                    os.kill(view.pid, dice.choice([signal.SIGKILL, signal.SIGSTOP, signal.SIGSEGV]))
            await asyncio.sleep(dice.uniform(0.0, 2.0))
            for each in supervisor.engines + supervisor.front_ends:
                each.restarts.row = 0  # or it would take minutes
        await until(lambda: is_whole(supervisor))
        assert psutil.Process().num_fds() == descriptors
        assert len(psutil.Process().children(recursive=True)) == 4


def is_whole(supervisor: Supervisor) -> bool:
    return all(view.state == "accepting" for view in supervisor.view().processes)
