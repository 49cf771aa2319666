"""The `python` backend: models written for Triton's Python backend, unmodified.

    __init__       create()
    backend        loads a model.py, completes a configuration through it
    session        one loaded instance: requests in, answers out
    process        the same instance in a worker process of its own
    modules        imports a model's code so that two models never see each other's modules
    triton_python_backend_utils   what a model.py imports as `pb_utils`; the surface is made of
        tensors, dlpack, requests, responses, model_config, conversions, logger, metrics

It knows the backend contract and the shared values: neither engine, wire nor HTTP.
"""

from streamgate_python.backend import PythonBackend

__all__ = ["create"]


def create() -> PythonBackend:
    """The backend, as the entry point `python` of `streamgate.backends` makes it."""
    return PythonBackend()
