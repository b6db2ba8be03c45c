"""The GPUs of the synthetic factory: who serves which model, who rents one, which stand idle, which one is split.

Shared serving capacity belongs to `_pool`, a GPU without owner to `_idle` (the reserved owners of the event contract).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from producers.workload.draws import Floats, stream
from producers.workload.figures import B200, GPU_TYPES, H100, H200, TARGET_UTILISATION, GpuType

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
    """Tenant of a GPU (or MIG instance) in whole hours [first, end) of the workload; any other time it is `_idle`."""

    tenant: str
    first_hour: int
    end_hour: int


@dataclass(frozen=True, slots=True)
class Instance:
    """A whole GPU, or one MIG instance of it (`slices` of 7): what a sample is about. `lease` None means shared."""

    instance_id: str | None
    profile: str | None
    slices: int
    lease: Lease | None


@dataclass(frozen=True, slots=True)
class Gpu:
    """One GPU. A shared one (`serves`) works for every model that is deployed on its type."""

    uuid: str
    gpu_type: GpuType
    node: str
    interval_s: int
    serves: bool
    instances: tuple[Instance, ...]


def build_fleet(seed: int, work_per_type: Floats, seconds: int, hours: int, tenants: int) -> list[Gpu]:
    """The fleet for a workload that has `work_per_type[i]` for GPU_TYPES[i] (output-token equivalents) in `seconds`.

    As many shared GPUs of each type as the target utilisation needs, three GPUs rented by two tenants for some of the
    hours, one idle, and one H100 split into three MIG instances (two rented, one idle).
    """
    wanted: list[tuple[GpuType, bool, tuple[Instance, ...]]] = []
    for gpu_type, work in zip(GPU_TYPES, work_per_type, strict=True):
        count = max(1, int(np.ceil(work / seconds / (gpu_type.work_per_s * TARGET_UTILISATION))))
        wanted += [(gpu_type, True, (_whole(None),))] * count
    first, second = f"tenant-{min(1, tenants - 1):04d}", f"tenant-{min(2, tenants - 1):04d}"
    early, late, never = Lease(first, 0, max(1, hours - 1)), Lease(second, hours // 2, hours), Lease(IDLE, 0, 0)
    wanted += [(H100, False, (_whole(early),)), (H200, False, (_whole(early),)), (B200, False, (_whole(late),))]
    wanted += [(H200, False, (_whole(never),))]
    split = (
        Instance("1", "3g.40gb", 3, Lease(second, 0, hours)),
        Instance("2", "2g.20gb", 2, Lease(first, hours // 3, hours)),
        Instance("3", "1g.10gb", 1, never),
    )
    wanted += [(H100, False, split)]
    return _numbered(seed, wanted)


def _whole(lease: Lease | None) -> Instance:
    return Instance(None, None, 7, lease)


def _numbered(seed: int, wanted: list[tuple[GpuType, bool, tuple[Instance, ...]]]) -> list[Gpu]:
    """Give each GPU its uuid, its node (eight of one type on a node) and its sampling interval (10 s or 30 s)."""
    random = stream(seed, "gpus")
    of_type: dict[str, int] = {}
    fleet = []
    for number, (gpu_type, serves, instances) in enumerate(wanted):
        place = of_type[gpu_type.name] = of_type.get(gpu_type.name, -1) + 1
        digits = random.bytes(16).hex()
        uuid = "GPU-" + "-".join((digits[:8], digits[8:12], digits[12:16], digits[16:20], digits[20:]))
        node = f"gpu-{gpu_type.name.lower()}-{place // 8:02d}"
        fleet.append(Gpu(uuid, gpu_type, node, 10 if number % 2 == 0 else 30, serves, instances))
    return fleet
