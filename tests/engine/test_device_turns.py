"""Instances that share a device take turns on it, whatever models they belong to."""

import pytest

from streamgate.core.device_line import HOLD_NS
from streamgate.core.events import TurnCame
from streamgate.core.ids import InstanceIndex
from streamgate.engine.device_turns import DeviceTurns, ModelDevices
from streamgate.model.config import (
    DefaultScheduling,
    Execution,
    Instance,
    InstanceKind,
    ModelConfig,
)
from tests.simulation.virtual_host import VirtualHost

CPU = Instance("a", InstanceKind.CPU)
MS = 1_000_000


def config(name: str, execution: Execution = Execution.THREAD) -> ModelConfig:
    return ModelConfig(name, "", "fake", 0, (), (), DefaultScheduling(), execution=execution)


class Model:
    """A model with one instance on the processors, and how often it was told of its turn."""

    def __init__(self, turns: DeviceTurns, host: VirtualHost, name: str) -> None:
        self._host = host
        self.called = 0
        devices = turns.of(config(name), self._call)
        assert devices is not None
        self.devices: ModelDevices = devices
        self.devices.join(InstanceIndex(0), CPU)

    def _call(self, event: TurnCame) -> None:
        """As a scheduler does, it asks once more and starts."""
        assert event.instance == 0
        self.called += 1
        assert self.ask(0)
        self.start()

    def ask(self, arrived_ms: int) -> int:
        now = self._host.now()
        return self.devices.gate.ask(
            InstanceIndex(0), 1, 1, [(arrived_ms * MS + 1_000_000, 0)], now
        )

    def start(self) -> None:
        self.devices.gate.start(InstanceIndex(0), 1, self._host.now())

    def end(self) -> None:
        self.devices.gate.end(InstanceIndex(0), self._host.now())


def test_who_waits_is_told_of_its_turn_by_deadline() -> None:
    host = VirtualHost()
    turns = DeviceTurns(host, 1)
    first, late, soon = (Model(turns, host, name) for name in ("first", "late", "soon"))
    assert first.ask(0)
    first.start()
    assert not late.ask(2)
    assert not soon.ask(1)
    host.run_ready()
    assert (late.called, soon.called) == (0, 0)
    first.end()
    host.run_ready()
    assert (late.called, soon.called) == (0, 1)
    soon.end()
    host.run_ready()
    assert (late.called, soon.called) == (1, 1)


def test_one_that_is_gone_makes_room() -> None:
    host = VirtualHost()
    turns = DeviceTurns(host, 1)
    gone, other = (Model(turns, host, name) for name in ("gone", "other"))
    assert gone.ask(0)
    gone.start()
    assert not other.ask(0)
    gone.devices.part(InstanceIndex(0))
    gone.devices.part(InstanceIndex(0))
    host.run_ready()
    assert other.called == 1
    gone.end()  # what it ran comes back late
    assert gone.ask(0) == 0


def test_a_step_that_hangs_is_not_waited_for() -> None:
    """So a step may call another model on the same device, and wait for it."""
    host = VirtualHost()
    turns = DeviceTurns(host, 1)
    hanging, other = (Model(turns, host, name) for name in ("hanging", "other"))
    assert hanging.ask(0)
    hanging.start()
    assert not other.ask(0)
    host.run_ready()
    host.pass_time(HOLD_NS - 1)
    assert other.called == 0
    host.pass_time(1)
    assert other.called == 1


def test_instances_share_what_they_run_on() -> None:
    turns = DeviceTurns(VirtualHost(), 1)
    gpu, other_gpu = (Instance("c", InstanceKind.GPU, device_id=n) for n in (0, 1))
    assert turns.device_of(CPU) is turns.device_of(Instance("b", InstanceKind.CPU))
    assert turns.device_of(gpu) is turns.device_of(Instance("d", InstanceKind.GPU, device_id=0))
    assert len({id(turns.device_of(each)) for each in (CPU, gpu, other_gpu)}) == 3


@pytest.mark.parametrize("execution", list(Execution))
def test_what_runs_on_the_engines_own_thread_takes_no_part(execution: Execution) -> None:
    turns = DeviceTurns(VirtualHost(), 1)
    devices = turns.of(config("any", execution), lambda _: None)
    assert (devices is None) == (execution is Execution.INLINE)
