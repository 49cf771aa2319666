"""What `streamgate status` shows."""

import re
from dataclasses import replace

import pytest

from streamgate.server.processes.tree import ProcessView, ServerView, server_view
from streamgate.server.processes.tree_text import duration, tree_text

ENGINE = ProcessView(
    kind="engine",
    name="engine-0",
    pid=4712,
    state="accepting",
    is_alive=True,
    is_ready=True,
    is_accepting=True,
    uptime_seconds=3725.0,
    restarts=0,
    last_reason="",
    sequences=12,
    slots=64,
    waiting=0,
    cpu_seconds=75.5,
    memory_bytes=300 * 2**20,
    descriptors=20,
    threads=9,
)
SUPERVISOR = replace(ENGINE, kind="supervisor", name="supervisor", pid=4711, cpu_seconds=1.0)
DOWN = replace(
    ENGINE,
    name="engine-1",
    pid=0,
    state="down",
    restarts=3,
    last_reason="it was frozen: no sign of life for 5.1 s",
    sequences=0,
    slots=0,
    waiting=2,
)
SERVER = ServerView(
    "streamgate", "0.3.0", "accepting", {"http": "0.0.0.0:8000"}, [SUPERVISOR, ENGINE, DOWN]
)

SHOWN = """
streamgate 0.3.0, accepting
http=0.0.0.0:8000

              PID  STATE        UPTIME  RESTARTS  SEQUENCES         CPU   MEMORY
supervisor   4711  accepting  1 h 2 min                           1.0 s  300 MiB
├─ engine-0  4712  accepting  1 h 2 min         0      12/64  1 min 15 s  300 MiB
└─ engine-1     -  down               -         3       0 +2           -        -
engine-1 was started anew: it was frozen: no sign of life for 5.1 s
"""


def test_a_tree_without_a_terminal() -> None:
    shown = tree_text(SERVER, in_color=False)
    assert [line.split() for line in shown.splitlines()] == [
        line.split() for line in SHOWN.strip().splitlines()
    ]
    table = shown.splitlines()[3:7]
    assert len({line.index("4711") + 4 for line in table if "4711" in line}) == 1
    # Numbers end below the ends of their heads.
    for head in ("PID", "MEMORY"):
        end = table[0].index(head) + len(head)
        assert all(line[:end].rstrip() == line[:end] for line in table)


def test_colors_are_all_that_a_terminal_adds() -> None:
    colored = tree_text(SERVER, in_color=True)
    assert "\x1b[32maccepting" in colored
    assert "\x1b[31mdown" in colored
    assert re.sub(r"\x1b\[\d+m", "", colored) == tree_text(SERVER, in_color=False)


def test_a_tree_comes_back_from_a_message() -> None:
    assert server_view(SERVER.as_message()) == SERVER


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0.0 s"),
        (59.94, "59.9 s"),
        (60, "1 min 0 s"),
        (3_599, "59 min 59 s"),
        (3_600, "1 h 0 min"),
        (86_399, "23 h 59 min"),
        (90_000, "1 d 1 h"),
    ],
)
def test_durations(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_sequences_that_have_stalled_have_a_line() -> None:
    stalled = replace(SERVER, processes=[SUPERVISOR, replace(ENGINE, stalled=3), DOWN])
    assert "3 sequences have stalled" not in tree_text(SERVER, in_color=False)
    shown = tree_text(stalled, in_color=False).splitlines()
    assert "engine-0: 3 sequences have stalled; its log says which" in shown
