"""What tenants reserve beside their requests: nodes and storage, as changes of a level that goes on until it changes.

A workload of requests says nothing of them, so the demonstration sends these events beside it. As everywhere, the seed
fixes every byte.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta

import pyarrow as pa

from producers.workload.draws import Stream
from schemas.batch import rows_to_batch
from schemas.events import TokenUsage
from schemas.kinds import Kind

SOURCE = "reservations/0"
_REGION = "eu-central"
_HOUR_S = 3_600
_FIRST_WITHIN_S = 600
_CHANGED_SHARE = 60
"""In so many of a hundred hours the level changes; assumed."""
_RELEASED_SHARE = 20
"""In so many of them it falls, as long as something is left; assumed."""


@dataclass(frozen=True, slots=True)
class Reserved:
    """Something that is reserved: the custom unit, what serves it, and the numbers that its changes are drawn from.

    The first change is from `first` to twice as much, later ones from 1 to `most` up or down, all in `step` units.
    """

    unit: str
    endpoint: str
    product: str
    gpu_type: str | None
    first: int
    most: int
    step: int


NODES = Reserved("nodes", "/v1/nodes", "h100-8x", "H100", 3, 2, 1)
"""Nodes of eight GPUs; assumed."""
STORAGE = Reserved("storage_gb", "/v1/storage", "object-store", None, 400, 25, 10)
"""Gigabytes of models and data; assumed."""


@dataclass(frozen=True, slots=True)
class Change:
    """A change of a level: seconds after the start, and by how much."""

    at_s: int
    quantity: int


@dataclass(frozen=True, slots=True)
class Reservations:
    """What one tenant reserves over `hours` hours from `start`. Equal arguments give equal events."""

    seed: int
    tenant: str
    what: Reserved
    start: datetime
    hours: int

    def changes(self) -> Iterator[Change]:
        """The changes in order of time: one in the first minutes, then at most one an hour."""
        drawn = Stream(self.seed, f"reservations/{self.what.unit}").below(2**31, 3 * self.hours)
        what, level = self.what, 0
        for hour, (chance, when, how_much) in enumerate(drawn.reshape(-1, 3).tolist()):
            if hour == 0:
                change = Change(when % _FIRST_WITHIN_S, (what.first + how_much % (what.first + 1)) * what.step)
            elif chance % 100 < _CHANGED_SHARE:
                quantity = (1 + how_much % what.most) * what.step
                released = chance % 100 < _RELEASED_SHARE and quantity < level
                change = Change(hour * _HOUR_S + when % _HOUR_S, -quantity if released else quantity)
            else:
                continue
            level += change.quantity
            yield change

    def unit_seconds(self) -> int:
        """Level x seconds until the end of the last hour."""
        return sum(change.quantity * (self.hours * _HOUR_S - change.at_s) for change in self.changes())

    def batch(self) -> pa.RecordBatch:
        """All changes as TokenUsage: no request and no token, only the unit."""
        return rows_to_batch(str(Kind.TOKEN_USAGE), [self._event(*pair) for pair in enumerate(self.changes())])

    def _event(self, number: int, change: Change) -> TokenUsage:
        at = self.start + timedelta(seconds=change.at_s)
        what = self.what
        name = f"{self.tenant}/{what.unit}/{self.start:%Y%m%dT%H%M%SZ}/{number}"
        return TokenUsage.model_validate(
            {
                "id": name,
                "source": SOURCE,
                "tenant_id": self.tenant,
                "request_id": name,
                "provider": "tokenmill",
                "operation": "reserve",
                "endpoint": what.endpoint,
                "request_model": what.product,
                "response_model": what.product,
                "region": _REGION,
                "gpu_type": what.gpu_type,
                "status": "success",
                "input_tokens": 0,
                "output_tokens": 0,
                "units": {what.unit: str(change.quantity)},
                "started_at": at,
                "ended_at": at,
            }
        )
