"""A connection that was given up because its other side was silent, and is still listened to.

Who is frozen and wakes up, or was behind a network that is whole again, does not know yet that it
was given up. Nothing is said to it any more, which it is told by the end of its input: it lets go
of all that came over that connection then, and hangs up. Of what it says until then nothing is
believed; it is only counted.

Both sides do so. A connection that one side closes while the other still sends is reset, and what
was under way the other way is gone with it: nobody could tell that it was ever said.
"""

import asyncio
from collections.abc import Callable, Collection, Mapping
from functools import partial
from typing import Any, Final, final

from streamgate.link.channel import Channel

FENCE_SECONDS: Final = 60.0
"""How long one that was given up is listened to. Its supervisor ends a frozen one earlier."""

FENCE_BYTES_MAX: Final = 2**28
"""What one that was given up may say, and how large one frame of it may be."""


@final
class Fence:
    """Listens to one connection until that is over, which `on_over` is told with the reason.

    `said` are the classes that may come over it; each message of one that is in `noted` is noted.
    """

    def __init__(
        self,
        channel: Channel,
        said: Collection[type],
        noted: Mapping[type, Callable[[Any], None]],
        on_over: Callable[["Fence", str], None],
    ) -> None:
        self._channel = channel
        self._on_over = on_over
        self._heard = channel.socket.received
        handlers = {each: partial(self._refuse, noted.get(each, _nothing)) for each in said}
        self._timer = asyncio.get_running_loop().call_later(
            FENCE_SECONDS, channel.lose, f"it was listened to for {FENCE_SECONDS:g} s"
        )
        channel.fence(handlers, self._over, FENCE_BYTES_MAX)

    def close(self) -> None:
        """Listen no more. Idempotent."""
        self._channel.lose("nobody listens any more")

    def _refuse(self, note: Callable[[Any], None], message: object) -> None:
        note(message)
        if self._channel.socket.received - self._heard > FENCE_BYTES_MAX:
            self._channel.lose(f"it has said more than {FENCE_BYTES_MAX} bytes")

    def _over(self, why: str) -> None:
        self._timer.cancel()
        self._on_over(self, why)


def _nothing(_: object) -> None:
    """It counts nothing."""


@final
class Fences:
    """Those of one side; so many at most, the oldest goes first."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._fences: list[Fence] = []

    def __len__(self) -> int:
        return len(self._fences)

    def put(
        self,
        channel: Channel,
        said: Collection[type],
        noted: Mapping[type, Callable[[Any], None]],
        on_over: Callable[[str], None],
    ) -> None:
        """Give up a connection. As `Fence`."""

        def over(fence: Fence, why: str) -> None:
            self._fences.remove(fence)
            on_over(why)

        self._fences.append(Fence(channel, said, noted, over))
        if len(self._fences) > self._limit:
            self._fences[0].close()

    def close(self) -> None:
        """Listen to nobody any more. Idempotent."""
        for fence in list(self._fences):
            fence.close()
