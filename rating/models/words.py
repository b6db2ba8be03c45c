"""A price in words, for people: tables, diffs and messages."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from typing import NamedTuple

from rating.models.compiled import Segment
from rating.money import plain


class PriceRow(NamedTuple):
    """A price as a table shows it: what it is, what it is for, and which part of the quantity of a period."""

    price: str
    per: str
    reach: str


def grouped(number: Decimal) -> str:
    """A decimal without needless zeros, digits in groups: 1,000,000."""
    whole, _, part = plain(number).partition(".")
    return f"{int(whole):,}" + (f".{part}" if part else "")


def price_rows(segments: Sequence[Segment], whole_quantity: bool, unit: str) -> list[PriceRow]:
    """The prices of tiers, each fee a row of its own. In volume tiers, which price the whole quantity, rows say "all"."""
    rows: list[PriceRow] = []
    for segment in segments:
        reach = ""
        if segment.upper is not None:
            reach = f"up to {grouped(segment.upper)}"
        elif segment.lower:
            reach = f"above {grouped(segment.lower)}"
        if reach and whole_quantity:
            reach = f"all, {reach}"
        if segment.fee:
            rows.append(PriceRow(plain(segment.fee), "month", reach))
        if _is_priced(segment):
            per = "amount" if segment.basis in ("percent", "multiple") else _block(segment, unit)
            rows.append(PriceRow(_price(segment), per, reach))
    return rows


def price_line(segments: Sequence[Segment], whole_quantity: bool, unit: str) -> str:
    """The prices of tiers in one line: `0.8 up to 500,000, 0.6 above, per 1,000,000 tokens`."""
    tails = {_tail(segment, unit) for segment in segments if _is_priced(segment)}
    # A block of units that all tiers share is said once, at the end.
    shared = next(iter(tails)) if len(tails) == 1 else ""
    parts = []
    for segment in segments:
        amounts = [f"{plain(segment.fee)} flat"] if segment.fee else []
        if _is_priced(segment):
            amounts.append(_price(segment) + ("" if shared else f" {_tail(segment, unit)}"))
        reach = f" up to {grouped(segment.upper)}" if segment.upper is not None else " above" if segment.lower else ""
        parts.append(("all at " if reach and whole_quantity else "") + " + ".join(amounts) + reach)
    text = ", ".join(parts)
    if not shared:
        return text
    return f"{text}, {shared}" if len(parts) > 1 else f"{text} {shared}"


def _is_priced(segment: Segment) -> bool:
    """Whether a tier has anything to say beside its fee."""
    return bool(segment.unit_price) or not segment.fee


def _price(segment: Segment) -> str:
    sign = {"percent": " %", "multiple": " times"}.get(segment.basis, "")
    return plain(segment.unit_price) + sign


def _tail(segment: Segment, unit: str) -> str:
    words = {"percent": "of the amount", "multiple": "the amount"}
    return words.get(segment.basis) or f"per {_block(segment, unit)}"


def _block(segment: Segment, unit: str) -> str:
    started = "started " if segment.basis == "packages" else ""
    return f"{started}{grouped(segment.per)} {unit}"
