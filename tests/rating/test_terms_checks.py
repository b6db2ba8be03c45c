"""Cards whose terms cannot work: every problem names its place and what to write instead."""

from __future__ import annotations

from typing import Any

import jsonschema
import pytest

from rating.card_schema import card_schema
from rating.cards import parse_card
from rating.errors import CardError, format_path
from tests.rating.builders import Document, document, per_unit, sku

IN = sku("in", "input", per_unit("1"))
EVENTS = {**sku("paid", "units.paid", {"model": "percentage", "rate": "1"})}
NIGHT_HOURS = {"from": "22:00", "to": "06:00", "charge": per_unit("1")}
NIGHT = {"model": "time_of_day", "time_zone": "UTC", "buckets": [NIGHT_HOURS], "default": per_unit("2")}


def problems(data: Document) -> dict[str, str]:
    """What is wrong with a card, by place."""
    try:
        parse_card(data)
    except CardError as error:
        return {format_path(problem.path): problem.message for problem in error.problems}
    return {}


def with_sku(**fields: Any) -> Document:
    return document({**IN, **fields})


COMMIT = {"amount": "100", "overage_factor": "1.5"}


@pytest.mark.parametrize(
    ("data", "place", "said"),
    [
        (with_sku(commitment={}), "skus[0].commitment", "give amount or quantity, one of them"),
        (with_sku(commitment={"amount": "1", "quantity": "1"}), "skus[0].commitment", "give amount or quantity"),
        (with_sku(commitment={"amount": 1.5}), "skus[0].commitment.amount", "write it as a string such as '1.5'"),
        (with_sku(commitment={"amount": "-1"}), "skus[0].commitment.amount", "is negative"),
        (with_sku(commitment={**COMMIT, "overage_factor": "0"}), "skus[0].commitment.overage_factor", "more than 0"),
        (with_sku(commitment={**COMMIT, "true_up": "no"}), "skus[0].commitment.true_up", "true or false"),
        (
            with_sku(commitment={**COMMIT, "window": "day"}),
            "skus[0].commitment.window",
            "'day' is not known: use 'period' or 'hour'",
        ),
        (with_sku(commitment={**COMMIT, "factor": "2"}), "skus[0].commitment.factor", "did you mean overage_factor?"),
        (with_sku(commitment={"amount": "5", "true_up": False}), "skus[0].commitment", "changes nothing"),
        (with_sku(commitment={**COMMIT, "window": "hour"}), "skus[0].commitment.window", "add tier_scope: hour"),
        (with_sku(commitment=COMMIT, tier_scope="hour"), "skus[0].commitment.window", "write window: hour"),
        (
            with_sku(charge={**NIGHT, "buckets": [{**NIGHT_HOURS, "commitment": {**COMMIT, "amount": "0.001"}}]}),
            "skus[0].charge.buckets[0].commitment.amount",
            "2 decimals of USD",
        ),
        (
            with_sku(charge={**NIGHT, "buckets": [{**NIGHT_HOURS, "commitment": {**COMMIT, "window": "hour"}}]}),
            "skus[0].charge.buckets[0].commitment.window",
            "add tier_scope: hour",
        ),
        (
            with_sku(charge={**NIGHT, "buckets": [{**NIGHT_HOURS, "commitment": {**COMMIT, "factor": "2"}}]}),
            "skus[0].charge.buckets[0].commitment.factor",
            "did you mean overage_factor?",
        ),
        (document({**EVENTS, "commitment": {"quantity": "5"}}), "skus[0].commitment.quantity", "commit to an amount"),
        (
            with_sku(included={"quantity": "1", "rollover": "1"}, tier_scope="hour"),
            "skus[0].included.rollover",
            "leave rollover out",
        ),
        (with_sku(minimum="0.001"), "skus[0].minimum", "more than the 2 decimals of USD: round it"),
        (with_sku(commitment={"amount": "0.001"}), "skus[0].commitment.amount", "more than the 2 decimals of USD"),
        (with_sku(minimum="50", maximum="40"), "skus[0].maximum", "40 is less than the minimum 50: raise it or lower"),
        (with_sku(commitment=COMMIT, maximum="40"), "skus[0].maximum", "40 is less than the commitment 100"),
        (
            document({**IN, "minimum": "5"}, sku("in/minimum", "output", per_unit("1"))),
            "skus[0].minimum",
            "duplicate: its line in/minimum can be an id of skus[1] too: rename one of the SKUs",
        ),
        (
            document({**IN, "commitment": COMMIT}, sku("{model}/commitment", "output", per_unit("1"))),
            "skus[0].commitment",
            "duplicate: its line in/commitment",
        ),
        (
            document({**IN, "minimum": "5"}, flat_fees=[{"sku": "in/minimum", "amount": "5"}]),
            "flat_fees[0].sku",
            "duplicate: in/minimum is an id of skus[0].minimum too: name them apart",
        ),
        (document(IN, maximum={"sku": "in", "amount": "5"}), "maximum.sku", "duplicate: in is an id of skus[0] too"),
        (
            document(
                IN,
                commitment={"sku": "commit", **COMMIT},
                discounts=[{"sku": "commit/overage", "percent": "5"}],
            ),
            "commitment.sku",
            "duplicate: commit/overage is an id of discounts[0] too",
        ),
        (document(IN, maximum={"sku": "cap", "amount": "0.001"}), "maximum.amount", "2 decimals of USD"),
        (document(IN, commitment={"sku": "commit", "amount": "0.001"}), "commitment.amount", "2 decimals of USD"),
        (
            document(IN, maximum={"sku": "cap", "amount": "5"}, minimum={"sku": "least", "amount": "6"}),
            "maximum.amount",
            "5 is less than the minimum 6",
        ),
        (
            document(IN, maximum={"sku": "cap", "amount": "5"}, commitment={"sku": "commit", "amount": "6"}),
            "maximum.amount",
            "5 is less than the commitment 6",
        ),
        (document(IN, commitment={"sku": "c", "amount": "6", "true_up": False}), "commitment", "changes nothing"),
        (document(IN, commitment={"amount": "6"}), "commitment.sku", "is missing: write sku: platform-fee"),
        (document(IN, commitment={"sku": "c", "amount": "6", "quantity": "1"}), "commitment.quantity", "unknown field"),
        (document(IN, discounts=[{"sku": "off"}]), "discounts[0]", "give percent or amount, one of them"),
        (document(IN, discounts=[{"sku": "off", "percent": "101"}]), "discounts[0].percent", "more than 100 percent"),
        (document(IN, discounts=[{"sku": "off", "amount": "0.001"}]), "discounts[0].amount", "2 decimals of USD"),
        (
            document(IN, discounts=[{"sku": "off", "percent": "5", "skus": ["out*"]}]),
            "discounts[0].skus[0]",
            "no SKU has a line out*: it would reduce nothing",
        ),
        (
            document(IN, discounts=[{"sku": "off", "percent": "5", "skus": []}]),
            "discounts[0].skus",
            "there is no item: give at least one",
        ),
        (document(IN, discounts=[{"sku": "off", "percnt": "5"}]), "discounts[0].percnt", "did you mean percent?"),
        (document(IN, tax=[{"name": "VAT", "rate_percent": "119"}]), "tax[0].rate_percent", "more than 100 percent"),
        (document(IN, tax=[{"name": "VAT", "rate": "19"}]), "tax[0].rate", "use name, rate_percent"),
        (
            document(IN, tax=[{"name": "VAT", "rate_percent": "19"}, {"name": "VAT", "rate_percent": "7"}]),
            "tax[1].name",
            "duplicate: VAT is the name of tax[0] too",
        ),
        (document(IN, flat_fees=[{"sku": "fee", "amount": "5", "prorate": "yes"}]), "flat_fees[0].prorate", "true or"),
        (
            document(IN, flat_fees=[{"sku": "fee", "amount": "5", "in_advanced": True}]),
            "flat_fees[0].in_advanced",
            "did you mean in_advance?",
        ),
    ],
)
def test_terms_that_cannot_work_are_refused_with_their_place_and_what_to_write(
    data: Document, place: str, said: str
) -> None:
    found = problems(data)
    assert said in found.get(place, ""), found


