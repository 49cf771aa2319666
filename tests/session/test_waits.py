"""Who would wait for itself: circles of instances, by what their calls need just now."""

from streamgate.link.contract import Holder, Needs
from streamgate.session.waits import Waits
from tests.session.fake_link import FakeLink

MODEL = FakeLink()
A, B, C, D = ((MODEL, name) for name in "abcd")


class Call:
    """A call whose needs a test can change: all of these groups, one instance of each."""

    def __init__(self, *groups: list[Holder]) -> None:
        self.groups: Needs = groups

    def needs(self) -> Needs:
        return self.groups


def test_a_free_instance_may_be_waited_for() -> None:
    waits, call = Waits(), Call([B])
    assert waits.begin(A, call)
    assert len(waits) == 1
    waits.end(A, call)
    assert len(waits) == 0


def test_no_instance_may_wait_for_itself() -> None:
    waits = Waits()
    assert not waits.begin(A, Call([A]))
    assert len(waits) == 0


def test_another_instance_answers_while_it_is_free() -> None:
    waits, first = Waits(), Call([A, B])
    assert waits.begin(A, first)
    assert not waits.begin(B, Call([A, B]))
    waits.end(A, first)
    assert waits.begin(B, Call([A, B]))


def test_a_call_that_has_got_its_instance_needs_that_one() -> None:
    waits, call = Waits(), Call([B, C])
    assert waits.begin(A, call)
    call.groups = [[B]]
    # C is free, but it is B that answers A.
    assert not waits.begin(B, Call([A]))
    assert waits.begin(C, Call([A]))


def test_circles_over_several_instances() -> None:
    waits, first = Waits(), Call([B])
    assert waits.begin(A, first)
    assert waits.begin(B, Call([C]))
    assert not waits.begin(C, Call([A]))
    waits.end(A, first)
    assert waits.begin(C, Call([A]))
    assert not waits.begin(A, Call([B]))


def test_one_instance_that_goes_on_is_enough() -> None:
    waits = Waits()
    assert waits.begin(B, Call([A]))
    assert waits.begin(C, Call([D]))
    # C will be done and serve A, which B waits for.
    assert waits.begin(A, Call([B, C]))


def test_all_calls_of_an_instance_must_go_on() -> None:
    waits, second = Waits(), Call([A])
    assert waits.begin(B, Call([C]))
    assert waits.begin(B, second)
    # B waits for both: for A, which would wait for B.
    assert not waits.begin(A, Call([B]))
    waits.end(B, second)
    assert waits.begin(A, Call([B]))


def test_all_groups_of_a_call_must_go_on() -> None:
    waits, ensemble = Waits(), Call([C], [B, D])
    assert waits.begin(B, Call([A]))
    assert waits.begin(A, ensemble)
    assert not waits.begin(D, Call([A]))


def test_a_call_that_needs_no_instance_holds_nobody_up() -> None:
    waits = Waits()
    assert waits.begin(A, Call())
    assert waits.begin(B, Call([A]))
