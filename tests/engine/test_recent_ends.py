"""What a client is told that finds its sequence gone."""

from dataclasses import replace

from streamgate.engine.recent_ends import RecentEnds
from streamgate.errors import Code, EndReason, Failure
from tests.engine.house import Client, open_house, samples
from tests.engine.test_engine_sequences import DIRECT, tensor_model
from tests.waiting import until

MISSING = (
    "inference request for sequence 5 to model 'fake' must specify the START flag on the first "
    "request of the sequence"
)


def test_the_newest_unexpected_ends_are_remembered() -> None:
    ends = RecentEnds(limit=2)
    for key, reason in (
        (1, EndReason.IDLE),
        ("1", EndReason.ERROR),
        (2, EndReason.CLIENT_END),
        (3, EndReason.SUPERSEDED),
    ):
        ends.note(key, reason)
    assert [ends.reason_of(key) for key in (1, "1", 2, 3)] == [
        EndReason.IDLE,
        EndReason.ERROR,
        None,
        None,
    ]
    ends.note(4, EndReason.LIFETIME)
    assert ends.reason_of(1) is None
    ends.note("1", EndReason.CLIENT_END)
    assert ends.reason_of("1") is None
    assert ends.reason_of(4) is EndReason.LIFETIME


async def test_a_missing_start_is_told_why_its_sequence_ended() -> None:
    config = tensor_model(replace(DIRECT, max_idle_ns=20_000_000))
    async with open_house(config) as house:
        client = Client(house.connect(), 5)
        client.send(samples(1), start=True)
        await client.collect()
        await until(lambda: house.ended == [(5, EndReason.IDLE)])
        client.send(samples(2))
        *_, told = await client.collect()
        assert told.failure == Failure(Code.INVALID_ARG, f"{MISSING} (sequence 5 ended: idle)")
        # A new sequence of the ID ends as its client wants: there is nothing to tell any more.
        client.send(samples(1), start=True, end=True)
        await client.collect()
        client.send(samples(2))
        *_, told = await client.collect()
        assert told.failure == Failure(Code.INVALID_ARG, MISSING)
