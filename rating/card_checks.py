"""What a whole card must hold beyond the types of its fields."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import combinations

from rating import patterns
from rating.cards import RateCard
from rating.errors import CardProblem
from rating.matching import can_share_id, is_ambiguous
from rating.money import currency_exponent, plain, round_to_currency


def check_card(card: RateCard) -> list[CardProblem]:
    """Everything that is wrong with a card, in document order."""
    problems = [*_charges(card), *_claims(card), *_names(card), *_minimum(card)]
    return sorted(problems, key=lambda problem: [(isinstance(step, str), str(step).zfill(9)) for step in problem.path])


def _charges(card: RateCard) -> Iterator[CardProblem]:
    for index, sku in enumerate(card.skus):
        for place, message in sku.charge.problems():
            yield CardProblem(("skus", index, "charge", *place), message)


def _claims(card: RateCard) -> Iterator[CardProblem]:
    """No usage may be claimed by two SKUs of which neither is the more specific."""
    for (first, left), (second, right) in combinations(enumerate(card.skus), 2):
        if can_share_id(left, right):
            yield CardProblem(
                ("skus", second, "sku"),
                f"duplicate: {right.sku} can be the id of a line of skus[{first}] ({left.sku}) too: name them apart",
            )
        elif is_ambiguous(left, right):
            yield CardProblem(
                ("skus", second, "match"),
                f"some usage of {right.meter} matches this SKU and skus[{first}] ({left.sku}) alike: narrow one",
            )


def _names(card: RateCard) -> Iterator[CardProblem]:
    """Fees and the minimum need ids of their own."""
    taken = [(f"skus[{index}]", sku.id_pattern()) for index, sku in enumerate(card.skus)]
    own: list[tuple[tuple[str | int, ...], str]] = [
        (("flat_fees", index, "sku"), fee.sku) for index, fee in enumerate(card.flat_fees)
    ]
    if card.minimum is not None:
        own.append((("minimum", "sku"), card.minimum.sku))
    for path, sku in own:
        for place, pattern in taken:
            if patterns.matches(pattern, sku):
                yield CardProblem(path, f"duplicate: {sku} is an id of {place} too")
        taken.append((".".join(map(str, path[:-1])), sku))


def _minimum(card: RateCard) -> Iterator[CardProblem]:
    """A minimum that the currency cannot express would never be met exactly."""
    if card.minimum is None:
        return
    amount = card.minimum.amount
    if round_to_currency(amount, card.currency) != amount:
        decimals = currency_exponent(card.currency)
        yield CardProblem(
            ("minimum", "amount"), f"{plain(amount)} has more than the {decimals} decimals of {card.currency}"
        )
