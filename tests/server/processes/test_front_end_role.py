"""A front-end process from inside, without a supervisor."""

from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from websockets.asyncio.client import connect

from streamgate.server.front_ends import FrontEnds
from streamgate.server.ports import Ports
from streamgate.server.processes import front_end
from streamgate.server.processes.child import Beginning
from streamgate.server.processes.front_end import FrontEndRole
from streamgate.server.processes.settings_text import write_settings
from streamgate.server.settings import Settings


async def test_whoever_comes_while_ports_are_being_opened_is_let_in(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The ports are shared with processes that accept: a client can't know that it came too early
    to this one."""
    settings = Settings([tmp_path], host="127.0.0.1")
    with TemporaryDirectory(prefix="sg-") as folder:
        beginning = Beginning("front", "front-0", write_settings(settings), folder, ["engine-0"])
        role = FrontEndRole(beginning, lambda: None)
        opening = FrontEnds.open
        met: list[bool] = []

        async def open_and_come(front_ends: FrontEnds, ports: Ports) -> Ports:
            opened = await opening(front_ends, ports)
            met.append(role.report().is_ready)
            async with connect(f"ws://127.0.0.1:{opened.websocket}/v1/sequence"):
                met.append(True)
            return opened

        monkeypatch.setattr(FrontEnds, "open", open_and_come)
        monkeypatch.setattr(front_end, "CONNECT_SECONDS", 0.01)  # no engine is there
        await role.begin()
        try:
            await role.answer("open", {"http": None, "grpc": None, "metrics": None, "websocket": 0})
        finally:
            await role.answer("close", None)
    assert met == [False, True], "let in, though it is not ready yet"
