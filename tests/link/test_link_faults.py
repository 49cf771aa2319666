"""What is late, foreign, silent or nonsense costs itself, and nobody else."""

import asyncio
import contextlib
import random
import socket
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from streamgate.errors import EndReason, Failure, StreamGateError
from streamgate.link import frames
from streamgate.link.addresses import (
    Address,
    TcpAddress,
    UnixAddress,
    connect,
    listen_unix,
    parse_address,
)
from streamgate.link.channel import Channel, Heartbeat
from streamgate.link.client import EngineLink
from streamgate.link.greeting import introduce
from streamgate.link.messages import (
    MESSAGES,
    Challenge,
    Ended,
    Hello,
    Refused,
    encode_message,
)
from streamgate.link.steps import encode_result, encode_step
from streamgate.model.request import Request, Response
from streamgate.model.snapshot import Snapshot
from tests.link.house import PATIENT
from tests.link.pair import QUICK, engine
from tests.session.plain_models import zeros
from tests.waiting import until

SNAPSHOT = Snapshot(4, "schema")
WAIT_SECONDS = 20.0


async def raw_channel(address: Address) -> Channel:
    """A front end that says what the test wants it to."""
    adopted: list[Channel] = []

    def adopt(channel: Channel, _: object) -> dict[type, Any]:
        adopted.append(channel)
        return {cls: lambda _: None for cls in MESSAGES}

    await introduce(address, ("raw", ""), b"", PATIENT, adopt, lambda _: None)
    return adopted[0]


def step(epoch: int, position: int, key: int = 5, *, start: bool = False, model: int = 1) -> Any:
    request = Request("m", inputs=[zeros("I", 4)], sequence=key, start=start)
    return encode_step(position + 100, model, 1, epoch, position, request)


async def test_steps_of_old_epochs_and_wrong_places_are_refused_and_counted(
    tmp_path: Path,
) -> None:
    async with engine(tmp_path) as there:
        raw = await raw_channel(there.address)
        raw.send_frame(*step(3, 0, start=True))
        raw.send_frame(*step(3, 1))
        raw.send_frame(*step(2, 2))
        raw.send_frame(*step(3, 1))
        raw.send_frame(*step(2, 0, start=True))
        raw.send_frame(*step(3, 5))
        raw.send_frame(*step(3, 6, model=99))
        await until(lambda: len(there.fake.submitted) == 3)
        assert there.fake.positions == [0, 1, 5]
        await until(lambda: there.server.counts.stale_steps == 2)
        assert there.server.counts.misplaced_steps == 1
        raw.close()


async def test_a_front_end_can_not_reach_the_sequences_of_another(tmp_path: Path) -> None:
    async with engine(tmp_path) as there:
        here = await there.connect()
        here.send(5, start=True)
        await until(lambda: there.fake.submitted)
        raw = await raw_channel(there.address)
        raw.send_frame(*step(1, 1))
        await until(lambda: there.server.counts.stale_steps == 1)
        assert len(there.fake.submitted) == 1
        raw.close()


async def test_news_of_what_is_over_is_dropped_and_counted(tmp_path: Path) -> None:
    async with engine(tmp_path) as there:
        here = await there.connect()
        here.send(5, start=True)
        await until(lambda: there.fake.submitted)
        ((channel, _),) = there.server._peers.values()
        late = Response(Request("m"), "m", "1")
        channel.send_frame(*encode_result(9_999, late))
        channel.send(Ended(1, 77, 5, EndReason.IDLE, unstarted=False))
        channel.send(Ended(55, 1, 5, EndReason.IDLE, unstarted=False))
        await until(lambda: here.link.counts.stale_news == 2)
        assert here.link.counts.stale.results == 1
        assert here.ends == []
        assert here.responses == []


