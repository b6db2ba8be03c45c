"""Shares of amounts: exact, by the largest remainder, whatever the order."""

from __future__ import annotations

import random
from dataclasses import replace
from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rating import rate
from rating.cards import RateCard
from rating.errors import InvoiceError
from rating.money import exact_sum
from rating.rated import RatedLine
from rating.showback import Owner, Share, Used, shares, showback
from rating.skus import Line, counts
from rating.windows import hour_start
from tests.rating.builders import START, card, graduated, key, per_unit, sku

UNIT = Decimal("0.000000000001")
A, B, C = Owner("alpha", "key-1"), Owner("beta", "key-1"), Owner("beta", "key-2")
AMOUNTS = st.integers(-(10**25), 10**25).map(lambda scaled: Decimal(scaled).scaleb(-12))
WEIGHTS = st.dictionaries(
    st.text("abc", max_size=3).map(lambda name: Owner(name, "k")), st.integers(-3, 10**15), min_size=1, max_size=9
)


@given(AMOUNTS, WEIGHTS, st.randoms(use_true_random=False))
@settings(deadline=None, max_examples=60)
def test_shares_sum_to_the_amount_and_none_is_a_unit_away_from_its_quota(
    amount: Decimal, weights: dict[Owner, int], order: random.Random
) -> None:
    found = shares(amount, weights)
    total = sum(weight for weight in weights.values() if weight > 0)
    if not total:
        assert found == {}
        return
    assert exact_sum(found.values()) == amount
    for owner, share in found.items():
        assert abs(Fraction(share) - Fraction(amount) * weights[owner] / total) < Fraction(UNIT)
        assert weights[owner] > 0
    shuffled = list(weights.items())
    order.shuffle(shuffled)
    assert shares(amount, dict(shuffled)) == found


def test_the_largest_remainders_get_the_rest_and_equal_ones_go_by_name() -> None:
    assert shares(3 * UNIT, {A: 1, B: 1}) == {A: 2 * UNIT, B: UNIT}
    assert shares(2 * UNIT, {A: 1, B: 1, C: 1}) == {A: UNIT, B: UNIT, C: 0 * UNIT}
    assert shares(UNIT, {A: 1, B: 2}) == {A: 0 * UNIT, B: UNIT}
    assert shares(-UNIT, {A: 1, B: 2}) == {A: 0 * UNIT, B: -UNIT}


CARD = card(
    sku("{model}/output", "output", graduated((100, "1", "0"), (None, "0.5", "0"))),
    sku("long", "input", per_unit("2"), context_bracket={"above": 128_000}),
    sku("gpu", "gpu_seconds", per_unit("0.001")),
    flat_fees=[{"sku": "fee", "amount": "9"}],
    not_charged=["requests"],
)


def used(owner: Owner, hour: int, model: str = "m", bracket: int = 0, **quantities: int) -> Used:
    return Used(owner, key(model=model, context_bracket=bracket), START + hour, 1, quantities)


USED = [
    used(A, 0, output_text=60),
    used(B, 0, output_text=20, output_reasoning=20),
    used(C, 1, output_text=100),
    used(A, 1, model="other", output_text=1),
    used(A, 2, bracket=3, input_uncached=7, requests=5),
]


def records(usage: list[Used], priced: RateCard = CARD) -> list[RatedLine]:
    return rate(priced, [(u.key, u.hour, {n: Decimal(q) for n, q in u.quantities.items()}) for u in usage])


def by_owner(found: list[Share]) -> dict[tuple[Owner | None, str], Decimal]:
    assert len({(each.owner, each.sku, each.kind, each.service_period) for each in found}) == len(found)
    return {(each.owner, each.sku): each.amount for each in found}


def test_a_project_pays_the_price_of_its_hours() -> None:
    found = by_owner(showback(records(USED), USED, [CARD]))
    # 100 units in the first hour, at 1; 100 in the second, at 0.5: who came later pays the lower tier.
    assert found == {
        (A, "m/output"): Decimal(60),
        (B, "m/output"): Decimal(40),
        (C, "m/output"): Decimal(50),
        (A, "other/output"): Decimal(1),
        (A, "long"): Decimal(14),
        (A, "uncharged/not_charged/requests"): Decimal(0),
        (None, "fee"): Decimal(9),
    }


