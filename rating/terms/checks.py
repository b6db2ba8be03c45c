"""What can be wrong with the terms of a card beyond the types of their fields."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING

from rating import patterns
from rating.errors import CardProblem, Path, format_path
from rating.models import Percentage
from rating.money import currency_exponent, plain, round_to_currency
from rating.terms.card import OVERAGE
from rating.terms.fields import CardCommitment, Discount, FlatFee, LineCommitment, Maximum, Minimum, Tax

if TYPE_CHECKING:
    from rating.cards import RateCard, Sku

_LINE_TERMS = ("minimum", "commitment")
"""The terms of a SKU that have lines of their own, which are called so."""


@dataclass(frozen=True, slots=True)
class TermParts:
    """The terms of a card that can be read, each list item with its position in the document."""

    flat_fees: Sequence[tuple[int, FlatFee]] = ()
    discounts: Sequence[tuple[int, Discount]] = ()
    commitment: CardCommitment | None = None
    maximum: Maximum | None = None
    minimum: Minimum | None = None
    tax: Sequence[tuple[int, Tax]] = ()


def term_parts(card: RateCard) -> TermParts:
    """The terms of a whole card."""
    return TermParts(
        list(enumerate(card.flat_fees)),
        list(enumerate(card.discounts)),
        card.commitment,
        card.maximum,
        card.minimum,
        list(enumerate(card.tax)),
    )


def term_problems(terms: TermParts, skus: Sequence[tuple[int, Sku]], currency: str | None) -> Iterator[CardProblem]:
    """Everything that is wrong with the terms of a card and of its SKUs, which come with their positions."""
    # What a SKU says holds for all its cells: it is said once.
    yield from dict.fromkeys(_problems(terms, skus, currency))


def _problems(terms: TermParts, skus: Sequence[tuple[int, Sku]], currency: str | None) -> Iterator[CardProblem]:
    yield from _names(terms, skus)
    if currency is not None:
        yield from _amounts(terms, skus, currency)
    yield from _bounds(("maximum", "amount"), terms.maximum, terms.minimum, terms.commitment)
    yield from _card_terms(terms, skus)
    for index, sku in skus:
        at: Path = ("skus", index)
        # By the window the cap is that of a window, and the minimum always that of the period.
        bounds = sku.maximum if sku.tier_scope == "period" else None
        if bounds is not None and sku.minimum is not None and bounds < sku.minimum:
            yield _contradiction((*at, "maximum"), bounds, "minimum", sku.minimum)
        for place, cell, commitment in _commitments(index, sku):
            yield from _line_commitment(place, cell, commitment)
        if sku.tier_scope == "hour" and sku.included is not None and sku.included.rollover:
            yield CardProblem(
                (*at, "included", "rollover"),
                "with tier_scope: hour the allowance begins anew with each window: leave rollover out",
            )


def _own_ids(terms: TermParts) -> Iterator[tuple[Path, str]]:
    """The ids of the lines of the card's own terms, each with where it stands."""
    yield from ((("flat_fees", index, "sku"), fee.sku) for index, fee in terms.flat_fees)
    yield from ((("discounts", index, "sku"), discount.sku) for index, discount in terms.discounts)
    if terms.commitment is not None:
        yield ("commitment", "sku"), terms.commitment.sku
        if terms.commitment.overage_factor != 1:
            yield ("commitment", "sku"), f"{terms.commitment.sku}/{OVERAGE}"
    if terms.maximum is not None:
        yield ("maximum", "sku"), terms.maximum.sku
    if terms.minimum is not None:
        yield ("minimum", "sku"), terms.minimum.sku


def _names(terms: TermParts, skus: Sequence[tuple[int, Sku]]) -> Iterator[CardProblem]:
    """Every term needs an id of its own."""
    lines = [(index, cell.id_pattern()) for index, sku in skus for cell in sku.cells]
    derived = [
        (index, f"{cell.id_pattern()}/{term}", term)
        for index, sku in skus
        for cell in sku.cells
        for term in _LINE_TERMS
        if getattr(cell, term) is not None
    ]
    # An id that ends with a placeholder could end so too, but no model is called minimum.
    like = {term: [line for line in lines if line[1].endswith(f"/{term}")] for term in _LINE_TERMS}
    for index, pattern, term in derived:
        for other, identity in like[term]:
            if patterns.intersect(pattern, identity):
                yield CardProblem(
                    ("skus", index, term),
                    f"duplicate: its line {pattern} can be an id of skus[{other}] too: rename one of the SKUs",
                )
    taken = [(f"skus[{index}]", pattern) for index, pattern in lines]
    taken += [(f"skus[{index}].{term}", pattern) for index, pattern, term in derived]
    for path, sku in _own_ids(terms):
        for place, pattern in taken:
            if patterns.matches(pattern, sku):
                yield CardProblem(path, f"duplicate: {sku} is an id of {place} too: name them apart")
        taken.append((format_path(path[:-1]), sku))


