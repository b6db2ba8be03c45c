"""Service levels: what a card may promise, what missing it gives, exactly."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rating import parse_card
from rating.errors import CardError
from rating.sla import ChargedLine, Measured, SlaTerm, Verdict, credits_of, judge, rank
from tests.rating.builders import document, per_unit, sku

TTFT: dict[str, Any] = {
    "sku": "sla/ttft",
    "metric": "ttft",
    "percentile": "95",
    "target": "0.5",
    "minimum_requests": 10,
    "credits": [{"percent": "10"}, {"worse_than": "1", "percent": "25"}],
}
AVAILABILITY: dict[str, Any] = {
    "sku": "sla/up",
    "metric": "availability",
    "target": "99.9",
    "credits": [{"percent": "10"}, {"worse_than": "99", "percent": "30"}],
}


def term(data: dict[str, Any], **changes: Any) -> SlaTerm:
    return parse_card(document(sla=[{**data, **changes}])).sla[0]


def percent(data: dict[str, Any], measured: str | Fraction | None, requests: int = 100) -> str | None:
    value = None if measured is None else Fraction(measured)
    credit = judge(term(data), Measured(value, requests)).credit
    return None if credit is None else str(credit.percent)


@pytest.mark.parametrize(
    ("measured", "given"),
    [("0.4", None), ("0.5", None), ("0.500001", "10"), ("1", "10"), ("1.000001", "25"), (None, None)],
)
def test_a_latency_is_missed_above_its_target(measured: str | None, given: str | None) -> None:
    assert percent(TTFT, measured) == given


@pytest.mark.parametrize(
    ("measured", "given"),
    [("100", None), ("99.9", None), (Fraction(998999, 10000), "10"), ("99", "10"), ("98.99", "30"), ("0", "30")],
)
def test_availability_is_missed_below_its_target(measured: str | Fraction, given: str | None) -> None:
    assert percent(AVAILABILITY, measured) == given
    speed = {**TTFT, "metric": "tokens_per_second", "target": "50", "credits": [{"percent": "5"}]}
    assert [percent(speed, each) for each in ("49.9", "50", "51")] == ["5", None, None]


def test_a_share_of_requests_is_compared_exactly() -> None:
    # 1/3 has no end as a decimal: rounded to 12 decimals it would keep this target.
    tight = {**AVAILABILITY, "target": "33.333333333333", "credits": [{"percent": "1"}]}
    assert percent(tight, Fraction(100, 3)) is None
    assert percent(tight, Fraction(33_333_333_333_333, 10**12) - Fraction(1, 10**20)) == "1"


def test_too_few_requests_judge_nothing() -> None:
    assert percent(TTFT, "9", requests=9) is None
    assert percent(TTFT, "9", requests=10) == "25"
    assert not judge(term(TTFT), Measured(Fraction(9), 9)).judged


@given(st.integers(1, 5000), st.integers(1, 1000))
@settings(deadline=None, max_examples=60)
def test_the_percentile_is_the_smallest_rank_that_reaches_its_share(requests: int, tenths: int) -> None:
    place = rank(term(TTFT, percentile=str(Decimal(tenths) / 10)), requests)
    assert 1 <= place <= requests
    assert place * 1000 >= tenths * requests > (place - 1) * 1000


@dataclass(frozen=True)
class Charged:
    sku: str
    amount: Decimal
    kind: str = "usage"


LINES: list[ChargedLine] = [
    Charged("m/input", Decimal("10.05")),
    Charged("m/output", Decimal("3.33")),
    Charged("fee", Decimal(20), "flat_fee"),
    Charged("free", Decimal("0.00")),
]


def missed(data: dict[str, Any], measured: str = "0.7", **changes: Any) -> Verdict:
    return judge(term(data, **changes), Measured(Fraction(measured), 100))


def credited(verdict: Verdict, left: list[str] | None = None, currency: str = "USD") -> dict[int, str]:
    rest = [line.amount for line in LINES] if left is None else list(map(Decimal, left))
    return {number: str(amount) for number, amount in credits_of(verdict, LINES, rest, currency).items()}


def test_a_credit_is_a_share_of_each_usage_line_rounded_once() -> None:
    assert credited(missed(TTFT)) == {1: "1.01", 2: "0.33"}  # 1.005 goes away from zero
    assert credited(missed(TTFT, skus=["*/output"])) == {2: "0.33"}
    assert credited(missed(TTFT), currency="JPY") == {1: "1"}
    assert credited(missed(TTFT, "0.5")) == {}


def test_no_line_is_credited_more_than_is_left_of_it() -> None:
    assert credited(missed(TTFT), ["0.40", "0", "20", "0"]) == {1: "0.40"}
    assert credited(missed(TTFT, credits=[{"percent": "100"}])) == {1: "10.05", 2: "3.33"}


def test_the_evidence_says_what_was_promised_measured_and_given() -> None:
    assert missed(TTFT, "0.7", match={"model": "m-*"}).evidence() == {
        "sku": "sla/ttft", "metric": "ttft", "percentile": "95", "target": "0.5", "measured": "0.7", "requests": 100,
        "match": {"model": "m-*"}, "credit_percent": "10",
    }  # fmt: skip
    assert judge(term(AVAILABILITY), Measured(None, 0)).evidence()["measured"] is None


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"metric": "speed"}, "sla[0].metric"),
        ({"percentile": None}, 'percentile: say how many percent of the requests must keep the target: percentile: "95"'),
        ({"percentile": "0"}, "sla[0].percentile: say how many percent"),
        ({"percentile": "101"}, "101 is more than 100 percent"),
        ({"target": 0.5}, "sla[0].target: a float is not an exact number"),
        ({"target": "0"}, "sla[0].target"),
        ({"credits": []}, "sla[0].credits"),
        ({"credits": [{"percent": "10", "worse_than": "0.4"}]}, "sla[0].credits[0].worse_than: 0.4 keeps the target 0.5"),
        ({"credits": [{"percent": "10"}, {"percent": "20"}]}, "credits[1].worse_than: 0.5 is not worse than 0.5"),
        ({"credits": [{"percent": "10"}, {"percent": "9", "worse_than": "1"}]}, "credits[1].percent: 9 is not more than 10"),
        ({"minimum_requests": 0}, "minimum_requests: 0 is less than 1"),
        ({"match": {"context_bracket": {"above": 32000}}}, "match.context_bracket: requests are not measured by their length"),
        ({"match": {"modle": "x"}}, "sla[0].match.modle: unknown field, did you mean model?"),
        ({"metric": "availability"}, "percentile: availability is a share of requests itself"),
        ({"metric": "availability", "percentile": None, "target": "100.5"}, "target: 100.5 is more than 100 percent"),
    ],
    ids=str,
)  # fmt: skip
def test_a_service_level_that_cannot_be_is_refused_with_its_place(changes: dict[str, Any], said: str) -> None:
    data = {name: value for name, value in {**TTFT, **changes}.items() if value is not None}
    with pytest.raises(CardError) as refused:
        parse_card(document(sku("a", "requests", per_unit("1")), sla=[data]))
    assert said in str(refused.value)


def test_two_service_levels_have_two_ids() -> None:
    with pytest.raises(CardError, match=r"sla\[1\]\.sku: duplicate: sla/up is an id of sla\[0\] too"):
        parse_card(document(sla=[AVAILABILITY, AVAILABILITY]))
    assert len(parse_card(document(sla=[AVAILABILITY, TTFT])).sla) == 2
