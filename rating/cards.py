"""Rate cards: what a tenant pays, as one immutable, validated value.

`parse_card` is the door: it takes plain data (what a YAML or JSON file holds) and gives a card or everything that is
wrong with it, each problem with its path. `RateCard.document()` is the way back.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import cached_property
from typing import TYPE_CHECKING, Any, Self

from pydantic import (
    PrivateAttr,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)

from rating.aggregations.fields import Counting, counted_meter, counting_problem
from rating.card_fields import (
    DIMENSIONS,
    LONGEST_ID,
    Currency,
    Instant,
    MeterName,
    Name,
    Status,
    Template,
    Text,
    Version,
    instant_text,
)
from rating.errors import CardError, CardProblem, did_you_mean
from rating.marketplace import RevenueShare
from rating.match import Match
from rating.meters import Meter, is_custom, leaves_of, meter
from rating.models import PriceModel
from rating.modifiers import Modifiers
from rating.selectors import AnyCharge, Selector
from rating.selectors.cells import CellOf, cells_of, plain_charge
from rating.sla import SlaTerm
from rating.terms.fields import CardTerms, FlatFee, LineTerms, Minimum
from rating.usage import DEFAULT_CONTEXT_EDGES
from rating.windows import HOUR, WindowSize

if TYPE_CHECKING:
    from rating.aggregations.demands import Demand
    from rating.overrides import Overrides
    from rating.skus import Router

_PLACEHOLDER = re.compile(r"\{([^{}]*)\}")
_DIGEST = 64
_LATER_IN_CARDS: Mapping[str, object] = {"discounts": [], "tax": [], "revenue_shares": [], "sla": []}
"""Fields that cards of the first release did not have, with what they are when nothing is said: left out of documents."""
_LATER_IN_SKUS: Mapping[str, object] = {"aggregation": "sum", "tier_scope": "period"}
_LATER_IN_FEES: Mapping[str, object] = {"in_advance": False, "prorate": False}


class Sku(LineTerms, Modifiers, Counting):
    """One thing that is sold: which meter of which usage, and at what price.

    `sku` is the id of the line, or a template such as `{model}/input`: then every distinct value is a line of its own
    with tiers of its own. `unit` names the unit of a custom meter. `seller_id` is for resold services.
    """

    sku: Template
    """Id of the invoice line, or a template of ids such as `{model}/input`."""
    meter: MeterName
    """What is counted: a meter, a group of meters (`input`, `output`) or `units.<name>`."""
    match: Match = Match()
    """What usage it is for; left out: all."""
    charge: AnyCharge
    """The price model and its prices, or a choice of them by dimension, length of the request or time."""
    unit: Text | None = None
    """Name of the unit of a custom meter."""
    description: str | None = None
    """For people."""
    seller_id: Text | None = None
    """Who sells it, where it is resold."""
    _cell: CellOf | None = PrivateAttr(default=None)

    @field_validator("sku")
    @classmethod
    def _check_placeholders(cls, value: str) -> str:
        names = _PLACEHOLDER.findall(value)
        for name in names:
            if name not in DIMENSIONS:
                known = did_you_mean(name, DIMENSIONS) or f": use one of {', '.join(DIMENSIONS)}"
                raise ValueError(f"there is no {{{name}}}{known}")
        rest = _PLACEHOLDER.split(value)[::2]
        if any("{" in part or "}" in part for part in rest):
            raise ValueError("an opening or closing brace is missing")
        if len(set(names)) != len(names):
            raise ValueError("a placeholder stands twice: leave one out")
        if any("/" not in part for part in rest[1:-1]):
            raise ValueError("put a '/' between two placeholders, so that ids stay distinct")
        return value

    @model_validator(mode="after")
    def _check_unit(self) -> Self:
        problem = counting_problem(self.meter, self.aggregation)
        if problem is not None:
            raise ValueError(problem)
        if self.unit is not None and not is_custom(self.meter):
            raise ValueError(f"the unit of {self.meter} is {meter(self.meter).unit}: leave `unit` out")
        return self

    @property
    def cell(self) -> CellOf | None:
        """Which cell of which SKU this is; None for a SKU as the card has it."""
        return self._cell

    @property
    def cells(self) -> tuple[Sku, ...]:
        """What its charge chooses among, each as a SKU with one price model; the SKU itself if its charge is one."""
        return self._cells if isinstance(self.charge, Selector) else (self,)

    @cached_property
    def _cells(self) -> tuple[Sku, ...]:
        return cells_of(self)

    @property
    def price_model(self) -> PriceModel:
        """The charge of a cell. Raises TypeError for a SKU that has several."""
        return plain_charge(self)

    def as_cell(self, cell: CellOf, **fields: object) -> Sku:
        """This SKU with other values of some fields, as one of its cells."""
        found = self.model_copy(update=fields)
        for name in found.__dict__.keys() - type(self).model_fields.keys():
            del found.__dict__[name]  # what was computed from the fields that are replaced
        found._cell = cell
        return found

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
        return counted_meter(self.meter, self.aggregation, self.unit)

    def id_for(self, values: Mapping[str, str]) -> str:
        """The id of the line for these dimension values.

        With two or more placeholders, `/` and `%` inside a value are percent-encoded, so that two different value pairs
        never make one id. With one placeholder the value stands as it is (`meta-llama/Llama-3/input`). An id that a
        rated record could not hold is cut and ends with a digest of the whole.
        """
        return fitting_id(self._whole_id(values))

    def id_pattern(self) -> str:
        """A pattern that covers every id that this SKU can produce; without wildcards if there is only one."""
        constraints = self.match.constraints()
        return self._whole_id({name: constraints.get(name, "*") for name in self.placeholders})

    def _whole_id(self, values: Mapping[str, str]) -> str:
        names = self.placeholders
        if not names:
            return self.sku
        several = len(names) > 1
        return _PLACEHOLDER.sub(lambda found: _encoded(values[found[1]], several), self.sku)


def _encoded(value: str, several: bool) -> str:
    return value.replace("%", "%25").replace("/", "%2F") if several else value


def fitting_id(sku_id: str) -> str:
    """The id itself, or, when a rated record could not hold it, its beginning and the SHA-256 of the whole."""
    if len(sku_id) <= LONGEST_ID:
        return sku_id
    return f"{sku_id[: LONGEST_ID - _DIGEST - 1]}~{hashlib.sha256(sku_id.encode()).hexdigest()}"


class RateCard(CardTerms):
    """One version of a card. Made by `parse_card`, which also checks what one field alone does not show."""

    id: Name
    """Name of the card; its versions share it."""
    version: Version
    """Number of this version: a published version never changes, a new price is a new version."""
    currency: Currency
    """Currency of all prices, by ISO 4217."""
    effective_from: Instant
    """First instant that this version prices: the start of a window (a whole hour, unless the deployment says otherwise)."""
    effective_to: Instant | None = None
    """First instant that it prices no more, e.g. the end of a promotion: then the version before it holds again."""
    description: str | None = None
    """For people."""
    charge_status: tuple[Status, ...] = ("success", "aborted")
    """Requests that are charged, by how they ended; others are rated at 0."""
    not_charged: tuple[MeterName, ...] = ()
    """Meters that are measured but not sold; a meter that is neither priced nor listed here becomes unrated usage."""
    skus: tuple[Sku, ...] = ()
    """What is sold."""
    flat_fees: tuple[FlatFee, ...] = ()
    """What a month costs beside usage."""
    minimum: Minimum | None = None
    """The least that the usage of a month costs."""
    revenue_shares: tuple[RevenueShare, ...] = ()
    """What sellers get of the amounts of their SKUs."""
    sla: tuple[SlaTerm, ...] = ()
    """Service levels of a month, and what is credited when they are missed."""
    _overrides: Overrides | None = PrivateAttr(default=None)

    @field_validator("effective_from", "effective_to")
    @classmethod
    def _check_alignment(cls, value: datetime | None, info: ValidationInfo) -> datetime | None:
        window: WindowSize = (info.context or {}).get("window", HOUR)
        if value is not None and not window.is_start(value):
            before = window.start(window.index_of(value))
            raise ValueError(
                f"{instant_text(value)} cuts a window: it is not the start of a window of {window.minutes} minutes, "
                f"use '{instant_text(before)}' or '{instant_text(window.end(window.index_of(value)))}'"
            )
        return value

    @property
    def cells(self) -> tuple[Sku, ...]:
        """Everything that has one price model: the cells of all SKUs, in the order of the card."""
        return tuple(cell for sku in self.skus for cell in sku.cells)

    @property
    def overrides(self) -> Overrides | None:
        """The charges of one tenant that replace the card's own; None for the card as published."""
        return self._overrides

    def with_overrides(self, overrides: Overrides | None) -> RateCard:
        """This card with other charges for some SKUs. Equal overrides give the same object, for as long as the card lives."""
        if not overrides:
            return self
        found = self._variants.get(overrides)
        if found is None:
            found = self._variants[overrides] = self.varied(overrides.fees(self), overrides)
        return found

    def varied(self, fields: Mapping[str, object], overrides: Overrides | None) -> RateCard:
        """This card with other values of some fields, which are not checked again, and these overrides."""
        values = {name: getattr(self, name) for name in type(self).model_fields}
        found = type(self).model_construct(**{**values, **fields})
        found._overrides = overrides
        return found

    @cached_property
    def _variants(self) -> dict[Overrides, RateCard]:
        return {}

    @cached_property
    def demands(self) -> frozenset[Demand]:
        """What has to be gathered for this card beyond what always is."""
        from rating.aggregations.demands import demands_of

        return demands_of(self)

    def lacking(self, missing: frozenset[Demand]) -> RateCard:
        """This card in windows in which `missing` was not gathered: without the SKUs that ask for it."""
        if not missing:
            return self
        found = self._lacking.get(missing)
        if found is None:
            from rating.aggregations.demands import card_without

            found = self._lacking[missing] = card_without(self, missing)
        return found

    @cached_property
    def _lacking(self) -> dict[frozenset[Demand], RateCard]:
        return {}

    @cached_property
    def level_meters(self) -> frozenset[str]:
        """The custom meters whose events are changes of a level."""
        return frozenset(sku.meter for sku in self.skus if sku.aggregation == "time_weighted")

    @cached_property
    def router(self) -> Router:
        """Finds the line of a leaf meter; it remembers what it found, for as long as the card lives."""
        from rating.skus import Router

        return Router(self)

    def document(self) -> dict[str, Any]:
        """The card as plain JSON data (money as strings), from which `parse_card` makes an equal card.

        It stays the same over releases, since it is what was published: publishing the same file again must not differ.
        """
        found = self.model_dump(mode="json", exclude_none=True)
        for fields, items in (
            (_LATER_IN_CARDS, [found]),
            (_LATER_IN_SKUS, found["skus"]),
            (_LATER_IN_FEES, found["flat_fees"]),
        ):
            for item in items:
                for name, default in fields.items():
                    if item.get(name) == default:
                        del item[name]
        return found


def parse_card(
    data: object, *, window: WindowSize = HOUR, context_edges: Sequence[int] = DEFAULT_CONTEXT_EDGES
) -> RateCard:
    """The card that plain data (a mapping as YAML or JSON gives it) describes.

    Raises CardError with every problem and its path. Money must be strings or integers, never floats.
    """
    # Imported here, since both modules need the card types of this one.
    from rating.card_checks import check_card, check_readable
    from rating.card_problems import explain

    if not isinstance(data, Mapping):
        raise CardError([CardProblem((), "a card is a mapping with id, version, currency, effective_from and skus")])
    context = {"window": window, "context_edges": tuple(context_edges)}
    try:
        card = RateCard.model_validate(data, context=context)
    except ValidationError as error:
        problems = [explain(detail, data) for detail in error.errors(include_url=False)]
        said = {problem.path for problem in problems}
        problems += [problem for problem in check_readable(data, context) if problem.path not in said]
        raise CardError(problems) from None
    problems = check_card(card, window)
    if problems:
        raise CardError(problems)
    return card
