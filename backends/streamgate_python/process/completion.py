"""`auto_complete_config` in a process of its own, which ends with the answer."""

from typing import Any

from streamgate.backend.contract import ConfigDict, ModelFiles
from streamgate.errors import LoadError
from streamgate_python.process.beginning import DRAIN_SECONDS, begin
from streamgate_python.process.channel import Message
from streamgate_python.process.keeper import WorkerProcess
from streamgate_python.process.output import log_record


def complete_apart(config: ConfigDict, files: ModelFiles) -> ConfigDict:
    """The configuration as `PythonBackend.auto_complete` gives it. Raises LoadError as it does,
    and when the process does not survive it."""
    worker = WorkerProcess(files.name, files.name, _receive, lambda: None)
    try:
        message = begin(worker, files.name, "complete", (config, files), None)
    finally:
        worker.kill("")
        worker.wait_end(DRAIN_SECONDS)
    _, _, fault, completed = message.header
    if fault is not None:
        raise LoadError(fault)
    answer: dict[str, Any] = completed
    return answer


def _receive(message: Message) -> None:
    """What the model logs on the way."""
    _, record = message.header
    log_record(record)
