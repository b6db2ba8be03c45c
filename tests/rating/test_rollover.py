# mypy: disable-error-code="comparison-overlap"
# Decimal(6) == 6 is meant in these tests.
"""Allowances that go on: what a month leaves unused is included in the next one, up to a limit, and never twice."""

from __future__ import annotations

from decimal import Decimal
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rating.catalog import EVERYONE, Assignment, Catalog
from rating.invoices import build_invoice
from rating.money import exact_sum
from rating.period import TenantPeriod
from rating.rated import RatedLine
from rating.terms.opening import CARRIED_IN, NOTHING_OPEN, Opening, opening_from, units_text
from rating.windows import first_hour, hour_start
from tests.rating.builders import PERIOD, Document, card, catalog, graduated, key, latest, per_unit, sku

FEBRUARY, MARCH = "2026-02", "2026-03"


def rolling(units: str = "100", rollover: str = "50", price: Document | None = None, **fields: Any) -> Document:
    included = {"quantity": units, "rollover": rollover}
    return {**sku("in", "input", price or per_unit("1")), "included": included, **fields}


def month(
    known: Catalog, name: str, tokens: int, opening: Opening = NOTHING_OPEN, tenant: str = "acme"
) -> tuple[Decimal, Opening]:
    """What a closed month costs, and what it hands over."""
    period = TenantPeriod(tenant, name)
    period.open_with(opening)
    if tokens:
        period.add(key(tenant=tenant), first_hour(name) + 3, None, {"input_uncached": Decimal(tokens)})
    return amount_of(period.lines(known, closed=True)), period.handover()


def amount_of(lines: list[RatedLine]) -> Decimal:
    return exact_sum(line.amount for line in lines if line.amount is not None)


def costs(known: Catalog, *tokens: int) -> list[Decimal]:
    """What consecutive months from January on cost."""
    found, opening = [], NOTHING_OPEN
    for name, used in zip([PERIOD, FEBRUARY, MARCH, "2026-04"], tokens, strict=False):
        cost, opening = month(known, name, used, opening)
        found.append(cost)
    return found


@pytest.mark.parametrize(
    ("january", "carried", "february"),
    [(70, 30, 200 - 130), (20, 50, 200 - 150), (100, 0, 100), (130, 0, 100), (99, 1, 99)],
)
def test_what_a_month_leaves_is_included_in_the_next_up_to_the_limit(january: int, carried: int, february: int) -> None:
    known = catalog(card(rolling()))
    cost, opening = month(known, PERIOD, january)
    assert cost == max(0, january - 100)
    assert opening.allowances == ({("in", "input"): carried} if carried else {})
    assert month(known, FEBRUARY, 200, opening)[0] == february


def test_what_was_carried_can_be_carried_on_within_the_limit() -> None:
    known = Catalog().with_card(card(rolling("10", "25"))).with_assignment(Assignment("acme", "card", 0))
    # 10, 20 and 25 are carried: after three months without usage 35 tokens are included.
    assert costs(known, 0, 0, 0, 40) == [0, 0, 0, 5]


def test_without_rollover_nothing_is_carried() -> None:
    included = {**sku("in", "input", per_unit("1")), "included": "100"}
    assert month(catalog(card(included)), PERIOD, 20)[1] == NOTHING_OPEN
    assert month(catalog(card(rolling(rollover="0"))), PERIOD, 20)[1] == NOTHING_OPEN


def test_a_month_without_usage_carries_for_tenants_with_an_assignment_only() -> None:
    made = card(rolling())
    own = Catalog().with_card(made).with_assignment(Assignment("acme", "card", 0))
    assert month(own, PERIOD, 0)[1].allowances == {("in", "input"): 50}
    assert (
        month(Catalog().with_card(made).with_assignment(Assignment(EVERYONE, "card", 0)), PERIOD, 0)[1] == NOTHING_OPEN
    )


def test_all_of_an_allowance_that_was_not_touched_goes_on_beside_lines_without_rollover() -> None:
    made = card(rolling("100", "500"), sku("out", "output", per_unit("1")))
    known = Catalog().with_card(made).with_assignment(Assignment("acme", "card", 0))
    assert month(known, PERIOD, 0)[1].allowances == {("in", "input"): 100}
    assert month(known, PERIOD, 99)[1].allowances == {("in", "input"): 1}


def test_lines_of_a_template_carry_each_for_itself_once_they_have_usage() -> None:
    template = {**rolling(), "sku": "{model}/in"}
    period = TenantPeriod("acme", PERIOD)
    period.add(key("a"), first_hour(PERIOD), None, {"input_uncached": Decimal(70)})
    period.add(key("b"), first_hour(PERIOD), None, {"input_uncached": Decimal(95)})
    period.lines(catalog(card(template)), closed=True)
    assert period.handover().allowances == {("a/in", "input"): 30, ("b/in", "input"): 5}


