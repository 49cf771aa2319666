"""How a process ended, and whether what it did may have been the reason."""

import asyncio
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from streamgate.link import losses
from streamgate.link.losses import Cause, Deaths, is_stopped
from streamgate.server.processes.fate import cause_of, fate_of, oom_kills
from streamgate.server.processes.launch import ChildProcess
from tests.waiting import until, wait


@pytest.mark.parametrize(
    ("status", "kills", "cause"),
    [
        (0, (1, 1), Cause.ITS_OWN),
        (77, (None, None), Cause.ITS_OWN),
        (-signal.SIGSEGV, (1, 1), Cause.ITS_OWN),
        (-signal.SIGABRT, (1, 1), Cause.ITS_OWN),
        (-signal.SIGKILL, (1, 2), Cause.ITS_OWN),
        (-signal.SIGKILL, (1, 1), Cause.UNEXPLAINED),
        (-signal.SIGKILL, (None, None), Cause.UNEXPLAINED),
    ],
)
def test_what_an_end_says(status: int, kills: tuple[int | None, int | None], cause: Cause) -> None:
    assert cause_of(status, *kills) is cause


def test_an_end_in_words() -> None:
    assert fate_of(3) == "it ended with exit status 3"
    assert fate_of(-11) == "it was ended by SIGSEGV"
    assert "SIGKILL" in fate_of(-9)
    assert fate_of(-250) == "it was ended by signal 250"


def test_kills_for_want_of_memory(tmp_path: Path) -> None:
    proc, cgroups = tmp_path / "proc", tmp_path / "cgroup"
    assert oom_kills(proc, cgroups) is None
    (proc / "self").mkdir(parents=True)
    (proc / "vmstat").write_text("nr_free_pages 7\noom_kill 5\n")
    assert oom_kills(proc, cgroups) == 5
    (proc / "self" / "cgroup").write_text("1:name=systemd:/x\n0::/a/b\n")
    assert oom_kills(proc, cgroups) == 5
    (cgroups / "a" / "b").mkdir(parents=True)
    (cgroups / "a" / "b" / "memory.events").write_text("low 0\noom 3\noom_kill 2\n")
    assert oom_kills(proc, cgroups) == 2
    (cgroups / "a" / "b" / "memory.events").write_text("")
    assert oom_kills(proc, cgroups) == 5


def test_who_was_stopped_is_known() -> None:
    with subprocess.Popen(["sleep", "600"]) as process:
        try:
            assert not is_stopped(process.pid)
            process.send_signal(signal.SIGSTOP)
            wait(lambda: is_stopped(process.pid))
            process.send_signal(signal.SIGCONT)
            wait(lambda: not is_stopped(process.pid))
        finally:
            process.kill()
    assert not is_stopped(process.pid)


async def test_the_word_of_a_supervisor_may_come_before_or_after() -> None:
    deaths = Deaths()
    deaths.note(1, Cause.OUTSIDE)
    assert deaths.loss_of(1).cause is Cause.OUTSIDE
    later = deaths.loss_of(1)
    told: list[Cause | None] = []
    later.when_explained(lambda: told.append(later.cause))
    assert later.cause is None
    deaths.note(2, Cause.ITS_OWN)
    deaths.note(1, Cause.ITS_OWN)
    assert told == [Cause.ITS_OWN]
    later.when_explained(lambda: told.append(later.cause))
    assert told == [Cause.ITS_OWN] * 2
    for pid in range(100, 100 + 2 * losses.KNOWN_MAX):
        deaths.note(pid, Cause.OUTSIDE)
    assert len(deaths._known) == losses.KNOWN_MAX


async def test_where_no_word_comes_it_stays_unexplained(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(losses, "WORD_SECONDS", 0.02)
    deaths = Deaths()
    loss = deaths.loss_of(5)
    await until(lambda: loss.cause)
    assert loss.cause is Cause.UNEXPLAINED
    deaths.note(5, Cause.ITS_OWN)
    assert loss.cause is Cause.UNEXPLAINED


async def test_nothing_is_left_of_a_start_that_is_given_up() -> None:
    child = ChildProcess(lambda _: None)
    starting = asyncio.create_task(child.start([sys.executable, "-c", "input()"]))
    await asyncio.sleep(0)
    assert child.pid
    starting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await starting
    assert child.ended.is_set()
    assert not psutil.pid_exists(child.pid)