async def test_a_front_end_that_goes_takes_its_sequences_with_it(tmp_path: Path) -> None:
    async with engine(tmp_path) as there:
        here, other = await there.connect(), await there.connect()
        here.send(1, start=True, owner=1)
        here.send(2, start=True, owner=2)
        other.send(3, start=True)
        await until(lambda: len(there.fake.submitted) == 3)
        owners = {request.sequence: owner for request, _, owner, _ in there.fake.submitted}
        await here.link.stop()
        await until(lambda: len(there.fake.hung_up) == 2)
        assert set(there.fake.hung_up) == {owners[1], owners[2]}
        assert sorted(there.fake.cancelled) == sorted(
            place
            for place, (request, *_) in enumerate(there.fake.submitted, 1)
            if request.sequence != 3
        )
        # What comes for it later finds nobody, and harms nobody.
        there.fake.answer(0)
        there.fake.on_snapshot(1, SNAPSHOT, False)
        assert there.server.peers == 1


async def test_the_loss_of_an_engine_is_told_once_and_of_everything(tmp_path: Path) -> None:
    async with engine(tmp_path) as there:
        here = await there.connect()
        answers: list[Any] = []
        losses: list[str] = []
        open_then: list[bool] = []
        here.link.on_lost = losses.append
        here.link.on_change = lambda: open_then.append(here.model.is_open)
        here.send(1, start=True)
        here.send(1)
        here.model.reserve(2, 1, answers.append)  # type: ignore[arg-type]
        here.model.restore(3, 1, SNAPSHOT, answers.append)  # type: ignore[arg-type]
        here.model.hand_over(1, answers.append)
        question = asyncio.ensure_future(here.link.statistics("", ""))
        await until(lambda: there.fake.handed_over)
        with contextlib.suppress(StreamGateError):
            await question
        await there.server.stop()
        await until(lambda: losses)
        assert [(each.lost, each.final, each.position) for each in here.responses] == [
            (True, True, 0),
            (True, True, 1),
        ]
        assert [type(each) for each in answers] == [Failure, Failure, Failure]
        assert here.ends == [(1, EndReason.ENGINE_LOST, 0)]
        assert open_then == [False]
        assert here.model.sequences == 0
        assert len(losses) == here.link.counts.losses == 1
        here.send(1)
        here.model.reserve(2, 1, answers.append)  # type: ignore[arg-type]
        here.model.hand_over(1, answers.append)
        await until(lambda: len(answers) == 5)
        assert here.responses[-1].lost
        with pytest.raises(StreamGateError, match="not connected"):
            await here.link.statistics("", "")


async def test_a_front_end_that_comes_back_is_not_there_twice(tmp_path: Path) -> None:
    async with engine(tmp_path) as there:
        here = await there.connect(incarnation="me")
        here.send(1, start=True)
        await until(lambda: there.fake.submitted)
        again = await there.connect(incarnation="me")
        assert there.fake.hung_up == [there.fake.submitted[0][2]]
        assert there.server.peers == 1
        await until(lambda: here.ends)
        assert here.ends == [(1, EndReason.ENGINE_LOST, 0)]
        await here.link.stop()
        again.send(1, start=True)
        await until(lambda: len(there.fake.submitted) == 2)


async def test_silence_is_loss_on_both_sides(tmp_path: Path) -> None:
    async with engine(tmp_path, heartbeat=QUICK) as there:
        here = await there.connect()
        here.send(1, start=True)
        await until(lambda: there.fake.submitted)
        # Neither hears the other any more, though no connection is closed.
        ((channel, _),) = there.server._peers.values()
        loop = asyncio.get_running_loop()
        assert here.link._channel is not None
        for end in (channel.socket, here.link._channel.socket):
            loop.remove_reader(end._socket)
        await until(lambda: there.fake.hung_up)
        assert there.server.peers == 0
        await here.link.stop()


async def test_who_stood_still_does_not_take_others_for_lost(tmp_path: Path) -> None:
    async with engine(tmp_path, heartbeat=QUICK) as there:
        link = EngineLink(there.address, heartbeat=QUICK)
        there.links.append(link)
        link.start()
        await link.wait_connected()
        time.sleep(1.0)  # noqa: ASYNC251, that is the point
        await asyncio.sleep(0.2)
        assert link.is_connected
        assert link.counts.losses == 0


