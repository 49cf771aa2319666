"""What a soaked server must not keep, and the counters that must agree when nobody is connected."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean, median
from typing import Final

import psutil

from tests.durable.faults.ground import Ground, Metrics

GROWTH_MAX: Final = 1.25
GROWTH_MAX_BYTES: Final = 16 << 20
"""A process is allowed either, between its youth and its old age."""
STEADY_SECONDS: Final = 900.0
YOUNG_GROWTH_MAX: Final = 2.0
"""One that has lived for less: what closed models and sessions had is collected now and then only,
so that an engine grows for its first ten minutes when models are loaded anew all the time."""
DESCRIPTORS_MORE_MAX: Final = 16
THREADS_MORE_MAX: Final = 8
WARM_SHARE: Final = 0.25
"""Of a process's samples, those before it is warm."""
SAMPLES_MIN: Final = 8
GONE: Final = ("ended", "left", "parked")


@dataclass(frozen=True)
class Size:
    """Of a process: bytes of memory; open descriptors, those of shared memory among them; threads;
    children."""

    name: str
    seconds: float
    memory: int
    descriptors: int
    shared: int
    threads: int
    children: int

    def __str__(self) -> str:
        return (
            f"{self.name} {self.memory >> 20} MiB {self.descriptors} fds {self.shared} shm "
            f"{self.threads} threads {self.children} children"
        )


Sizes = Mapping[int, Size]
"""By number of the process."""


async def sizes_of(house: Ground, seconds: float) -> Sizes:
    """Of all processes of a server that are ready, and their children that work for them."""
    sizes = {}
    for each in await house.processes():
        if each["kind"] != "supervisor" and not each["is_accepting"]:
            continue
        try:
            process = psutil.Process(each["pid"])
            sizes[process.pid] = _size(each["name"], process, seconds)
            if each["kind"] == "engine":
                for worker in process.children():
                    name = f"worker of {each['name']}"
                    sizes[worker.pid] = _size(name, worker, seconds)
        except (psutil.Error, OSError):
            continue
    return sizes


def _size(name: str, process: psutil.Process, seconds: float) -> Size:
    links = list(_links(process.pid))
    return Size(
        name,
        seconds,
        process.memory_info().rss,
        len(links),
        sum(link.startswith(("/memfd:", "/dev/shm/")) for link in links),
        process.num_threads(),
        len(process.children()),
    )


def _links(pid: int) -> Iterable[str]:
    """What the descriptors of a process are."""
    for each in Path(f"/proc/{pid}/fd").iterdir():
        try:
            yield str(each.readlink())
        except FileNotFoundError:
            continue


@dataclass(frozen=True)
class Life:
    """The sizes of one process, once it was warm."""

    sizes: Sequence[Size]

    @property
    def name(self) -> str:
        return self.sizes[0].name

    @property
    def seconds(self) -> float:
        return self.sizes[-1].seconds - self.sizes[0].seconds

    def _ages(self) -> tuple[Sequence[Size], Sequence[Size]]:
        quarter = max(1, len(self.sizes) // 4)
        return self.sizes[:quarter], self.sizes[-quarter:]

    @property
    def memory_per_hour(self) -> float:
        """Bytes that it grows in an hour: the slope of the line through all samples."""
        times = [size.seconds for size in self.sizes]
        middle, level = fmean(times), fmean(size.memory for size in self.sizes)
        spread = sum((time - middle) ** 2 for time in times)
        return (
            3600 * sum((size.seconds - middle) * (size.memory - level) for size in self.sizes)
        ) / (spread or 1.0)

    def leaks(self) -> list[str]:
        young, old = self._ages()
        found = []
        before, after = (median(size.memory for size in age) for age in (young, old))
        growth_max = GROWTH_MAX if self.seconds >= STEADY_SECONDS else YOUNG_GROWTH_MAX
        if after > max(before * growth_max, before + GROWTH_MAX_BYTES):
            found.append(f"{int(before) >> 20} to {int(after) >> 20} MiB")
        for what, more_max in (
            ("descriptors", DESCRIPTORS_MORE_MAX),
            ("shared", DESCRIPTORS_MORE_MAX),
            ("threads", THREADS_MORE_MAX),
            ("children", 0),
        ):
            before, after = (median(getattr(size, what) for size in age) for age in (young, old))
            if after > before + more_max:
                found.append(f"{what}: {before:g} to {after:g}")
        return [f"{self.name}, {self.seconds:.0f} s: {each}" for each in found]

    def __str__(self) -> str:
        young, old = self._ages()
        before, after = (median(size.memory for size in age) / 2**20 for age in (young, old))
        return (
            f"{self.name}, {self.seconds:.0f} s: {before:.0f} to {after:.0f} MiB "
            f"({self.memory_per_hour / 2**20:+.0f} MiB an hour), {young[0].descriptors} to "
            f"{old[-1].descriptors} descriptors, {young[0].threads} to {old[-1].threads} threads"
        )


def lives_of(samples: Sequence[Sizes]) -> list[Life]:
    """Those long enough to be judged; the longest first."""
    by_process: dict[int, list[Size]] = {}
    for sizes in samples:
        for pid, size in sizes.items():
            by_process.setdefault(pid, []).append(size)
    lives = [
        Life(sizes[int(len(sizes) * WARM_SHARE) :])
        for sizes in by_process.values()
        if len(sizes) >= SAMPLES_MIN
    ]
    return sorted(lives, key=lambda life: -life.seconds)


def what_is_left(
    metrics: Metrics, models: Mapping[str, bool], tenants: Sequence[str]
) -> dict[str, float]:
    """What must be none when nobody is connected any more; empty if it is. `models`
    says of each whether all its sequences had slots: others may end before they have begun."""
    left = {
        name: metrics.sum(f"streamgate_{name}")
        for name in (
            *("sequences_active", "sequences_backlog", "sequences_recovering", "streams_stalled"),
            *("sequences_hibernated", "hibernated_bytes", "log_bytes", "snapshot_bytes_kept"),
            *("sessions_detached", "sessions_detached_bytes"),
        )
    }
    left["pending"] = metrics.sum("nv_inference_pending_request_count")
    for tenant in tenants:
        left[f"of {tenant}"] = metrics.sum("streamgate_tenant_streams", tenant=tenant)
    for model, has_room in models.items():
        begun, gone = (
            sum(metrics.sum(f"streamgate_sequences_{name}_total", model=model) for name in names)
            for names in (("started", "restored"), GONE)
        )
        left[f"of {model}, begun and not gone"] = begun - gone if has_room else max(0, begun - gone)
    detachments, resumed, taken_over, ended, refused_room = (
        metrics.sum(f"streamgate_sessions_{name}_total", **labels)
        for name, labels in (
            ("detachments", {}),
            ("resumed", {}),
            ("taken_over", {}),
            ("detached_ended", {}),
            ("detached_ended", {"reason": "too many"}),
        )
    )
    left["sessions detached, and neither back nor over"] = (
        detachments - (resumed - taken_over) - (ended - refused_room)
    )
    return {name: value for name, value in left.items() if value}
