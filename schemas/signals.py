"""Policy signals: what the worker tells operators and gateways (quota, budget, unpriced usage, gaps); the last one counts."""

from __future__ import annotations

from typing import Annotated, Any

import orjson
from pydantic import BaseModel, ConfigDict, Field

from schemas.cloudevents import envelope_headers
from schemas.errors import DecodeError
from schemas.fields import Instant, Name
from schemas.headers import RecordHeaders
from schemas.instants import format_instant
from schemas.kinds import Kind
from schemas.rated import Revision


class PolicySignal(BaseModel):
    """The state of one policy for one tenant, as of one revision of its partition. Higher revisions replace lower ones."""

    model_config = ConfigDict(frozen=True, extra="ignore", use_attribute_docstrings=True)

    tenant_id: Name
    """A tenant, or a reserved name (`_idle`, ...) where the signal is about no tenant."""
    policy: Annotated[str, Field(strict=True, pattern=r"^[a-z0-9][a-z0-9_./:-]{0,255}$")]
    """What is watched, such as `unpriced_usage/output_text`; part of the key, so it has no `|`."""
    kind: Name
    """What happened: raised, cleared, exceeded, gap, ..."""
    time: Instant
    """Event time, never a worker's clock."""
    revision: Revision
    """Log epoch x 2^40 + offset; of the signals with one key the highest counts."""
    data: dict[str, Any] = Field(default_factory=dict)
    """What the policy says about itself; the fields depend on `policy`."""

    @property
    def key(self) -> bytes:
        """The key of the Kafka record: `tenant|policy`; the last `|` separates, because a policy has none."""
        return f"{self.tenant_id}|{self.policy}".encode()


def encode_signal(signal: PolicySignal, source: str) -> tuple[bytes, RecordHeaders]:
    """Value and headers of the Kafka record: a CloudEvent in binary mode with sorted names."""
    value = orjson.dumps(
        {
            "tenant_id": signal.tenant_id,
            "policy": signal.policy,
            "kind": signal.kind,
            "time": format_instant(signal.time),
            "revision": signal.revision,
            "data": signal.data,
        },
        option=orjson.OPT_SORT_KEYS,
    )
    event_id = f"{signal.tenant_id}|{signal.policy}@{signal.revision}"
    return value, envelope_headers(Kind.SIGNAL, event_id, source, signal.time)


def decode_signal(value: bytes) -> PolicySignal:
    """The signal of a Kafka value. DecodeError: not JSON or not this contract."""
    try:
        return PolicySignal.model_validate(orjson.loads(value))
    except ValueError as error:  # JSONDecodeError and pydantic's ValidationError are both
        text = " ".join(str(error).split())[:300]
        raise DecodeError(f"not a policy signal: {text}") from None
