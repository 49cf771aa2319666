"""What tenants may have, in simulated time."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streamgate.session.tenant import Rate, Tenant
from streamgate.session.tenants import (
    NS,
    STREAM_RETRY_NS,
    Account,
    Bucket,
    Limit,
    Tenants,
    hash_of,
    part_of,
)

RATES = st.builds(
    Rate,
    st.sampled_from([0.001, 0.3, 1.0, 7.0, 1000.0, 16_000.5, 1e9]),
    st.integers(1, 50),
)
GAPS_NS = st.one_of(st.integers(0, 10), st.integers(0, 10 * NS))


class TestBucket:
    @settings(max_examples=150, deadline=None)
    @given(RATES, st.lists(GAPS_NS, max_size=60))
    def test_never_more_than_the_burst_and_the_rate(self, rate: Rate, gaps: list[int]) -> None:
        """In any stretch of time, not only from the beginning on."""
        bucket = Bucket(rate)
        now = 0
        taken: list[int] = []
        for gap in gaps:
            now += gap
            if not bucket.take(now):
                taken.append(now)
        for first, begin in enumerate(taken):
            for last in range(first, len(taken)):
                most = rate.burst + rate.per_second * (taken[last] - begin) / NS
                assert last - first + 1 <= most + 1e-6

    @settings(max_examples=150, deadline=None)
    @given(RATES, st.lists(GAPS_NS, max_size=30))
    def test_the_hint_is_right_to_the_nanosecond(self, rate: Rate, gaps: list[int]) -> None:
        bucket = Bucket(rate)
        now = 0
        for gap in gaps:
            now += gap
            wait_ns = bucket.take(now)
            if wait_ns:
                now += wait_ns - 1
                assert bucket.take(now) == 1
                now += 1
                assert bucket.take(now) == 0

    @settings(max_examples=150, deadline=None)
    @given(RATES, st.lists(st.integers(0, 10_000), min_size=1, max_size=30))
    def test_who_pauses_as_told_keeps_the_rate(self, rate: Rate, sizes: list[int]) -> None:
        """Nothing is refused, however much comes at once: the pauses make up for it, and are not
        longer than they must be."""
        bucket = Bucket(rate)
        now = 0
        for sent, size in enumerate(sizes):
            now += bucket.owe(size, now)
            units = sum(sizes[: sent + 1])
            least_ns = (units - rate.burst) / rate.per_second * NS
            assert least_ns - 1 <= now <= max(0, least_ns) + sent + 1

    def test_it_is_full_after_a_pause_and_not_fuller(self) -> None:
        bucket = Bucket(Rate(2, 3))
        assert [bucket.take(0) for _ in range(4)] == [0, 0, 0, NS // 2]
        later = 10**6 * NS
        assert [bucket.take(later) for _ in range(4)] == [0, 0, 0, NS // 2]

    def test_a_clock_that_stands_still_gives_nothing(self) -> None:
        bucket = Bucket(Rate(1000, 1))
        assert bucket.take(5) == 0
        assert bucket.take(5) == bucket.take(4) == NS // 1000


class TestAccount:
    def test_without_limits_all_is_granted(self) -> None:
        account = Account(Tenant("free"))
        assert all(account.open("m", 0) is None for _ in range(1000))
        assert all(account.ask(0) is None for _ in range(1000))
        assert account.owe(10**12, 0) == 0

    def test_streams_in_total_and_of_a_model(self) -> None:
        account = Account(Tenant("t", streams_max=3, streams_max_by_model={"big": 1}))
        assert account.open("big", 0) is None
        refusal = account.open("big", 0)
        assert refusal is not None
        assert (refusal.limit, refusal.retry_ns) == (Limit.STREAMS_OF_MODEL, STREAM_RETRY_NS)
        assert refusal.message == (
            "tenant 't' has all its 1 streams of model 'big'; try again later"
        )
        assert account.open("small", 0) is None
        assert account.open("small", 0) is None
        refusal = account.open("small", 0)
        assert refusal is not None
        assert refusal.limit is Limit.STREAMS
        account.close("small")
        assert account.open("big", 0) is not None
        account.close("big")
        assert account.open("big", 0) is None
        told = account.statistics()
        assert (told.streams, told.admitted) == (2, 4)
        assert told.refused == {"streams": 1, "streams_of_model": 2, "model": 0, "requests": 0}

    def test_who_may_have_none_has_none(self) -> None:
        account = Account(Tenant("", streams_max=0))
        refusal = account.open("m", 0)
        assert refusal is not None
        assert refusal.message.startswith("whoever brings no known API key has all its 0 streams")

    def test_a_rate_of_requests_counts_new_sequences_too(self) -> None:
        account = Account(Tenant("t", requests=Rate(10, 2)))
        assert account.ask(0) is None
        assert account.open("m", 0) is None
        for refusal in (account.ask(0), account.open("m", 0)):
            assert refusal is not None
            assert (refusal.limit, refusal.retry_ns) == (Limit.REQUESTS, NS // 10)
        assert account.ask(NS // 10) is None
        assert account.streams == 1

    def test_a_stream_that_is_refused_for_its_number_costs_no_request(self) -> None:
        account = Account(Tenant("t", streams_max=0, requests=Rate(1, 1)))
        assert account.open("m", 0) is not None
        assert account.ask(0) is None

    def test_bytes_are_never_refused(self) -> None:
        account = Account(Tenant("t", bytes=Rate(1000, 500)))
        assert account.owe(500, 0) == 0
        assert account.owe(100, 0) == NS // 10
        assert account.owe(100, NS // 10) == NS // 10
        assert account.statistics().received_bytes == 700
        assert account.statistics().pauses == 2

    def test_closing_what_was_never_opened_is_a_defect(self) -> None:
        with pytest.raises(AssertionError):
            Account(Tenant("t")).close("m")


class TestTenants:
    def test_keys_lead_to_accounts_and_all_others_to_nobodys(self) -> None:
        one = Tenant(
            "one",
            (
                hash_of("k1"),
                hash_of("k2"),
            ),
        )
        two = Tenant("two", (hash_of("k3"),), streams_max=7)
        tenants = Tenants([one, two])
        assert tenants.account("k1") is tenants.account("k2")
        assert tenants.account("k3").tenant.streams_max == 7
        assert tenants.account("") is tenants.account("k4")
        assert tenants.account("").tenant.name == ""
        assert [tenants.knows(key) for key in ("k1", "k3", "k4", "")] == [True, True, False, False]
        assert [each.name for each in tenants.statistics()] == ["", "one", "two"]

    def test_those_without_a_key_may_have_limits(self) -> None:
        tenants = Tenants([Tenant("", streams_max=2)])
        assert tenants.account("what").tenant.streams_max == 2

    def test_keys_that_are_no_text_are_no_keys(self) -> None:
        assert not Tenants([Tenant("t", (hash_of("k"),))]).knows("k\udcff")

    def test_no_key_is_kept(self) -> None:
        tenant = Tenant("t", (hash_of("secret-key"),))
        assert "secret-key" not in repr(tenant)

    @pytest.mark.parametrize("share", [1, 2, 3, 7])
    def test_parts_leave_room_for_one_and_add_up(self, share: int) -> None:
        whole = Tenant("t", (), 10, {"m": 1, "n": 0}, requests=Rate(5, 3), bytes=Rate(10**6, 10**5))
        part = part_of(whole, share)
        assert part.streams_max is not None
        assert 10 <= part.streams_max * share < 10 + share
        assert part.streams_max_by_model == {"m": 1, "n": 0}
        assert part.requests is not None
        assert part.requests.per_second * share == pytest.approx(5)
        assert part.requests.burst >= 1
        assert part_of(Tenant("free"), share) == Tenant("free")
