"""A Python model's instance in a worker process of its own, behind the ordinary session.

    the gateway                                    the worker process
    ProcessSession ── step channel: one question, one answer ──  Worker, PythonSession
    WorkerProcess  ── side channel: all else, as it comes ─────  Side
                   ── stdout, stderr ──────────────────────────  the model's prints

    channel      messages over a socket pair
    values       requests, tensors and failures as messages
    session      ProcessSession: the engine's side
    keeper       WorkerProcess: starts a process, listens to it, ends it for certain
    output       what a process prints and logs, into the gateway's log
    worker       the process itself; side and replies are its way back to the gateway

The gateway trusts a worker with its own requests only: whatever comes from it is checked, and a
worker that dies, hangs or talks nonsense costs its own session.
"""
