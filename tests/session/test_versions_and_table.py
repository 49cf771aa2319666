"""Version strings, lookups and their texts, the index, readiness."""

import pytest

from streamgate.core.ids import OwnerNumber
from streamgate.errors import Code, EndReason, StreamGateError
from streamgate.model.request import Request
from streamgate.session.gateway import ModelIndexEntry
from streamgate.session.routing import (
    LOADING,
    READY,
    UNAVAILABLE,
    UNLOADED,
    UNLOADING,
    ModelTable,
    Route,
    VersionState,
    parse_version,
)
from tests.session.fake_link import FakeLink
from tests.session.plain_models import zeros

NOT_A_NUMBER = "(details: stol), version should be an integral value > 0"


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("", None),
        ("1", 1),
        ("0", 0),
        ("-0", 0),
        ("01", 1),
        ("+7", 7),
        (" \t\n7", 7),
        ("1x", 1),
        ("1.9", 1),
        ("9223372036854775807", 2**63 - 1),
        ("0" * 5000 + "3", 3),
    ],
)
def test_versions_are_read_as_stol_reads_them(text: str, number: int | None) -> None:
    assert parse_version(text) == number


@pytest.mark.parametrize(
    "text",
    ["abc", "x1", "-", " ", "\u0663", "\u00a01", "9223372036854775808", "9" * 5000, "-" + "9" * 20],
)
def test_what_is_no_version_is_told(text: str) -> None:
    with pytest.raises(StreamGateError) as raised:
        parse_version(text)
    assert raised.value.code is Code.INVALID_ARG
    assert raised.value.message == (
        f"failed to get model version from specified version string '{text}' {NOT_A_NUMBER}"
    )


def test_a_negative_version_is_told() -> None:
    with pytest.raises(StreamGateError) as raised:
        parse_version("-1")
    assert raised.value.message == (
        "invalid model version specified '-1' , version should be an integral value > 0"
    )


def table_of(**versions: VersionState) -> ModelTable:
    """A table of one model `m` with these versions, called v1, v2, ..."""
    table = ModelTable()
    for name, version in versions.items():
        table.set("m", int(name[1:]), version)
    return table


def ready(version: str) -> VersionState:
    return VersionState(READY, route=Route(FakeLink(version=version)))


@pytest.mark.parametrize(
    ("name", "version", "code", "message"),
    [
        ("x", "", Code.NOT_FOUND, "'x' is not found"),
        ("x", "1", Code.NOT_FOUND, "'x' is not found"),
        ("", "", Code.NOT_FOUND, "'' is not found"),
        ("m", "9", Code.NOT_FOUND, "'m' version 9 is not found"),
        ("m", "0", Code.NOT_FOUND, "'m' version 0 is not found"),
        ("m", "4", Code.UNAVAILABLE, "'m' version 4 is not at ready state"),
        ("gone", "", Code.NOT_FOUND, "'gone' has no available versions"),
        ("gone", "1", Code.UNAVAILABLE, "'gone' version 1 is not at ready state"),
        ("broken", "", Code.NOT_FOUND, "'broken' has no available versions"),
        ("broken", "1", Code.NOT_FOUND, "'broken' version 1 is not found"),
    ],
)
def test_lookups_that_fail(name: str, version: str, code: Code, message: str) -> None:
    table = table_of(v1=ready("1"), v3=ready("3"), v4=VersionState(LOADING))
    table.set("gone", 1, VersionState(UNAVAILABLE, UNLOADED))
    table.note_trouble("broken", "no")
    with pytest.raises(StreamGateError) as raised:
        table.route(name, version)
    assert raised.value.code is code
    assert raised.value.message == f"Request for unknown model: {message}"


def test_lookups_find_the_newest_ready_version_or_the_one_asked_for() -> None:
    table = table_of(v10=ready("10"), v9=ready("9"), v11=VersionState(UNAVAILABLE, "no"))
    assert table.route("m", "").version == "10"
    assert table.route("m", "9").version == "9"
    assert table.route("m", "09").version == "9"
    assert table.info("m", "").versions == ["9", "10"]
    assert table.info("m", "9").versions == ["9"]
    assert table.route_of("m", 9) is table.route("m", "9")
    assert table.route_of("m", 11) is None
    table.set("m", 11, ready("11"))
    assert table.route("m", "").version == "11"
    assert table.info("m", "").version == "11"


