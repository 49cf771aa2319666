"""Whose streams there are: any order of openings and ends leaves every count right."""

from collections import Counter

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from streamgate.session.stream_ledger import StreamKey, StreamLedger
from streamgate.session.tenant import Tenant
from streamgate.session.tenants import Account, Limit
from tests.model.settings import LONG, MODEL

STREAMS: tuple[StreamKey, ...] = (("m", 1), ("m", "a"), ("n", 1))
WHO = st.integers(0, 1)
WHICH = st.sampled_from(STREAMS)
LIMITS = (3, None)
MODEL_LIMIT = 5


class LedgerMachine(RuleBasedStateMachine):
    """Two tenants, one of them with a limit, and a model with one. The other side keeps a plain
    list of (stream, tenant), oldest first."""

    def __init__(self) -> None:
        super().__init__()
        self.ledger = StreamLedger()
        self.accounts = [Account(Tenant(str(n), streams_max=LIMITS[n])) for n in (0, 1)]
        self.live: list[tuple[StreamKey, int]] = []
        self.reserved: set[StreamKey] = set()

    @rule(who=WHO, stream=WHICH, reserve=st.booleans())
    def open(self, who: int, stream: StreamKey, reserve: bool) -> None:
        lives = any(each == stream for each, _ in self.live)
        if reserve and lives:
            return
        if not reserve:
            assert self.ledger.start(stream) == (stream in self.reserved)
            if stream in self.reserved:
                self.reserved.discard(stream)
                return
        limit = MODEL_LIMIT if stream[0] == "m" else 0
        refusal = self.ledger.open(self.accounts[who], stream, limit, 0, reserve=reserve)
        own = sum(1 for _, whose in self.live if whose == who)
        of_model = sum(1 for each, _ in self.live if each[0] == stream[0])
        own_limit = LIMITS[who]
        expected = None
        if (stream, who) in self.live:
            pass
        elif limit and of_model >= limit:
            expected = Limit.MODEL
        elif own_limit is not None and own >= own_limit:
            expected = Limit.STREAMS
        assert (refusal.limit if refusal else None) is expected
        if refusal is None:
            self.live.append((stream, who))
            if reserve:
                self.reserved.add(stream)

    @rule(who=WHO, stream=WHICH)
    def start(self, who: int, stream: StreamKey) -> None:
        self.open(who, stream, reserve=False)

    @precondition(lambda self: self.live)
    @rule(which=st.integers(0, 9))
    def end(self, which: int) -> None:
        stream, _ = self.live[which % len(self.live)]
        self.ledger.end(stream)
        self._remove(next((each for each in self.live if each[0] == stream), None))

    @rule(who=WHO, stream=WHICH)
    def refused_after_all(self, who: int, stream: StreamKey) -> None:
        """Also of one that has ended meanwhile."""
        self.ledger.withdraw(self.accounts[who], stream)
        self._remove(next((e for e in reversed(self.live) if e == (stream, who)), None), last=True)

    @rule(stream=WHICH)
    def start_of_a_reservation_is_refused(self, stream: StreamKey) -> None:
        if stream in self.reserved:
            assert self.ledger.start(stream)
            self.ledger.take_back_start(stream)

    def _remove(self, entry: tuple[StreamKey, int] | None, *, last: bool = False) -> None:
        if entry is None:
            return
        places = [n for n, each in enumerate(self.live) if each == entry]
        del self.live[places[-1 if last else 0]]
        if not any(each == entry[0] for each, _ in self.live):
            self.reserved.discard(entry[0])

    @invariant()
    def counts_are_right(self) -> None:
        counts = Counter(who for _, who in self.live)
        assert [account.streams for account in self.accounts] == [counts[0], counts[1]]
        assert len(self.ledger) == len(self.live)


TestLedger = LedgerMachine.TestCase
TestLedger.settings = settings(MODEL, max_examples=1_000 if LONG else 100)
TestLedger = pytest.mark.timeout(900 if LONG else 120)(TestLedger)


def test_nothing_is_left_of_what_is_over() -> None:
    ledger, account = StreamLedger(), Account(Tenant("t"))
    for stream in STREAMS:
        assert ledger.open(account, stream, 0, 0, reserve=False) is None
        assert ledger.open(account, stream, 0, 0, reserve=False) is None
    for stream in STREAMS * 2:
        ledger.end(stream)
    ledger.end(STREAMS[0])
    assert (len(ledger), account.streams) == (0, 0)
    assert not ledger._accounts
    assert not ledger._of_model


def test_what_never_came_to_be_is_the_newest() -> None:
    ledger = StreamLedger()
    one, other = Account(Tenant("one")), Account(Tenant("other"))
    stream = STREAMS[0]
    for account in (one, other, one):
        assert ledger.open(account, stream, 0, 0, reserve=False) is None
    ledger.withdraw(one, stream)
    ledger.end(stream)
    assert (one.streams, other.streams) == (0, 1)
