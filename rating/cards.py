"""Rate cards: what a tenant pays, as one immutable, validated value.

`parse_card` is the door: it takes plain data (what a YAML or JSON file holds) and gives a card or everything that is
wrong with it, each problem with its path. `RateCard.document()` is the way back.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from functools import cached_property
from typing import TYPE_CHECKING, Annotated, Any, Self

from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    PlainSerializer,
    PrivateAttr,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)

from rating.errors import CardError, CardProblem, MeterError, did_you_mean
from rating.meters import GROUP_METERS, LEAF_NAMES, Meter, is_custom, leaves_of, meter
from rating.models import Charge
from rating.models.base import Money
from rating.money import CURRENCY_EXPONENTS
from rating.usage import DEFAULT_CONTEXT_EDGES
from rating.windows import HOUR, WindowSize

if TYPE_CHECKING:
    from rating.skus import Router

DIMENSIONS: tuple[str, ...] = ("model", "endpoint", "region", "service_tier", "gpu_type", "operation")
"""What a SKU can match with an exact value or a pattern, and what its id template may name."""
RESERVED_PREFIXES = ("unrated/", "uncharged/")
"""Starts of SKU ids that belong to usage without a price."""

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}", re.ASCII)
_PLACEHOLDER = re.compile(r"\{([^{}]*)\}")
_TEMPLATE = re.compile(r"[^\x00-\x20\x7f*?]{1,256}")


def _name(value: str) -> str:
    if not _NAME.fullmatch(value):
        raise ValueError(
            f"{value!r}: use letters, digits, '.', '_' and '-', at most 128, starting with a letter or digit"
        )
    return value


def _meter_name(value: str) -> str:
    try:
        return meter(value).name
    except MeterError as error:
        known = [*LEAF_NAMES, *GROUP_METERS]
        raise ValueError(f"{error}{did_you_mean(value, known)}") from error


def _instant(value: object) -> object:
    """YAML gives a datetime, JSON a string; a number is refused: seconds or a year?"""
    if isinstance(value, datetime | str):
        return value
    raise ValueError("write an instant such as '2026-01-01T00:00:00Z'")


def _integer(value: object) -> object:
    if isinstance(value, bool) or not isinstance(value, int):
        raise ValueError(f"{value!r} is not a whole number")
    return value


def instant_text(value: datetime) -> str:
    """An instant as RFC 3339 in UTC, e.g. 2026-01-01T00:00:00Z."""
    return value.astimezone(UTC).isoformat().replace("+00:00", "Z")


def _utc(value: datetime) -> datetime:
    return value.astimezone(UTC)


Name = Annotated[str, AfterValidator(_name)]
MeterName = Annotated[str, AfterValidator(_meter_name)]
Integer = Annotated[int, BeforeValidator(_integer)]
Instant = Annotated[
    AwareDatetime, BeforeValidator(_instant), AfterValidator(_utc), PlainSerializer(instant_text, return_type=str)
]


class _Document(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class ContextRange(_Document):
    """Requests whose total input, cached included, is above `above` and at most `up_to` tokens.

    Both must be edges of the deployment's context brackets. `brackets` is the range of bracket indexes they mean.
    """

    above: Integer | None = None
    up_to: Integer | None = None
    _brackets: tuple[int, int] = PrivateAttr(default=(0, 0))

    @model_validator(mode="after")
    def _resolve(self, info: ValidationInfo) -> Self:
        edges: Sequence[int] = (info.context or {}).get("context_edges", DEFAULT_CONTEXT_EDGES)
        for value in (self.above, self.up_to):
            if value is not None and value not in edges:
                raise ValueError(
                    f"{value} is not an edge of the context brackets: use one of {', '.join(map(str, edges))}"
                )
        if self.above is None and self.up_to is None:
            raise ValueError("give above, up_to or both")
        low = 0 if self.above is None else bisect_left(edges, self.above) + 1
        high = len(edges) if self.up_to is None else bisect_left(edges, self.up_to)
        if low > high:
            raise ValueError(f"no request is above {self.above} and at most {self.up_to} tokens")
        self._brackets = (low, high)
        return self

    @property
    def brackets(self) -> tuple[int, int]:
        """First and last bracket index, both included."""
        return self._brackets


class Match(_Document):
    """What usage a SKU is for: an exact value or a pattern (`*`, `?`) per dimension; what is left out matches all."""

    model: str | None = None
    endpoint: str | None = None
    region: str | None = None
    service_tier: str | None = None
    gpu_type: str | None = None
    operation: str | None = None
    context_bracket: ContextRange | None = None

    def constraints(self) -> dict[str, str]:
        """The dimensions that are matched with text, in their fixed order."""
        found = ((name, getattr(self, name)) for name in DIMENSIONS)
        return {name: value for name, value in found if value is not None}


class Sku(_Document):
    """One thing that is sold: which meter of which usage, and at what price.

    `sku` is the id of the line, or a template such as `{model}/input`: then every distinct value is a line of its own
    with tiers of its own. `unit` names the unit of a custom meter. `seller_id` is for resold services.
    """

    sku: str
    meter: MeterName
    match: Match = Match()
    charge: Charge
    unit: str | None = None
    description: str | None = None
    seller_id: str | None = None

    @field_validator("sku")
    @classmethod
    def _check_template(cls, value: str) -> str:
        if not _TEMPLATE.fullmatch(value):
            raise ValueError("a SKU id has 1 to 256 characters, no spaces and no '*' or '?'")
        if value.startswith(RESERVED_PREFIXES):
            raise ValueError(f"ids that start with {' or '.join(RESERVED_PREFIXES)} are reserved")
        names = _PLACEHOLDER.findall(value)
        for name in names:
            if name not in DIMENSIONS:
                raise ValueError(f"there is no {{{name}}}{did_you_mean(name, DIMENSIONS)}")
        rest = _PLACEHOLDER.split(value)[::2]
        if any("{" in part or "}" in part for part in rest):
            raise ValueError("an opening or closing brace is missing")
        if len(set(names)) != len(names):
            raise ValueError("a placeholder stands twice")
        if any("/" not in part for part in rest[1:-1]):
            raise ValueError("put a '/' between two placeholders, so that ids stay distinct")
        return value

    @model_validator(mode="after")
    def _check_unit(self) -> Self:
        if self.unit is not None and not is_custom(self.meter):
            raise ValueError(f"the unit of {self.meter} is {meter(self.meter).unit}: leave `unit` out")
        return self

    @property
    def placeholders(self) -> tuple[str, ...]:
        """The dimensions that the id template names."""
        return tuple(_PLACEHOLDER.findall(self.sku))

    @property
    def leaves(self) -> tuple[str, ...]:
        """The leaf (or custom) meters that this SKU prices."""
        return leaves_of(self.meter)

    @property
    def measure(self) -> Meter:
        """The meter with the unit that lines show."""
        found = meter(self.meter)
        return Meter(found.name, self.unit, found.decimals) if self.unit else found

    def id_for(self, values: Mapping[str, str]) -> str:
        """The id of the line for these dimension values.

        With two or more placeholders, `/` and `%` inside a value are percent-encoded, so that two different value pairs
        never make one id. With one placeholder the value stands as it is (`meta-llama/Llama-3/input`).
        """
        names = self.placeholders
        if not names:
            return self.sku
        several = len(names) > 1
        return _PLACEHOLDER.sub(lambda found: _encoded(values[found[1]], several), self.sku)

    def id_pattern(self) -> str:
        """A pattern that covers every id that this SKU can produce; without wildcards if there is only one."""
        constraints = self.match.constraints()
        return self.id_for({name: constraints.get(name, "*") for name in self.placeholders})


def _encoded(value: str, several: bool) -> str:
    return value.replace("%", "%25").replace("/", "%2F") if several else value


class FlatFee(_Document):
    """A fixed amount for each billing period, in arrears."""

    sku: str
    amount: Money
    description: str | None = None

    _check_sku = field_validator("sku")(lambda value: _plain_sku(value))


class Minimum(_Document):
    """The least that the usage of a billing period costs: the difference is charged as a line of its own."""

    sku: str
    amount: Money
    description: str | None = None

    _check_sku = field_validator("sku")(lambda value: _plain_sku(value))


def _plain_sku(value: str) -> str:
    if not _TEMPLATE.fullmatch(value) or "{" in value or "}" in value or value.startswith(RESERVED_PREFIXES):
        raise ValueError("an id has 1 to 256 characters, no spaces, no '*', '?', '{' or '}', and no reserved start")
    return value


class RateCard(_Document):
    """One version of a card. Made by `parse_card`, which also checks what one field alone does not show."""

    id: Name
    version: Integer
    currency: str
    effective_from: Instant
    description: str | None = None
    charge_status: tuple[str, ...] = ("success", "aborted")
    not_charged: tuple[MeterName, ...] = ()
    skus: tuple[Sku, ...] = ()
    flat_fees: tuple[FlatFee, ...] = ()
    minimum: Minimum | None = None

    @field_validator("version")
    @classmethod
    def _check_version(cls, value: int) -> int:
        if not 1 <= value < 2**31:
            raise ValueError(f"{value} is not a version: count from 1")
        return value

    @field_validator("currency")
    @classmethod
    def _check_currency(cls, value: str) -> str:
        if value not in CURRENCY_EXPONENTS:
            hint = value.upper() if value.upper() in CURRENCY_EXPONENTS else None
            raise ValueError(f"{value!r} is not a currency of ISO 4217" + (f", did you mean {hint}?" if hint else ""))
        return value

    @field_validator("effective_from")
    @classmethod
    def _check_alignment(cls, value: datetime, info: ValidationInfo) -> datetime:
        window: WindowSize = (info.context or {}).get("window", HOUR)
        if not window.is_start(value):
            raise ValueError(f"{instant_text(value)} is not the start of a window of {window.minutes} minutes")
        return value

    @cached_property
    def router(self) -> Router:
        """Finds the line of a leaf meter; it remembers what it found, for as long as the card lives."""
        from rating.skus import Router

        return Router(self)

    def document(self) -> dict[str, Any]:
        """The card as plain JSON data (money as strings), from which `parse_card` makes an equal card."""
        return self.model_dump(mode="json", exclude_none=True)


def parse_card(
    data: object, *, window: WindowSize = HOUR, context_edges: Sequence[int] = DEFAULT_CONTEXT_EDGES
) -> RateCard:
    """The card that plain data (a mapping as YAML or JSON gives it) describes.

    Raises CardError with every problem and its path. Money must be strings or integers, never floats.
    """
    # Imported here, since both modules need the card types of this one.
    from rating.card_checks import check_card
    from rating.card_problems import explain

    if not isinstance(data, Mapping):
        raise CardError([CardProblem((), "a card is a mapping with id, version, currency, effective_from and skus")])
    try:
        card = RateCard.model_validate(data, context={"window": window, "context_edges": tuple(context_edges)})
    except ValidationError as error:
        raise CardError([explain(detail, data) for detail in error.errors(include_url=False)]) from None
    problems = check_card(card)
    if problems:
        raise CardError(problems)
    return card
