"""The gateway of one process: liveness, readiness, statistics, the index, control."""

from collections.abc import Mapping, Sequence

import pytest

from streamgate.errors import Code, StreamGateError
from streamgate.model.request import Request
from streamgate.session.gateway import ModelIndexEntry, ServerInfo
from streamgate.session.local import LocalGateway
from streamgate.session.routing import READY, UNAVAILABLE, ModelTable, Route, VersionState
from tests.session.fake_link import FakeLink
from tests.session.plain_models import zeros

INFO = ServerInfo("s", "1", ())


class Control:
    """Models that are loaded and unloaded in name only."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, ...]] = []

    def names(self) -> Sequence[str]:
        return ["m", "never"]

    async def load(
        self,
        name: str,
        config: str | None,
        files: Mapping[str, bytes],
        *,
        nested: bool = False,
    ) -> None:
        self.calls.append(("nested load" if nested else "load", name, config or "", *files))

    async def unload(self, name: str, *, unload_dependents: bool) -> None:
        self.calls.append(("unload", name, str(unload_dependents)))


def table_of(*versions: str) -> ModelTable:
    table = ModelTable()
    for version in versions:
        link = FakeLink(version=version)
        table.set("m", int(version), VersionState(READY, route=Route(link)))
    return table


def gateway_of(table: ModelTable, *, strict: bool = True) -> LocalGateway:
    return LocalGateway(table, Control(), INFO, strict=strict)


def test_it_lives_from_start_to_stop() -> None:
    gateway = gateway_of(table_of("1"))
    assert (gateway.is_live(), gateway.is_ready()) == (False, False)
    gateway.start()
    assert (gateway.is_live(), gateway.is_ready()) == (True, True)
    gateway.stop_admission()
    assert (gateway.is_live(), gateway.is_ready()) == (False, False)


async def test_while_it_drains_nothing_new_begins_and_what_lives_goes_on() -> None:
    link = FakeLink()
    table = ModelTable()
    table.set("m", 1, VersionState(READY, route=Route(link)))
    gateway = gateway_of(table)
    gateway.start()
    connection = gateway.connect()

    def send(key: int, *, start: bool = False) -> None:
        request = Request("m", inputs=[zeros("I", 1, 4)], sequence=key, start=start)
        connection.submit(request, lambda _: None)

    send(7, start=True)
    gateway.drain()
    assert (gateway.is_live(), gateway.is_accepting(), gateway.is_ready()) == (True, False, False)
    send(7)
    send(7, start=True)  # it has its slot: that it begins anew takes no other
    assert link.positions == [0, 1, 0]
    with pytest.raises(StreamGateError, match="does not let in new sequences"):
        send(8, start=True)
    with pytest.raises(StreamGateError, match="does not let in new sequences"):
        await connection.reserve("m", "", 9)
    gateway.stop_admission()
    assert (gateway.is_live(), gateway.is_accepting()) == (False, False)


@pytest.mark.parametrize("strict", [True, False])
def test_models_count_for_readiness_where_it_is_strict(strict: bool) -> None:
    table = table_of("1")
    table.set("m", 2, VersionState(UNAVAILABLE, "Internal: no"))
    gateway = gateway_of(table, strict=strict)
    gateway.start()
    assert gateway.is_ready() is not strict


async def test_a_model_is_ready_or_not_and_a_wrong_version_is_told() -> None:
    gateway = gateway_of(table_of("1"))
    assert await gateway.is_model_ready("m", "")
    assert await gateway.is_model_ready("m", "1")
    assert not await gateway.is_model_ready("m", "2")
    assert not await gateway.is_model_ready("x", "")
    with pytest.raises(StreamGateError, match="stol"):
        await gateway.is_model_ready("x", "one")


async def test_a_model_that_says_it_is_not_ready_is_not() -> None:
    table = ModelTable()
    link = FakeLink(says_ready=False)
    table.set("m", 1, VersionState(READY, route=Route(link)))
    gateway = gateway_of(table)
    assert not await gateway.is_model_ready("m", "")
    link.says_ready = True
    assert await gateway.is_model_ready("m", "")


@pytest.mark.parametrize(
    ("name", "version", "found"),
    [("", "", ["1", "3"]), ("m", "", ["1", "3"]), ("m", "3", ["3"]), ("m", "03", ["3"])],
)
async def test_statistics_are_of_ready_versions(name: str, version: str, found: list[str]) -> None:
    statistics = await gateway_of(table_of("3", "1")).statistics(name, version)
    assert [each.version for each in statistics] == found


@pytest.mark.parametrize(
    ("name", "version", "message"),
    [
        ("x", "", "requested model 'x' is not available"),
        ("x", "1", "requested model 'x' is not available"),
        ("m", "2", "requested model version is not available for model 'm'"),
    ],
)
async def test_statistics_of_what_is_not_there(name: str, version: str, message: str) -> None:
    with pytest.raises(StreamGateError) as raised:
        await gateway_of(table_of("1")).statistics(name, version)
    assert raised.value.message == message
    assert raised.value.code is Code.INVALID_ARG


async def test_the_index_knows_models_that_were_never_loaded() -> None:
    gateway = gateway_of(table_of("1"))
    assert await gateway.repository_index(ready_only=False) == [
        ModelIndexEntry("m", "1", "READY"),
        ModelIndexEntry("never"),
    ]
    assert await gateway.repository_index(ready_only=True) == [ModelIndexEntry("m", "1", "READY")]


async def test_models_are_loaded_and_unloaded_until_the_server_stops() -> None:
    control = Control()
    gateway = LocalGateway(ModelTable(), control, INFO)
    gateway.start()
    await gateway.load_model("m", "{}", {"1/model.py": b""})
    await gateway.unload_model("m", unload_dependents=True)
    assert control.calls == [("load", "m", "{}", "1/model.py"), ("unload", "m", "True")]
    gateway.stop_admission()
    for call in (
        gateway.load_model("m", None, {}),
        gateway.unload_model("m", unload_dependents=False),
    ):
        with pytest.raises(StreamGateError, match="Server is stopping") as raised:
            await call
        assert raised.value.code is Code.UNAVAILABLE
    assert len(control.calls) == 2


def test_connections_are_owners_of_their_own() -> None:
    gateway = gateway_of(table_of("1"))
    assert gateway.connect()._owner != gateway.connect()._owner
    assert gateway.server_info() is INFO
    assert gateway.model("m", "").version == "1"
