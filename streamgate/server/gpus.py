"""Which GPUs this machine shows, through NVIDIA's management library where it is installed."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Gpu:
    """One GPU and its memory in bytes."""

    index: int
    name: str
    free_bytes: int
    total_bytes: int


@dataclass(frozen=True, slots=True)
class GpuSight:
    """What was seen, and if nothing, why."""

    gpus: tuple[Gpu, ...] = ()
    trouble: str = ""


def look_for_gpus() -> GpuSight:
    """All GPUs that the driver shows. Never raises."""
    try:
        import pynvml
    except ImportError:
        return GpuSight(trouble="install streamgate-server[gpu] to look for them")
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError as error:
        return GpuSight(trouble=f"the driver says: {error}")
    try:
        gpus = []
        for index in range(pynvml.nvmlDeviceGetCount()):
            handle = pynvml.nvmlDeviceGetHandleByIndex(index)
            memory = pynvml.nvmlDeviceGetMemoryInfo(handle)
            name = pynvml.nvmlDeviceGetName(handle)
            gpus.append(Gpu(index, str(name), int(memory.free), int(memory.total)))
        return GpuSight(tuple(gpus))
    except pynvml.NVMLError as error:
        return GpuSight(trouble=f"the driver says: {error}")
    finally:
        pynvml.nvmlShutdown()
