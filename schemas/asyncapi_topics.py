"""The topics as the AsyncAPI document describes them. A test holds them against what `tokenmill topics apply` creates."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal

_DAY_MS: Final = 86_400_000
_PARTITIONS: Final = 12
_TENANT: Final = (
    "tenant_id in UTF-8. The partition must be murmur2(key) mod partitions, as the Java client has it: with librdkafka set "
    "partitioner=murmur2_random. Records on another partition are counted too, but are moved first"
)
_NO_KEY: Final = (
    "none; the partition is given: the one that all its rows belong to (batches), each one concerned (control records)"
)
_RATED_KEY: Final = (
    "tenant_id, sku, kind, window_kind, window_start, service_period, each as <length in bytes>:<text>, one after the other, "
    "such as 4:acme16:llama-70b/output5:usage4:hour20:2026-01-01T09:00:00Z7:2026-01. Compare it as bytes, whole"
)


@dataclass(frozen=True)
class Topic:
    """One topic. `action` is Tokenmill's own; `keys` has the messages whose record key is another than `key`."""

    id: str
    address: str
    description: str
    key: str
    messages: tuple[str, ...]
    cleanup: tuple[Literal["compact", "delete"], ...]
    action: Literal["receive", "send"]
    retention_days: int | None = None
    min_compaction_lag_days: int | None = None
    keys: Mapping[str, str] = field(default_factory=dict)
    partitions: int = _PARTITIONS
    internal: bool = False

    @property
    def configuration(self) -> dict[str, Any]:
        """The topic's settings that a reader has to know, under Kafka's names."""
        found: dict[str, Any] = {"cleanup.policy": list(self.cleanup)}
        if self.retention_days is not None:
            found["retention.ms"] = self.retention_days * _DAY_MS
        if self.min_compaction_lag_days is not None:
            found["min.compaction.lag.ms"] = self.min_compaction_lag_days * _DAY_MS
        return found


_CONTROL: Final = (
    *("rate_card_activated", "account_assigned", "tick", "rerate_ordered"),
    *("wallet_granted", "wallet_voided", "wallet_transferred"),
)

TOPICS: Final = (
    Topic(
        "usageEvents",
        "usage.events.v1",
        "The log of each tenant: usage and the control records that change what it costs.",
        "tenant_id for single events; none for batches and control records, whose partition is given",
        (
            *("token_usage", "token_usage_structured", "token_usage_batch"),
            *("gpu_usage", "gpu_usage_structured", "gpu_usage_batch"),
            *(name for control in _CONTROL for name in (control, f"{control}_structured")),
            "source_reject",
        ),
        ("delete",),
        "receive",
        retention_days=35,
        keys={
            **dict.fromkeys(("token_usage", "token_usage_structured", "gpu_usage", "gpu_usage_structured"), _TENANT),
            **dict.fromkeys(("token_usage_batch", "gpu_usage_batch", "source_reject"), _NO_KEY),
            **dict.fromkeys((name for each in _CONTROL for name in (each, f"{each}_structured")), _NO_KEY),
        },
    ),
    Topic(
        "gpuSamples",
        "gpu.samples.v1",
        "What each GPU did, sampled.",
        "gpu_uuid in UTF-8, hashed with murmur2; none for batches, whose partition is given",
        ("gpu_utilization", "gpu_utilization_structured", "gpu_utilization_batch"),
        ("delete",),
        "receive",
        retention_days=35,
    ),
    Topic(
        "usageRated",
        "usage.rated.v1",
        "Absolute totals per tenant, SKU and window; of the records with one key the highest revision is the truth.",
        _RATED_KEY,
        ("rated_usage",),
        ("compact", "delete"),
        "send",
        retention_days=400,
        min_compaction_lag_days=7,
    ),
    Topic(
        "usageSignals",
        "usage.signals.v1",
        "The state of each policy for each tenant; of the signals with one key the highest revision counts.",
        "tenant_id|policy; the last | separates",
        ("policy_signal",),
        ("compact",),
        "send",
    ),
    Topic(
        "usageExcluded",
        "usage.excluded.v1",
        "Rows that were read but not counted, and why.",
        "none",
        ("exclusion_batch",),
        ("delete",),
        "send",
        retention_days=90,
    ),
    Topic(
        "usageDlq",
        "usage.dlq.v1",
        "What could not be counted: rejected rows, or the bytes of what could not be decoded.",
        "that of the source record",
        ("dead_letter",),
        ("delete",),
        "send",
        retention_days=90,
    ),
    Topic(
        "ratingCatalog",
        "rating.catalog.v1",
        "The catalogue of cards, assignments and logs. Internal: written by `tokenmill` commands, read it with them.",
        "card|<id>|<version>, assignment|<tenant>|<from>, log|<topic>, ...",
        ("catalog_entry",),
        ("compact",),
        "send",
        partitions=1,
        internal=True,
    ),
    Topic(
        "rateState",
        "tokenmill.state.v1",
        "The state of the rating agent. Internal: written and read by workers only.",
        "the key of a state value",
        ("state_value",),
        ("compact",),
        "send",
        internal=True,
    ),
    Topic(
        "gpuState",
        "tokenmill.gpu-state.v1",
        "The state of the GPU meter. Internal: written and read by workers only.",
        "the key of a state value",
        ("state_value",),
        ("compact",),
        "send",
        internal=True,
    ),
)
