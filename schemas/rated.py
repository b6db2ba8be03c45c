"""The public contract `usage.rated.v1`: absolute totals per tenant, SKU and window; the highest revision of a key wins."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal
from typing import Annotated, Any, Final, Literal

import orjson
from pydantic import BaseModel, ConfigDict, Field, GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic_core import CoreSchema, core_schema

from schemas.decimals import format_decimal, parse_decimal
from schemas.errors import DecodeError
from schemas.fields import Instant, Name, Owner, TextRule
from schemas.headers import CONTENT_TYPE, JSON, RecordHeaders
from schemas.instants import format_instant
from schemas.kinds import Kind

MAX_REVISION: Final = 2**53 - 1
"""So that every JSON reader can hold a revision."""

RecordKind = Literal["usage", "unrated", "minimum", "commitment", "flat_fee", "credit", "sla_credit", "adjustment"]
WindowKind = Literal["hour", "period"]


class _DecimalText:
    """A decimal of any size and sign: text in plain notation on the wire."""

    def __get_pydantic_core_schema__(self, source: object, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_plain_validator_function(
            parse_decimal,
            serialization=core_schema.plain_serializer_function_ser_schema(format_decimal, when_used="json"),
        )

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        return {"type": "string", "pattern": r"^-?[0-9]+(\.[0-9]+)?$"}


DecimalText = Annotated[Decimal, _DecimalText()]
Revision = Annotated[int, Field(strict=True, ge=0, le=MAX_REVISION)]
Period = Annotated[str, Field(strict=True, pattern=r"^\d{4}-(0[1-9]|1[0-2])$")]
"""A billing period: YYYY-MM."""


class Previous(BaseModel):
    """The last committed record of the same key, so that a ledger can be a running sum. Outside the law of revisions."""

    model_config = ConfigDict(frozen=True, extra="ignore", use_attribute_docstrings=True)

    revision: Revision
    """The revision of the record that this one replaces."""
    quantity: DecimalText
    """Its quantity."""
    amount: DecimalText | None = None
    """Its amount; absent where it had no price."""


class RatedUsage(BaseModel):
    """What one tenant owes for one SKU in one window, as of one revision. A revision determines the content."""

    model_config = ConfigDict(frozen=True, extra="ignore", use_attribute_docstrings=True)

    tenant_id: Owner
    """A tenant; `_pool` or `_idle` for GPU capacity that no tenant has, which is never charged."""
    sku: Annotated[str, TextRule(max_length=512)]
    """What was sold, as the rate card names it; `unrated/<meter>` without a price, `uncharged/...` where nothing is charged."""
    meter: Name
    """What was counted: `input_uncached`, `output`, `gpu_seconds`, `requests`, `units.<name>`, ..."""
    kind: RecordKind
    """usage; unrated (no price yet, so no amount); minimum (what is missing to a minimum); commitment; flat_fee; credit;
    sla_credit; adjustment (usage that came after its period had closed)."""
    window_kind: WindowKind
    """hour: a rating window (60 minutes unless the deployment has others); period: a whole billing period."""
    window_start: Instant
    """The beginning of the window, included."""
    window_end: Instant
    """The end of the window, not included."""
    billing_period: Period
    """The calendar month in UTC on whose invoice the record stands, YYYY-MM."""
    service_period: Period
    """The calendar month in UTC it is for, YYYY-MM; before `billing_period` for late usage, after it for fees in advance."""
    quantity: DecimalText
    """The total of the window in `unit`, never an increment. At most 9 decimals."""
    unit: Name
    """What `quantity` counts: tokens, seconds, requests, images, joules, months, units."""
    amount: DecimalText | None = None
    """Money of the window in `currency`, not rounded: at most 12 decimals. Absent for unrated usage."""
    currency: Annotated[str, Field(strict=True, pattern=r"^[A-Z]{3}$")] | None = None
    """ISO 4217 code of `amount`; absent for usage without a price and for capacity."""
    card_id: Name | None = None
    """The rate card that priced it; absent for usage without a price and where nothing is left."""
    card_version: Annotated[int, Field(strict=True, ge=0)] | None = None
    """The version of that card."""
    provisional: Annotated[bool, Field(strict=True)] = False
    """Whether the month that made it is open. A closed period's records change no more, except by an operator's order."""
    dimensions: dict[str, str] = Field(default_factory=dict)
    """What the SKU matched on: model, endpoint, region, service_tier, gpu_type, ..."""
    seller_id: Name | None = None
    """Who sells, where an operator bills for several sellers."""
    revision: Revision
    """Log epoch x 2^40 + offset. Of the records with one key the highest revision is the truth; it determines the content."""
    previous: Previous | None = None
    """The last committed record of the same key; absent on the first."""

    @property
    def key(self) -> bytes:
        """The key of the Kafka record."""
        return record_key(
            self.tenant_id,
            self.sku,
            self.kind,
            self.window_kind,
            format_instant(self.window_start),
            self.service_period,
        )


def record_key(
    tenant_id: str, sku: str, kind: str, window_kind: str, window_start: str | datetime, service_period: str
) -> bytes:
    """The key of a rated record: each part as `<length in bytes>:<text>`, so that no two keys can be confused.

    `window_start` is RFC 3339 in UTC with a Z, or a datetime.
    """
    start = window_start if isinstance(window_start, str) else format_instant(window_start)
    parts = []
    for text in (tenant_id, sku, kind, window_kind, start, service_period):
        raw = text.encode()
        parts.append(b"%d:%b" % (len(raw), raw))
    return b"".join(parts)


def parse_record_key(key: bytes) -> tuple[str, str, str, str, str, str]:
    """The parts of `record_key`: tenant, SKU, kind, window kind, window start, service period. DecodeError if it is none."""
    parts: list[str] = []
    position = 0
    try:
        while position < len(key):
            colon = key.index(b":", position)
            end = colon + 1 + int(key[position:colon])
            if not key[position:colon].isdigit() or end > len(key):
                raise ValueError("length")
            parts.append(key[colon + 1 : end].decode())
            position = end
        tenant_id, sku, kind, window_kind, window_start, service_period = parts
    except ValueError:
        raise DecodeError(f"not the key of a rated record: {key[:80]!r}") from None
    return tenant_id, sku, kind, window_kind, window_start, service_period


def encode_rated(record: RatedUsage | Mapping[str, object]) -> bytes:
    """The value of the Kafka record: JSON with sorted names, so equal content is equal bytes.

    A mapping is written as it stands, unchecked (the fast path): Decimals become canonical text, aware datetimes RFC 3339.
    """
    if isinstance(record, RatedUsage):
        record = record.model_dump(mode="json", exclude_none=True)
    return orjson.dumps(record, default=_as_text, option=orjson.OPT_SORT_KEYS | orjson.OPT_UTC_Z | orjson.OPT_NAIVE_UTC)


def _as_text(value: object) -> str:
    if isinstance(value, Decimal):
        return format_decimal(value)
    raise TypeError(type(value).__name__)


def decode_rated(value: bytes) -> RatedUsage:
    """The record of a Kafka value. DecodeError: not JSON or not this contract."""
    try:
        return RatedUsage.model_validate(orjson.loads(value))
    except ValueError as error:  # JSONDecodeError and pydantic's ValidationError are both
        text = " ".join(str(error).split())[:300]
        raise DecodeError(f"not a rated record: {text}") from None


def rated_headers(key: bytes, revision: int, source: str) -> RecordHeaders:
    """CloudEvents headers (binary mode) of a rated record; its id is the key and the revision, so it never repeats."""
    return [
        ("ce_specversion", b"1.0"),
        ("ce_id", b"%b@%d" % (key, revision)),
        ("ce_source", source.encode()),
        ("ce_type", Kind.RATED_USAGE.encode()),
        (CONTENT_TYPE, JSON.encode()),
    ]
