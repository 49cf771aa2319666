"""What a connection passes on, what it hears, and what is lost with it."""

import asyncio
import logging

import pytest

from streamgate.core.ids import OwnerNumber
from streamgate.errors import Code, EndReason, Failure, StreamGateError
from streamgate.link.contract import UNSTARTED
from streamgate.model.request import Request, Response, SequenceKey
from streamgate.session import connection as connection_module
from streamgate.session.connection import SessionConnection
from streamgate.session.routing import READY, ModelTable, Route, VersionState
from tests.session.fake_link import FakeLink
from tests.session.plain_models import config_of, spec, zeros

Ended = list[tuple[str, SequenceKey, EndReason]]


class Client:
    """One connection to a table of one model, and what it was told."""

    def __init__(self, link: FakeLink | None = None, table: ModelTable | None = None) -> None:
        self.link = link or FakeLink()
        self.table = table or ModelTable()
        if self.table.get("m") is None:
            self.reload(self.link)
        self.responses: list[Response] = []
        self.ended: Ended = []
        self.connection = SessionConnection(
            OwnerNumber(5), self.table, lambda *end: self.ended.append(end)
        )

    def reload(self, link: FakeLink) -> Route:
        route = Route(link)
        self.table.set("m", 1, VersionState(READY, route=route))
        return route

    def send(self, key: SequenceKey = 0, *, start: bool = False) -> Request:
        request = Request("m", inputs=[zeros("I", 1, 4)], sequence=key, start=start)
        self.connection.submit(request, self.responses.append)
        return request


def test_a_request_is_checked_and_gets_version_rows_and_position() -> None:
    client = Client()
    first, second = client.send(7, start=True), client.send(7)
    assert (first.version, first.rows) == ("1", 1)
    assert client.link.positions == [0, 1]
    assert {owner for _, _, owner, _ in client.link.submitted} == {5}
    client.link.answer(0)
    client.link.answer(1)
    assert [response.request for response in client.responses] == [first, second]


def test_a_request_that_fails_its_checks_leaves_no_trace() -> None:
    client = Client()
    with pytest.raises(StreamGateError, match="unexpected inference input 'X'"):
        client.connection.submit(
            Request("m", inputs=[zeros("X", 1, 4)], sequence=7, start=True), client.responses.append
        )
    with pytest.raises(StreamGateError, match="'x' is not found"):
        client.connection.submit(Request("x"), client.responses.append)
    assert client.link.submitted == []
    client.connection.close(abort=True)
    assert not client.link.hung_up
    assert not client.link.cancelled


def test_a_stateless_model_has_no_sequences_and_no_owner() -> None:
    client = Client(FakeLink(config_of(spec("I", 4))))
    client.send(7, start=True)
    assert client.link.submitted[0][2:] == (0, -1)


def test_an_end_is_told_with_the_model() -> None:
    client = Client()
    client.send(7, start=True)
    client.link.on_end(7, EndReason.IDLE, 0)
    assert client.ended == [("m", 7, EndReason.IDLE)]


def test_a_start_that_was_refused_began_nothing() -> None:
    client = Client()
    client.send(7, start=True)
    client.link.refuse(0)
    client.send(7)
    assert client.link.positions == [0, -1]
    client.link.on_end(7, EndReason.IDLE, 0)
    assert client.ended == []


def test_a_lost_connection_ends_its_sequences_and_cancels_what_is_open() -> None:
    client = Client()
    client.send(7, start=True)
    client.send(7)
    client.send(8, start=True)
    client.link.answer(0)
    client.connection.close(abort=True)
    client.connection.close(abort=True)
    assert client.link.hung_up == [5]
    assert sorted(client.link.cancelled) == [2, 3]
    client.link.on_end(7, EndReason.CLIENT_ABORT, 0)
    assert client.ended == []


def test_a_connection_closed_in_good_order_takes_nothing_with_it() -> None:
    client = Client()
    client.send(7, start=True)
    client.connection.close(abort=False)
    client.connection.close(abort=True)
    assert not client.link.hung_up
    assert not client.link.cancelled


def test_a_call_is_forgotten_with_its_final_response_only() -> None:
    client = Client()
    client.send(7, start=True)
    client.link.answer(0, final=False)
    assert len(client.connection._calls) == 1
    client.link.answer(0)
    assert len(client.connection._calls) == 0
    assert [response.final for response in client.responses] == [False, True]