def test_the_allowance_is_counted_in_converted_units() -> None:
    known = catalog(card(rolling("10", "10", quantity={"divide_by": "3"})))
    _, opening = month(known, PERIOD, 7)
    assert opening.allowances == {("in", "input"): Fraction(23, 3)}
    assert opening_from(opening.document()) == opening
    # 60 / 3 = 20 units, of which 10 + 23/3 are included.
    assert month(known, FEBRUARY, 60, opening)[0] == Decimal("2.333333333333")


def test_usage_that_is_free_or_of_an_earlier_version_carries_nothing() -> None:
    old = sku("old", "output", per_unit("1"))
    second = card(
        rolling(), not_charged=["requests", "output"], version=2, effective_from=hour_start(first_hour(PERIOD) + 5)
    )
    known = catalog(card(rolling(), old, not_charged=["requests"]), second)
    period = TenantPeriod("acme", PERIOD)
    period.add(key(), first_hour(PERIOD), None, {"requests": Decimal(1), "output_text": Decimal(2)})
    period.add(key(), first_hour(PERIOD) + 6, None, {"input_uncached": Decimal(80)})
    period.lines(known, closed=True)
    assert period.handover().allowances == {("in", "input"): 20}


def test_parts_of_a_second_are_carried_exactly() -> None:
    seconds = {**sku("gpu", "gpu_seconds", per_unit("1")), "included": {"quantity": "100", "rollover": "90"}}
    period = TenantPeriod("acme", PERIOD)
    period.add(key(status=""), first_hour(PERIOD), None, {"gpu_seconds": Decimal("40.5")})
    period.lines(catalog(card(seconds)), closed=True)
    assert period.handover().allowances == {("gpu", "gpu_seconds"): Fraction(119, 2)}


def test_usage_that_was_given_back_carries_no_more_than_the_allowance() -> None:
    assert month(catalog(card(rolling("100", "500"))), PERIOD, -30)[1].allowances == {("in", "input"): 100}


def test_rounded_quantities_carry_whole_units() -> None:
    known = catalog(card(rolling("10", "10", quantity={"divide_by": "1000", "round": "up"})))
    assert month(known, PERIOD, 2001)[1].allowances == {("in", "input"): 7}


def test_tiers_begin_after_what_was_carried() -> None:
    known = catalog(card(rolling(price=graduated((10, "3", "0"), (None, "1", "0")))))
    _, opening = month(known, PERIOD, 60)
    assert month(known, FEBRUARY, 155, opening)[0] == 10 * 3 + 5


def test_a_card_that_includes_nothing_takes_nothing_over() -> None:
    second = card(sku("in", "input", per_unit("1")), version=2, effective_from=hour_start(first_hour(FEBRUARY)))
    known = catalog(card(rolling()), second)
    _, opening = month(known, PERIOD, 20)
    assert month(known, FEBRUARY, 30, opening)[0] == 30


def test_the_limit_is_that_of_the_card_in_force_at_the_end_of_the_month() -> None:
    second = card(rolling("200", "120"), version=2, effective_from=hour_start(first_hour(PERIOD) + 100))
    assert month(catalog(card(rolling()), second), PERIOD, 30)[1].allowances == {("in", "input"): 120}


def test_records_and_invoices_say_what_was_carried_in() -> None:
    made = card(rolling())
    period = TenantPeriod("acme", FEBRUARY)
    period.open_with(Opening({("in", "input"): Fraction(30)}))
    period.add(key(), first_hour(FEBRUARY), None, {"input_uncached": Decimal(140)})
    (record,) = period.lines(catalog(made), closed=True)
    assert (record.dimensions[CARRIED_IN], record.amount) == ("30", 10)
    (line,) = build_invoice("acme", FEBRUARY, "USD", [record], [made]).lines
    assert [(tier.kind, tier.quantity, tier.amount) for tier in line.tiers] == [("included", 130, 0), ("tier", 10, 10)]


def test_records_say_also_less_than_a_unit_that_was_carried_in() -> None:
    period = TenantPeriod("acme", FEBRUARY)
    period.open_with(Opening({("in", "input"): Fraction(1, 2)}))
    period.add(key(), first_hour(FEBRUARY), None, {"input_uncached": Decimal(140)})
    (record,) = period.lines(catalog(card(rolling())), closed=True)
    assert (record.dimensions[CARRIED_IN], record.amount) == ("0.5", Decimal("39.5"))


