"""A route whose sequences come from elsewhere and leave: positions and who is told."""

import pytest

from streamgate.core.ids import OwnerNumber
from streamgate.errors import Code, EndReason, Failure, StreamGateError
from streamgate.link.contract import Listener
from streamgate.model.request import Request, SequenceKey
from streamgate.model.snapshot import Snapshot
from streamgate.session.routing import Route
from tests.session.fake_link import FakeLink, FakeMovableLink
from tests.session.plain_models import zeros

OWNER = OwnerNumber(5)
SNAPSHOT = Snapshot(position=11, schema="s")


class Moving:
    """A route over a link that answers when the test says so."""

    def __init__(self) -> None:
        self.link = FakeMovableLink()
        self.route = Route(self.link)
        self.told: list[tuple[SequenceKey, EndReason]] = []
        self.answers: list[object] = []

    @property
    def listener(self) -> Listener:
        return Listener(lambda *end: self.told.append(end), lambda key, warning: None)

    def send(self, *, start: bool = False) -> int:
        """A request of sequence 7. Returns its position."""
        request = Request("m", inputs=[zeros("I", 1, 4)], sequence=7, start=start)
        self.route.submit(request, self.answers.append, OWNER, self.listener)
        return self.link.positions[-1]

    def restore(self) -> None:
        self.route.restore(7, OWNER, self.listener, SNAPSHOT, self.answers.append)


def test_a_restored_sequence_goes_on_behind_its_snapshot_and_has_a_listener() -> None:
    moving = Moving()
    moving.restore()
    ((key, owner, snapshot, on_answer),) = moving.link.restored
    assert (key, owner, snapshot) == (7, OWNER, SNAPSHOT)
    assert moving.send() == 12
    on_answer(None)
    assert moving.answers == [None]
    assert moving.send() == 13
    moving.link.on_end(7, EndReason.IDLE, 0)
    assert moving.told == [(7, EndReason.IDLE)]
    assert len(moving.route.positions) == 0


def test_one_that_can_not_be_restored_is_forgotten_without_an_end() -> None:
    moving = Moving()
    moving.restore()
    assert moving.send() == 12
    failure = Failure(Code.INVALID_ARG, "another schema")
    moving.link.restored[0][-1](failure)
    assert moving.answers == [failure]
    assert moving.told == []
    assert len(moving.route.positions) == 0
    assert moving.send(start=True) == 0


def test_only_one_sequence_of_an_id_can_be_restored() -> None:
    moving = Moving()
    moving.send(start=True)
    with pytest.raises(StreamGateError, match="sequence 7 of model 'm' lives already") as raised:
        moving.restore()
    assert raised.value.code is Code.ALREADY_EXISTS
    assert moving.link.restored == []
    assert moving.send() == 1


def test_a_sequence_that_is_handed_over_is_forgotten_and_nobody_is_told() -> None:
    moving = Moving()
    moving.send(start=True)
    moving.route.hand_over(7, moving.answers.append)
    ((key, on_answer),) = moving.link.handed_over
    assert key == 7
    assert moving.send() == 1
    on_answer(SNAPSHOT)
    assert moving.answers == [SNAPSHOT]
    assert moving.send() == -1
    assert (moving.told, len(moving.route.positions)) == ([], 0)
    moving.restore()
    assert moving.send() == 12


def test_a_sequence_that_can_not_be_handed_over_stays() -> None:
    moving = Moving()
    moving.send(start=True)
    moving.route.hand_over(7, moving.answers.append)
    failure = Failure(Code.UNSUPPORTED, "pinned")
    moving.link.handed_over[0][-1](failure)
    assert moving.answers == [failure]
    assert moving.send() == 1


def test_nothing_moves_over_a_link_that_can_not_move_it() -> None:
    route = Route(FakeLink())
    with pytest.raises(StreamGateError, match="of model 'm' can't be moved from here") as raised:
        route.restore(7, OWNER, None, SNAPSHOT, lambda failure: None)
    assert raised.value.code is Code.UNSUPPORTED
    with pytest.raises(StreamGateError, match="can't be moved"):
        route.hand_over(7, lambda answer: None)
    assert len(route.positions) == 0
