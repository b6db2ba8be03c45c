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
    """CloudEvents `id`: unique within `source`. The pair is the identity of the event; the same pair again is a duplicate."""
    source: SourceName
    """CloudEvents `source`: who reports, such as `gateway/eu-1`. Stable over restarts."""

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
    """Who pays. Also the key of the Kafka record. Names that begin with `_` are reserved."""
    project_id: Name | None = None
    """The tenant's project."""
    api_key_id: Name | None = None
    """The name of the API key that was used; never the key."""
    end_user_id: Identifier | None = None
    """The tenant's own user, as the tenant names it."""
    request_id: Identifier
    """The request, as the serving engine or gateway names it. All attempts of one request share it."""
    attempt: Annotated[int, CountRule(minimum=1, maximum=1_000_000)] = 1
    """Which try of the request this is, from 1: a gateway that retries reports each try."""
    session_id: Identifier | None = None
    """The conversation that the request belongs to."""
    workflow_id: Identifier | None = None
    """The agent run or workflow that the request belongs to."""
    provider: Name
    """Who served: `vllm`, `nim`, `openai`, `anthropic`, ... (OpenTelemetry `gen_ai.provider.name`)."""
    operation: Name
    """chat, completion, embedding, image, audio, rerank, fine_tune, batch, ..."""
    endpoint: Name
    """The path or name of the API that was called, such as `/v1/chat/completions`."""
    request_model: Name
    """The model that was asked for."""
    response_model: Name
    """The model that served, which is the one that is charged."""
    deployment_id: Name | None = None
    """The serving deployment, such as a replica group."""
    region: Name | None = None
    """The region that served."""
    site: Name | None = None
    """The data centre that served."""
    gpu_type: Name | None = None
    """The type of GPU that served, such as `H100`."""
    service_tier: Name = "default"
    """The tier that the answer reports; it may differ from the one that was asked for."""
    stream: Flag = False
    """Whether the answer was streamed."""
    status: Annotated[Literal["success", "error", "aborted"], ChoiceRule(("success", "error", "aborted"))]
    """success; error (the caller got an error); aborted (the caller left, what was generated until then is counted)."""
    http_status: Annotated[int, CountRule(minimum=100, maximum=999)] | None = None
    """The HTTP status that the caller got."""
    error_type: Name | None = None
    """What failed, such as `timeout`; absent on success."""
    finish_reason: Name | None = None
    """Why the model stopped: `stop`, `length`, `tool_calls`, ..."""
    input_tokens: Count
    """All input tokens, cached ones included."""
    cache_read_input_tokens: Count = 0
    """Tokens. The part of `input_tokens` that a prefix cache held."""
    cache_write_input_tokens: Count = 0
    """Tokens. The part of `input_tokens` that was written to a prefix cache."""
    output_tokens: Count
    """All output tokens, reasoning included."""
    reasoning_output_tokens: Count = 0
    """Tokens. The part of `output_tokens` that was reasoning."""
    training_tokens: Count = 0
    """Tokens that a fine-tuning job trained on; no part of `input_tokens`."""
    input_audio_tokens: Count = 0
    """Part of `input_tokens`, as are `input_image_tokens`; `output_audio_tokens` are part of `output_tokens`."""
    output_audio_tokens: Count = 0
    """Tokens. The part of `output_tokens` that was audio."""
    input_image_tokens: Count = 0
    """Tokens. The part of `input_tokens` that was images."""
    images: Count = 0
    """Images that were made."""
    audio_seconds: Quantity = Decimal(0)
    """Seconds of audio that were made or transcribed."""
    video_seconds: Quantity = Decimal(0)
    """Seconds of video that were made."""
    units: Units = Field(default_factory=dict)
    """Custom meters: name to decimal text."""
    started_at: Instant
    """When the request arrived."""
    first_token_at: Instant | None = None
    """When the first output token left; absent where nothing was generated."""
    ended_at: Instant
    """When the request ended: the event time. It decides the hour and the billing period."""
    usage_source: Annotated[
        Literal["engine", "gateway_count", "estimated"], ChoiceRule(("engine", "gateway_count", "estimated"))
    ] = "engine"
    """Who counted: the engine; the gateway, with a tokenizer; or estimated."""

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
    """The end of the observed interval. In JSON the envelope's `time` serves where the data have none."""
    gpu_uuid: Name
    """The GPU, as the driver names it (`GPU-...`). Also the key of the Kafka record."""
    mig_instance_id: Name | None = None
    """The MIG instance on the GPU; absent for a whole GPU."""
    mig_profile: Name | None = None
    """The MIG profile, such as `3g.40gb`."""
    gpu_type: Name
    """The type of GPU, such as `H100`."""
    node: Name
    """The host."""
    cluster: Name | None = None
    """The cluster of the host."""
    region: Name | None = None
    """The region of the host."""
    site: Name | None = None
    """The data centre of the host."""
    tenant_id: Owner | None = None
    """Who has the GPU; `_pool` is shared serving capacity, `_idle` nobody; absent where the agent does not know."""
    namespace: Name | None = None
    """The Kubernetes namespace that has the GPU."""
    pod: Name | None = None
    """The Kubernetes pod that has the GPU."""
    interval_s: Annotated[float, MeasureRule(minimum=0.001, maximum=86_400.0)]
    """Seconds that the sample stands for, ending at `time`."""
    gpu_util_ratio: Ratio | None = None
    """0 to 1: the share of the interval in which a kernel ran (NVML utilisation / 100)."""
    engine_active_ratio: Ratio | None = None
    """0 to 1: the share in which the graphics or compute engine was active (DCGM_FI_PROF_GR_ENGINE_ACTIVE)."""
    sm_active_ratio: Ratio | None = None
    """0 to 1: the share in which a multiprocessor had a warp (DCGM_FI_PROF_SM_ACTIVE)."""
    tensor_active_ratio: Ratio | None = None
    """0 to 1: the share in which the tensor pipes were active (DCGM_FI_PROF_PIPE_TENSOR_ACTIVE)."""
    power_w: Annotated[float, MeasureRule(maximum=1_000_000.0)] | None = None
    """Watts, mean of the interval."""
    energy_mj_counter: Annotated[int, CountRule(maximum=MAX_COUNTER)] | None = None
    """Millijoules since the driver loaded; exporters print values near 2**63 for "blank", which are refused."""
    fb_used_mib: Count | None = None
    """MiB of framebuffer in use."""
    fb_total_mib: Count | None = None
    """MiB of framebuffer in all."""
    source_kind: Annotated[Literal["dcgm", "nvml", "simulated"], ChoiceRule(("dcgm", "nvml", "simulated"))]
    """Where the values come from."""


