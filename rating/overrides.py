"""Prices of one tenant: charges that replace those of a card's SKUs, for as long as an assignment holds.

An override names a SKU as the card does (`{model}/output`: every line that this template makes) or one line of it
(`llama-70b/output`); the line goes before the template. Where the charge of a SKU has cells, `llama-70b/output/eu` and
`{model}/output/eu` are one cell, and the ids without a cell mean all of them; the cell goes before the whole. The card's
routing stays: an override changes what a line costs, never which usage is on it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ValidationError

from rating import patterns
from rating.errors import CardError, CardProblem, MoneyError, did_you_mean
from rating.models import Charge, Flat, Package, PriceModel
from rating.modifier_checks import misfits
from rating.money import currency_exponent, exact_decimal, plain, round_to_currency

if TYPE_CHECKING:
    from rating.cards import RateCard, Sku
    from rating.terms.fields import CardCommitment, Maximum, Minimum

OVERRIDE = "override"
"""The dimension of a rated record that says which price of the tenant's own was applied: `charge_digest` of it."""
_ROOT = "overrides"


@dataclass(frozen=True, slots=True)
class Overrides:
    """SKU id to charge, in the order of the ids; equal content is equal. Made by `parse_overrides` or `overrides_for`."""

    charges: tuple[tuple[str, PriceModel], ...]

    def __bool__(self) -> bool:
        return bool(self.charges)

    def charge_for(self, *names: str) -> PriceModel | None:
        """The charge of a line that may be called by these names, the most specific first; None if none is named."""
        charges = dict(self.charges)
        return next((charges[name] for name in names if name in charges), None)

    def fees(self, card: RateCard) -> dict[str, object]:
        """The card's fees, commitment, cap and minimum with the amounts that are named here, as fields of the card."""
        amounts = {sku: charge.amount for sku, charge in self.charges if isinstance(charge, Flat)}
        found: dict[str, object] = {
            "flat_fees": tuple(fee.model_copy(update=_amount(amounts, fee.sku)) for fee in card.flat_fees)
        }
        for name, term in _terms(card).items():
            found[name] = term.model_copy(update=_amount(amounts, term.sku))
        return found

    def by_digest(self) -> dict[str, PriceModel]:
        """The charges by what rated records call them."""
        return {charge_digest(charge): charge for _, charge in self.charges}

    def document(self) -> dict[str, Any]:
        """Plain JSON data (money as text), from which `parse_overrides` makes equal overrides."""
        return {sku: charge.model_dump(mode="json", exclude_none=True) for sku, charge in self.charges}


def _amount(amounts: Mapping[str, Decimal], sku: str) -> dict[str, Decimal]:
    return {"amount": amounts[sku]} if sku in amounts else {}


