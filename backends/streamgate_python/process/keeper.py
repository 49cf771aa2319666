"""A worker process from the gateway's side: started, listened to, and ended for certain.

One thread keeps each process: it starts it, passes on what comes over the side channel and the
output, sees it end however it ends, and clears up. The process asks the kernel to die with the
thread that started it, so that no end of the gateway leaves one behind.
"""

import logging
import os
import select
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from typing import Final, final

from streamgate_python.process.channel import (
    PACKET_SECONDS_MAX,
    Channel,
    ChannelError,
    Message,
    pair,
)
from streamgate_python.process.output import PrintedLines

TERM_SECONDS: Final = 2.0
"""How long a process that was asked to end (SIGTERM) has before it is killed."""

LOOK_MS: Final = 20
"""How soon something is looked at again that nobody tells of."""

_MESSAGES_IN_A_ROW = 64

_BOOT = (
    "import sys; sys.path[:] = sys.argv[5:]; "
    "from streamgate_python.process.worker import main; main(*map(int, sys.argv[1:4]))"
)

_logger = logging.getLogger(__name__)


@final
class WorkerProcess:
    """One process. `on_message` and `on_end` are called on the keeping thread, the latter last; and
    `on_look` after each of its turns, the next of which comes soon while that returns true.

    `fate` says how it ended, once it has, and `ended_well` whether it did so by itself and without
    an error; `why`, for what reason the gateway ended it.
    """

    def __init__(
        self,
        instance: str,
        model_name: str,
        on_message: Callable[[Message], None],
        on_end: Callable[[], None],
        on_look: Callable[[], bool] = bool,
    ) -> None:
        self.instance = instance
        self.fate = ""
        self.ended_well = False
        self.why = ""
        self._model_name = model_name
        self._on_message = on_message
        self._on_end = on_end
        self._on_look = on_look
        self._messages = 0
        self._progress = threading.Condition()
        # Once waited for, the process's number may become another's.
        self._reaping = threading.Lock()
        self._ended = threading.Event()
        self._process: subprocess.Popen[bytes] | None = None
        step, self._step_handed = pair()
        side, self._side_handed = pair()
        self.step = Channel(step, PACKET_SECONDS_MAX)
        self.side = Channel(side, PACKET_SECONDS_MAX)

    def start(self) -> None:
        """Start the process, and the thread that keeps it."""
        name = f"keeper-{self.instance}"
        threading.Thread(target=self._keep, name=name, daemon=True).start()

    @property
    def pid(self) -> int:
        """The process's number; 0 before it is started."""
        return 0 if self._process is None else self._process.pid

    def wait_messages(self, count: int, timeout_seconds: float) -> None:
        """Until so many messages of the side channel have been passed on, or the process ended."""
        if self._messages >= count:
            return
        with self._progress:
            self._progress.wait_for(
                lambda: self._messages >= count or self._ended.is_set(), timeout_seconds
            )

    def wait_end(self, timeout_seconds: float) -> bool:
        """Until the process has ended and all that came from it was passed on."""
        return self._ended.wait(timeout_seconds)

    def kill(self, why: str) -> None:
        """End the process at once. Clients are told `why`."""
        self.why = self.why or why
        self._signal(signal.SIGKILL)

    def terminate(self) -> None:
        """Ask the process to end, then make it."""
        self._signal(signal.SIGTERM)
        if not self.wait_end(TERM_SECONDS):
            self._signal(signal.SIGKILL)

    def _signal(self, number: int) -> None:
        with self._reaping:
            if self._process is not None and self._process.returncode is None:
                try:
                    os.killpg(self._process.pid, number)
                except ProcessLookupError:
                    return  # it is not yet the leader of its group

    # -- the keeping thread

    def _keep(self) -> None:
        try:
            output = self._start()
            try:
                self._listen(output)
            finally:
                self._bury()
                output.close()
        except OSError as error:
            self.fate = f"The process could not be started or watched: {error}"
        self.step.shut_down()
        self._on_end()
        self.step.close()
        self.side.close()
        self._ended.set()
        with self._progress:
            self._progress.notify_all()

    def _start(self) -> PrintedLines:
        handed = (self._step_handed.fileno(), self._side_handed.fileno())
        reader, writer = os.pipe()
        try:
            self._process = subprocess.Popen(
                [
                    sys.executable,
                    "-c",
                    _BOOT,
                    *map(str, (*handed, os.getpid())),
                    self.instance,
                    *sys.path,
                ],
                stdin=subprocess.DEVNULL,
                stdout=writer,
                stderr=writer,
                pass_fds=handed,
                start_new_session=True,
            )
        except OSError:
            os.close(reader)
            raise
        finally:
            os.close(writer)
            self._step_handed.close()
            self._side_handed.close()
        return PrintedLines(self._model_name, reader)

    def _listen(self, output: PrintedLines) -> None:
        """Pass on what comes, until the process has ended."""
        assert self._process is not None
        alive = os.pidfd_open(self._process.pid)
        try:
            poller = select.poll()
            for source in (alive, self.side, output):
                poller.register(source, select.POLLIN)
            while True:
                until_ms = LOOK_MS if self._on_look() else None
                ready = {descriptor for descriptor, _ in poller.poll(until_ms)}
                if output.fileno() in ready and not output.read():
                    poller.unregister(output)
                if self.side.fileno() in ready and not self._pass_on(_MESSAGES_IN_A_ROW):
                    poller.unregister(self.side)
                if alive in ready:
                    return
        finally:
            os.close(alive)

    def _bury(self) -> None:
        """See to it that nothing is left of the process but what it has sent."""
        assert self._process is not None
        # What the model started itself is in its group, and goes with it.
        self._signal(signal.SIGKILL)
        with self._reaping:
            status = self._process.wait()
        self._pass_on(sys.maxsize)
        self.fate = self.why or _fate(status)
        self.ended_well = status == 0

    def _pass_on(self, limit: int) -> bool:
        """Pass on what has come. Returns whether more may come."""
        for _ in range(limit):
            try:
                message = self.side.receive(wait=False)
            except TimeoutError:
                return True
            except ChannelError:
                return False
            try:
                self._on_message(message)
            except Exception as error:
                # Whatever it was about: the process is the one that suffers for it.
                _logger.exception("the process of model instance '%s' sent nonsense", self.instance)
                self.kill(f"It sent a message that can't be read ({error}), and was killed")
                return False
            with self._progress:
                self._messages += 1
                self._progress.notify_all()
        return True


def _fate(status: int) -> str:
    if status >= 0:
        return f"It ended with exit status {status}"
    try:
        name = signal.Signals(-status).name
    except ValueError:
        name = f"signal {-status}"
    if name == "SIGKILL":
        return "It was ended by SIGKILL, which is also what the kernel does where memory is short"
    return f"It was ended by {name}"