def _amounts(terms: TermParts, skus: Sequence[tuple[int, Sku]], currency: str) -> Iterator[CardProblem]:
    """An amount that the currency cannot express would never be met exactly."""
    places: list[tuple[Path, Decimal | None]] = [
        (("discounts", index, "amount"), discount.amount) for index, discount in terms.discounts
    ]
    for name, term in (("commitment", terms.commitment), ("maximum", terms.maximum), ("minimum", terms.minimum)):
        places.append(((name, "amount"), term.amount if term is not None else None))
    for index, sku in skus:
        places.append((("skus", index, "minimum"), sku.minimum))
        places += [((*place, "amount"), commitment.amount) for place, _, commitment in _commitments(index, sku)]
    for path, amount in places:
        if amount is not None and round_to_currency(amount, currency) != amount:
            yield CardProblem(
                path,
                f"{plain(amount)} has more than the {currency_exponent(currency)} decimals of {currency}: round it",
            )


def _bounds(
    path: Path, maximum: Maximum | None, minimum: Minimum | None, commitment: CardCommitment | None
) -> Iterator[CardProblem]:
    if maximum is None:
        return
    if minimum is not None and maximum.amount < minimum.amount:
        yield _contradiction(path, maximum.amount, "minimum", minimum.amount)
    if commitment is not None and commitment.true_up and maximum.amount < commitment.amount:
        yield _contradiction(path, maximum.amount, "commitment", commitment.amount)


def _commitments(index: int, sku: Sku) -> Iterator[tuple[Path, Sku, LineCommitment]]:
    """The commitments of a SKU: its cells with what each is committed to, and where that stands."""
    for cell in sku.cells:
        commitment = cell.commitment
        if commitment is None:
            continue
        is_own = cell.cell is not None and commitment is not sku.commitment
        inside: Path = ("charge", *cell.cell.cell_place) if is_own and cell.cell is not None else ()
        yield ("skus", index, *inside, "commitment"), cell, commitment


def _contradiction(path: Path, most: Decimal, name: str, least: Decimal) -> CardProblem:
    return CardProblem(path, f"{plain(most)} is less than the {name} {plain(least)}: raise it or lower the {name}")


def _card_terms(terms: TermParts, skus: Sequence[tuple[int, Sku]]) -> Iterator[CardProblem]:
    commitment = terms.commitment
    if commitment is not None and commitment.overage_factor == 1 and not commitment.true_up:
        yield CardProblem(("commitment",), "it changes nothing: give an overage_factor or leave true_up out")
    identities = [cell.id_pattern() for _, sku in skus for cell in sku.cells]
    for index, discount in terms.discounts:
        for position, pattern in enumerate(discount.skus):
            if identities and not any(patterns.intersect(pattern, identity) for identity in identities):
                yield CardProblem(
                    ("discounts", index, "skus", position),
                    f"no SKU has a line {pattern}: it would reduce nothing, write an id or a pattern of one",
                )
    named: dict[str, int] = {}
    for index, tax in terms.tax:
        if tax.name in named:
            yield CardProblem(
                ("tax", index, "name"),
                f"duplicate: {tax.name} is the name of tax[{named[tax.name]}] too: name them apart",
            )
        named.setdefault(tax.name, index)


def _line_commitment(place: Path, cell: Sku, commitment: LineCommitment) -> Iterator[CardProblem]:
    if commitment.overage_factor == 1 and not commitment.true_up:
        yield CardProblem(place, "it changes nothing: give an overage_factor or leave true_up out")
    if commitment.window == "hour" and cell.tier_scope != "hour":
        yield CardProblem(
            (*place, "window"),
            "a commitment by the window needs a price by the window: add tier_scope: hour to the SKU",
        )
    if commitment.window == "period" and cell.tier_scope == "hour":
        yield CardProblem(
            (*place, "window"), "with tier_scope: hour each window is priced by itself: write window: hour"
        )
    if commitment.quantity is not None and isinstance(cell.price_model, Percentage):
        yield CardProblem(
            (*place, "quantity"), "a percentage is of each event's own amount: commit to an amount instead"
        )
    least = commitment.amount if commitment.true_up else None
    if least is not None and cell.maximum is not None and cell.maximum < least:
        yield _contradiction((*place[:2], "maximum"), cell.maximum, "commitment", least)