@lru_cache(maxsize=65_536)
def charge_digest(charge: PriceModel) -> str:
    """16 hexadecimal digits that only this charge has: the start of the SHA-256 of its canonical JSON."""
    text = json.dumps(charge.model_dump(mode="json", exclude_none=True), sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


class _One(BaseModel):
    charge: Charge


def parse_overrides(data: object) -> Overrides:
    """The overrides that plain data says: a mapping of SKU id to charge. Raises CardError with every problem.

    What the ids mean is not asked: that takes the card (see `overrides_for`). An id that the card does not have prices
    nothing.
    """
    found, problems = _parse(data)
    if problems:
        raise CardError(problems)
    return found


def overrides_for(card: RateCard, data: object) -> Overrides:
    """Overrides of this card. Besides a whole charge, a value may be a price alone: the `per` of the SKU stays.

    Raises CardError with every problem: also ids that the card does not have, and charges that do not fit.
    """
    if not isinstance(data, Mapping):
        return parse_overrides(data)
    problems: list[CardProblem] = []
    whole: dict[object, object] = {}
    for sku_id, value in data.items():
        place = (_ROOT, str(sku_id))
        try:
            whole[sku_id] = _whole(card, str(sku_id), value)
        except ValueError as error:
            problems.append(CardProblem(place, str(error)))
    found, wrong = _parse(whole)
    problems += wrong
    for sku_id, charge in found.charges:
        problems += [CardProblem((_ROOT, sku_id), reason) for reason in _misfits(card, sku_id, charge)]
    if problems:
        raise CardError(problems)
    return found


def _parse(data: object) -> tuple[Overrides, list[CardProblem]]:
    # Imported here: it needs the card types, which need this module.
    from rating.card_problems import explain

    if not isinstance(data, Mapping):
        return Overrides(()), [CardProblem((_ROOT,), "write a mapping of SKU id to charge")]
    charges: list[tuple[str, PriceModel]] = []
    problems: list[CardProblem] = []
    for sku_id, value in data.items():
        wrapped = {"charge": value}
        place = (_ROOT, str(sku_id))
        if not isinstance(sku_id, str):
            problems.append(CardProblem(place, "an id is text: put it in quotes"))
            continue
        try:
            charge = _One.model_validate(wrapped).charge
        except ValidationError as error:
            details = [explain(detail, wrapped, _One) for detail in error.errors(include_url=False)]
            problems += [CardProblem((*place, *detail.path[1:]), detail.message) for detail in details]
            continue
        problems += [CardProblem((*place, *path), message) for path, message in charge.problems()]
        charges.append((sku_id, charge))
    return Overrides(tuple(sorted(charges, key=lambda pair: pair[0]))), problems


def _whole(card: RateCard, sku_id: str, value: object) -> object:
    """The charge that a value means: itself, or for a price alone the one with the block of the SKU that it is for."""
    skus = skus_named(card, sku_id)
    fees = _fee_ids(card)
    if not skus and sku_id not in fees:
        known = [*(sku.sku for sku in (*card.skus, *card.cells)), *fees]
        hint = did_you_mean(sku_id, known) or f": use one of {', '.join(sorted(set(known)))}"
        raise ValueError(f"card {card.id} version {card.version} has no SKU {sku_id}{hint}")
    if isinstance(value, Mapping):
        return value
    exact_decimal(value)
    if sku_id in fees:
        return {"model": "flat", "amount": value}
    meant = [_price_alone(cell.price_model) for sku in skus for cell in sku.cells]
    if None in meant or any(other != meant[0] for other in meant):
        raise MoneyError(
            f"a price alone is not enough for {sku_id}: write the whole charge, e.g. "
            '{model: per_unit, price: "0.15", per: 1000000}'
        )
    return {**(meant[0] or {}), "price": value}


def _price_alone(charge: PriceModel) -> dict[str, str] | None:
    """What a price alone is the price of, in place of a charge: the block of units, or the package; None: nothing clear."""
    if isinstance(charge, Package):
        return {"model": "package", "size": plain(charge.size)}
    per = getattr(charge, "per", None)
    if not isinstance(per, Decimal) or any(segment.basis != "units" for segment in charge.segments()):
        return None
    return {"model": "per_unit", "per": plain(per)}


def _misfits(card: RateCard, sku_id: str, charge: PriceModel) -> Iterator[str]:
    if sku_id not in _fee_ids(card):
        for sku in skus_named(card, sku_id):
            yield from (message for _, message in misfits(sku, charge))
        return
    if not isinstance(charge, Flat):
        yield f'{sku_id} is a fixed amount of a month: write it alone or as {{model: flat, amount: "20.00"}}'
    elif round_to_currency(charge.amount, card.currency) != charge.amount:
        decimals = currency_exponent(card.currency)
        yield f"{plain(charge.amount)} has more than the {decimals} decimals of {card.currency}: round it"


def _fee_ids(card: RateCard) -> list[str]:
    return [fee.sku for fee in card.flat_fees] + [term.sku for term in _terms(card).values()]


def _terms(card: RateCard) -> dict[str, CardCommitment | Maximum | Minimum]:
    """The terms of a card that are a fixed amount of a month, by field."""
    terms = {"commitment": card.commitment, "maximum": card.maximum, "minimum": card.minimum}
    return {name: term for name, term in terms.items() if term is not None}


def skus_named(card: RateCard, sku_id: str) -> list[Sku]:
    """The SKUs of a card that an override's id is for: those with this template, else those that can make this line.

    A cell of a SKU goes by the template or line that its own name ends; the id without that name means all cells.
    """
    # A SKU with one price model is its own cell.
    sold = [*card.skus, *(cell for cell in card.cells if cell.cell is not None)]
    named = [sku for sku in sold if sku.sku == sku_id]
    if named:
        return named
    return [sku for sku in sold if patterns.matches(sku.id_pattern(), sku_id)]
