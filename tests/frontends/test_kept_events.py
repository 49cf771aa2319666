"""Events that are kept for who may not have heard them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamgate.errors import StreamGateError
from streamgate.frontends.sockets.kept import KeepLimits, KeptEvents
from streamgate.frontends.sockets.numbered import numbered


def kept(count: int, limits: KeepLimits) -> KeptEvents:
    events = KeptEvents(limits)
    for number in range(1, count + 1):
        events.add(str(number))
    return events


def test_what_follows_an_event_is_said_again() -> None:
    events = kept(5, KeepLimits())
    assert events.after(0) == ["1", "2", "3", "4", "5"]
    assert events.after(3) == ["4", "5"]
    assert events.after(5) == []
    with pytest.raises(StreamGateError, match="is 6, but the session has sent 5 events"):
        events.after(6)


def test_of_what_was_heard_only_a_little_is_kept_and_of_the_rest_all() -> None:
    events = kept(10, KeepLimits(heard_events=4))
    assert events.after(0)[0] == "1"
    events.heard(3)
    assert events.after(3)[0] == "4"
    events.heard(99)
    assert events.after(6) == ["7", "8", "9", "10"]
    with pytest.raises(StreamGateError, match="is 5, but the oldest event that is still kept is 7"):
        events.after(5)


def test_what_is_too_much_is_dropped_from_its_oldest_on() -> None:
    events = kept(3, KeepLimits(bytes=4))
    assert [events.is_half_full, events.is_overfull] == [True, False]
    events.add("four")
    assert [events.is_half_full, events.is_overfull] == [True, True]
    events.drop_excess()
    assert events.after(3) == ["four"]
    assert events.size_bytes == 4


@given(
    st.lists(st.one_of(st.just(None), st.integers(0, 40)), max_size=60),
    st.integers(1, 6),
    st.integers(1, 12),
)
def test_kept_events_against_a_list(acts: list[int | None], heard: int, most: int) -> None:
    """Whatever happens: what is not heard is kept, up to the limit, and numbers stay right."""
    events = KeptEvents(KeepLimits(heard_events=heard, events=most))
    said: list[str] = []
    known = 0
    for act in acts:
        if act is None:
            said.append(str(len(said) + 1))
            events.add(said[-1])
            events.drop_excess()
        else:
            events.heard(act)
            known = max(known, min(act, len(said)))
        assert events.last == len(said)
        first = max(known, len(said) - most)
        assert list(events.after(first)) == said[first:]
        assert events.size_bytes <= sum(map(len, said))


@pytest.mark.parametrize("outputs", [b"", b"\0\1\2"])
def test_binary_messages_are_numbered_in_their_json(outputs: bytes) -> None:
    message = b'\x0b\0\0\0{"type":"x"}'.replace(b"\x0b", b"\x0c") + outputs
    assert numbered(message, 17) == b'\x17\0\0\0{"type":"x","event":17}' + outputs
