"""The events: what one request used, what a GPU did at one moment, and one owner's time on one GPU.

The models are the contract; `schemas.arrow` derives the column layout from them and `schemas.validation` checks whole
batches by the same rules. A null is an absent field, in JSON and in Arrow. Field meanings follow OpenTelemetry GenAI and
OpenAI (totals include their parts) and dcgm-exporter and NVML.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from types import MappingProxyType
from typing import Annotated, ClassVar, Final, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator
from pydantic_core import PydanticCustomError

from schemas.fields import (
    MAX_COUNTER,
    ChoiceRule,
    Count,
    CountRule,
    EventId,
    Flag,
    Identifier,
    Instant,
    MeasureRule,
    Name,
    Owner,
    Quantity,
    Ratio,
    Rule,
    SourceName,
    Tenant,
    Units,
)
from schemas.kinds import Kind


@dataclass(frozen=True)
class AtMost:
    """The invariant that the sum of `parts` is at most `whole`; breaking it gets the code `invalid_<what>`."""

    what: str
    parts: tuple[str, ...]
    whole: str

    @property
    def code(self) -> str:
        """The stable code of a row that breaks it."""
        return f"invalid_{self.what}"

    def explain(self, values: Mapping[str, object]) -> str:
        """One line for a person, with the values of the row."""
        parts = " + ".join(f"{name} {values[name]}" for name in self.parts)
        return f"{parts} must not exceed {self.whole} {values[self.whole]}"


class Event(BaseModel):
    """What all events share: identity (`source`, `id`), reading nulls as absent, and invariants across fields."""

    model_config = ConfigDict(frozen=True, extra="ignore", use_attribute_docstrings=True)
    kind: ClassVar[Kind]
    invariants: ClassVar[tuple[AtMost, ...]] = ()

    id: EventId
    source: SourceName

    @model_validator(mode="before")
    @classmethod
    def _null_is_absent(cls, data: object) -> object:
        if isinstance(data, Mapping):
            return {name: value for name, value in data.items() if value is not None}
        return data

    @model_validator(mode="after")
    def _invariants_hold(self) -> Self:
        for invariant in self.invariants:
            values = [getattr(self, name) for name in invariant.parts]
            if (values[0] if len(values) == 1 else sum(values)) > getattr(self, invariant.whole):
                shown = {name: getattr(self, name) for name in (*invariant.parts, invariant.whole)}
                # As an argument, not as the template: braces in a value must stay what they are.
                context = {"reason": invariant.explain(shown), "code": invariant.code}
                raise PydanticCustomError("invariant", "{reason}", context)
        return self


class TokenUsage(Event):
    """What one attempt of one request to a model used. Event time is `ended_at`."""

    kind: ClassVar[Kind] = Kind.TOKEN_USAGE
    invariants: ClassVar[tuple[AtMost, ...]] = (
        AtMost("cache_tokens", ("cache_read_input_tokens", "cache_write_input_tokens"), "input_tokens"),
        AtMost("reasoning_tokens", ("reasoning_output_tokens",), "output_tokens"),
        AtMost("time_order", ("started_at",), "ended_at"),
    )

    tenant_id: Tenant
    project_id: Name | None = None
    api_key_id: Name | None = None
    end_user_id: Identifier | None = None
    request_id: Identifier
    attempt: Annotated[int, CountRule(minimum=1, maximum=1_000_000)] = 1
    """Which try of the request this is, from 1: a gateway that retries reports each try."""
    session_id: Identifier | None = None
    workflow_id: Identifier | None = None
    provider: Name
    operation: Name
    """chat, completion, embedding, image, audio, rerank, fine_tune, batch, ..."""
    endpoint: Name
    request_model: Name
    response_model: Name
    """The model that served, which is the one that is charged."""
    deployment_id: Name | None = None
    region: Name | None = None
    site: Name | None = None
    gpu_type: Name | None = None
    service_tier: Name = "default"
    """The tier that the answer reports; it may differ from the one that was asked for."""
    stream: Flag = False
    status: Annotated[Literal["success", "error", "aborted"], ChoiceRule(("success", "error", "aborted"))]
    http_status: Annotated[int, CountRule(minimum=100, maximum=999)] | None = None
    error_type: Name | None = None
    finish_reason: Name | None = None
    input_tokens: Count
    """All input tokens, cached ones included."""
    cache_read_input_tokens: Count = 0
    cache_write_input_tokens: Count = 0
    output_tokens: Count
    """All output tokens, reasoning included."""
    reasoning_output_tokens: Count = 0
    training_tokens: Count = 0
    input_audio_tokens: Count = 0
    """Part of `input_tokens`, as are `input_image_tokens`; `output_audio_tokens` are part of `output_tokens`."""
    output_audio_tokens: Count = 0
    input_image_tokens: Count = 0
    images: Count = 0
    audio_seconds: Quantity = Decimal(0)
    video_seconds: Quantity = Decimal(0)
    units: Units = Field(default_factory=dict)
    """Custom meters: name to decimal text."""
    started_at: Instant
    first_token_at: Instant | None = None
    ended_at: Instant
    usage_source: Annotated[
        Literal["engine", "gateway_count", "estimated"], ChoiceRule(("engine", "gateway_count", "estimated"))
    ] = "engine"

    @property
    def time(self) -> datetime:
        """Event time: when the request ended."""
        return self.ended_at


class GpuUtilization(Event):
    """What one GPU (or MIG instance) did over the `interval_s` seconds that ended at `time`.

    `tenant_id` is absent where the agent knows no owner; `_pool` marks shared serving capacity.
    """

    kind: ClassVar[Kind] = Kind.GPU_UTILIZATION

    time: Instant
    gpu_uuid: Name
    mig_instance_id: Name | None = None
    mig_profile: Name | None = None
    gpu_type: Name
    node: Name
    cluster: Name | None = None
    region: Name | None = None
    site: Name | None = None
    tenant_id: Owner | None = None
    namespace: Name | None = None
    pod: Name | None = None
    interval_s: Annotated[float, MeasureRule(minimum=0.001, maximum=86_400.0)]
    gpu_util_ratio: Ratio | None = None
    engine_active_ratio: Ratio | None = None
    sm_active_ratio: Ratio | None = None
    tensor_active_ratio: Ratio | None = None
    power_w: Annotated[float, MeasureRule(maximum=1_000_000.0)] | None = None
    energy_mj_counter: Annotated[int, CountRule(maximum=MAX_COUNTER)] | None = None
    """Millijoules since the driver loaded; exporters print values near 2**63 for "blank", which are refused."""
    fb_used_mib: Count | None = None
    fb_total_mib: Count | None = None
    source_kind: Annotated[Literal["dcgm", "nvml", "simulated"], ChoiceRule(("dcgm", "nvml", "simulated"))]


class GpuUsage(Event):
    """One owner's time on one GPU (or MIG instance) inside one window, derived from samples.

    [`start`, `end`) never crosses a window boundary and `end` may be the boundary itself, so the window of the usage is
    that of `start`, and `start` is the event time.
    """

    kind: ClassVar[Kind] = Kind.GPU_USAGE
    invariants: ClassVar[tuple[AtMost, ...]] = (AtMost("time_order", ("start",), "end"),)

    tenant_id: Owner
    gpu_uuid: Name
    mig_instance_id: Name | None = None
    gpu_type: Name
    node: Name
    cluster: Name | None = None
    region: Name | None = None
    site: Name | None = None
    start: Instant
    end: Instant
    allocated_gpu_seconds: Quantity
    busy_gpu_seconds: Quantity
    energy_joules: Quantity
    unobserved_seconds: Quantity = Decimal(0)

    @property
    def time(self) -> datetime:
        """Event time: `start`."""
        return self.start


EVENT_TYPES: Final[Mapping[str, type[TokenUsage] | type[GpuUtilization] | type[GpuUsage]]] = MappingProxyType(
    {model.kind: model for model in (TokenUsage, GpuUtilization, GpuUsage)}
)
"""CloudEvents type (header `tokenmill-type`) to model."""

EVENT_TIME_COLUMN: Final[Mapping[str, str]] = MappingProxyType(
    {Kind.TOKEN_USAGE: "ended_at", Kind.GPU_UTILIZATION: "time", Kind.GPU_USAGE: "start"}
)
"""The column that holds the event time, per kind."""


def rules(model: type[Event]) -> dict[str, Rule]:
    """The rule of every field of a model, in column order."""
    found = {}
    for name, field in model.model_fields.items():
        candidates = [*field.metadata]
        for argument in getattr(field.annotation, "__args__", ()):
            candidates.extend(getattr(argument, "__metadata__", ()))
        found[name] = next(candidate for candidate in candidates if isinstance(candidate, Rule))
    return found


def defaults(model: type[Event]) -> dict[str, object]:
    """The value of every field that may be absent and then has one: not None, not an empty map."""
    return {
        name: field.default
        for name, field in model.model_fields.items()
        if not field.is_required() and field.default is not None and field.default_factory is None
    }
