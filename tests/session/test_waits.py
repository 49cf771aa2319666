"""Who would wait for itself: circles of models, through as many instances as they have."""

from dataclasses import replace

from streamgate.link.contract import ModelLink
from streamgate.model.config import Instance, InstanceKind
from streamgate.session.waits import Waits
from tests.session.fake_link import FakeLink, sequence_config


def model(instances: int = 1) -> FakeLink:
    made = tuple(Instance(f"m_{number}", InstanceKind.CPU) for number in range(instances))
    return FakeLink(config=replace(sequence_config(), instances=made))


def no_steps(_: ModelLink) -> list[ModelLink]:
    return []


def test_a_free_model_may_be_waited_for() -> None:
    waits, caller, called = Waits(no_steps), model(), model()
    assert waits.begin("caller", caller, called)
    assert len(waits) == 1
    waits.end("caller", caller, called)
    assert len(waits) == 0


def test_a_model_with_one_instance_may_not_wait_for_itself() -> None:
    waits, caller = Waits(no_steps), model()
    assert not waits.begin("caller", caller, caller)
    assert len(waits) == 0


def test_another_instance_answers() -> None:
    waits, caller = Waits(no_steps), model(2)
    assert waits.begin("first", caller, caller)
    assert not waits.begin("second", caller, caller)
    waits.end("first", caller, caller)
    assert waits.begin("second", caller, caller)


def test_circles_over_several_models() -> None:
    waits, a, b, c = Waits(no_steps), model(), model(), model()
    assert waits.begin("a", a, b)
    assert waits.begin("b", b, c)
    assert not waits.begin("c", c, a)
    waits.end("a", a, b)
    assert waits.begin("c", c, a)
    assert not waits.begin("a", a, b)


def test_one_of_several_instances_that_goes_on_is_enough() -> None:
    waits, a, b, free = Waits(no_steps), model(), model(2), model()
    assert waits.begin("b0", b, a)
    assert waits.begin("b1", b, free)
    # b1 will be done and serve a, which b0 waits for.
    assert waits.begin("a", a, b)


def test_all_calls_of_an_instance_must_go_on() -> None:
    waits, a, b, free = Waits(no_steps), model(), model(), model()
    assert waits.begin("b", b, free)
    assert waits.begin("b", b, a)
    # b waits for both: for a, which would wait for b.
    assert not waits.begin("a", a, b)
    waits.end("b", b, a)
    assert waits.begin("a", a, b)


def test_an_ensemble_goes_on_when_all_its_models_do() -> None:
    caller, free, ensemble = model(), model(), model(0)
    steps: list[ModelLink] = [free]
    waits = Waits(lambda link: steps if link is ensemble else [])
    assert waits.begin("caller", caller, ensemble)
    waits.end("caller", caller, ensemble)
    steps.append(caller)
    assert not waits.begin("caller", caller, ensemble)
