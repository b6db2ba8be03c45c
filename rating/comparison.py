"""Two ways to sell a GPU: by the hour, or by the tokens it makes.

Both are revenue per hour and year of one GPU at a share of hours sold, exact. A year has 8,760 hours.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction

from rating.errors import MoneyError
from rating.money import exact_decimal, q12

HOURS_PER_YEAR = 8760
TOKENS_PER_PRICE = 1_000_000


@dataclass(frozen=True, slots=True)
class Revenue:
    """What one GPU earns, in the currency of the price, to 12 decimals."""

    per_hour: Decimal
    per_year: Decimal


def gpu_hour_revenue(price_per_gpu_hour: Decimal, utilisation: Decimal) -> Revenue:
    """Revenue of a GPU that is rented by the hour; `utilisation` is the share of hours that are rented, 0 to 1."""
    return _revenue(Fraction(exact_decimal(price_per_gpu_hour)) * _share(utilisation))


def token_revenue(price_per_million: Decimal, tokens_per_hour: Decimal | int, utilisation: Decimal) -> Revenue:
    """Revenue of a GPU that makes `tokens_per_hour` when it works; `utilisation` is the share of time that it does."""
    tokens = Fraction(exact_decimal(tokens_per_hour)) * _share(utilisation)
    return _revenue(tokens * Fraction(exact_decimal(price_per_million)) / TOKENS_PER_PRICE)


@dataclass(frozen=True, slots=True)
class Comparison:
    """Token-as-a-service beside GPU-per-hour for one GPU.

    `break_even_tokens_per_hour` is the token rate, while working, at which both earn the same; None if tokens cost
    nothing or are never made.
    """

    tokens: Revenue
    gpu_hours: Revenue
    yearly_difference: Decimal
    break_even_tokens_per_hour: Decimal | None


def compare(
    *,
    price_per_million: Decimal,
    tokens_per_hour: Decimal | int,
    token_utilisation: Decimal,
    price_per_gpu_hour: Decimal,
    gpu_utilisation: Decimal,
) -> Comparison:
    """Both revenues, tokens less GPU hours per year, and where they meet. Floats raise MoneyError."""
    tokens = token_revenue(price_per_million, tokens_per_hour, token_utilisation)
    gpu_hours = gpu_hour_revenue(price_per_gpu_hour, gpu_utilisation)
    per_token = Fraction(exact_decimal(price_per_million)) / TOKENS_PER_PRICE * _share(token_utilisation)
    rented = Fraction(exact_decimal(price_per_gpu_hour)) * _share(gpu_utilisation)
    return Comparison(
        tokens=tokens,
        gpu_hours=gpu_hours,
        yearly_difference=q12(Fraction(tokens.per_year) - Fraction(gpu_hours.per_year)),
        break_even_tokens_per_hour=q12(rented / per_token) if per_token else None,
    )


def _share(utilisation: Decimal) -> Fraction:
    share = Fraction(exact_decimal(utilisation))
    if not 0 <= share <= 1:
        raise MoneyError(f"a utilisation of {utilisation} is not a share: use 0 to 1, such as 0.7 for 70 %")
    return share


def _revenue(per_hour: Fraction) -> Revenue:
    return Revenue(per_hour=q12(per_hour), per_year=q12(per_hour * HOURS_PER_YEAR))
