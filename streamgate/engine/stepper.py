"""One model instance at work: loads the session, runs its steps one after another, closes it.

Everything that touches the session or the arena happens on one thread, so neither needs a lock:
by default a thread of the instance's own, else the engine's.
"""

import logging
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from functools import partial
from typing import Protocol, TypeVar

from streamgate.backend.contract import (
    ReadinessAware,
    RequestSession,
    Session,
    StateDropper,
    TensorSession,
)
from streamgate.core.commands import Step
from streamgate.core.ids import SlotIndex
from streamgate.engine.arena import Arena
from streamgate.engine.departures import Departure, hears_ends, logged, says_farewell, tell
from streamgate.engine.live import LiveRequest
from streamgate.engine.readiness import Readiness
from streamgate.engine.request_runner import RequestRunner
from streamgate.engine.snapshots import Keepers
from streamgate.engine.tensor_runner import Outcome, TensorRunner
from streamgate.engine.workers import Worker
from streamgate.errors import BackendError, Code, StreamGateError
from streamgate.model.config import ModelConfig
from streamgate.model.request import SequenceKey

log = logging.getLogger(__name__)

T = TypeVar("T")


class Runner(Protocol):
    """What runs a step on a session, whatever its kind."""

    def run(self, step: Step, lives: Sequence[LiveRequest | None]) -> Outcome: ...

    def farewell(self, departure: Departure) -> None: ...


