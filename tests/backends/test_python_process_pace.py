"""A slow client of a model in a process of its own slows the threads that serve it alone."""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from streamgate.backend.contract import PacedReply
from streamgate.model.config import Execution
from streamgate_python.process.pace import UNASKED_MAX
from streamgate_python.process.session import ProcessSession
from tests.backends.python_models import Model, RecordingReply, eventually, reply_of, request

COUNT = 100
TALKER = f"""
import asyncio
import threading

class TritonPythonModel:
    def execute(self, requests):
        for request in requests:
            sender = request.get_response_sender()
            match request.inputs()[0].as_numpy()[0]:
                case 0:
                    self.talk([sender])
                case 1:
                    threading.Thread(target=self.talk, args=([sender],)).start()
                case 2:
                    threading.Thread(target=lambda: asyncio.run(self.talk_in_loop(sender))).start()
                case 3:
                    self.kept = sender
                case 4:
                    threading.Thread(target=self.talk, args=([self.kept, sender],)).start()

    def talk(self, senders):
        for index in range({COUNT}):
            for sender in senders:
                sender.send(out(index))
        for sender in senders:
            sender.send(flags=FINAL)

    async def talk_in_loop(self, sender):
        self.talk([sender])
"""
IN_EXECUTE, IN_A_THREAD, IN_A_LOOP, LATER, BY_TURNS = range(5)

Opened = Callable[[Model], ProcessSession]


@dataclass
class PacedRecording(RecordingReply):
    """A client that may stop reading."""

    held: bool = True
    asked: int = 0

    def is_held_up(self) -> bool:
        self.asked += 1
        return self.held and not self.cancelled

    @property
    def count(self) -> int:
        return len(self.sent)


@pytest.fixture
def session(tmp_path: Path, opened: Opened) -> ProcessSession:
    model = Model(tmp_path, execution=Execution.PROCESS, decoupled=True)
    return opened(model.write(TALKER))


@pytest.fixture(autouse=True)
def _quiet(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.CRITICAL, logger="streamgate_python")


def asked(session: ProcessSession, where: int, *, held: bool = True) -> PacedRecording:
    reply = PacedRecording(held=held)
    assert isinstance(reply, PacedReply)
    session.execute([request(where, reply=reply)])
    return reply


def test_a_thread_of_one_request_waits_until_its_client_reads(session: ProcessSession) -> None:
    slow = asked(session, IN_A_THREAD)
    # It is looked at again and again, and has sent no more.
    eventually(lambda: slow.asked >= 5, "nobody asks whether the client reads again")
    assert slow.count == UNASKED_MAX
    quick = asked(session, IN_A_THREAD, held=False)
    quick.wait()
    assert quick.count == COUNT + 1
    assert slow.count == UNASKED_MAX
    slow.held = False
    slow.wait()
    assert [sent.values["OUT"] for sent in slow.sent[:-1]] == [[index] for index in range(COUNT)]


def test_a_request_that_is_cancelled_holds_up_nothing(session: ProcessSession) -> None:
    slow = asked(session, IN_A_THREAD)
    eventually(lambda: slow.asked >= 2, "nobody asks")
    slow.cancelled = True
    slow.wait()


def test_one_that_is_held_up_for_long_goes_on(
    session: ProcessSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("streamgate_python.process.pace.HELD_SECONDS_MAX", 0.0)
    asked(session, IN_A_THREAD).wait()


@pytest.mark.parametrize("where", [IN_EXECUTE, IN_A_LOOP])
def test_a_thread_of_many_requests_does_not_wait(session: ProcessSession, where: int) -> None:
    slow = asked(session, where)
    slow.wait()
    assert slow.count == COUNT + 1


def test_nor_does_one_that_answers_several_by_turns(session: ProcessSession) -> None:
    first, second = asked(session, LATER), asked(session, BY_TURNS)
    for reply in (first, second):
        reply.wait()
        assert reply.count == COUNT + 1


def test_replies_without_a_pace_are_sent_at_once(session: ProcessSession) -> None:
    made = request(IN_A_THREAD)
    session.execute([made])
    reply_of(made).wait()
    assert len(reply_of(made).sent) == COUNT + 1
