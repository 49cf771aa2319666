"""Asking one instance whether it is ready: one question at a time, whoever asks."""

import asyncio
from collections.abc import Callable
from concurrent.futures import Future

import pytest

from streamgate.engine.readiness import Readiness

pytestmark = pytest.mark.timeout(30)


class Instance:
    """Takes questions; the test says when its thread gets to them."""

    def __init__(self) -> None:
        self.questions: list[tuple[Callable[[], bool], Future[bool]]] = []

    def ask(self, question: Callable[[], bool]) -> "Future[bool]":
        self.questions.append((question, Future()))
        return self.questions[-1][1]

    def work(self) -> None:
        question, answer = self.questions.pop()
        try:
            answer.set_result(question())
        except ValueError as error:
            answer.set_exception(error)


async def test_whoever_asks_meanwhile_waits_for_the_same_answer() -> None:
    instance = Instance()
    readiness = Readiness("m_0", instance.ask)
    asked: list[int] = []

    def question() -> bool:
        asked.append(1)
        return False

    waiting = [asyncio.create_task(readiness.is_ready(question)) for _ in range(5)]
    await asyncio.sleep(0)
    assert len(instance.questions) == 1
    instance.work()
    assert await asyncio.gather(*waiting) == [False] * 5
    assert asked == [1]
    again = asyncio.create_task(readiness.is_ready(question))
    await asyncio.sleep(0)
    instance.work()
    assert not await again
    assert asked == [1, 1]


async def test_a_late_answer_counts_the_next_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("streamgate.engine.readiness.BUSY_SECONDS", 0.01)
    instance = Instance()
    readiness = Readiness("m_0", instance.ask)
    assert await readiness.is_ready(lambda: False)
    assert await readiness.is_ready(lambda: False)
    # Still the first question.
    assert len(instance.questions) == 1
    instance.work()
    await asyncio.sleep(0.01)
    # It holds, but is asked for again.
    assert not await readiness.is_ready(lambda: True)
    instance.work()
    await asyncio.sleep(0.01)
    assert await readiness.is_ready(lambda: False)


async def test_who_gives_up_waiting_spoils_nothing() -> None:
    instance = Instance()
    readiness = Readiness("m_0", instance.ask)
    first = asyncio.create_task(readiness.is_ready(lambda: False))
    second = asyncio.create_task(readiness.is_ready(lambda: False))
    await asyncio.sleep(0)
    first.cancel()
    await asyncio.sleep(0)
    instance.work()
    assert not await second