class Stepper:
    """Runs what it is given, in order, on one thread.

    `on_outcome` is called on that thread after each step. `running_since` is when the step, or the
    hook of the model, began that runs now, 0 for none, if there is a `clock` that says so.
    """

    def __init__(
        self,
        name: str,
        worker: Worker,
        on_outcome: Callable[[Outcome], None],
        clock: Callable[[], int] | None = None,
    ) -> None:
        self.name = name
        self._worker = worker
        self._on_outcome = on_outcome
        self._clock = clock
        self.running_since = 0
        self._hooks: deque[None] = deque()
        self._runner: Runner | None = None
        self._session: Session | None = None
        self._arena: Arena | None = None
        self._keepers: Keepers | None = None
        self._hears_ends = False
        self._says_farewell = False
        self._drops_states = False
        self._has_canary = False
        self._violations_in_all = 0
        self._readiness = Readiness(name, self.ask)
        self._closed: Future[None] | None = None

    def load(self, load: Callable[[], Session], config: ModelConfig, slots: int) -> Future[None]:
        """Load the session and lay out the arena. The future carries what `load` raised.

        A session that was lost is closed first; the arena stays, with all that is in it.
        """

        def job() -> None:
            self._close_lost()
            self._session = session = load()
            if self._arena is None:
                rules = config.sequences
                self._has_canary = rules is not None and rules.state_canary
                watched_as = self.name if self._has_canary else None
                self._arena = Arena(
                    config.states, slots, batches=config.batches, watched_as=watched_as
                )
            self._runner = _runner(config, session, self._arena)
            is_pure = isinstance(session, TensorSession)
            self._keepers = Keepers(config.name, session, self._arena, is_pure=is_pure)
            self._hears_ends = hears_ends(session)
            self._drops_states = isinstance(session, StateDropper) and session.keeps_states
            self._says_farewell = says_farewell(config)

        return self._ask(job, self._worker.do)

    def run(self, step: Step, lives: Sequence[LiveRequest | None]) -> None:
        """Run a step; its outcome goes to `on_outcome`."""

        def job() -> None:
            assert self._runner is not None, "a step before load"
            self._on_outcome(self._run(self._runner, step, lives))

        self._worker.do(job)

    def _run(self, runner: Runner, step: Step, lives: Sequence[LiveRequest | None]) -> Outcome:
        if self._clock is None:
            return runner.run(step, lives)
        self.running_since = self._clock()
        outcome = runner.run(step, lives)
        self.running_since = 0
        return outcome

    def ask(self, question: Callable[[], T], *, if_awaited: bool = False) -> Future[T]:
        """Do something between two steps, and answer with what it returned or raised.

        With `if_awaited` it is left undone when who asked has cancelled the future before.
        """
        return self._ask(question, self._do, if_awaited=if_awaited)

    def _do(self, hook: Callable[[], None]) -> None:
        """Do something between two steps that the model may hang in: how long it takes is seen."""
        clock = self._clock
        if clock is None:
            self._worker.do(hook)
            return

        def job() -> None:
            self.running_since = clock()
            hook()
            self.running_since = 0
            self._hooks.pop()

        self._hooks.append(None)
        self._worker.do(job)

    @property
    def has_hooks(self) -> bool:
        """Whether something is to be done between two steps, or just being done. Where there is a
        clock."""
        return bool(self._hooks)

    def _ask(
        self,
        question: Callable[[], T],
        do: Callable[[Callable[[], None]], None],
        *,
        if_awaited: bool = False,
    ) -> Future[T]:
        future: Future[T] = Future()

        def job() -> None:
            # Who gave up waiting has not taken the question back: a session is closed all the same.
            is_awaited = future.set_running_or_notify_cancel()
            if if_awaited and not is_awaited:
                return
            try:
                answer = question()
            except BaseException as error:  # noqa: BLE001 - it is the asker's to handle
                if is_awaited:
                    future.set_exception(error)
            else:
                if is_awaited:
                    future.set_result(answer)

        do(job)
        return future

    def depart(self, departure: Departure) -> None:
        """A sequence is over: do what is to be done for it before the slot's next step."""
        if self._hears_ends or self._says_farewell or self._has_canary:
            self._do(partial(self._depart, departure))

    def forget(self, sequence: SequenceKey, slot: SlotIndex) -> None:
        """A sequence has left for elsewhere: drop what is kept of it before the slot's next step.
        It is no end, so that the model is told none."""
        if self._drops_states or self._has_canary:
            self._do(partial(self._forget, sequence, slot))

    def ask_keepers(self, question: Callable[[Keepers], T]) -> Future[T]:
        """Ask where sequences are kept, between two steps and only while the answer is awaited.

        The future carries StreamGateError (UNAVAILABLE) while there is no session.
        """

        def with_keepers() -> T:
            if self._session is None or self._keepers is None:
                raise StreamGateError(
                    Code.UNAVAILABLE, f"model instance '{self.name}' is not there just now"
                )
            return question(self._keepers)

        return self.ask(with_keepers, if_awaited=True)

    @property
    def violations(self) -> int:
        """How many rows of state the canary has found spoiled."""
        arena = self._arena
        return self._violations_in_all if arena is None else arena.violations

    def state_bytes(self, slot: int) -> int:
        """The bytes of the states that the arena keeps in a slot. From any thread."""
        arena = self._arena
        return 0 if arena is None else arena.size_of(slot)

    @property
    def keeps_states(self) -> bool:
        """Whether all that is kept of sequences is in the arena: a session can be replaced."""
        return self._keepers is not None and self._keepers.arena_is_all

    async def is_ready(self) -> bool:
        """Whether the model says that it can serve; a model that says nothing can."""
        session: object = self._session
        if not isinstance(session, ReadinessAware) or not session.tells_readiness:
            return True
        return await self._readiness.is_ready(session.is_ready)

    def _depart(self, departure: Departure) -> None:
        session, runner = self._session, self._runner
        if session is None or runner is None:
            return
        if self._says_farewell and not departure.has_seen_end:
            with logged(self.name, departure):
                runner.farewell(departure)
        if self._hears_ends:
            with logged(self.name, departure):
                tell(session, departure)
        if self._arena is not None:
            self._arena.leave(departure.slot)

    def _forget(self, sequence: SequenceKey, slot: SlotIndex) -> None:
        session: object = self._session
        if session is None:
            return
        if isinstance(session, StateDropper):
            try:
                session.drop_state(sequence)
            except Exception:
                log.exception(
                    "model instance '%s' failed to drop what it kept of sequence %s",
                    self.name,
                    sequence,
                )
        if self._arena is not None:
            self._arena.leave(slot)

    def _close_lost(self) -> None:
        session, self._session = self._session, None
        if session is None:
            return
        try:
            session.close()
        except Exception:
            log.exception("a lost session of model instance '%s' could not be closed", self.name)

    def close(self) -> Future[None]:
        """Close the session after what was given to run, and give back the memory of the states,
        however long somebody still knows this stepper. Idempotent."""
        if self._closed is not None:
            return self._closed

        def job() -> None:
            session, self._session, self._runner = self._session, None, None
            self._violations_in_all = self.violations
            self._arena = self._keepers = None
            if session is not None:
                session.close()

        self._closed = self._ask(job, self._worker.do)
        self._worker.stop()
        return self._closed


def _runner(config: ModelConfig, session: Session, arena: Arena) -> Runner:
    if isinstance(session, TensorSession):
        return TensorRunner(config, session, arena)
    if isinstance(session, RequestSession):
        return RequestRunner(config, session, arena)
    raise BackendError(
        f"backend '{config.backend}' of model '{config.name}' made a {type(session).__name__}, "
        "expected a TensorSession (run) or a RequestSession (execute)"
    )
