"""Which model instances wait for which models, so that none waits for itself.

An instance whose model calls another model, and waits, runs nothing else meanwhile. When all
instances of a model wait for calls that only they themselves could serve, none of them ever goes
on: Triton hangs then. Here the call that would close such a circle is refused.
"""

from collections.abc import Callable, Hashable, Sequence

from streamgate.link.contract import ModelLink


class Waits:
    """The calls that hold an instance, by the model version that the instance belongs to.

    A caller is any value that stands for one instance. `steps_of` gives the models that an
    ensemble consists of, nothing for others. Used on one thread.
    """

    def __init__(self, steps_of: Callable[[ModelLink], Sequence[ModelLink]]) -> None:
        self._steps_of = steps_of
        self._targets: dict[ModelLink, dict[Hashable, list[ModelLink]]] = {}

    def begin(self, caller: Hashable, model: ModelLink, target: ModelLink) -> bool:
        """An instance of `model` wants to wait for `target`.

        False when it would wait for ever; then nothing is noted. Otherwise `end` must follow.
        """
        callers = self._targets.setdefault(model, {})
        callers.setdefault(caller, []).append(target)
        if self._goes_on(target, frozenset()):
            return True
        self.end(caller, model, target)
        return False

    def end(self, caller: Hashable, model: ModelLink, target: ModelLink) -> None:
        """The call is over."""
        callers = self._targets[model]
        targets = callers[caller]
        targets.remove(target)
        if not targets:
            del callers[caller]
        if not callers:
            del self._targets[model]

    def __len__(self) -> int:
        """How many instances wait."""
        return sum(len(callers) for callers in self._targets.values())

    def _goes_on(self, model: ModelLink, above: frozenset[ModelLink]) -> bool:
        """Whether an instance of the model is free, or waits for nothing but what goes on; of an
        ensemble, whether all its models do."""
        if model in above:
            return False
        steps = self._steps_of(model)
        above |= {model}
        if steps:
            return all(self._goes_on(step, above) for step in steps)
        callers = self._targets.get(model, {})
        if len(callers) < len(model.config.instances):
            return True
        return any(
            all(self._goes_on(target, above) for target in targets) for targets in callers.values()
        )
