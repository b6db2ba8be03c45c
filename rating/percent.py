"""Shares in percent, as cards write them."""

from __future__ import annotations

from decimal import Decimal
from typing import Annotated

from pydantic import AfterValidator, WithJsonSchema

from rating.models.base import Money
from rating.money import plain

WHOLE_PERCENT = Decimal(100)


def _at_most_whole(value: Decimal) -> Decimal:
    if value > WHOLE_PERCENT:
        raise ValueError(f"{plain(value)} is more than 100 percent: use 0 to 100")
    return value


Percent = Annotated[
    Money,
    AfterValidator(_at_most_whole),
    WithJsonSchema(
        {
            "type": ["string", "integer"],
            "pattern": r"^(0*[0-9]{1,2}(\.[0-9]{1,38})?|0*100(\.0{1,38})?)$",
            "minimum": 0,
            "maximum": 100,
            "examples": ["10"],
        }
    ),
]
"""A share of 0 to 100 in percent: a string or an integer, never a float."""
