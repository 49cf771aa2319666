"""Which threads of a decoupled model are held up, and what lets them go on."""

import asyncio
import threading
from collections.abc import Callable

import pytest

from streamgate.core.ids import Ns, RequestNumber
from streamgate.engine.live import LiveRequest
from streamgate.engine.pressure import AHEAD_MAX, Pressure
from streamgate.model.request import Request

WAIT_SECONDS = 20.0
A_MOMENT_SECONDS = 0.05
"""How long a thread that should wait is watched for not doing so."""


def ignore(*_: object) -> None:
    """A sink."""


def request(number: int = 1) -> LiveRequest:
    return LiveRequest(RequestNumber(number), Request("m"), ignore, ignore, Ns(0), 0)


class Sender:
    """A thread that sends one response; `entered` once it was not, or no longer, held up."""

    def __init__(self, pressure: Pressure, live: LiveRequest) -> None:
        self.entered = threading.Event()
        self._pressure = pressure
        self._live = live
        threading.Thread(target=self._run, daemon=True).start()

    def _run(self) -> None:
        self._pressure.enter(self._live)
        self.entered.set()

    @property
    def waits(self) -> bool:
        return not self.entered.wait(A_MOMENT_SECONDS)

    def goes_on(self) -> bool:
        return self.entered.wait(WAIT_SECONDS)


def on_another_thread(work: Callable[[], None]) -> None:
    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    thread.join(WAIT_SECONDS)
    assert not thread.is_alive()


def test_a_models_own_thread_waits_for_its_own_client_only() -> None:
    pressure = Pressure(waits_for_clients=True)
    slow, fast = request(1), request(2)
    pressure.pause([slow])
    held = Sender(pressure, slow)
    assert Sender(pressure, fast).goes_on()
    assert held.waits
    pressure.resume([slow])
    assert held.goes_on()


def test_threads_that_serve_others_too_do_not_wait_for_a_client() -> None:
    pressure = Pressure(waits_for_clients=True)
    live = request()
    pressure.pause([live])
    pressure.enter(live)  # the engine's own

    def step() -> None:
        live.open_outbox(None)
        pressure.enter(live)

    async def coroutine() -> None:
        pressure.enter(live)

    on_another_thread(step)
    on_another_thread(lambda: asyncio.run(coroutine()))
    assert live.ahead == 3


def test_a_thread_that_answers_requests_by_turns_does_not_wait_for_a_client() -> None:
    pressure = Pressure(waits_for_clients=True)
    slow, fast = request(1), request(2)
    pressure.pause([slow])

    def work() -> None:
        pressure.enter(fast)
        pressure.enter(slow)

    on_another_thread(work)


def test_a_thread_that_answers_one_request_after_another_does() -> None:
    pressure = Pressure(waits_for_clients=True)
    slow, fast = request(1), request(2)
    pressure.pause([slow])
    went_on = threading.Event()

    def work() -> None:
        fast.answered = True
        pressure.enter(fast)
        pressure.enter(slow)
        went_on.set()

    threading.Thread(target=work, daemon=True).start()
    assert not went_on.wait(A_MOMENT_SECONDS)
    pressure.resume([slow])
    assert went_on.wait(WAIT_SECONDS)


def test_no_thread_waits_for_a_client_where_all_of_them_may_serve_many() -> None:
    pressure = Pressure(waits_for_clients=False)
    live = request()
    pressure.pause([live])
    assert Sender(pressure, live).goes_on()


def test_any_thread_but_the_engines_waits_until_the_engine_has_caught_up() -> None:
    pressure = Pressure(waits_for_clients=False)
    live = request()
    for _ in range(AHEAD_MAX + 1):
        pressure.enter(live)
    held = Sender(pressure, live)
    pressure.take(live)
    assert held.waits
    pressure.take(live)
    assert held.goes_on()
    assert live.ahead == AHEAD_MAX


@pytest.mark.parametrize("what", ["closed", "cancelled"])
def test_nobody_waits_for_a_request_that_is_over(what: str) -> None:
    pressure = Pressure(waits_for_clients=True)
    live = request()
    pressure.pause([live])
    held = Sender(pressure, live)
    assert held.waits
    setattr(live, what, True)
    pressure.give_up()
    assert held.goes_on()
