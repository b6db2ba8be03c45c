"""The GPUs of the synthetic factory: who serves which model, who rents one, which stand idle, which one is split.

Shared serving capacity belongs to `_pool`, a GPU without owner to `_idle` (the reserved owners of the event contract).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from infra.errors import ConfigurationError
from producers.workload.draws import Floats, Ints, Stream
from producers.workload.figures import (
    B200,
    GPU_TYPES,
    H100,
    H200,
    HIGHEST_UTILISATION,
    TARGET_UTILISATION,
    WORK_UNIT,
    GpuType,
)

POOL, IDLE = "_pool", "_idle"


@dataclass(frozen=True, slots=True)
class Deployment:
    """One model on one type of GPU; `share` of the model's requests go here."""

    model: int
    gpu_type: GpuType
    share: float

    @property
    def name(self) -> str:
        """The deployment id of its requests."""
        return f"model-{self.model:02d}-{self.gpu_type.name.lower()}"


def deployments(models: int) -> list[Deployment]:
    """Where each model runs: every model on one type of GPU, every second one also on the next type."""
    found = []
    for model in range(models):
        first = GPU_TYPES[model % len(GPU_TYPES)]
        second = GPU_TYPES[(model + 1) % len(GPU_TYPES)]
        if model % 2 == 0:
            found += [Deployment(model, first, 0.6), Deployment(model, second, 0.4)]
        else:
            found.append(Deployment(model, first, 1.0))
    return found


@dataclass(frozen=True, slots=True)
class Lease:
    """Tenant of a GPU (or MIG instance) in hours [first, end) of every `cycle` hours; any other time it is `_idle`."""

    tenant: str
    first_hour: int
    end_hour: int
    cycle: int


@dataclass(frozen=True, slots=True)
class Instance:
    """A whole GPU, or one MIG instance of it (`slices` of 7): what a sample is about. `lease` None means shared."""

    instance_id: str | None
    profile: str | None
    slices: int
    memory_eighths: int
    lease: Lease | None


@dataclass(frozen=True, slots=True)
class Gpu:
    """One GPU. The shared ones of a type, and shared MIG instances, work for every model that is deployed on the type."""

    uuid: str
    gpu_type: GpuType
    node: str
    interval_s: int
    instances: tuple[Instance, ...]

    @property
    def shared_slices(self) -> int:
        """How many of its 7 slices serve all tenants."""
        return sum(each.slices for each in self.instances if each.lease is None)


@dataclass(frozen=True, slots=True)
class Pools:
    """The shared serving capacity of each type in GPU_TYPES: `gpus` full ones, `capacity` in WORK_UNITs per second."""

    gpus: Floats
    capacity: Floats
    of_deployment: Ints
    """Position in GPU_TYPES, per deployment."""


def pools_of(fleet: list[Gpu], models: int) -> Pools:
    """The pools that these GPUs make."""
    gpus = np.array([sum(gpu.shared_slices for gpu in fleet if gpu.gpu_type is each) / 7 for each in GPU_TYPES])
    speed = np.array([each.work_per_s for each in GPU_TYPES])
    of_deployment = np.array([GPU_TYPES.index(place.gpu_type) for place in deployments(models)])
    return Pools(gpus, gpus * speed * WORK_UNIT, of_deployment)


def build_fleet(seed: int, work_per_s: Floats, hours: int, tenants: int, gpus: int | None = None) -> list[Gpu]:
    """The fleet for `work_per_s[i]` WORK_UNITs per second, on average, on GPU_TYPES[i].

    As many shared GPUs of each type as the target utilisation needs (or `gpus` in all, divided likewise); one H100 split
    into two shared MIG instances; three GPUs rented by two tenants for some hours of every `hours`; one idle; and one H100
    split into three MIG instances (two rented, one idle). Raises ConfigurationError when `gpus` are too few.
    """
    wanted: list[tuple[GpuType, tuple[Instance, ...]]] = []
    for gpu_type, count in zip(GPU_TYPES, _shared(work_per_s, gpus), strict=True):
        wanted += [(gpu_type, (_whole(None),))] * (count - (gpu_type is H100))
    halves = (Instance("1", "4g.40gb", 4, 4, None), Instance("2", "3g.40gb", 3, 4, None))
    wanted += [(H100, halves)]
    first, second = f"tenant-{min(1, tenants - 1):04d}", f"tenant-{min(2, tenants - 1):04d}"
    early, late = Lease(first, 0, max(1, hours - 1), hours), Lease(second, hours // 2, hours, hours)
    never = Lease(IDLE, 0, 0, hours)
    wanted += [(H100, (_whole(early),)), (H200, (_whole(early),)), (B200, (_whole(late),)), (H200, (_whole(never),))]
    split = (
        Instance("1", "3g.40gb", 3, 4, Lease(second, 0, hours, hours)),
        Instance("2", "2g.20gb", 2, 2, Lease(first, hours // 3, hours, hours)),
        Instance("3", "1g.10gb", 1, 1, never),
    )
    wanted += [(H100, split)]
    return _numbered(seed, wanted)


def _shared(work_per_s: Floats, gpus: int | None) -> list[int]:
    """How many shared GPUs of each type: at least one."""
    speeds = [each.work_per_s * WORK_UNIT for each in GPU_TYPES]
    busy = [float(work) / speed for work, speed in zip(work_per_s, speeds, strict=True)]
    if gpus is None:
        return [max(1, int(np.ceil(each / TARGET_UTILISATION))) for each in busy]
    counts = [max(1, int(np.ceil(each / HIGHEST_UTILISATION))) for each in busy]
    if gpus < sum(counts):
        raise ConfigurationError(
            f"{gpus} GPUs are too few for this workload: it needs at least {sum(counts)} at "
            f"{HIGHEST_UTILISATION:.0%} utilisation, {sum(_shared(work_per_s, None))} at {TARGET_UTILISATION:.0%}"
        )
    for _ in range(gpus - sum(counts)):  # each one more to the type that is busiest
        counts[int(np.argmax([each / count for each, count in zip(busy, counts, strict=True)]))] += 1
    return counts


def _whole(lease: Lease | None) -> Instance:
    return Instance(None, None, 7, 8, lease)


def _numbered(seed: int, wanted: list[tuple[GpuType, tuple[Instance, ...]]]) -> list[Gpu]:
    """Give each GPU its uuid, its node (eight of one type on a node) and its sampling interval (10 s or 30 s)."""
    words = Stream(seed, "gpus").words(2 * len(wanted))
    of_type: dict[str, int] = {}
    fleet = []
    for number, (gpu_type, instances) in enumerate(wanted):
        place = of_type[gpu_type.name] = of_type.get(gpu_type.name, -1) + 1
        digits = f"{words[2 * number]:016x}{words[2 * number + 1]:016x}"
        uuid = "GPU-" + "-".join((digits[:8], digits[8:12], digits[12:16], digits[16:20], digits[20:]))
        node = f"gpu-{gpu_type.name.lower()}-{place // 8:02d}"
        fleet.append(Gpu(uuid, gpu_type, node, 10 if number % 2 == 0 else 30, instances))
    return fleet
