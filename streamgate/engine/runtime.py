"""One loaded model version: its scheduler, its instances and the requests under way.

Everything here runs on the host's thread but what the steppers do. Requests go in through
`submit`, the scheduler says what is to be done, steppers do it, responses go out through sinks.
"""

import asyncio
from collections.abc import Callable, Collection, Sequence
from functools import partial

from streamgate.backend.contract import SessionLostError
from streamgate.core.commands import (
    Command,
    IdleWarning,
    InstanceGone,
    Reject,
    Rejection,
    ReservationRefused,
    Reserved,
    Row,
    Run,
    SequenceEnded,
    SequenceLeft,
    SequenceParked,
    SlotTaken,
)
from streamgate.core.events import (
    Cancel,
    Close,
    Completed,
    Drain,
    EndSequence,
    Event,
    HangUp,
    InstanceBack,
    InstanceLost,
    Pause,
    Reserve,
    Resize,
    Resume,
    Touch,
)
from streamgate.core.factory import create_scheduler
from streamgate.core.ids import (
    NO_INSTANCE,
    NO_REQUEST,
    InstanceIndex,
    OwnerNumber,
    RequestNumber,
    StepNumber,
)
from streamgate.engine.alarm import Alarm
from streamgate.engine.bookings import Bookings
from streamgate.engine.counters import Counters
from streamgate.engine.delivery import CANCELED, Delivery
from streamgate.engine.device_turns import DeviceTurns
from streamgate.engine.host import Host
from streamgate.engine.instances import Instances, LoadInstance, RestartPolicy
from streamgate.engine.late import LateAnswers
from streamgate.engine.live import LiveRequest, Outbox, lost_answers
from streamgate.engine.moves import Moves
from streamgate.engine.outcomes import Outcomes
from streamgate.engine.places import Places
from streamgate.engine.pressure import Pressure
from streamgate.engine.recent_ends import RecentEnds
from streamgate.engine.rejections import rejection_of
from streamgate.engine.slot_table import read_slot_table
from streamgate.engine.submission import submission_of
from streamgate.engine.tensor_runner import Outcome
from streamgate.errors import Code, EndReason, EndWarning, Failure, WarningCause
from streamgate.link.contract import (
    UNSTARTED,
    Needs,
    OnAnyEnd,
    OnHandOver,
    OnReservation,
    OnSnapshot,
    OnWarning,
)
from streamgate.model.config import Execution, ModelConfig
from streamgate.model.request import Request, Response, SequenceKey
from streamgate.model.snapshot import Snapshot
from streamgate.model.statistics import ModelStatistics, SlotTable

STEPS_IN_A_ROW_MAX = 16
"""Steps of one model that are run or waited for before other work of the loop gets its turn."""

DEFAULT_RESTARTS = RestartPolicy()


