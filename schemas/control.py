"""Control records: what changes amounts beside usage. They lie in the log of the tenants they concern, as CloudEvents."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from types import MappingProxyType
from typing import Any, Final, Self

import orjson
from pydantic import BaseModel, ConfigDict, ValidationError, field_validator, model_validator

from schemas.cloudevents import CloudEvent, decode, envelope_headers
from schemas.decimals import find_float
from schemas.errors import SchemaError
from schemas.fields import Instant, Name
from schemas.headers import RawHeaders, RecordHeaders
from schemas.kinds import Kind
from schemas.rerating import RerateOrdered
from schemas.wallets import WalletGranted, WalletTransferred, WalletVoided

DEFAULT_ACCOUNT: Final = "*"
"""The `tenant_id` of the assignment of the deployment's default card."""
LARGEST_DOCUMENT_BYTES: Final = 512 * 1024
"""A card, or a tenant's prices, as JSON: it has to fit a record of the state topic, which brokers limit to 1 MiB."""


class RateCardActivated(BaseModel):
    """A version of a rate card becomes known. `card` is the document as published, money and prices as text."""

    model_config = ConfigDict(frozen=True, extra="ignore", use_attribute_docstrings=True)

    card: dict[str, Any]
    """The rate card as published; prices and quantities are text."""
    published_at: Instant
    """When it was published. When it takes effect is in the card."""
    published_by: Name
    """Who published it."""

    @field_validator("card")
    @classmethod
    def _no_floats(cls, card: dict[str, Any]) -> dict[str, Any]:
        place = find_float(card, "card")
        if place:
            raise ValueError(f"{place} is a float: write amounts and quantities as text")
        return card


class AccountAssigned(BaseModel):
    """A tenant is charged by a card from `effective_from` until `effective_to` (open if absent); "*" is every other tenant."""

    model_config = ConfigDict(frozen=True, extra="ignore", use_attribute_docstrings=True)

    tenant_id: Name
    """The tenant; `*` is every tenant without an assignment of its own."""
    card_id: Name
    """The card, of any version: the version in force at the hour of usage prices it."""
    effective_from: Instant
    """From when, included."""
    effective_to: Instant | None = None
    """Until when, not included; absent: open."""
    assigned_by: Name | None = None
    """Who assigned it."""
    seller_id: Name | None = None
    """Who sells to the tenant; it is written on the rated records."""
    plan: Name | None = None
    """The plan that card and overrides were taken from: for people, it decides nothing."""
    overrides: dict[str, dict[str, Any]] | None = None
    """Prices of the tenant's own: SKU id (a line or a template of the card) to the charge that replaces the card's."""

    @field_validator("overrides")
    @classmethod
    def _no_floats(cls, overrides: dict[str, dict[str, Any]] | None) -> dict[str, dict[str, Any]] | None:
        place = find_float(overrides, "overrides")
        if place:
            raise ValueError(f"{place} is a float: write amounts and quantities as text")
        return overrides

    @model_validator(mode="after")
    def _times_in_order(self) -> Self:
        if self.effective_to is not None and self.effective_to <= self.effective_from:
            raise ValueError("effective_to must be after effective_from")
        return self


class Tick(BaseModel):
    """Event time of a quiet partition has reached `time`, although no event says so."""

    model_config = ConfigDict(frozen=True, extra="ignore", use_attribute_docstrings=True)

    time: Instant
    """The event time that has been reached."""


ControlRecord = (
    RateCardActivated | AccountAssigned | Tick | RerateOrdered | WalletGranted | WalletVoided | WalletTransferred
)

CONTROL_TYPES: Final[Mapping[str, type[ControlRecord]]] = MappingProxyType(
    {
        Kind.RATE_CARD: RateCardActivated,
        Kind.ASSIGNMENT: AccountAssigned,
        Kind.TICK: Tick,
        Kind.RERATE: RerateOrdered,
        Kind.WALLET_GRANT: WalletGranted,
        Kind.WALLET_VOID: WalletVoided,
        Kind.WALLET_TRANSFER: WalletTransferred,
    }
)
"""CloudEvents type to model."""
_KINDS: Final = {model: kind for kind, model in CONTROL_TYPES.items()}


def encode_control(
    record: ControlRecord,
    id: str,
    source: str,
    time: datetime,
) -> tuple[bytes, RecordHeaders]:
    """Value and headers of the Kafka record: a CloudEvent in binary mode."""
    # Absent fields are left out here and not by exclude_none, which would reach into the card and change it.
    data = {name: value for name, value in record.model_dump(mode="json").items() if value is not None}
    return orjson.dumps(data, option=orjson.OPT_SORT_KEYS), envelope_headers(_KINDS[type(record)], id, source, time)


def decode_control(value: bytes | None, headers: RawHeaders) -> ControlRecord:
    """The control record of a Kafka record, structured or binary. DecodeError or SchemaError `invalid_*` where it is none."""
    return control_from_event(decode(value, headers))


def control_from_event(event: CloudEvent) -> ControlRecord:
    """The control record of an event that is decoded already. SchemaError `invalid_type` or `invalid_<field>`."""
    model = CONTROL_TYPES.get(event.type)
    if model is None:
        raise SchemaError(
            "invalid_type", f"type {event.type[:80]!r} is not a control record: {', '.join(CONTROL_TYPES)}"
        )
    try:
        return model.model_validate(event.data)
    except RecursionError:
        raise SchemaError("invalid_record", "the control record is nested too deeply") from None
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        name = ".".join(str(part) for part in first["loc"]) or "record"
        raise SchemaError(f"invalid_{name.partition('.')[0]}", f"{name}: {first['msg']}", {"field": name}) from None
