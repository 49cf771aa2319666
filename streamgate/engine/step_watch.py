"""Steps and hooks of models that take longer than one may: their thread hangs, and can't be ended.

So it is only found here and told. An engine process that has such an instance is started anew by
whoever started it; in one process, the server is not ready until it goes on after all.
"""

import logging
from collections.abc import Callable, Iterable
from typing import Final, Protocol, final

from streamgate.core.ids import Ns
from streamgate.engine.host import Host, Timer

log = logging.getLogger(__name__)

LOOKS_PER_LIMIT: Final = 4
LOOK_NS_MIN: Final = 20_000_000
LOOK_NS_MAX: Final = 1_000_000_000


class Runs(Protocol):
    """What runs steps and hooks; `running_since` is 0 between two of them."""

    name: str
    running_since: int


@final
class StepWatch:
    """Looks at instances while any of them has something to do. `limit_ns` 0: nothing is too long.

    `instances` gives those that there are and whether they have something to do.
    """

    def __init__(
        self, host: Host, limit_ns: int, instances: Callable[[], Iterable[tuple[Runs, bool]]]
    ) -> None:
        self._host = host
        self._limit_ns = limit_ns
        self._instances = instances
        self._every_ns = max(LOOK_NS_MIN, min(LOOK_NS_MAX, limit_ns // LOOKS_PER_LIMIT))
        self._timer: Timer | None = None
        self._hung: dict[Runs, int] = {}

    @property
    def hung(self) -> int:
        """How many hang in a step or a hook."""
        return len(self._hung)

    def begin(self) -> None:
        """An instance has something to do."""
        if self._limit_ns and self._timer is None:
            self._timer = self._host.call_at(Ns(self._host.now() + self._every_ns), self._look)

    def close(self) -> None:
        """Look no more."""
        self._limit_ns = 0
        if self._timer is not None:
            self._timer.cancel()

    def _look(self) -> None:
        self._timer = None
        now = self._host.now()
        before, self._hung = self._hung, {}
        is_wanted = False
        for each, has_work in self._instances():
            is_wanted = is_wanted or has_work
            since = each.running_since
            if not since or now - since < self._limit_ns:
                continue
            self._hung[each] = since
            is_wanted = True
            if before.get(each) != since:
                log.error(
                    "model instance '%s' hangs: a step or hook has run for %.1f s, longer "
                    "than %g s (streamgate.step_timeout_seconds)",
                    each.name,
                    (now - since) / 1e9,
                    self._limit_ns / 1e9,
                )
        for each in before:
            if each not in self._hung:
                log.warning("model instance '%s' goes on", each.name)
        if is_wanted or before:
            self.begin()