async def test_what_can_not_be_sent_is_told_and_harms_nobody(tmp_path: Path) -> None:
    strange = Snapshot(0, "schema", {"s": np.zeros(2, np.complex64)})
    async with engine(tmp_path) as there:
        here = await there.connect()
        here.model.watch_snapshots(lambda *_: None)
        answers: list[Any] = []
        for key in (1, 2, 3):
            here.send(key, start=True)
        here.model.take_snapshot(1, answers.append)
        here.model.hand_over(1, answers.append)
        await until(lambda: there.fake.handed_over)
        request, sink, *_ = there.fake.submitted[2]
        sink(Response(request, "m", "1", parameters={"p": object()}))  # type: ignore[dict-item]
        there.fake.answer(0)
        there.fake.asked[0][1](strange)
        there.fake.handed_over[0][1](strange)
        there.fake.on_snapshot(2, strange, False)
        there.fake.on_snapshot(2, strange, True)
        await until(lambda: len(here.ends) == 2)
        assert here.ends == [(1, EndReason.ENGINE_LOST, 0), (2, EndReason.ENGINE_LOST, 0)]
        assert ["can't be sent" in each.message for each in answers] == [True, True]
        assert here.responses[0].failure is not None
        assert "can't be sent" in here.responses[0].failure.message
        assert here.link.counts.losses == 0


async def test_models_of_a_front_end_that_does_not_read_are_held_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("streamgate.link.peer.UNREAD_BYTES_MAX", 100_000)
    async with engine(tmp_path, arena_bytes=0) as there:
        here = await there.connect()
        loop = asyncio.get_running_loop()
        here.send(1, start=True)
        here.send(2, start=True)
        await until(lambda: len(there.fake.submitted) == 2)
        assert here.link._channel is not None
        ear = here.link._channel.socket
        loop.remove_reader(ear._socket)
        request, sink, *_ = there.fake.submitted[0]
        for _ in range(10):
            sink(Response(request, "m", "1", [zeros("O", 250_000)], final=False))
        assert there.fake.paused == [1, 2]
        here.send(3, start=True)
        await until(lambda: there.fake.paused == [1, 2, 3])
        loop.add_reader(ear._socket, ear._read)
        await until(lambda: not there.fake.paused)
        assert len(here.responses) == 10


@pytest.mark.parametrize(("ours", "theirs"), [(b"secret", b"other"), (b"secret", b"")])
async def test_over_tcp_both_must_know_the_secret(
    tmp_path: Path, ours: bytes, theirs: bytes
) -> None:
    async with engine(tmp_path, secret=ours) as there:
        address = TcpAddress("127.0.0.1", there.server.listen_tcp(TcpAddress("127.0.0.1", 0)))

        async def greet(secret: bytes) -> None:
            await introduce(address, ("x", ""), secret, PATIENT, lambda *_: {}, lambda _: None)

        with pytest.raises(StreamGateError, match="secret is another one there"):
            await greet(theirs)
        assert there.server.peers == 0
        link = EngineLink(address, secret=ours, heartbeat=PATIENT)
        there.links.append(link)
        link.start()
        async with asyncio.timeout(WAIT_SECONDS):
            await link.wait_connected()


async def test_a_front_end_does_not_serve_an_engine_that_does_not_know_the_secret(
    tmp_path: Path,
) -> None:
    async with engine(tmp_path) as there:
        with pytest.raises(StreamGateError, match="secret is another one there"):
            await introduce(
                there.address, ("x", ""), b"secret", PATIENT, lambda *_: {}, lambda _: None
            )


async def test_there_is_no_tcp_without_a_secret(tmp_path: Path) -> None:
    async with engine(tmp_path) as there:
        with pytest.raises(StreamGateError, match="needs a secret"):
            there.server.listen_tcp(TcpAddress("127.0.0.1", 0))


async def test_a_front_end_of_another_version_is_told_so(tmp_path: Path) -> None:
    async with engine(tmp_path) as there:
        connection = await connect(there.address, WAIT_SECONDS)
        heard: list[Any] = []
        over: list[str] = []
        handlers = {Challenge: heard.append, Refused: heard.append}
        channel = Channel(connection, handlers, over.append, PATIENT)
        channel.send(Hello("1-other", b"nonce", b"", "x", ""))
        await until(lambda: over)
        assert "messages 1-other there" in heard[-1].failure.message
        assert there.server.peers == 0


