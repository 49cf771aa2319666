"""Who holds which slot, as a scheduler tells it."""

from streamgate.core.events import Touch
from streamgate.core.ids import Ns
from streamgate.core.scheduler import SlotHolder
from streamgate.model.config import DefaultScheduling
from tests.core.listening import first_slot
from tests.core.play import MS, Play, direct, oldest

INSTANCE, SLOT, GENERATION = first_slot()


def holder(play: Play) -> SlotHolder:
    """The one that there is."""
    (found,) = play.scheduler.holders(10)
    return found


def test_a_sequence_from_its_reservation_on() -> None:
    play = Play(direct(2), 2)
    play.wait(MS)
    play.reserve(7)
    assert holder(play) == SlotHolder(
        sequence=7,
        instance=INSTANCE,
        slot=SLOT,
        generation=GENERATION,
        reserved=True,
        seated_at=Ns(MS),
        active_at=Ns(MS),
        steps=0,
        queued=0,
        running=False,
        waits_since=None,
    )
    play.wait(MS)
    play.submit(7, "S")
    play.poll()
    play.wait(MS)
    play.submit(7)
    found = holder(play)
    assert (found.reserved, found.running, found.queued, found.steps) == (False, True, 1, 0)
    assert (found.seated_at, found.active_at, found.waits_since) == (MS, 3 * MS, 2 * MS)
    play.complete()
    found = holder(play)
    assert (found.running, found.queued, found.steps, found.waits_since) == (True, 0, 1, 3 * MS)
    play.wait(MS)
    play.complete()
    found = holder(play)
    assert (found.running, found.steps, found.active_at) == (False, 2, 4 * MS)
    assert found.waits_since is None


def test_a_touch_is_activity() -> None:
    play = Play(direct(1), 1)
    play.submit(1, "S")
    play.run(0)
    play.wait(MS)
    play.tell(Touch(1))
    assert holder(play).active_at == MS


def test_one_that_takes_over_begins_to_count_anew() -> None:
    play = Play(oldest(1), 1)
    play.submit(1, "S")
    play.run(MS)
    play.submit(1, "S")
    play.run(MS)
    found = holder(play)
    assert (found.generation, found.steps, found.seated_at) == (2, 1, MS)


def test_only_so_many_or_only_these() -> None:
    play = Play(direct(4), 4)
    for key in range(1, 7):
        play.submit(key, "S")
    play.poll()
    assert [each.sequence for each in play.scheduler.holders(10)] == [1, 2, 3, 4]
    assert [each.sequence for each in play.scheduler.holders(2)] == [1, 2]
    # 5 waits for a slot, 9 is nobody.
    assert [each.sequence for each in play.scheduler.holders(10, (5, 9, 4, 2))] == [4, 2]
    assert len(play.scheduler.holders(1, (4, 2))) == 1


def test_who_has_no_sequences_has_no_holders() -> None:
    assert Play(DefaultScheduling(), 1).scheduler.holders(10) == []