def test_what_belongs_to_nobody_is_spread_by_what_each_bears() -> None:
    found = by_owner(showback(records(USED), USED, [CARD], spread=True))
    borne = {A: 75, B: 40, C: 50}
    assert exact_sum(amount for (_, name), amount in found.items() if name == "fee") == 9
    for owner, amount in borne.items():
        assert abs(Fraction(found[owner, "fee"]) - Fraction(9 * amount, 165)) < Fraction(UNIT)


def test_usage_of_nobody_is_nobodys_and_its_line_stays_whole() -> None:
    gpu = Used(Owner("", ""), key(model="", status=""), START, 1, {"gpu_seconds": 3_000_000})
    made = records([gpu._replace(quantities={"gpu_seconds": 3})])
    assert by_owner(showback(made, [], [CARD]))[None, "gpu"] == Decimal("0.003")
    both = showback(
        records(USED) + [replace(line, tenant_id="acme") for line in made if line.sku == "gpu"], USED, [CARD]
    )
    assert by_owner(both)[None, "gpu"] == Decimal("0.003")


def test_a_line_that_counts_events_is_shared_by_events() -> None:
    counted = card(sku("jobs", "units.jobs", per_unit("3")) | {"aggregation": "count"}, not_charged=["requests"])
    line = route_of(counted)
    assert line.reading == "count"
    record = replace(
        records(USED)[0], sku="jobs", meter="units.jobs", kind="usage", window_kind="hour",
        window_start=hour_start(START), window_end=hour_start(START + 1), quantity=Decimal(4), amount=Decimal(12),
        currency="USD", card_id="card", card_version=1,
    )  # fmt: skip
    # One event of a hundred jobs, and three of one each.
    usage = [
        Used(A, key(), START, 1, {"units.jobs": 100 * 10**9}),
        Used(B, key(), START, 3, {"units.jobs": 3 * 10**9}),
    ]
    assert by_owner(showback([record], usage, [counted])) == {(A, "jobs"): 3, (B, "jobs"): 9}


def route_of(priced: RateCard) -> Line:
    (line,) = counts(priced, key(), "units.jobs")
    return line


def test_an_hour_whose_usage_is_no_longer_stored_is_nobodys() -> None:
    found = by_owner(showback(records(USED), [each for each in USED if each.hour != START], [CARD]))
    assert found[None, "m/output"] == 100
    assert found[C, "m/output"] == 50
    spread = by_owner(showback(records(USED), [each for each in USED if each.hour != START], [CARD], spread=True))
    assert exact_sum(spread.values()) == exact_sum(found.values())


def test_a_card_that_is_missing_is_named() -> None:
    with pytest.raises(InvoiceError, match="card card version 1, which priced"):
        showback(records(USED), USED, [])


@given(
    st.lists(
        st.tuples(st.sampled_from([A, B, C]), st.integers(0, 3), st.integers(1, 90), st.sampled_from(["m", "n"])),
        max_size=12,
    ),
    st.booleans(),
)
@settings(deadline=None, max_examples=40)
def test_shares_sum_to_the_records(events: list[tuple[Owner, int, int, str]], spread: bool) -> None:
    usage = [used(owner, hour, model, output_text=quantity) for owner, hour, quantity, model in events]
    made = records(usage)
    found = showback(made, usage, [CARD], spread=spread)
    assert exact_sum(each.amount for each in found) == exact_sum(line.amount or Decimal(0) for line in made)
    lines = {(line.sku, line.kind) for line in made if line.amount or line.quantity}
    assert {(each.sku, each.kind) for each in found} == lines
    for name, kind in lines:
        shared = exact_sum(each.quantity for each in found if (each.sku, each.kind) == (name, kind))
        assert shared == exact_sum(line.quantity for line in made if (line.sku, line.kind) == (name, kind))