async def test_a_front_end_does_not_use_an_engine_of_another_version(tmp_path: Path) -> None:
    listener = listen_unix(tmp_path / "own" / "s")
    loop = asyncio.get_running_loop()
    address = UnixAddress(tmp_path / "own" / "s")
    greeting = asyncio.ensure_future(
        introduce(address, ("x", ""), b"", PATIENT, lambda *_: {}, lambda _: None)
    )
    connection, _ = await loop.sock_accept(listener)
    channel = Channel(connection, {}, lambda _: None, PATIENT)
    channel.send(Challenge("1-other", b"nonce"))
    with pytest.raises(StreamGateError, match="messages 1-other there"):
        await greeting
    channel.close()
    listener.close()


async def test_who_says_nothing_is_not_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("streamgate.link.greeting.GREETING_SECONDS", 0.05)
    async with engine(tmp_path) as there:
        reading, writing = await asyncio.open_unix_connection(str(there.path))
        async with asyncio.timeout(WAIT_SECONDS):
            assert b"no greeting came" in await reading.read()
        writing.close()


@settings(max_examples=40, deadline=None, phases=(Phase.generate,))
@given(st.integers(0, 2**32))
def test_nonsense_of_one_front_end_costs_only_its_own_connection(
    tmp_path_factory: pytest.TempPathFactory, seed: int
) -> None:
    async def run() -> None:
        dice = random.Random(seed)
        async with engine(tmp_path_factory.mktemp("e")) as there:
            here = await there.connect()
            raw = await raw_channel(there.address)
            for _ in range(5):
                raw.socket.send(*nonsense(dice))
            here.send(1, start=True)
            await until(lambda: there.fake.submitted)
            there.fake.answer(len(there.fake.submitted) - 1)
            await until(lambda: here.responses)
            assert here.link.counts.losses == 0
            raw.close()

    asyncio.run(run())


def nonsense(dice: random.Random) -> tuple[tuple[Any, ...], list[bytes]]:
    """A frame with a kind that there is, and wrong parts."""
    parts = [None, -1, 0, 1, 2**63, "x", b"x", (), (1, "m"), {"a": 1}, 2.5, True]
    header: list[Any] = [dice.randrange(-1, len(MESSAGES) + 4)]
    if dice.random() < 0.4:
        good, _ = step(1, 0, start=True)
        header = list(good)
        header[dice.randrange(1, len(header))] = dice.choice(parts)
    else:
        header += dice.choices(parts, k=dice.randrange(8))
    return tuple(header), [bytes(dice.randrange(20)) for _ in range(dice.randrange(3))]


def test_where_a_link_may_be(tmp_path: Path) -> None:
    assert parse_address("unix:/a/b") == UnixAddress(Path("/a/b"))
    assert parse_address("tcp:[::1]:80") == TcpAddress("::1", 80)
    assert str(parse_address("tcp:h:80")) == "tcp:h:80"
    for wrong in ("", "unix:", "tcp:80", "tcp:h:x", "tcp:h:70000", "udp:h:1"):
        with pytest.raises(StreamGateError, match="expected unix:<path>"):
            parse_address(wrong)
    with pytest.raises(StreamGateError, match="at most 107 bytes"):
        listen_unix(tmp_path / ("x" * 120))
    open_to_all = tmp_path / "open"
    open_to_all.mkdir(mode=0o755)
    with pytest.raises(StreamGateError, match="has mode 755, expected 700"):
        listen_unix(open_to_all / "s")


def test_a_socket_that_was_left_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "own" / "s"
    listen_unix(path).close()
    assert path.exists()
    listener = listen_unix(path)
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(str(path))
    listener.close()
    assert path.parent.stat().st_mode & 0o777 == 0o700


def test_heartbeats_are_as_the_docs_say() -> None:
    assert Heartbeat() == Heartbeat(0.2, 1.0)
    assert len(encode_message(MESSAGES[3]())[0]) == 2
    assert frames.FRAME_BYTES_MAX == 2**30
