"""What has gone wrong in the field with other servers' sequences, each by the number of its issue
(github.com/triton-inference-server/server) where it has one. Real sockets, unmodified clients."""

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path

import pytest
from tritonclient.utils import InferenceServerException

from streamgate.server.settings import GrpcTransport
from tests.system.running_server import WAIT_SECONDS, RunningServer, running
from tests.system.tally import TallyCalls, TallyStream, write_tally
from tests.waiting import wait

IDLE_MS = 300
LONG_IDLE_MS = 1000
"""Where a client must be quicker than that."""


@pytest.fixture(params=GrpcTransport)
def serve(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Callable[..., RunningServer]]:
    """Serves `tally` with the options of `write_tally`."""
    with ExitStack() as stack:

        def start(**options: object) -> RunningServer:
            write_tally(tmp_path, **options)  # type: ignore[arg-type]
            return stack.enter_context(running(tmp_path, request.param))

        yield start


@contextmanager
def stream(server: RunningServer) -> Iterator[TallyStream]:
    """A stream that is closed in good order."""
    opened = TallyStream(server.grpc)
    yield opened
    opened.leave()


def two_new_sequences_are_alone(server: RunningServer) -> None:
    """They take turns, so that each would see the other's sum if they shared a slot."""
    server.gates.close("step 101")
    with stream(server) as one:
        for step in range(10):
            flags = {0: "S", 9: "E"}.get(step, "")
            one.ask(101, 1, flags)
            one.ask(102, 1000, flags)
        wait(lambda: server.active("tally") == 2)
        server.gates.open("step 101")
        totals = [one.total() for _ in range(20)]
    assert sorted(totals) == [*range(1, 11), *range(1000, 10_001, 1000)]
    server.assert_at_rest("tally")


@pytest.mark.parametrize("strategy", ["oldest", "direct"])
def test_7117_the_slot_of_a_cancelled_stream_is_released_once(
    serve: Callable[..., RunningServer], strategy: str
) -> None:
    """There, a cancel released the slot and the idle limit released it again, so that the next two
    sequences shared it: one speaker's state reached another."""
    server = serve(slots=2, idle_ms=IDLE_MS, strategy=strategy)
    server.gates.close("step 1")
    cancelled = TallyStream(server.grpc)
    cancelled.ask(1, 7, "S")
    cancelled.ask(1, 7)
    cancelled.ask(1, 7)
    wait(lambda: server.pending("tally") == 2)
    cancelled.leave(cancel=True)
    wait(lambda: server.pending("tally") == 0)
    server.gates.open("step 1")
    wait(lambda: server.ended("tally", "client_abort") == 1)
    time.sleep(2 * IDLE_MS / 1000)
    assert server.all_ended("tally") == 1
    assert server.gates.count("step 1") == 1
    two_new_sequences_are_alone(server)


def test_7117_the_slot_of_a_cancelled_call_is_released_once(
    serve: Callable[..., RunningServer],
) -> None:
    """The same with calls that are each cancelled on their own: the sequence lives on until its
    idle limit."""
    server = serve(slots=2, idle_ms=IDLE_MS)
    with closing(TallyCalls(server.grpc)) as calls:
        server.gates.close("step 1")
        running_call = calls.begin(1, 7, "S")
        wait(lambda: server.active("tally") == 1)
        queued = calls.begin(1, 7)
        wait(lambda: server.pending("tally") == 1)
        queued.cancel()
        wait(lambda: server.pending("tally") == 0)
        server.gates.open("step 1")
        assert running_call.total() == 7
    wait(lambda: server.ended("tally", "idle") == 1)
    time.sleep(2 * IDLE_MS / 1000)
    assert server.all_ended("tally") == 1
    two_new_sequences_are_alone(server)


def test_8390_clients_that_never_send_end(serve: Callable[..., RunningServer]) -> None:
    """There, the server crashed. Slots must come back without ENDs: those of calls after the idle
    limit, those of a stream that is lost at once."""
    server = serve(slots=2, idle_ms=IDLE_MS)
    with closing(TallyCalls(server.grpc)) as calls:
        for key in range(1, 9):
            assert calls.total(key, key, "S") == key
        wait(lambda: server.ended("tally", "idle") == 8)
        server.assert_at_rest("tally")
    lost = TallyStream(server.grpc)
    for key in range(11, 13):
        lost.ask(key, key, "S")
        assert lost.total() == key
    lost.leave(cancel=True)
    wait(lambda: server.all_ended("tally") == 10)
    two_new_sequences_are_alone(server)