def test_all_problems_of_the_terms_are_said_at_once_beside_those_of_other_fields() -> None:
    data = document(
        {**IN, "minimum": "50", "maximum": "40"},
        currency="USD",
        maximum={"sku": "in", "amount": "0.001"},
        tax=[{"name": "VAT", "rate_percent": "19"}, {"name": "VAT", "rate_percent": "7"}],
        curency="EUR",
    )
    assert set(problems(data)) == {"curency", "skus[0].maximum", "maximum.sku", "maximum.amount", "tax[1].name"}


GOOD = document(
    {
        **sku("{model}/in", "input", {"model": "graduated", "tiers": [{"up_to": 10, "price": "1"}, {"price": "0.5"}]}),
        "included": {"quantity": "100", "rollover": "50"},
        "commitment": {"quantity": "500", "overage_factor": "1.2"},
        "minimum": "10",
        "maximum": "5000",
    },
    {**sku("out", "output", per_unit("1")), "tier_scope": "hour", "commitment": {"amount": "3", "window": "hour"}},
    flat_fees=[{"sku": "fee", "amount": "20", "in_advance": True, "prorate": True}],
    discounts=[{"sku": "off", "percent": "10", "skus": ["*/in", "out"]}, {"sku": "gift", "amount": "5"}],
    commitment={"sku": "commit", "amount": "1000", "overage_factor": "1.1"},
    maximum={"sku": "cap", "amount": "9000"},
    minimum={"sku": "least", "amount": "1000"},
    tax=[{"name": "VAT", "rate_percent": "19"}, {"name": "levy", "rate_percent": "0.5"}],
)


def test_a_card_with_all_terms_is_right_and_is_written_back_as_it_was() -> None:
    made = parse_card(GOOD)
    assert parse_card(made.document()) == made
    assert problems({**GOOD, "currency": "JPY"}) == {}


SCHEMA = jsonschema.Draft202012Validator(card_schema())


def test_the_json_schema_accepts_all_terms_and_refuses_what_a_schema_can() -> None:
    SCHEMA.validate(GOOD)
    for wrong in (
        with_sku(commitment={}),
        with_sku(commitment={"amount": "1", "quantity": "1"}),
        with_sku(commitment={**COMMIT, "window": "day"}),
        with_sku(commitment={**COMMIT, "overage_factor": "0"}),
        with_sku(minimum=0.5),
        document(IN, discounts=[{"sku": "off"}]),
        document(IN, discounts=[{"sku": "off", "percent": "5", "amount": "5"}]),
        document(IN, discounts=[{"sku": "off", "percent": "101"}]),
        document(IN, discounts=[{"sku": "off", "percent": "5", "skus": []}]),
        document(IN, maximum={"amount": "5"}),
        document(IN, tax=[{"name": "VAT", "rate": "19"}]),
        document(IN, flat_fees=[{"sku": "fee", "amount": "5", "prorate": "yes"}]),
    ):
        assert not SCHEMA.is_valid(wrong), wrong