class GpuUsage(Event):
    """One owner's time on one GPU (or MIG instance) inside one window, derived from samples.

    [`start`, `end`) never crosses a window boundary and `end` may be the boundary itself, so the window of the usage is
    that of `start`, and `start` is the event time.
    """

    kind: ClassVar[Kind] = Kind.GPU_USAGE
    invariants: ClassVar[tuple[AtMost, ...]] = (AtMost("time_order", ("start",), "end"),)

    tenant_id: Owner
    """Who had the GPU: a tenant, `_pool` (shared serving capacity) or `_idle` (nobody)."""
    gpu_uuid: Name
    """The GPU."""
    mig_instance_id: Name | None = None
    """The MIG instance on the GPU; absent for a whole GPU."""
    gpu_type: Name
    """The type of GPU, such as `H100`."""
    node: Name
    """The host."""
    cluster: Name | None = None
    """The cluster of the host."""
    region: Name | None = None
    """The region of the host."""
    site: Name | None = None
    """The data centre of the host."""
    start: Instant
    """The beginning, included: the event time."""
    end: Instant
    """The end, not included."""
    allocated_gpu_seconds: Quantity
    """Seconds in which the owner was seen to have the GPU or MIG instance; a MIG instance counts whole."""
    busy_gpu_seconds: Quantity
    """Allocated seconds times the share in which the GPU worked."""
    energy_joules: Quantity
    """Joules used in the allocated time; of a MIG instance, its slices' part of the board's."""
    unobserved_seconds: Quantity = Decimal(0)
    """Seconds between `start` and `end` that no sample covers: reported, never charged."""

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
