"""Things that take turns: whoever came first goes first, also if it is ready last."""

from typing import Generic, TypeVar, final

T = TypeVar("T")


@final
class Line(Generic[T]):
    """Those that have joined and have neither gone nor left, in the order of joining."""

    __slots__ = ("_ready",)

    def __init__(self) -> None:
        self._ready: dict[T, bool] = {}

    def join(self, item: T) -> None:
        """Come behind all others."""
        assert item not in self._ready
        self._ready[item] = False

    def ready(self, item: T) -> list[T]:
        """From now on it may go. Returns those that go now, in order."""
        self._ready[item] = True
        return self._go()

    def leave(self, item: T) -> list[T]:
        """It won't go, if it has not gone already. Returns those that go now, in order."""
        if self._ready.pop(item, None) is None:
            return []
        return self._go()

    def _go(self) -> list[T]:
        gone = []
        for item, is_ready in self._ready.items():
            if not is_ready:
                break
            gone.append(item)
        for item in gone:
            del self._ready[item]
        return gone

    def __contains__(self, item: T) -> bool:
        return item in self._ready

    def __len__(self) -> int:
        return len(self._ready)
