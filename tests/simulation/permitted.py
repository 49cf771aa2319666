"""Which refusals, failures and ends a history permits."""

from streamgate.core.commands import Rejection
from streamgate.engine.rejections import failure_for
from streamgate.errors import Code, EndReason, Failure
from tests.simulation.cases import Case, Facts, Key, Life
from tests.simulation.diary import Answered, Asked, Ended

EXITING = Failure(Code.UNAVAILABLE, "Server exiting")
UNWANTED = Failure(Code.CANCELLED, "")


def rejection(case: Case) -> Rejection | None:
    """The scheduler's reason of a request that failed without the model."""
    for reason in Rejection:
        for end in (None, *EndReason):
            if failure_for(reason, case.final.request, end) == case.final.failure:
                return reason
    return None


def expected_refusal(facts: Facts, asked: Asked, key: Key) -> Rejection | None:
    """Why this request must be refused, where that is sure."""
    if key.unsure:
        return None
    promised = bool(key.lives) and key.lives[-1].reserved is not None
    if facts.closing or (facts.draining and asked.start and not promised):
        return Rejection.STOPPING
    if not asked.start and not (key.lives and key.lives[-1].open):
        return Rejection.MISSING_START
    return None


def check_refusal(facts: Facts, case: Case, key: Key, expected: Rejection | None) -> None:
    asked = case.asked
    reason = rejection(case)
    assert reason is not None, f"refused with {case.final.failure}"
    if expected is not None:
        assert reason is expected, f"refused with {reason}, expected {expected}: {asked}"
        return
    if not key.unsure and asked.start and key.lives and key.lives[-1].reserved is not None:
        raise AssertionError(f"its slot was promised: {asked}")
    match reason:
        case Rejection.MISSING_START:
            assert key.unsure, f"its sequence lives: {asked}"
            assert not asked.start
        case Rejection.STOPPING:
            assert facts.closing or (facts.draining and asked.start)
        case Rejection.BACKLOG_FULL:
            assert asked.start
            assert facts.rules.max_backlog
        case Rejection.QUEUE_FULL:
            waiting = sum(each.is_waiting for each in key.cases)
            assert waiting >= facts.rules.max_pending > 0, f"{waiting} wait"
        case Rejection.INSTANCE_AWAY:
            assert asked.start
            # One may be loaded already, while the scheduler has not heard of it.
            assert facts.is_overdue(asked.at) or (facts.moves and facts.losses)
        case _:
            raise AssertionError(f"refused with {reason}: {asked}")


def check_failure(facts: Facts, case: Case, failure: Failure, entry: Answered) -> None:
    """A request that was let in failed: through its model, or without it."""
    asked, ran = case.asked, case.ran
    if ran is not None and failure == ran.failures.get(asked.number):
        return
    if failure == UNWANTED:
        assert case.is_unwanted, f"nobody cancelled {asked}"
    elif failure == EXITING:
        assert facts.closing
    elif ran is not None:
        assert _went_with_its_instance(facts, case, failure), f"{failure} for {asked}"
    else:
        assert case.dispatched is None, f"{failure} for {asked}, which runs"
        _check_rejection(facts, case, entry)


def _went_with_its_instance(facts: Facts, case: Case, failure: Failure) -> bool:
    """Whether its step was over, its answer was not, and then its instance was lost."""
    dispatched = case.dispatched
    assert dispatched is not None
    return facts.later and any(
        (each.failure, each.instance) == (failure, dispatched.instance) and each.at >= dispatched.at
        for each in facts.losses
    )


def _check_rejection(facts: Facts, case: Case, entry: Answered) -> None:
    asked, life = case.asked, case.life
    assert life is not None
    key = facts.keys[asked.key]
    match rejection(case):
        case Rejection.SEQUENCE_ENDED:
            aged = facts.rules.max_lifetime_ns or facts.is_preempted(entry.at)
            ended = key.unsure or life.failed or aged
            assert ended, f"taken along: {asked}"
            key.unsure = True
        case Rejection.SEQUENCE_TIMEOUT:
            key.unsure = True
            assert not life.begun
            assert any(
                0 < other.asked.timeout_ns <= entry.at - other.asked.at for other in key.cases
            ), f"too early: {asked}"
        case Rejection.STOPPING:
            assert facts.closing
        case Rejection.INSTANCE_LOST:
            assert life.begun
            assert life.instance is not None
            assert facts.was_lost(life.instance)
            assert not facts.config.states, f"its state is kept: {asked}"
        case Rejection.INSTANCE_AWAY:
            assert facts.is_overdue(entry.at), f"given up too early: {asked}"
        case Rejection.RESTORE_FAILED:
            assert facts.moves
            assert facts.losses, f"why should it not come back? {asked}"
        case _:
            raise AssertionError(f"{case.final.failure} for {asked}")


def check_end(facts: Facts, life: Life, key: Key, entry: Ended) -> None:
    """A sequence ended for a reason."""
    rules = facts.rules
    match entry.reason:
        case EndReason.IDLE:
            _check_idle_end(facts, life, key, entry)
        case EndReason.LIFETIME:
            assert 0 < rules.max_lifetime_ns <= entry.at - life.since
        case EndReason.CLIENT_END:
            ran = any(case.asked.end and case.ran for case in life.cases)
            assert ran or key.unsure, f"ended before its END ran: {entry}"
        case EndReason.SUPERSEDED:
            replaced = life.replaced or life is not key.lives[-1]
            assert replaced or key.unsure, f"superseded by nobody: {entry}"
        case EndReason.CLIENT_ABORT:
            assert key.unsure
            assert life.abandoned or life.reserved is None, f"nobody gave it up: {entry}"
        case EndReason.PREEMPTED:
            assert facts.is_preempted(entry.at), f"too early: {entry}"
        case EndReason.ERROR:
            assert rules.end_on_error
            # A failure after its step takes along what waits behind a step under way.
            assert life.failed or (facts.later and any(each.failed for each in key.lives))
        case EndReason.DRAINED:
            assert facts.closing
        case EndReason.ENGINE_LOST:
            lost = life.instance is not None and facts.was_lost(life.instance)
            at_once = lost and life.begun and not facts.config.states
            on_its_way = facts.moves and bool(facts.losses)
            assert at_once or on_its_way or facts.is_overdue(entry.at), f"nothing is lost: {entry}"
        case _:
            raise AssertionError(f"ended for no reason: {entry}")


def _check_idle_end(facts: Facts, life: Life, key: Key, entry: Ended) -> None:
    rules = facts.rules
    assert not any(case.is_waiting for case in life.cases)
    assert not any(case.dispatched and not case.ran for case in life.cases), "idle while it runs"
    assert not life.abandoned, f"outlived its connection: {entry}"
    idle_ns = entry.at - life.active_at
    assert idle_ns >= rules.max_idle_ns, f"too early: {entry}"
    may_be_late = key.unsure or facts.moves
    assert idle_ns <= rules.max_idle_ns + facts.lateness_ns or may_be_late, f"too late: {entry}"
    start = life.cases[0].dispatched if life.cases else None
    if rules.max_lifetime_ns and start is not None:
        lived_ns = entry.at - start.at
        assert lived_ns <= rules.max_lifetime_ns + facts.lateness_ns, f"lived too long: {entry}"
