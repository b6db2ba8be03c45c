from __future__ import annotations

import decimal
from decimal import Decimal

import pytest

from rating.comparison import compare, gpu_hour_revenue, token_revenue
from rating.errors import MoneyError


def test_three_dollars_an_hour_at_seventy_percent_is_18396_a_year() -> None:
    assert gpu_hour_revenue(Decimal(3), Decimal("0.7")).per_year == 18396


def test_thirty_million_tokens_an_hour_at_a_dollar_and_sixty_percent() -> None:
    revenue = token_revenue(Decimal(1), 30_000_000, Decimal("0.6"))
    assert (revenue.per_hour, revenue.per_year) == (Decimal(18), Decimal(157680))
    assert token_revenue(Decimal(1), 60_000_000, Decimal("0.6")).per_year == 315360


def test_the_comparison_states_the_difference_and_where_both_earn_the_same() -> None:
    with decimal.localcontext(decimal.Context(prec=3)):
        both = compare(
            price_per_million=Decimal(1),
            tokens_per_hour=30_000_000,
            token_utilisation=Decimal("0.6"),
            price_per_gpu_hour=Decimal(3),
            gpu_utilisation=Decimal("0.7"),
        )
    assert both.yearly_difference == 157680 - 18396
    assert both.break_even_tokens_per_hour == 3_500_000
    assert token_revenue(Decimal(1), 3_500_000, Decimal("0.6")).per_hour == both.gpu_hours.per_hour


def test_free_tokens_never_break_even() -> None:
    free = compare(
        price_per_million=Decimal(0),
        tokens_per_hour=1,
        token_utilisation=Decimal(1),
        price_per_gpu_hour=Decimal(3),
        gpu_utilisation=Decimal(1),
    )
    assert free.break_even_tokens_per_hour is None


@pytest.mark.parametrize("share", ["-0.1", "1.1", "70"])
def test_a_utilisation_that_is_no_share_raises(share: str) -> None:
    with pytest.raises(MoneyError):
        gpu_hour_revenue(Decimal(3), Decimal(share))


def test_floats_raise() -> None:
    with pytest.raises(MoneyError):
        gpu_hour_revenue(3.0, Decimal("0.7"))  # type: ignore[arg-type]
    with pytest.raises(MoneyError):
        token_revenue(Decimal(1), Decimal(1), 0.6)  # type: ignore[arg-type]