def test_what_lookups_remember_is_bounded() -> None:
    table = table_of(v1=ready("1"))
    for number in range(100):
        assert table.info("m", f"1x{number}").version == "1"
    assert len(table._routes) + len(table._infos) == 0
    table.info("m", "")
    table.info("m", "1")
    assert len(table._routes) == len(table._infos) == 2


def test_the_index_lists_all_versions_and_models_never_loaded() -> None:
    table = table_of(v2=ready("2"), v1=VersionState(UNAVAILABLE, UNLOADED))
    table.set("a", 1, VersionState(UNAVAILABLE, "Internal: no"))
    table.note_trouble("broken", "Invalid argument: no")
    assert table.index(["never", "m"], ready_only=False) == [
        ModelIndexEntry("a", "1", "UNAVAILABLE", "Internal: no"),
        ModelIndexEntry("broken", "", "UNAVAILABLE", "Invalid argument: no"),
        ModelIndexEntry("m", "1", "UNAVAILABLE", "unloaded"),
        ModelIndexEntry("m", "2", "READY"),
        ModelIndexEntry("never"),
    ]
    assert table.index(["never"], ready_only=True) == [ModelIndexEntry("m", "2", "READY")]


@pytest.mark.parametrize(
    ("version", "is_ready"),
    [
        (VersionState(LOADING), False),
        (VersionState(UNAVAILABLE, "Internal: no"), False),
        (VersionState(UNAVAILABLE, UNLOADED), True),
        (VersionState(UNLOADING), True),
    ],
)
def test_a_model_that_should_be_ready_and_is_not_makes_the_server_unready(
    version: VersionState, is_ready: bool
) -> None:
    assert ModelTable().is_ready()
    table = table_of(v1=ready("1"))
    assert table.is_ready()
    table.set("m", 2, version)
    assert table.is_ready() is is_ready


def test_a_model_that_could_not_be_read_makes_the_server_unready_until_it_is_forgotten() -> None:
    table = table_of(v1=ready("1"))
    table.note_trouble("broken", "no")
    assert not table.is_ready()
    table.note_trouble("broken", "")
    assert table.is_ready()
    assert table.get("broken") is None
    table.note_trouble("broken", "no")
    table.set("broken", 1, ready("1"))
    assert table.is_ready()
    table.note_trouble("m", "")
    assert table.is_served("m")


def test_routes_are_the_ready_versions_in_order() -> None:
    table = table_of(v2=ready("2"), v10=ready("10"), v1=VersionState(UNLOADING))
    table.set("a", 3, ready("3"))
    assert [route.version for route in table.routes()] == ["3", "2", "10"]


def of_sequence(key: int, *, start: bool = False, version: str = "") -> Request:
    return Request("m", version, sequence=key, start=start, inputs=[zeros("I", 1, 4)])


def test_a_sequence_goes_on_where_it_lives() -> None:
    table = ModelTable()
    links = [FakeLink(version=version) for version in ("1", "1", "2")]
    routes = [Route(link) for link in links]
    for key, route in enumerate(routes, 1):
        route.submit(of_sequence(key, start=True), lambda _: None, OwnerNumber(1), None)
        table.set("m", int(route.version), VersionState(READY, route=route))
    table.set("m", 1, VersionState(UNLOADING))
    assert [table.route_for(of_sequence(key)) for key in (1, 2, 3, 9)] == [*routes, routes[2]]
    assert [table.lives("m", key) for key in (1, 2, 3, 9)] == [True, True, True, False]
    assert table.route_for(of_sequence(1, version="2")) is routes[2]
    assert links[0].ended == []
    assert table.route_for(of_sequence(1, start=True)) is routes[2]
    assert links[0].ended == [(1, EndReason.SUPERSEDED, True)]
    for route in routes[:2]:
        route.retired = True
    assert table.route_for(of_sequence(1)) is routes[2]
    assert not table.lives("m", 1)
    assert table._older == {}
