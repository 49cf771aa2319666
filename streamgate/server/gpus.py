"""Which GPUs this process can use, through NVIDIA's management library where it is installed.

The library numbers the machine's GPUs; CUDA numbers those that CUDA_VISIBLE_DEVICES leaves over,
and so do model configurations and we.
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

DRIVER_FOLDER = Path("/proc/driver/nvidia/gpus")
"""Where the driver lists a machine's GPUs, whatever is installed."""


@dataclass(frozen=True, slots=True)
class Gpu:
    """One GPU and its memory in bytes. `index` is CUDA's number for it."""

    index: int
    name: str
    free_bytes: int
    total_bytes: int
    uuid: str = ""


@dataclass(frozen=True, slots=True)
class GpuSight:
    """What was seen, and if nothing, why."""

    gpus: tuple[Gpu, ...] = ()
    trouble: str = ""


def look_for_gpus() -> GpuSight:
    """All GPUs that the driver shows and CUDA_VISIBLE_DEVICES does not hide. Never raises."""
    try:
        import pynvml
    except ImportError:
        count = len(list(DRIVER_FOLDER.iterdir())) if DRIVER_FOLDER.is_dir() else 0
        if not count:
            return GpuSight(trouble="the driver shows none")
        return GpuSight(
            trouble=f"the driver shows {count}: install streamgate-server[gpu] to use them"
        )
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError as error:
        return GpuSight(trouble=f"the driver says: {error}")
    try:
        gpus = []
        for index in range(pynvml.nvmlDeviceGetCount()):
            handle = pynvml.nvmlDeviceGetHandleByIndex(index)
            memory = pynvml.nvmlDeviceGetMemoryInfo(handle)
            name = str(pynvml.nvmlDeviceGetName(handle))
            uuid = str(pynvml.nvmlDeviceGetUUID(handle))
            gpus.append(Gpu(index, name, int(memory.free), int(memory.total), uuid))
    except pynvml.NVMLError as error:
        return GpuSight(trouble=f"the driver says: {error}")
    finally:
        pynvml.nvmlShutdown()
    visible = visible_gpus(gpus, os.environ.get("CUDA_VISIBLE_DEVICES"))
    if gpus and not visible:
        return GpuSight(trouble=f"CUDA_VISIBLE_DEVICES hides all {len(gpus)}")
    return GpuSight(tuple(visible))


def visible_gpus(gpus: Sequence[Gpu], visible: str | None) -> list[Gpu]:
    """The GPUs that CUDA shows for this value of CUDA_VISIBLE_DEVICES, renumbered as it does.

    Numbers, or the beginnings of UUIDs, up to the first that there is not (CUDA's rule). A MIG
    instance counts as the GPU it is cut from, of which nothing is known here but that it is one.
    """
    if visible is None:
        return list(gpus)
    chosen: list[Gpu] = []
    for word in (each.strip() for each in visible.split(",")):
        if word.startswith("MIG-") and gpus:
            chosen.append(replace(gpus[0], name=f"{word} of a {gpus[0].name}"))
            continue
        found = [
            gpu
            for gpu in gpus
            if word == str(gpu.index) or (word.startswith("GPU-") and gpu.uuid.startswith(word))
        ]
        if len(found) != 1:
            break
        chosen.append(found[0])
    return [replace(gpu, index=index) for index, gpu in enumerate(chosen)]