def test_cancelling_goes_to_the_link() -> None:
    client = Client()
    request = Request("m", inputs=[zeros("I", 1, 4)])
    client.connection.submit(request, client.responses.append).cancel()
    assert client.link.cancelled == [1]


def test_the_end_of_a_sequence_goes_to_where_it_lives() -> None:
    client = Client()
    client.send(7, start=True)
    new = FakeLink()
    client.reload(new)
    client.connection.end_sequence("m", "1", 7)
    assert client.link.ended == [(7, EndReason.CLIENT_END, True)]
    client.send(7, start=True)
    client.connection.end_sequence("m", "1", 7)
    client.connection.end_sequence("m", "1", 9)
    assert [key for key, _, _ in new.ended] == [7, 9]
    # Its end was not told yet, so the START ends it for certain.
    assert client.link.ended[1:] == [(7, EndReason.SUPERSEDED, True)]


def test_a_connection_does_not_keep_models_that_are_gone() -> None:
    client = Client()
    routes = []
    for _ in range(5):
        route = client.reload(FakeLink())
        routes.append(route)
        client.send(7, start=True)
        route.retired = True
    assert list(client.connection._routes) == routes[-1:]


def test_a_front_end_that_fails_does_not_stop_the_engine(
    caplog: pytest.LogCaptureFixture,
) -> None:
    link = FakeLink()
    table = ModelTable()
    table.set("m", 1, VersionState(READY, route=Route(link)))

    def fail(*_: object) -> None:
        raise ValueError("a defect")

    connection = SessionConnection(OwnerNumber(1), table, fail)
    request = Request("m", inputs=[zeros("I", 1, 4)], sequence=7, start=True)
    connection.submit(request, fail)
    with caplog.at_level(logging.ERROR):
        link.answer(0)
        link.on_end(7, EndReason.IDLE, 0)
    assert [record.getMessage() for record in caplog.records] == [
        "a response of model 'm' was lost in its front end",
        "news of sequence 7 was lost in its front end",
    ]
    assert len(connection._calls) == 0


def test_a_pause_holds_up_what_is_under_way_and_what_comes() -> None:
    client = Client()
    client.send(7, start=True)
    client.send(7)
    client.link.answer(0)
    client.connection.pause()
    client.connection.pause()
    assert client.link.paused == [2]
    client.send(7)
    assert client.link.paused == [2, 3]
    client.connection.resume()
    client.connection.resume()
    assert client.link.paused == []
    client.send(7)
    assert client.link.paused == []


async def test_a_reservation_that_nobody_answers_is_given_up(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(connection_module, "RESERVE_SECONDS", 0.01)
    client = Client()
    with pytest.raises(StreamGateError, match="did not answer a reservation"):
        await client.connection.reserve("m", "", 7)
    ((key, owner, answer),) = client.link.reserved
    assert (key, owner) == (7, 5)
    # Granted too late, it is given back.
    answer(None)
    assert client.link.ended == [(7, EndReason.CLIENT_ABORT, False)]


async def test_a_refusal_is_raised_and_leaves_nothing() -> None:
    client = Client()
    reserving = asyncio.create_task(client.connection.reserve("m", "", 7))
    await asyncio.sleep(0)
    client.link.reserved[0][2](Failure(Code.UNAVAILABLE, "full"))
    with pytest.raises(StreamGateError, match="full"):
        await reserving
    assert client.link.ended == []
    client.connection.keep("m", "", 7)
    assert client.link.touched == []


def test_what_is_reserved_is_kept_warned_of_and_ends_as_other_sequences() -> None:
    client = Client()
    client.connection.ask_to_reserve("m", "", 7, lambda _: None)
    client.connection.keep("m", "", 7)
    assert client.link.touched == [7]
    client.connection.end_sequence("m", "", 7)
    assert client.link.ended == [(7, EndReason.CLIENT_END, True)]
    client.link.on_end(7, EndReason.CLIENT_END, UNSTARTED)
    assert client.ended == [("m", 7, EndReason.CLIENT_END)]
    client.connection.close(abort=True)
    assert client.link.hung_up == [5]
