# mypy: disable-error-code="comparison-overlap,unreachable"
# Decimal(6) == 6 is meant in these tests.
"""Revenue shares: which rule is for which line, and statements that agree with the invoices to the cent."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rating import parse_card, rate
from rating.cards import RateCard
from rating.credit_notes import CreditRequest, draft_credit_note
from rating.documents import NO_DOCUMENT, Document, Draft, draft_invoice, issue, remaining
from rating.errors import CardError, DocumentError, InvoiceError
from rating.invoices import build_invoice
from rating.marketplace import share_of
from rating.money import exact_sum
from rating.period import TenantPeriod
from rating.rated import RatedLine
from rating.statements import Statement, credit_lines, invoice_lines, parts_of
from rating.windows import hour_start
from tests.rating.builders import PERIOD, START, card, catalog, document, key, per_unit, sku
from tests.rating.builders import Document as Data

RULES: list[Data] = [
    {"seller_id": "labs", "share_percent": "70"},
    {"seller_id": "labs", "share_percent": "80", "skus": ["*/output", "extra"]},
]


def sold(name: str, meter: str, price: str, seller: str = "labs", **match: str) -> Data:
    return {**sku(name, meter, per_unit(price), **match), "seller_id": seller}


def market(*rules: Data, price: str = "0.333", **fields: object) -> RateCard:
    return card(
        sku("own", "requests", per_unit("1")),
        sold("m/input", "input", price),
        sold("m/output", "output", price),
        revenue_shares=list(rules),
        **fields,
    )


def usage(tenant: str = "acme", quantity: int = 1, hours: int = 1) -> list[RatedLine]:
    return rate(MARKET, [
        (key(tenant=tenant), START + hour,
         {"input_uncached": Decimal(quantity), "output_text": Decimal(quantity), "requests": Decimal(1)})
        for hour in range(hours)
    ])  # fmt: skip


MARKET = market(*RULES)


def statement(records: list[RatedLine], cards: list[RateCard], document_id: str | None = None) -> Statement:
    lines = invoice_lines("acme", "labs", "USD", records, parts_of(records, cards), document_id)
    return Statement("labs", PERIOD, "USD", tuple(lines))


def test_a_rule_that_names_lines_goes_before_the_general_one() -> None:
    rules = MARKET.revenue_shares
    asked = [("labs", "m/input"), ("labs", "m/output"), ("labs", "extra"), ("labs", "extra2"), ("other", "m/output")]
    found = [share_of(rules, *each) for each in asked]
    assert [str(rule.share_percent) if rule else None for rule in found] == ["70", "80", "80", "70", None]
    assert [share_of(rules[::-1], *each) for each in asked] == found


@pytest.mark.parametrize(
    ("rules", "said"),
    [
        ([{"seller_id": "labz", "share_percent": "70"}], "revenue_shares[0].seller_id: no SKU is sold by labz"),
        ([*RULES, {"seller_id": "labs", "share_percent": "1"}], "revenue_shares[2]: a line of labs can be in this rule and"),
        ([*RULES, {"seller_id": "labs", "share_percent": "1", "skus": ["m/*"]}], "in this rule and in revenue_shares[1]"),
        ([{"seller_id": "labs", "share_percent": "100.1"}], "100.1 is more than 100 percent"),
        ([{"seller_id": "labs", "share_percent": 0.7}], "a float is not an exact number"),
        ([{"seller_id": "labs", "share_percent": "-1"}], "is negative"),
        ([{"seller_id": "labs"}], "share_percent: is missing"),
        ([{"seller_id": "labs", "share_percent": "1", "skus": []}], "revenue_shares[0].skus"),
        ([{"seller": "labs", "share_percent": "1"}], "unknown field, did you mean seller_id?"),
    ],
)  # fmt: skip
def test_what_is_wrong_with_a_rule_is_said_with_its_place(rules: list[Data], said: str) -> None:
    broken = document(sold("m/input", "input", "1"), revenue_shares=rules)
    with pytest.raises(CardError) as refused:
        parse_card(broken)
    assert said in str(refused.value)


def test_a_statement_has_the_lines_of_the_invoice_and_its_parts_sum() -> None:
    records = usage(hours=2)
    made = statement(records, [MARKET])
    invoice = build_invoice("acme", PERIOD, "USD", records, [MARKET])
    assert [(line.sku, line.gross) for line in made.lines] == [
        (line.sku, line.amount) for line in invoice.lines if line.seller_id == "labs"
    ]
    # 0.666 each: 70 % is 0.4662, 80 % is 0.5328, each rounded once.
    assert [(line.sku, str(line.gross), str(line.seller_amount), str(line.operator_amount)) for line in made.lines] == [
        ("m/input", "0.67", "0.47", "0.20"),
        ("m/output", "0.67", "0.53", "0.14"),
    ]
    assert (str(made.gross), str(made.seller_amount), str(made.operator_amount)) == ("1.34", "1.00", "0.34")
    assert not made.final
    assert statement(records, [MARKET], "telco-000001").final


def test_a_seller_without_a_rule_is_told_and_never_gets_nothing_in_silence() -> None:
    bare = market()
    made = statement(usage(), [bare])
    assert [line.sku for line in made.without_rule] == ["m/input", "m/output"]
    assert [line.seller_amount for line in made.lines] == [None, None]
    assert (made.shared, made.gross) == ((), 0)


def test_when_the_share_changes_within_a_period_each_hour_is_shared_by_its_own() -> None:
    later = market(
        {"seller_id": "labs", "share_percent": "50"}, version=2, price="1", effective_from=hour_start(START + 1)
    )
    known = catalog(MARKET, later)
    period = TenantPeriod("acme", PERIOD)
    for hour in range(2):
        period.add(key(), START + hour, None, {"output_text": Decimal(1)})
    records = period.lines(known, closed=True)
    (line,) = statement(records, [MARKET, later]).lines
    assert line.share_percents == (80, 50)
    assert (str(line.gross), str(line.seller_amount)) == ("1.33", "0.77")  # 0.2664 + 0.5
    with pytest.raises(InvoiceError, match="card card version 2, which priced m/output"):
        parts_of(records, [MARKET])


@pytest.mark.parametrize("first", [True, False])
def test_a_line_that_a_rule_shares_only_for_some_hours_is_in_no_sum(first: bool) -> None:
    rules, none = market(*RULES, version=1 + first), market(version=2 - first)
    known = [none, rules] if first else [rules, none]
    later = parse_card({**known[1].document(), "effective_from": hour_start(START + 1)})
    versions = [known[0], later]
    period = TenantPeriod("acme", PERIOD)
    for hour in range(3):
        period.add(key(), START + hour, None, {"output_text": Decimal(1)})
    made = statement(period.lines(catalog(*versions), closed=True), versions)
    assert [(line.seller_amount, line.share_percents) for line in made.lines] == [(None, ())]
    assert (made.shared, made.gross) == ((), 0)


def issued(draft: Draft) -> Document:
    return issue([draft], "telco", NO_DOCUMENT, datetime(2026, 2, 2, tzinfo=UTC), "anna")[0]


@given(st.integers(1, 400), st.lists(st.integers(1, 9_000), min_size=1, max_size=6))
@settings(deadline=None, max_examples=30)
def test_a_line_that_is_credited_in_full_leaves_the_seller_exactly_nothing(quantity: int, cents: list[int]) -> None:
    records = usage(quantity=quantity)
    parts = parts_of(records, [MARKET])
    invoice = issued(draft_invoice(build_invoice("acme", PERIOD, "USD", records, [MARKET]), {}))
    notes: list[tuple[str, Draft]] = []
    for number, each in enumerate([*cents, None]):
        drafts = [note for _, note in notes]
        asked = None if each is None else {1: Decimal(each).scaleb(-2)}
        try:
            note = draft_credit_note(CreditRequest("telco-000001", str(number), asked), invoice, drafts)
        except DocumentError:
            continue
        notes.append((f"note-{number}", note))
    assert not any(remaining(invoice.draft, [note for _, note in notes]))
    given_back = credit_lines(invoice.draft, notes, "labs", parts, {name for name, _ in notes})
    charged = statement(records, [MARKET])
    assert exact_sum(line.gross for line in given_back) == -charged.gross
    assert exact_sum(line.seller_amount or Decimal(0) for line in given_back) == -charged.seller_amount
    assert all((line.seller_amount or 0) <= 0 for line in given_back)


def test_only_the_credit_notes_that_are_asked_for_are_listed() -> None:
    records = usage(quantity=30)
    invoice = issued(draft_invoice(build_invoice("acme", PERIOD, "USD", records, [MARKET]), {}))
    numbers = {line.sku: number for number, line in enumerate(invoice.draft.lines, 1)}
    first = draft_credit_note(CreditRequest("telco-000001", "a", {numbers["m/input"]: Decimal(4)}), invoice, [])
    second = draft_credit_note(
        CreditRequest("telco-000001", "b", {numbers["m/input"]: Decimal(2), numbers["own"]: Decimal(1)}),
        invoice,
        [first],
    )
    notes = [("one", first), ("two", second)]
    parts = parts_of(records, [MARKET])
    (only,) = credit_lines(invoice.draft, notes, "labs", parts, {"two"})
    assert (only.document_id, str(only.gross), str(only.seller_amount)) == ("two", "-2.00", "-1.40")
    bare = {ref: part._replace(seller=None) for ref, part in parts.items()}
    assert credit_lines(invoice.draft, notes, "labs", bare, {"two"})[0].seller_amount is None


def test_what_fell_to_nothing_names_no_card_and_is_no_line() -> None:
    records = [
        replace(line, quantity=Decimal(0), amount=Decimal(0), card_id=None, card_version=None) for line in usage()
    ]
    assert statement(records, [MARKET]).lines == ()
