"""Instance groups: their defaults and names, Triton's checks, and the instances they ask for."""

from streamgate._proto import model_config_pb2 as pb
from streamgate.backend.contract import Backend, GpuAware
from streamgate.model.config import Instance, InstanceKind
from streamgate.repository.defects import defect

Group = pb.ModelInstanceGroup

_KINDS = {
    Group.KIND_AUTO: InstanceKind.AUTO,
    Group.KIND_CPU: InstanceKind.CPU,
    Group.KIND_GPU: InstanceKind.GPU,
    Group.KIND_MODEL: InstanceKind.MODEL,
}


def complete_groups(config: pb.ModelConfig, gpu_count: int, backend: Backend) -> None:
    """Fill in the default group, names, counts, kinds and GPUs, as Triton does.

    A group that was not given is called like the model, an unnamed one `<model>_<position>`.
    KIND_AUTO becomes KIND_GPU where there is a GPU that the backend can use.
    """
    usable = gpu_count if not isinstance(backend, GpuAware) or backend.can_use_gpu() else 0
    if not config.instance_group:
        config.instance_group.add(name=config.name)
    for position, group in enumerate(config.instance_group):
        group.name = group.name or f"{config.name}_{position}"
        group.count = max(group.count, 1)
        if group.kind == Group.KIND_AUTO:
            available = usable > 0 and all(0 <= gpu < usable for gpu in group.gpus)
            group.kind = Group.KIND_GPU if available else Group.KIND_CPU
        if group.kind == Group.KIND_GPU and not group.gpus:
            group.gpus.extend(range(gpu_count))


def check_groups(config: pb.ModelConfig, gpu_count: int) -> None:
    """Raise ConfigError for the first completed group that this machine can't have."""
    for position, group in enumerate(config.instance_group):
        where = f"instance_group[{position}]"
        subject = f"instance group {group.name} of model {config.name}"
        kind = Group.Kind.Name(group.kind)
        if group.kind != Group.KIND_GPU:
            if group.gpus:
                raise defect(
                    f"{subject} has kind {kind} but specifies one or more GPUs",
                    field=f"{where}.gpus",
                    found=list(group.gpus),
                    expected=f"none; this machine has {gpu_count} GPUs",
                )
            continue
        if gpu_count == 0:
            raise defect(
                f"{subject} has kind KIND_GPU but no GPUs are available",
                field=f"{where}.kind",
                found=kind,
                expected="KIND_CPU or KIND_AUTO",
            )
        for gpu in group.gpus:
            if not 0 <= gpu < gpu_count:
                known = ", ".join(str(number) for number in range(gpu_count))
                raise defect(
                    f"{subject} specifies invalid or unsupported gpu id {gpu}. GPUs with at least "
                    f"the minimum required CUDA compute compatibility of 6.000000 are: {known}",
                    field=f"{where}.gpus",
                    found=list(group.gpus),
                    expected=f"each from 0 to {gpu_count - 1}",
                )
    if all(group.passive for group in config.instance_group):
        raise defect(
            f"model {config.name} has passive instances only, which serve no request",
            field="instance_group.passive",
            found="true in every group",
            expected="a group without it",
        )


def build_instances(config: pb.ModelConfig) -> tuple[Instance, ...]:
    """The instances to create: `count` on each GPU of a group, named `<group>_<n>`.

    Groups of one name count on, so that names are unique. Passive groups serve nothing and are
    left out.
    """
    instances = []
    numbers: dict[str, int] = {}
    for group in config.instance_group:
        if group.passive:
            continue
        for device in group.gpus or [0]:
            for _ in range(group.count):
                number = numbers.get(group.name, 0)
                numbers[group.name] = number + 1
                instances.append(Instance(f"{group.name}_{number}", _KINDS[group.kind], device))
    return tuple(instances)
