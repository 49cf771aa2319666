"""Checks that a backend keeps the contract of `streamgate.backend.contract`.

    report = check_backend(MyBackend(), config, files)
    report.require()

Ours and third parties' backends run it in their tests, once for each kind of model they load. It
drives the backend as the engine would: rows in batches, null rows, states copied and put back,
another thread. It knows no engine and no test framework.
"""

from streamgate.backend.conformance.lifecycle import LIFECYCLE_CHECKS
from streamgate.backend.conformance.report import CheckResult, Report
from streamgate.backend.conformance.requests import REQUEST_CHECKS
from streamgate.backend.conformance.samples import Samples
from streamgate.backend.conformance.subject import Subject, run_checks
from streamgate.backend.conformance.tensors import TENSOR_CHECKS
from streamgate.backend.contract import Backend, ConfigDict, LoadContext, ModelFiles
from streamgate.model.config import Instance, InstanceKind, ModelConfig

__all__ = ["CheckResult", "Report", "Samples", "check_backend"]


def check_backend(
    backend: Backend,
    config: ModelConfig,
    files: ModelFiles,
    *,
    instance: Instance | None = None,
    given: ConfigDict | None = None,
    samples: Samples | None = None,
) -> Report:
    """Run every check that fits the model and report what held, what did not and what was left.

    `config` is a complete configuration, `files` where its model lies. `given` is what
    auto-completion is tried on (by default the model's name and backend alone), `samples` says
    what inputs to make when random ones won't do. The model is loaded a dozen times.
    """
    if instance is None:
        default = Instance(f"{config.name}_0", InstanceKind.CPU)
        instance = config.instances[0] if config.instances else default
    if given is None:
        given = {"name": config.name, "backend": config.backend}
    subject = Subject(backend, LoadContext(config, files, instance), samples or Samples(), given)
    report = run_checks(subject, LIFECYCLE_CHECKS)
    kind = subject.kind
    if kind is None:
        return report
    return report + run_checks(subject, TENSOR_CHECKS if kind == "tensor" else REQUEST_CHECKS)
