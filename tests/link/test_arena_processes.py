"""Nothing of an arena is left when either process is killed, and what was received stays."""

from pathlib import Path

from streamgate.link.addresses import UnixAddress
from streamgate.link.client import EngineLink
from tests.link.echo import ROUNDS, SIZE, EchoLink, body_of, echo_process, send
from tests.link.house import PATIENT
from tests.link.pair import FrontEnd, engine
from tests.link.test_sharing import arena_of, channel_of, raw_of, there_of
from tests.waiting import until


def mapped(process: str = "self") -> int:
    """How many arenas a process has mapped. None of them has a name in any folder."""
    lines = Path(f"/proc/{process}/maps").read_text("utf-8").splitlines()
    found = [line for line in lines if "streamgate-link" in line]
    assert all(line.endswith("/memfd:streamgate-link (deleted)") for line in found)
    return len(found)


async def test_what_a_killed_engine_has_sent_stays_and_nothing_else(tmp_path: Path) -> None:
    before = mapped()
    path = tmp_path / "engine" / "link"
    async with echo_process("engine", path) as process:
        link = EngineLink(UnixAddress(path), heartbeat=PATIENT)
        link.start()
        await until(lambda: link.is_connected)
        (model,) = link.models.values()
        here = FrontEnd(link, model)
        await until(lambda: channel_of(link).socket.arena is not None)
        for number in range(ROUNDS):
            send(here, number, body_of(number))
        await until(lambda: len(here.responses) == ROUNDS)
        # The model holds all of its inputs.
        assert arena_of(channel_of(link)).held_bytes >= ROUNDS * SIZE
        assert mapped() == before + 2
        assert mapped(str(process.pid)) == 2
        process.kill()
        await until(lambda: not link.is_connected)
        assert mapped() == before + 1
        assert [raw_of(each) for each in here.responses] == [body_of(n) for n in range(ROUNDS)]
        here.responses.clear()
        await until(lambda: mapped() == before)
        await link.stop()


async def test_what_a_killed_front_end_has_sent_stays_and_nothing_else(tmp_path: Path) -> None:
    before = mapped()
    model = EchoLink(holds=True)
    async with engine(tmp_path, model) as there:
        async with echo_process("front", there.path) as process:
            # It holds all of its results.
            assert arena_of(there_of(there)).held_bytes >= ROUNDS * SIZE
            assert mapped() == before + 2
            process.kill()
            await until(lambda: not there.server.peers)
            assert mapped() == before + 1
        for number, request in enumerate(model.held):
            assert bytes(request.inputs[0].raw) == body_of(number)
        assert len(model.held) == ROUNDS
        del request
        model.held.clear()
        await until(lambda: mapped() == before)
