"""Resold services: which part of what tenants pay goes to the seller, as a rate card agrees it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import combinations
from typing import Annotated

from pydantic import Field

from rating import patterns
from rating.card_fields import Text
from rating.errors import CardProblem
from rating.match import Document
from rating.percent import Percent
from rating.terms.fields import LineId


class RevenueShare(Document):
    """What a seller gets of the amounts of its SKUs. A rule that names lines goes before one for all of them."""

    seller_id: Text
    """The seller, as the SKUs name it."""
    share_percent: Percent
    """The seller's share of what the lines cost, in percent, as text: "70". The rest is the operator's."""
    skus: Annotated[tuple[LineId, ...], Field(min_length=1)] | None = None
    """The lines that it is about, by id or pattern (`*`, `?`); left out: all lines of the seller that no other rule names."""
    description: str | None = None
    """For people."""

    def covers(self, seller_id: str, sku_id: str) -> bool:
        """Whether the rule is about a line of a seller."""
        return seller_id == self.seller_id and any(patterns.matches(pattern, sku_id) for pattern in self.skus or ("*",))


def share_of(rules: Sequence[RevenueShare], seller_id: str, sku_id: str) -> RevenueShare | None:
    """The rule for a line of a seller: one that names it, else the seller's general one; None if there is neither."""
    found = [rule for rule in rules if rule.covers(seller_id, sku_id)]
    return next((rule for rule in found if rule.skus is not None), found[0] if found else None)


def share_problems(rules: Sequence[tuple[int, RevenueShare]], sellers: Sequence[str | None]) -> Iterator[CardProblem]:
    """What is wrong with a card's rules: two for one line, and a seller that no SKU names. Each rule with its position.

    `sellers` are those of the card's SKUs.
    """
    for index, rule in rules:
        if rule.seller_id not in sellers:
            yield CardProblem(
                ("revenue_shares", index, "seller_id"),
                f"no SKU is sold by {rule.seller_id}: give the SKUs that are `seller_id: {rule.seller_id}`",
            )
    for (first, left), (second, right) in combinations(rules, 2):
        if left.seller_id != right.seller_id or (left.skus is None) != (right.skus is None):
            continue
        both = [(one, two) for one in left.skus or ("*",) for two in right.skus or ("*",)]
        if any(patterns.intersect(one, two) for one, two in both):
            yield CardProblem(
                ("revenue_shares", second),
                f"a line of {right.seller_id} can be in this rule and in revenue_shares[{first}]: let one rule name it",
            )