class ModelRuntime:
    """A model version on this engine. Also the in-process `ModelLink` to it."""

    def __init__(
        self,
        config: ModelConfig,
        version: str,
        host: Host,
        restarts: RestartPolicy = DEFAULT_RESTARTS,
        turns: DeviceTurns | None = None,
    ) -> None:
        self.config = config
        self.version = version
        self._host = host
        devices = turns.of(config, self._receive_and_turn) if turns is not None else None
        gate = devices.gate if devices is not None else None
        self._scheduler = create_scheduler(
            config.scheduling, config.max_batch_size, len(config.instances), gate
        )
        self._pressure = (
            Pressure(waits_for_clients=config.execution is not Execution.PROCESS)
            if config.decoupled
            else None
        )
        inline = config.execution is Execution.INLINE
        self._outcomes = Outcomes(host, None if inline else partial(host.post, self._collect))
        self._patience_ns = restarts.patience_ns
        self._instances = Instances(config, host, self, self._outcomes.put, restarts, devices)
        self._steps: dict[StepNumber, Sequence[LiveRequest | None]] = {}
        self.places = Places(config.name, self._instances)
        self._is_paced = config.sequences is not None and config.sequences.pace_ns > 0
        self._ends_on_error = config.sequences is not None and config.sequences.end_on_error
        self._counters = Counters(config, version)
        self._delivery = Delivery(config, host, self._counters)
        self._lives = self._delivery.lives
        self._late = LateAnswers(host, self._pressure, self._delivery)
        self._late.on_delivered = self._note_late
        self._recent_ends = RecentEnds()
        self._bookings = Bookings(config.name, self._counters, self._recent_ends)
        self._moves = Moves(
            config,
            host,
            self._instances,
            self.places,
            self._recent_ends,
            self._counters,
            self._next_number,
            self._receive_soon,
            self._receive_and_turn,
        )
        self._numbers = 0
        self._turn_due = self._is_turning = False
        self._alarm = Alarm(host, self._turn)
        self._on_sequence_end: OnAnyEnd | None = None
        self._on_warning: OnWarning | None = None

    # -- life

    async def load(self, load: LoadInstance) -> None:
        """Load all instances, each on its stepper's thread. Raises what the first failure raised;
        then `discard` it."""
        await self._instances.load(load)

    def discard(self) -> None:
        """Give up a runtime that failed to load: close those instances that did."""
        self._instances.close()

    async def resize(self, config: ModelConfig, load: LoadInstance, grace_seconds: float) -> None:
        """Serve with the instances of this configuration, which differs in nothing else, `load`ed
        where they are new. Those that are left out take no new sequences, and go when their last
        one has ended; what lives on them after `grace_seconds` is preempted.

        Raises what the first failure to load raised; then nothing has changed.
        """
        indexes = await self._instances.prepare(config.instances, load)
        self.config = config
        self._receive_and_turn(Resize(indexes, round(grace_seconds * 1e9)))

    def drain(self) -> None:
        """Accept no new sequences and no stateless requests from now on."""
        self._receive_and_turn(Drain())

    async def wait_idle(self) -> None:
        """Wait until no request is under way and no sequence lives. May wait long: bound it."""
        while self._lives or self._scheduler.statistics().active_sequences:
            await self._delivery.wait_empty()

    async def close(self, timeout_seconds: float) -> None:
        """End every sequence, wait for what runs, at most so long, and close the sessions."""
        self._receive_and_turn(Close(EndReason.DRAINED))
        try:
            async with asyncio.timeout(timeout_seconds):
                await self.wait_idle()
                closing = [asyncio.wrap_future(each) for each in self._instances.close()]
                await asyncio.gather(*closing, return_exceptions=True)
        except TimeoutError:
            for live in list(self._lives.values()):
                self._fail(live, Failure(Code.UNAVAILABLE, "Server exiting"), "OTHER")
            self.discard()  # a step that never ends holds up its own instance only
        self._alarm.stop()
        self._moves.stop()

    # -- the link

    def submit(
        self,
        request: Request,
        sink: Callable[[Response], None],
        owner: OwnerNumber,
        position: int,
    ) -> RequestNumber:
        number = self._next_number()
        if request.start:
            self._recent_ends.forget(request.sequence)
        now = self._host.now()
        self._delivery.take_in(
            LiveRequest(number, request, sink, self._late.deliver, now, position)
        )
        self._scheduler.receive(submission_of(number, request, owner), now)
        self._turn_soon()
        return number

    def reserve(self, sequence: SequenceKey, owner: OwnerNumber, on_answer: OnReservation) -> None:
        number = self._next_number()
        self._bookings.note(number, sequence, on_answer)
        self._receive_soon(Reserve(number, sequence, owner))

    def restore(
        self,
        sequence: SequenceKey,
        owner: OwnerNumber,
        snapshot: Snapshot,
        on_answer: OnReservation,
    ) -> None:
        self._moves.restore(sequence, owner, snapshot, on_answer)

    def hand_over(self, sequence: SequenceKey, on_answer: OnHandOver) -> None:
        self._moves.hand_over(sequence, on_answer)

    def take_snapshot(self, sequence: SequenceKey, on_answer: OnHandOver) -> None:
        self._moves.take_snapshot(sequence, on_answer)

    def watch_snapshots(self, on_snapshot: OnSnapshot) -> None:
        self._moves.watch(on_snapshot)

    def _next_number(self) -> RequestNumber:
        self._numbers += 1
        return RequestNumber(self._numbers)

    def cancel(self, number: RequestNumber) -> None:
        live = self._lives.get(number)
        if live is None:
            return
        live.cancelled = True
        if self._pressure is not None:
            self._pressure.give_up()
        self._receive_and_turn(Cancel(number))
        if not live.closed:
            # It is with the model: the client need not wait for the answer nobody wants.
            self._fail(live, Failure(Code.CANCELLED, ""), CANCELED)

    def pause(self, numbers: Sequence[RequestNumber]) -> None:
        if self._pressure is not None:
            self._pressure.pause(self._present(numbers))
        self._receive_soon(Pause(tuple(numbers)))

    def resume(self, numbers: Sequence[RequestNumber]) -> None:
        if self._pressure is not None:
            self._pressure.resume(self._present(numbers))
        self._receive_soon(Resume(tuple(numbers)))

    def _present(self, numbers: Sequence[RequestNumber]) -> list[LiveRequest]:
        return [self._lives[number] for number in numbers if number in self._lives]

    def touch(self, sequence: SequenceKey) -> None:
        self._receive_soon(Touch(sequence))

    def hang_up(self, owner: OwnerNumber) -> None:
        self._receive_and_turn(HangUp(owner))

    def end_sequence(self, sequence: SequenceKey, reason: EndReason, *, drain: bool) -> None:
        self._receive_and_turn(EndSequence(sequence, reason, drain))

    def needs_for(self, request: Request) -> Needs:
        return [[(self, name) for name in self.places.names_for(request)]]

    def needs_of(self, number: RequestNumber) -> Needs:
        live = self._lives.get(number)
        if live is None:
            return ()
        if live.instance == NO_INSTANCE:
            return self.needs_for(live.request)
        if any(live in lives for lives in self._steps.values()):
            return [[(self, self._instances.name_of(live.instance))]]
        return ()

    def watch_sequences(self, on_end: OnAnyEnd, on_warning: OnWarning) -> None:
        self._on_sequence_end = on_end
        self._on_warning = on_warning

    async def is_ready(self) -> bool:
        return await self._instances.is_ready()

    def statistics(self) -> ModelStatistics:
        return self._counters.read(self._scheduler.statistics(), self._instances.statistics())

    def slot_tables(
        self, limit: int, only: Collection[SequenceKey] | None = None
    ) -> Sequence[SlotTable]:
        if self.config.sequences is None:
            return ()
        name, version, now = self.config.name, self.version, self._host.now()
        read = partial(read_slot_table, name, version, self._scheduler, self._instances)
        return (read(now, limit, only),)

    # -- the loop

    def _receive_soon(self, event: Event) -> None:
        self._scheduler.receive(event, self._host.now())
        self._turn_soon()

    def _receive_and_turn(self, event: Event) -> None:
        self._scheduler.receive(event, self._host.now())
        if self._is_turning:
            # A response led to this, and those of the same step that still have to leave must not
            # be overtaken by those of the next.
            self._turn_soon()
        else:
            self._turn()

    def _turn_soon(self) -> None:
        # Requests that arrive in one turn of the loop are scheduled together.
        if not self._turn_due:
            self._turn_due = True
            self._host.call_soon(self._turn)

    def _turn(self, outcome: Outcome | None = None) -> None:
        """Take in a step's outcome if there is one, and do what the scheduler says.

        Steps that ran inline, or are quick, are over at once and taken in here, but for so many
        in a row that other work would wait.
        """
        self._turn_due = False
        self._is_turning = True
        for _ in range(STEPS_IN_A_ROW_MAX):
            started = self._round(self._take_in(outcome) if outcome is not None else ())
            outcome = self._outcomes.wait() if started else self._outcomes.take()
            if outcome is None:
                break
        else:
            self._host.post(partial(self._turn, outcome))
        self._is_turning = False
        self._moves.look_again()
        if not self._turn_due:
            self._alarm.set(self._scheduler.wake_at())
        self._delivery.say_empty()

    def _round(self, responses: Outbox | tuple[()]) -> bool:
        """One poll of the scheduler. Returns whether it started a step.

        Steps start before responses leave: the device comes first.
        """
        started = False
        now = self._host.now()
        commands = self._scheduler.poll(now)
        for command in commands:
            if isinstance(command, Run):
                self._start(command)
                started = True
            elif isinstance(command, SequenceEnded):
                self.places.leave(command)
            elif isinstance(command, SlotTaken | SequenceLeft | SequenceParked):
                self._moves.change(command)
        for live, response in responses:
            self._delivery.deliver(live, response)
        for command in commands:
            self._perform(command)
        return started

    def _start(self, command: Run) -> None:
        step = command.step
        lives = [self._lives.get(row.request) for row in step.rows]
        self._steps[step.number] = lives
        self._delivery.begin(lives)
        for live, row in zip(lives, step.rows, strict=True):
            if live is not None:
                live.instance = step.instance
                live.row = row
                if live.request.batch is not None:
                    self.places.note_batch(live.request.batch, step)
                if row.sequence:
                    self.places.ran(row.sequence, live)
            if row.start or row.end:
                self.places.note(step.instance, row)
        self._instances.run(step.instance, step, lives)
        self._moves.ran(step, lives)

    def _perform(self, command: Command) -> None:
        match command:
            case Run():
                pass
            case IdleWarning(sequence, left_ns=left_ns):
                if self._on_warning is not None:
                    self._on_warning(sequence, EndWarning(WarningCause.IDLE, left_ns / 1e9))
            case InstanceGone(index):
                self._instances.remove(index)
            case Reject(number):
                live = self._lives.get(number)
                if live is not None:
                    self._reject(live, command)
            case SlotTaken(waited_ns=waited_ns, restores=restores):
                if restores == NO_REQUEST:
                    self._counters.sequences_started += 1
                    self._counters.slot_wait.add(waited_ns / 1e9)
            case SequenceEnded(sequence, reason=reason, place=place, reserved=reserved):
                if command.restores != NO_REQUEST and self._moves.has_ended_unseen(command):
                    return
                self._counters.sequences_ended[reason] += 1
                self._recent_ends.note(sequence, reason)
                if self._on_sequence_end is not None:
                    self._on_sequence_end(sequence, reason, UNSTARTED if reserved else place)
            case Reserved() | ReservationRefused():
                self._bookings.answer(command)
            case _:
                self._moves.perform(command)

    # -- what comes back

    def _collect(self) -> None:
        """Outcomes are there to be taken."""
        outcome = self._outcomes.take()
        if outcome is not None:
            self._turn(outcome)

    def _take_in(self, outcome: Outcome) -> Outbox:
        """Count a step and tell the scheduler that it is over. Returns what there is to deliver."""
        step = outcome.step
        lives = self._steps.pop(step.number)
        self._counters.count_step(outcome, lives)
        for live in lives if outcome.rescheduled else ():
            if live is not None and live.number in outcome.rescheduled:
                live.instance = NO_INSTANCE
        if outcome.lost is not None:
            self.places.take_back(lives)
        failed = outcome.spoiled
        if self._ends_on_error:
            answers = outcome.responses
            failed |= {each.number for each, told in answers if told.failure and not told.lost}
        late = self._host.late_ns() if self._is_paced else 0
        event = Completed(step.number, outcome.rescheduled, failed=failed, outside_ns=late)
        self._scheduler.receive(event, self._host.now())
        self._instances.ended(step.instance, outcome)
        if outcome.lost is not None:
            outcome.responses.extend(lost_answers(lives, outcome.lost.failure))
        return outcome.responses

    # -- instances

    def instance_lost(
        self, index: InstanceIndex, error: SessionLostError, *, keeps_states: bool
    ) -> None:
        event = InstanceLost(index, keeps_states, self._patience_ns)
        self._scheduler.receive(event, self._host.now())
        self.answers_lost(index, error)
        self._turn_soon()

    def answers_lost(self, index: InstanceIndex, error: SessionLostError) -> None:
        for live in [each for each in self._lives.values() if each.instance == index]:
            live.lose(error.failure)

    def instance_back(self, index: InstanceIndex) -> None:
        self._receive_and_turn(InstanceBack(index))

    def _note_late(self, live: LiveRequest, row: Row, response: Response, is_news: bool) -> None:
        """An answer that did not come with its step concerns its sequence on its own, if that still
        is the one that the request belongs to: it is idle from now on only, and an error may end
        it."""
        self._moves.look_again()
        place = (live.instance, row.slot, row.generation)
        if not is_news or not self.places.is_at(row.sequence, place):
            return
        if self._ends_on_error and response.failure is not None and not response.lost:
            self.end_sequence(row.sequence, EndReason.ERROR, drain=False)
        else:
            # No turn for it: deadlines only move away.
            self._scheduler.receive(Touch(row.sequence), self._host.now())

    def _reject(self, live: LiveRequest, command: Reject) -> None:
        """Answer a request that the scheduler does not let run."""
        failure, lost = rejection_of(command, live.request, self._recent_ends)
        cancelled = live.cancelled or command.reason is Rejection.CANCELLED
        reason = CANCELED if cancelled else "REJECTED"
        lost = lost and not cancelled
        self._fail(live, failure, reason, admitted=command.admitted, lost=lost)

    def _fail(
        self,
        live: LiveRequest,
        failure: Failure,
        reason: str,
        *,
        admitted: bool = True,
        lost: bool = False,
    ) -> None:
        """Answer a request without the model."""
        if self._pressure is not None:
            self._pressure.give_up()
        self._delivery.fail(live, failure, reason, admitted=admitted, lost=lost)
        self._moves.look_again()
