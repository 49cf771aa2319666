"""One timer that wakes its owner at the latest when it wants to be woken."""

from collections.abc import Callable

from streamgate.core.ids import Ns
from streamgate.engine.host import Host, Timer


class Alarm:
    """Calls `ring` on the host's thread, at the time that was set or before it."""

    def __init__(self, host: Host, ring: Callable[[], None]) -> None:
        self._host = host
        self._ring = ring
        self._timer: Timer | None = None
        self._at: Ns | None = None

    def set(self, wake_at: Ns | None) -> None:
        """Ring by then; None for no need to."""
        # One that rings early does no harm, and deadlines mostly move away: with each step, its
        # sequence's idle limit does. So a timer is only moved nearer.
        if wake_at is None or (self._at is not None and self._at <= wake_at):
            return
        self.stop()
        self._at = wake_at
        self._timer = self._host.call_at(wake_at, self._on_timer)

    def stop(self) -> None:
        """Ring no more, unless it is set again."""
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._at = None

    def _on_timer(self) -> None:
        self._timer = self._at = None
        self._ring()
