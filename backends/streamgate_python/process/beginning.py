"""A worker's first question: to load a model, or to complete a configuration."""

import logging
import pickle
from collections.abc import Sequence
from typing import Any, Final

from streamgate.errors import LoadError
from streamgate_python.process.channel import ChannelError, Message
from streamgate_python.process.keeper import WorkerProcess

START_SECONDS_MAX: Final = 30.0
"""From starting the process until its interpreter says that it is there. Triton's default too."""

DRAIN_SECONDS: Final = 10.0
"""How long a process that is ended may take to be gone, and its last messages to be read."""


def unhealthy(instance: str, why: str) -> str:
    """Triton's text for an instance whose process is gone, and what it does not say."""
    text = f"Stub process '{instance}' is not healthy."
    return f"{text} {why}." if why else text


def begin(
    worker: WorkerProcess,
    model_name: str,
    question: str,
    details: Sequence[Any],
    seconds: float | None,
) -> Message:
    """Start the worker and return its answer to its first question.

    `details` may be any values of ours. Raises LoadError when the process does not start within
    START_SECONDS_MAX, does not answer within `seconds`, or ends meanwhile; it is ended then.
    """
    worker.start()
    what, limit = "to start", START_SECONDS_MAX
    try:
        worker.step.receive(limit)
        what, limit = "to load the model (streamgate.load_timeout_seconds)", seconds or 0.0
        level = logging.getLogger(f"streamgate.models.{model_name}").getEffectiveLevel()
        worker.step.send([question, level], [pickle.dumps(tuple(details))])
        message = worker.step.receive(seconds)
        worker.wait_messages(message.header[1], DRAIN_SECONDS)
    except TimeoutError:
        fault = (
            f"the process of model instance '{worker.instance}' took longer than {limit:g} s "
            f"{what}, and was killed"
        )
    except ChannelError:
        worker.wait_end(DRAIN_SECONDS)
        fault = unhealthy(worker.instance, f"{worker.fate} while it loaded the model")
    else:
        return message
    worker.kill("")
    worker.wait_end(DRAIN_SECONDS)
    raise LoadError(fault)
