"""The runs of one request's steps that are under way in other models, and those that wait."""

from collections import deque
from collections.abc import Callable, Iterator
from typing import Final, final

from streamgate.core.dataflow import Run, StepIndex
from streamgate.core.ids import RequestNumber
from streamgate.engine.ensemble.tensors import Held
from streamgate.errors import Code, StreamGateError
from streamgate.link.contract import ModelRoute
from streamgate.model.config import Ensemble

WAITING_MAX: Final = 10_000
"""Responses of one request's decoupled steps that may wait for the steps behind them."""

Submit = Callable[[Run[Held]], tuple[ModelRoute, RequestNumber]]


def _is_over(run: Run[Held]) -> tuple[ModelRoute, RequestNumber]:
    raise AssertionError(f"step {run.step} was to start after the call's end")


@final
class StepRuns:
    """Starts runs through `submit`, of each step no more at a time than the ensemble allows.

    Its client's pace and that of the steps themselves hold runs up: all while it does not read, and
    those of decoupled models while the steps behind them are too far behind.
    """

    def __init__(self, ensemble: Ensemble, submit: Submit) -> None:
        self._ensemble = ensemble
        self._submit = submit
        self._under_way: dict[Run[Held], tuple[ModelRoute, RequestNumber]] = {}
        # How many of each step are under way.
        self._counts = [0] * len(ensemble.steps)
        self._waiting: dict[StepIndex, deque[Run[Held]]] = {}
        self._held: set[Run[Held]] = set()
        self._is_paused = False
        self._is_behind = False

    def start(self, run: Run[Held]) -> None:
        """Start it, now or when there is room for it.

        Raises StreamGateError for too many that wait, and what `submit` raises.
        """
        step = run.step
        if self._counts[step] < self._ensemble.max_inflight:
            self._start_now(run)
            return
        waiting = self._waiting.setdefault(step, deque())
        if len(waiting) >= WAITING_MAX:
            model = self._ensemble.steps[step].model
            raise StreamGateError(
                Code.UNAVAILABLE,
                f"step of model '{model}' is {WAITING_MAX} responses behind those that it runs on",
            )
        waiting.append(run)

    def done(self, run: Run[Held]) -> None:
        """It has had its last response."""
        self._under_way.pop(run, None)
        self._held.discard(run)
        self._counts[run.step] -= 1

    def start_next(self, step: StepIndex) -> None:
        """There may be room for another run of this step. Raises what `submit` raises."""
        waiting = self._waiting.get(step)
        if waiting and self._counts[step] < self._ensemble.max_inflight:
            self._start_now(waiting.popleft())

    def stop(self, *, with_stateful: bool) -> None:
        """Start nothing more and cancel what is under way, in stateful models only if told."""
        self._waiting.clear()
        for run, (route, number) in list(self._under_way.items()):
            if with_stateful or run.step not in self._ensemble.stateful:
                route.link.cancel(number)

    def end(self) -> None:
        """Nothing is started any more. Lets go of who does it: a call that is over is then freed at
        once, and not left to the garbage collector."""
        self._waiting.clear()
        self._submit = _is_over

    def pause(self, *, paused: bool) -> None:
        """The client does not read, or reads again."""
        self._is_paused = paused
        self._hold_up_all()

    def balance(self, others: int) -> None:
        """Hold up decoupled models, or let them go on. `others` are runs that wait elsewhere."""
        behind = others + sum(len(waiting) for waiting in self._waiting.values())
        limit = self._ensemble.max_inflight
        if behind >= limit if not self._is_behind else 2 * behind <= limit:
            self._is_behind = not self._is_behind
            self._hold_up_all()

    def __iter__(self) -> Iterator[tuple[ModelRoute, RequestNumber]]:
        return iter(list(self._under_way.values()))

    def _start_now(self, run: Run[Held]) -> None:
        route, number = self._under_way[run] = self._submit(run)
        self._counts[run.step] += 1
        if self._is_paused or self._is_behind:
            self._hold_up(run, route, number)

    def _hold_up_all(self) -> None:
        for run, (route, number) in self._under_way.items():
            self._hold_up(run, route, number)

    def _hold_up(self, run: Run[Held], route: ModelRoute, number: RequestNumber) -> None:
        holds = self._is_paused or (self._is_behind and run.step in self._ensemble.decoupled)
        if holds and run not in self._held:
            self._held.add(run)
            route.link.pause((number,))
        elif not holds and run in self._held:
            self._held.discard(run)
            route.link.resume((number,))
