"""The event loop of one model whose `execute` is a coroutine, in a thread of its own."""

import asyncio
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import Future
from typing import Any, final

from streamgate_python.faults import ModelRuleError, describe

_CLOSE_TIMEOUT_S = 5.0


@final
class EventLoopThread:
    """Runs coroutines. Start, run and close it from one thread at a time."""

    def __init__(self, name: str) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._serve, name=name, daemon=True)
        self._thread.start()

    def run(self, coroutine: Coroutine[Any, Any, Any]) -> Any:
        """The coroutine's result, waited for as long as it takes, as a plain `execute` is."""
        return asyncio.run_coroutine_threadsafe(_contained(coroutine), self._loop).result()

    def start(
        self, coroutine: Coroutine[Any, Any, Any], done: Callable[["Future[Any]"], None]
    ) -> None:
        """Run a coroutine in the background; `done` is called from the loop's thread."""
        asyncio.run_coroutine_threadsafe(_contained(coroutine), self._loop).add_done_callback(done)

    def close(self) -> None:
        """Cancel what still runs and stop. A coroutine that can't be cancelled is left behind."""
        future = asyncio.run_coroutine_threadsafe(self._cancel_all(), self._loop)
        try:
            future.result(_CLOSE_TIMEOUT_S)
        except TimeoutError:
            future.cancel()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(_CLOSE_TIMEOUT_S)

    @staticmethod
    async def _cancel_all() -> None:
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _serve(self) -> None:
        asyncio.set_event_loop(self._loop)
        try:
            self._loop.run_forever()
        finally:
            self._loop.close()


async def _contained(coroutine: Coroutine[Any, Any, Any]) -> Any:
    """A coroutine whose `sys.exit()` fails its requests and leaves the loop running."""
    try:
        return await coroutine
    except SystemExit as error:
        raise ModelRuleError(describe(error)) from None