def test_a_month_is_priced_again_when_the_one_before_uses_more_of_its_allowance() -> None:
    known = catalog(card(rolling()))
    january, february = TenantPeriod("acme", PERIOD), TenantPeriod("acme", FEBRUARY)
    february.add(key(), first_hour(FEBRUARY), None, {"input_uncached": Decimal(140)})
    amounts = []
    for tokens in (60, 20, 40):
        january.add(key(), first_hour(PERIOD), None, {"input_uncached": Decimal(tokens)})
        january.lines(known, closed=False)
        february.open_with(january.handover())
        amounts += [line.amount for line in february.lines(known, closed=False)]
    assert amounts == [0, 20, 40]


# --- late usage -------------------------------------------------------------------------------------------------------


def test_late_usage_of_a_month_does_not_use_what_the_next_month_took_over() -> None:
    known = catalog(card(rolling()))
    period = TenantPeriod("acme", PERIOD)
    period.add(key(), first_hour(PERIOD), None, {"input_uncached": Decimal(30)})
    period.lines(known, closed=True)
    assert period.handover().allowances == {("in", "input"): 50}
    # 20 of the 70 that were left expired with January: those the late usage may still use.
    period.add(key(), first_hour(PERIOD), MARCH, {"input_uncached": Decimal(45)})
    (record,) = period.lines(known, closed=True)
    assert (record.kind, record.quantity, record.amount) == ("adjustment", 45, 25)
    assert period.handover().allowances == {("in", "input"): 50}, "what was handed over stays"


def test_rating_a_month_again_counts_what_was_handed_over_as_gone() -> None:
    known = catalog(card(rolling()))
    period = TenantPeriod("acme", PERIOD)
    period.open_with(Opening({("in", "input"): Fraction(10)}))
    period.add(key(), first_hour(PERIOD), None, {"input_uncached": Decimal(90)})
    period.add(key(), first_hour(PERIOD), MARCH, {"input_uncached": Decimal(30)})
    own = amount_of(period.lines(known, closed=True))
    assert amount_of(period.as_if_on_time(MARCH).lines(known, closed=True)) == own == 30


@given(
    st.lists(st.integers(0, 140), min_size=2, max_size=4),
    st.integers(0, 160),
    st.integers(1, 120),
    st.integers(0, 100),
)
@settings(deadline=None, max_examples=80)
def test_no_unit_of_an_allowance_is_used_twice(tokens: list[int], late: int, included: int, rollover: int) -> None:
    known = catalog(card(rolling(str(included), str(rollover))))
    opening, charged = NOTHING_OPEN, Decimal(0)
    for position, used in enumerate(tokens):
        name = f"2026-0{position + 1}"
        period = TenantPeriod("acme", name)
        period.open_with(opening)
        period.add(key(), first_hour(name), None, {"input_uncached": Decimal(used)})
        if not position and late:
            period.add(key(), first_hour(name), "2026-09", {"input_uncached": Decimal(late)})
        charged += amount_of(period.lines(known, closed=True))
        opening = period.handover()
    free = sum(tokens) + late - charged
    assert 0 <= free <= included * len(tokens)


@given(st.lists(st.tuples(st.integers(0, 1), st.integers(0, 8), st.integers(1, 60)), max_size=10), st.data())
@settings(deadline=None, max_examples=60)
def test_months_come_to_the_same_in_any_order_and_cut(usage: list[tuple[int, int, int]], data: st.DataObject) -> None:
    known = catalog(card(rolling("100", "80")))

    def rated(events: list[tuple[int, int, int]], cuts: set[int]) -> dict[tuple[object, ...], RatedLine]:
        months = [TenantPeriod("acme", PERIOD), TenantPeriod("acme", FEBRUARY)]
        lines: list[RatedLine] = []
        for position, (place, hour, tokens) in enumerate(events):
            name = (PERIOD, FEBRUARY)[place]
            months[place].add(key(), first_hour(name) + hour, None, {"input_uncached": Decimal(tokens)})
            if position in cuts or position == len(events) - 1:
                lines.extend(months[0].lines(known, closed=False))
                months[1].open_with(months[0].handover())
                lines.extend(months[1].lines(known, closed=False))
        return {name: line for name, line in latest(lines).items() if line.quantity or line.amount}

    cuts = data.draw(st.sets(st.integers(0, 9)))
    assert rated(data.draw(st.permutations(usage)), cuts) == rated(usage, set())


@pytest.mark.parametrize(("units", "text"), [(Fraction(30), "30"), (Fraction(1, 8), "0.125"), (Fraction(1, 3), "1/3")])
def test_units_as_text_are_exact(units: Fraction, text: str) -> None:
    assert units_text(units) == text
    assert Fraction(text) == units
