"""A Python model's instance in a worker process of its own, behind the ordinary session.

    the gateway                                    the worker process
    ProcessSession ── step channel: one question, one answer ──  Worker, PythonSession
    WorkerProcess  ── side channel: all else, as it comes ─────  Side
                   ── stdout, stderr ──────────────────────────  the model's prints

    channel      messages over a socket pair
    values       requests, tensors and failures as messages
    session      ProcessSession: the engine's side
    keeper       WorkerProcess: starts a process, listens to it, ends it for certain
    beginning    the first question to a process: to load a model, or (completion) a configuration
    worker       the process itself; side and replies are its way back to the gateway
    calls, metrics, output, pace   both sides of calls of other models, of metrics, of what a model
                 prints and logs, and of waiting for slow clients
    choice       which models ask for a process

The gateway trusts a worker with its own requests only: whatever comes from it is checked, and a
worker that dies, hangs or talks nonsense costs its own session.
"""
