"""A process that has come to rest: its memory once all is loaded, its threads at the end."""

import gc
import logging
import os
import threading

log = logging.getLogger(__name__)

YOUNG_OBJECTS_MAX = 10_000
"""New objects that the garbage collector lets be, before it looks which of them are lost."""


def settle_memory() -> None:
    """What is loaded now stays."""
    # The collector need not look at it again and again.
    gc.collect()
    gc.freeze()
    # Hundreds of requests are under way at a time, and nearly all of what is made for them is freed
    # without the collector: with Python's 700 it would look at them once for every few chunks.
    gc.set_threshold(YOUNG_OBJECTS_MAX, *gc.get_threshold()[1:])


def leave_threads() -> None:
    """Exit at once if models have left threads behind that Python would wait for, or that would
    run on into its ruins: those they have started, and steps that never end."""
    left = [
        thread.name
        for thread in threading.enumerate()
        if thread is not threading.main_thread()
        and (not thread.daemon or thread.name.startswith("stepper-"))
    ]
    if left:
        log.warning("exiting without waiting for threads of models: %s", ", ".join(left))
        logging.shutdown()
        os._exit(0)
