"""The worker process: loads one model instance and runs what the gateway asks, until it closes.

The main thread answers the step channel. `_load` and everything after it is the same
`PythonSession` as in the gateway's own process.
"""

import ctypes
import faulthandler
import logging
import os
import pickle
import signal
import socket
import sys
from typing import Any, final

from streamgate.backend.contract import ConfigDict, LoadContext, ModelFiles
from streamgate.errors import EndReason, StreamGateError
from streamgate.model.config import Instance, ModelConfig
from streamgate.model.tensor import Buffer
from streamgate_python import triton_python_backend_utils as pb_utils
from streamgate_python.backend import complete_here, load_here
from streamgate_python.faults import ModelRuleError
from streamgate_python.metrics import keep_metrics_in
from streamgate_python.process.calls import RemoteServer
from streamgate_python.process.channel import Channel, ChannelError
from streamgate_python.process.metrics import RemoteMetrics
from streamgate_python.process.output import pack_record
from streamgate_python.process.replies import Returned, WorkerReply
from streamgate_python.process.side import Side, end_process
from streamgate_python.process.values import Buffers, Value, pack_states, unpack_request
from streamgate_python.session import PythonSession

_PR_SET_PDEATHSIG = 1


def main(step_descriptor: int, side_descriptor: int, gateway: int) -> None:
    """Serve one model instance over two inherited sockets. `gateway` is its process's number."""
    _die_with(gateway)
    faulthandler.enable()
    sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]
    channels = []
    for descriptor in (step_descriptor, side_descriptor):
        os.set_inheritable(descriptor, False)
        channels.append(Channel(socket.socket(fileno=descriptor)))
    step, side = channels
    pb_utils.install()
    try:
        step.send(["here"])
        Worker(step, Side(side)).serve()
    except ChannelError:
        end_process()


def _die_with(gateway: int) -> None:
    """Ask the kernel to end this process with the thread that started it."""
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != gateway:
        end_process()


@final
class Worker:
    """One model instance in this process."""

    def __init__(self, step: Channel, side: Side) -> None:
        self._step = step
        self._side = side
        self._decoupled = False
        self._state_types: dict[str, Any] = {}

    def serve(self) -> None:
        """Answer the gateway's questions until there is nothing more to do."""
        message = self._step.receive()
        question, level = message.header
        logging.basicConfig(level=level, handlers=[_Forwarded(self._side)], force=True)
        # What the process that started this one wrote.
        details = pickle.loads(message.buffers[0])  # noqa: S301
        if question == "complete":
            self._complete(*details)
            return
        session = self._load(*details)
        while session is not None:
            message = self._step.receive()
            match message.header:
                case ["execute", packed]:
                    self._execute(session, packed, Buffers(message.buffers))
                case ["call", hook, arguments]:
                    self._call(session, hook, arguments, message.buffers)
                case ["close"]:
                    session.close()
                    session = None
                case _:
                    raise AssertionError(f"an unknown question {message.header}")
            del message

    def _complete(self, config: ConfigDict, files: ModelFiles) -> None:
        fault, completed = None, None
        try:
            completed = complete_here(config, files)
        except StreamGateError as error:
            fault = error.message
        self._step.send(["completed", self._side.sent, fault, completed])

    def _load(
        self, config: ModelConfig, files: ModelFiles, instance: Instance, has_server: bool
    ) -> PythonSession | None:
        self._decoupled = config.decoupled
        self._state_types = {state.output_name: state.datatype for state in config.states}
        places = (files.version_directory, files.directory, files.path.parent)
        sys.path += dict.fromkeys(map(str, places))
        keep_metrics_in(RemoteMetrics(self._side))
        server = RemoteServer(self._side) if has_server else None
        fault, session = None, None
        try:
            session = load_here(LoadContext(config, files, instance, server))
        except StreamGateError as error:
            fault = error.message
        hooks = None
        if session is not None:
            hooks = [session.tells_readiness, session.hears_sequence_ends, session.keeps_states]
        self._step.send(["loaded", self._side.sent, fault, hooks])
        return session

    def _call(
        self, session: PythonSession, hook: str, arguments: list[Any], buffers: list[Buffer]
    ) -> None:
        fault, value = None, None
        sent: list[Buffer] = []
        try:
            match hook, arguments:
                case "is_ready", []:
                    value = session.is_ready()
                case "on_sequence_end", [correlation_id, reason]:
                    session.on_sequence_end(correlation_id, EndReason(reason))
                case "drop_state", [correlation_id]:
                    session.drop_state(correlation_id)
                case "get_state", [correlation_id]:
                    sent.append(session.get_state(correlation_id))
                case "set_state", [correlation_id]:
                    session.set_state(correlation_id, bytes(buffers[0]))
                case _:
                    raise AssertionError(f"an unknown hook '{hook}' of {arguments}")
        except ModelRuleError as error:
            fault = str(error)
        self._step.send(["returned", self._side.sent, fault, value], sent)

    def _execute(self, session: PythonSession, packed: Value, buffers: Buffers) -> None:
        returned = Returned(decoupled=self._decoupled)
        requests = [
            unpack_request(each, WorkerReply(each[0], self._side, returned), buffers)
            for each in packed
        ]
        session.execute(requests)
        returned.end()
        sent: list[Buffer] = []
        outcomes = []
        for each, request in zip(packed, requests, strict=True):
            states = pack_states(request.states, self._state_types, sent)
            sent += returned.buffers.get(each[0], ())
            outcomes.append([request.reschedule, states, returned.answers.get(each[0])])
        self._step.send(["done", self._side.sent, outcomes], sent)


class _Forwarded(logging.Handler):
    """Hands every log record to the gateway."""

    def __init__(self, side: Side) -> None:
        super().__init__()
        self._side = side

    def emit(self, record: logging.LogRecord) -> None:
        try:
            packed = pack_record(record)
        except Exception:  # noqa: BLE001 - as every handler: a record that can't be formatted
            self.handleError(record)
        else:
            self._side.tell(["log", packed])