def test_8449_idle_sequences_before_a_long_backlog(serve: Callable[..., RunningServer]) -> None:
    """There, the thread that looks for idle sequences went round for ever and the model was dead
    until a restart. Here, whoever waits gets a slot, in order, and then there is nothing to do."""
    server = serve(slots=2, idle_ms=30)
    server.gates.close("step 1")
    with closing(TallyCalls(server.grpc)) as calls:
        begun = {1: calls.begin(1, 1, "S")}
        assert server.gates.is_entered("step 1", WAIT_SECONDS)
        begun |= {key: calls.begin(key, key, "S") for key in range(2, 31)}
        wait(lambda: server.metric("streamgate_sequences_backlog", "tally") == 28)
        begun.pop(10).cancel()
        wait(lambda: server.ended("tally", "client_abort") == 1)
        server.gates.open("step 1")
        for key, call in begun.items():
            assert call.total() == key
        wait(lambda: server.ended("tally", "idle") == 29)
        # An ID may come back at once, and the model works on.
        assert [calls.total(key, key, "SE") for key in range(1, 31)] == [*range(1, 31)]
    server.assert_at_rest("tally", never_started=1)
    assert server.wake_at("tally") is None


def test_a_pause_longer_than_the_idle_limit(serve: Callable[..., RunningServer]) -> None:
    """A client that comes back too late is told so, and begins anew from nothing."""
    server = serve(slots=1, idle_ms=IDLE_MS)
    with stream(server) as one:
        one.ask(1, 5, "S")
        assert one.total() == 5
        wait(lambda: server.ended("tally", "idle") == 1)
        one.ask(1, 5)
        assert "sequence 1 to model 'tally' must specify the START flag" in one.error()
        one.ask(1, 5, "S")
        assert one.total() == 5
        one.ask(1, 5, "E")
        assert one.total() == 10
    server.assert_at_rest("tally")


def test_a_step_longer_than_the_idle_limit(serve: Callable[..., RunningServer]) -> None:
    """There, a model that computed for long lost its sequence, as did one whose steps waited."""
    server = serve(slots=1, idle_ms=LONG_IDLE_MS)
    with stream(server) as one, stream(server) as waiting:
        server.gates.close("step 1")
        one.ask(1, 5, "S")
        assert server.gates.is_entered("step 1", WAIT_SECONDS)
        waiting.ask(2, 3, "S")
        wait(lambda: server.metric("streamgate_sequences_backlog", "tally") == 1)
        time.sleep(1.5 * LONG_IDLE_MS / 1000)
        server.gates.open("step 1")
        assert one.total() == 5
        one.ask(1, 5, "E")
        assert one.total() == 10
        # The other has waited for longer than the limit, too.
        assert waiting.total() == 3
        waiting.ask(2, 3, "E")
        assert waiting.total() == 6
    assert server.ended("tally", "idle") == 0
    server.assert_at_rest("tally")


def test_an_id_that_is_used_again_right_after_its_end(serve: Callable[..., RunningServer]) -> None:
    """Fifty sequences of one ID, sent ahead on one stream: each begins from nothing."""
    server = serve(slots=1)
    with stream(server) as one:
        for _ in range(50):
            for flags in ("S", "", "E"):
                one.ask(1, 1, flags)
        assert [one.total() for _ in range(150)] == [1, 2, 3] * 50
    assert server.ended("tally", "client_end") == 50
    server.assert_at_rest("tally")


def test_an_id_that_is_used_again_before_its_end_has_run(
    serve: Callable[..., RunningServer],
) -> None:
    """A START over another connection waits for the END that is still queued."""
    server = serve(slots=4)
    with stream(server) as old, stream(server) as new:
        server.gates.close("step 1")
        old.ask(1, 5, "S")
        old.ask(1, 5, "E")
        wait(lambda: server.pending("tally") == 1)
        new.ask(1, 100, "S")
        wait(lambda: server.pending("tally") == 2)
        server.gates.open("step 1")
        assert [old.total(), old.total()] == [5, 10]
        assert new.total() == 100
        new.ask(1, 1, "E")
        assert new.total() == 101
    assert server.ended("tally", "client_end") == 2
    server.assert_at_rest("tally")


def test_an_id_without_start_is_refused(serve: Callable[..., RunningServer]) -> None:
    server = serve(slots=1)
    with (
        closing(TallyCalls(server.grpc)) as calls,
        pytest.raises(InferenceServerException, match="must specify the START flag"),
    ):
        calls.total(1, 1)
    server.assert_at_rest("tally")
