"""`rating.rate(card, usage)`: the Python call."""

from __future__ import annotations

import re
import textwrap
from datetime import UTC, datetime
from decimal import Decimal

import pytest

import rating
from rating import rate
from rating.batch import rate as documented
from rating.errors import MoneyError
from rating.windows import HOUR
from tests.rating.builders import START, Document, card, key, per_unit, sku


def test_the_example_of_the_documentation_is_true(capsys: pytest.CaptureFixture[str]) -> None:
    example = re.split(r"\n\n {4}(?=\S)", (documented.__doc__ or "").partition("Example::\n")[2])[0]
    exec(textwrap.dedent(example), {})  # noqa: S102  # our own example
    assert capsys.readouterr().out == "0.30\n"
    assert "0.30" in example


def test_an_instant_counts_in_its_window() -> None:
    only = card(sku("in", "input", per_unit("2")))
    at = datetime(2026, 1, 5, 10, 59, 59, tzinfo=UTC)
    (by_instant,) = rate(only, [(key(), at, {"input_uncached": Decimal(3)})])
    (by_window,) = rate(only, [(key(), HOUR.index_of(at), {"input_uncached": Decimal(3)})])
    assert by_instant == by_window
    assert by_instant.amount == 6


def test_a_float_is_refused() -> None:
    with pytest.raises(MoneyError):
        rate(card(sku("in", "input", per_unit("2"))), [(key(), START, {"input_uncached": 3.0})])  # type: ignore[dict-item]


def amounts(fields: Document, *usage: tuple[str, str]) -> dict[str, Decimal]:
    """Amount of usage by month, for events of a custom meter at instants."""
    only = card({**sku("u", "units.u", per_unit("1")), **fields})
    found: dict[str, Decimal] = {}
    for line in rate(only, [(key(), datetime.fromisoformat(at), {"units.u": Decimal(q)}) for at, q in usage]):
        assert line.amount is not None
        found[line.service_period] = found.get(line.service_period, Decimal(0)) + line.amount
    return found


def test_what_a_month_leaves_of_its_allowance_is_in_the_next_one() -> None:
    fields: Document = {"included": {"quantity": "100", "rollover": "30"}}
    january, february = ("2026-01-10T00:00:00+00:00", "20"), ("2026-02-10T00:00:00+00:00", "150")
    assert amounts(fields, january, february) == {"2026-01": 0, "2026-02": 20}
    # A month that the tenant was not there hands nothing over.
    assert amounts(fields, january, ("2026-03-10T00:00:00+00:00", "150")) == {"2026-01": 0, "2026-03": 50}


def test_a_level_goes_on_through_months_without_events() -> None:
    fields: Document = {"aggregation": "time_weighted"}
    found = amounts(fields, ("2026-01-31T12:00:00+00:00", "2"), ("2026-03-01T01:00:00+00:00", "-2"))
    assert found == {"2026-01": 24, "2026-02": 2 * 28 * 24, "2026-03": 2}


def test_the_package_says_what_it_offers() -> None:
    assert set(rating.__all__) == {"RateCard", "UsageKey", "build_invoice", "parse_card", "rate"}
