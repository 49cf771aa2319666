"""A process that a supervisor can start within a moment: it loads nothing and serves nothing.

    python toy.py NAME DESCRIPTOR SUPERVISOR

How it behaves is in the name of the server: words such as `refuse=engine-0`.
"""

import asyncio
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from streamgate.errors import Code, StreamGateError
from streamgate.server.processes.child import Beginning, Report, run_child
from streamgate.server.processes.settings_text import read_settings


class Toy:
    def __init__(self, beginning: Beginning, on_change: Callable[[], None]) -> None:
        self.beginning = beginning
        self.on_change = on_change
        self.words = read_settings(beginning.settings).server_id.split()
        self.sequences = 5 if beginning.kind == "engine" else 0
        self.is_accepting = beginning.kind == "engine"
        self.first = self.marked = False

    async def begin(self) -> None:
        name = self.beginning.name
        sys.stderr.write(f"{name} begins\n")
        if f"refuse={name}" in self.words:
            raise StreamGateError(Code.INVALID_ARG, f"{name} does not want to")
        if f"crash={name}" in self.words:
            sys.stderr.write("last words\n")
            os._exit(3)
        if f"hang={name}" in self.words:
            self.hang()

        if f"hang-later={name}" in self.words:
            asyncio.get_running_loop().call_later(0.3, self.hang)

        self.began = time.monotonic()

    def hang(self) -> None:
        time.sleep(1000)

    def report(self) -> Report:
        own = f"stuck-first={self.beginning.name}"
        stuck = ""
        if own in self.words and time.monotonic() - self.began > 0.3 and self.is_first():
            stuck = "a step of model 'toy' hangs"
        answers = 1 if f"serve={self.beginning.name}" in self.words else 0
        return Report(
            *(True, self.is_accepting, self.sequences, 2 * self.sequences),
            stuck=stuck,
            answers=answers,
        )

    def is_first(self) -> bool:
        """Whether no process of this name was here before."""
        mark = Path(self.beginning.directory) / f"{self.beginning.name}.toy"
        if not self.marked:
            self.first = not mark.exists()
            self.marked = True
            mark.touch()
        return self.first

    def hear(self, what: str, value: Any) -> None:
        sys.stderr.write(f"{self.beginning.name} hears {what} {value}\n")

    async def answer(self, what: str, value: Any) -> Any:
        match what:
            case "metrics":
                family = ["toys", "gauge", "Toys", [["toys", {"model": "m"}, 2.0]]]
                own = ["age", "gauge", "Age", [["age", {}, 1.0]]]
                return {"summed": [family], "process": [own]}
            case "open":
                assert value["metrics"] is None
                self.is_accepting = True
            case "sequences":
                return self.sequences
            case "drain":
                self.is_accepting = False
                self.sequences = 0
                self.on_change()
                return 0
        self.on_change()
        return None


def prepare(kind: str) -> None:
    sys.stderr.write(f"ready to be an {kind}\n")


if __name__ == "__main__":
    run_child(int(sys.argv[2]), int(sys.argv[3]), Toy, prepare)
