"""Invoice documents: immutable texts, numbers without gaps, credits that never exceed what was charged."""

from __future__ import annotations

import decimal
import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rating import rate
from rating.credit_notes import CreditRequest, draft_credit_note
from rating.documents import (
    NO_DOCUMENT,
    Document,
    Draft,
    SeriesEnd,
    differences,
    draft_invoice,
    is_credited,
    issue,
    parse_document,
    remaining,
    stage_of,
    text_hash,
)
from rating.errors import DocumentError
from rating.invoices import Invoice, build_invoice
from rating.money import exact_sum
from rating.period import TenantPeriod
from tests.rating.builders import PERIOD, START, card, catalog, graduated, key, per_unit, sku

CARD = card(
    sku("{model}/output", "output", graduated((1000, "0.35", "1.5"), (None, "0.1", "0"))),
    sku("requests", "requests", per_unit("0.02", 1000)),
    flat_fees=[{"sku": "fee", "amount": "20"}],
)
AT = datetime(2026, 2, 2, tzinfo=UTC)


def invoice(quantity: int = 1200, tenant: str = "acme") -> Invoice:
    usage = [(key(tenant=tenant), START, {"output_text": Decimal(quantity), "requests": Decimal(7)})]
    return build_invoice(tenant, PERIOD, "USD", rate(CARD, usage), [CARD])


def issued(*drafts: Draft, after: SeriesEnd = NO_DOCUMENT) -> list[Document]:
    return issue(drafts, "telco", after, AT, "anna")


def only(draft: Draft) -> Document:
    return issued(draft)[0]


def test_a_document_states_the_invoice_and_its_text_gives_it_back() -> None:
    made = invoice()
    document = only(draft_invoice(made, {}))
    assert document.document_id == "telco-000001"
    assert (document.draft.total, len(document.draft.lines)) == (made.total, len(made.lines))
    text = document.text()
    again = parse_document(text)
    assert again == document
    assert again.text() == text
    assert document.content_hash == text_hash(text)
    data = json.loads(text, parse_float=lambda text: pytest.fail(f"{text} is a float"))
    assert [line["amount"] for line in data["lines"]] == ["20.00", "371.50", "0.00"]
    assert data["lines"][1]["tiers"][1]["quantity"] == "200"
    assert data["total"] == "391.50"


def test_a_document_that_another_version_wrote_keeps_its_text_and_hash() -> None:
    text = only(draft_invoice(invoice(), {})).text().replace('"currency"', ' "colour":"blue","currency"', 1)
    again = parse_document(text)
    assert (again.text(), again.content_hash) == (text, text_hash(text))
    assert again.draft.details["colour"] == "blue"


@pytest.mark.parametrize(
    "changed",
    [
        {"issued_by": "bob"},
        {"issued_at": AT + timedelta(microseconds=1)},
        {"previous_hash": "0"},
        {"number": 2},
        {"issuer": "other"},
    ],
    ids=lambda changed: next(iter(changed)),
)
def test_the_hash_covers_the_head_of_a_document(changed: dict[str, object]) -> None:
    document = only(draft_invoice(invoice(), {}))
    assert replace(document, **changed).content_hash != document.content_hash  # type: ignore[arg-type]


def test_the_hash_covers_lines_total_and_details() -> None:
    draft = draft_invoice(invoice(), {})
    document = only(draft)
    line = draft.lines[1]
    others = [
        replace(draft, total=draft.total + 1),
        replace(draft, lines=(draft.lines[0], replace(line, amount=line.amount + 1), draft.lines[2])),
        replace(draft, lines=(draft.lines[0], replace(line, details={}), draft.lines[2])),
        replace(draft, reason="x"),
        replace(draft, details={}),
    ]
    assert len({only(other).content_hash for other in [draft, *others]}) == 6
    assert only(draft) == document


@pytest.mark.parametrize("precision", [5, 28, 60])
def test_a_document_does_not_depend_on_the_decimal_context(precision: int) -> None:
    expected = only(draft_invoice(invoice(), {})).text()
    with decimal.localcontext(decimal.Context(prec=precision, rounding=decimal.ROUND_DOWN)):
        assert only(draft_invoice(invoice(), {})).text() == expected


def test_numbers_go_on_and_each_document_has_the_hash_of_the_one_before() -> None:
    first, second = issued(draft_invoice(invoice(), {}), draft_invoice(invoice(tenant="bell"), {}))
    third = issued(
        draft_invoice(invoice(tenant="coal"), {}), after=SeriesEnd(2, second.content_hash, second.issued_at)
    )[0]
    assert [each.number for each in (first, second, third)] == [1, 2, 3]
    assert [first.previous_hash, second.previous_hash, third.previous_hash] == [
        None, first.content_hash, second.content_hash,
    ]  # fmt: skip


def test_a_document_is_not_dated_before_the_one_in_front_of_it() -> None:
    later = AT + timedelta(days=1)
    assert issued(draft_invoice(invoice(), {}), after=SeriesEnd(4, "x", later))[0].issued_at == later
    assert issued(draft_invoice(invoice(), {}), after=SeriesEnd(4, "x", AT - timedelta(days=1)))[0].issued_at == AT


@pytest.mark.parametrize("issuer", ["", " telco", "a\nb", "x" * 65])
def test_an_issuer_that_cannot_begin_a_number_is_refused(issuer: str) -> None:
    with pytest.raises(DocumentError, match="cannot be an issuer"):
        issue([draft_invoice(invoice(), {})], issuer, NO_DOCUMENT, AT, "anna")


def test_what_can_still_change_is_not_made_final() -> None:
    with pytest.raises(DocumentError, match="2026-01 is not closed"):
        draft_invoice(replace(invoice(), provisional=True), {})


def test_a_draft_becomes_grace_closed_and_final() -> None:
    closed = invoice()
    still_open = replace(closed, provisional=True)
    assert [
        stage_of(still_open, period_over=False, issued=False),
        stage_of(still_open, period_over=True, issued=False),
        stage_of(closed, period_over=True, issued=False),
        stage_of(closed, period_over=True, issued=True),
    ] == ["draft", "grace", "closed", "final"]


def test_late_usage_on_the_next_invoice_names_the_invoice_that_it_corrects() -> None:
    known = catalog(CARD)
    january = TenantPeriod("acme", PERIOD)
    january.add(key(), START, None, {"output_text": Decimal(10)})
    january.add(key(), START + 1, "2026-02", {"output_text": Decimal(5)})
    late = [line for line in january.lines(known, closed=True) if line.billing_period == "2026-02"]
    draft = draft_invoice(build_invoice("acme", "2026-02", "USD", late, known), {PERIOD: "telco-000001"})
    (line,) = draft.lines
    assert (line.kind, line.service_period, line.corrects) == ("adjustment", PERIOD, "telco-000001")
    assert draft_invoice(invoice(), {PERIOD: "telco-000001"}).lines[0].corrects is None


def test_differences_name_the_lines_that_were_rewritten_after_closing() -> None:
    lines = draft_invoice(invoice(), {}).lines
    assert differences(lines, invoice()) == []
    changed = differences(lines, invoice(1201))
    assert [(each.ref.sku, each.issued, each.now) for each in changed] == [
        ("m/output", (Decimal(1200), Decimal("371.5")), (Decimal(1201), Decimal("371.6")))
    ]
    gone = differences(lines, replace(invoice(), lines=()))
    assert [each.now for each in gone] == [None, None, None]


def request(amounts: dict[int, str] | None, reason: str = "outage") -> CreditRequest:
    given = None if amounts is None else {number: Decimal(amount) for number, amount in amounts.items()}
    return CreditRequest("telco-000001", reason, given)


def test_a_credit_note_names_the_invoice_and_the_lines() -> None:
    document = only(draft_invoice(invoice(), {}))
    note = draft_credit_note(request({2: "12.5"}), document, [])
    (line,) = note.lines
    assert (note.kind, note.corrects, note.reason, str(note.total)) == (
        "credit_note", "telco-000001", "outage", "-12.50",
    )  # fmt: skip
    assert (line.sku, line.kind, line.corrects, line.corrects_line, str(line.amount)) == (
        "m/output", "credit", "telco-000001", 2, "-12.50",
    )  # fmt: skip


def test_a_whole_credit_gives_back_all_that_is_left() -> None:
    document = only(draft_invoice(invoice(), {}))
    first = draft_credit_note(request({2: "371.50"}), document, [])
    assert not is_credited(document.draft, [first])
    rest = draft_credit_note(request(None), document, [first])
    assert [(line.corrects_line, str(line.amount)) for line in rest.lines] == [(1, "-20.00")]
    assert is_credited(document.draft, [first, rest])
    with pytest.raises(DocumentError, match="nothing is left of telco-000001"):
        draft_credit_note(request(None, "again"), document, [first, rest])


@pytest.mark.parametrize(
    ("amounts", "said"),
    [
        ({4: "1"}, "there is no line 4 of telco-000001: it has 3 lines"),
        ({0: "1"}, "there is no line 0"),
        ({1: "0"}, "0 is not above 0"),
        ({1: "-1"}, "-1 is not above 0"),
        ({1: "1.001"}, "1.001 has more decimals than USD"),
        ({1: "20.01"}, "20.01 USD is more than the 20.00 that are left of it"),
        ({}, "nothing is left"),
    ],
)
def test_credits_that_cannot_be_are_refused(amounts: dict[int, str], said: str) -> None:
    with pytest.raises(DocumentError, match=said):
        draft_credit_note(request(amounts), only(draft_invoice(invoice(), {})), [])


def test_a_credit_note_is_not_credited_and_needs_a_reason() -> None:
    document = only(draft_invoice(invoice(), {}))
    note = only(draft_credit_note(request({1: "1"}), document, []))
    with pytest.raises(DocumentError, match=r"is a credit note: name the invoice .* telco-000001"):
        draft_credit_note(request({1: "1"}), note, [])
    with pytest.raises(DocumentError, match="needs a reason"):
        draft_credit_note(request({1: "1"}, " "), document, [])


@given(st.lists(st.tuples(st.integers(1, 3), st.integers(1, 30_000)), max_size=20))
@settings(deadline=None, max_examples=40)
def test_no_order_of_credits_gives_back_more_than_was_charged(wanted: list[tuple[int, int]]) -> None:
    document = only(draft_invoice(invoice(), {}))
    notes: list[Draft] = []
    for number, cents in wanted:
        asked = CreditRequest("telco-000001", "r", {number: Decimal(cents).scaleb(-2)})
        try:
            notes.append(draft_credit_note(asked, document, notes))
        except DocumentError:
            assert Decimal(cents).scaleb(-2) > remaining(document.draft, notes)[number - 1]
    left = remaining(document.draft, notes)
    assert all(amount >= 0 for amount in left)
    assert exact_sum([*left, *(-note.total for note in notes)]) == document.draft.total


def test_the_same_request_is_the_same_credit_note() -> None:
    assert request({1: "1", 2: "2.50"}).identity == request({2: "2.5", 1: "1.00"}).identity
    different = [
        request({1: "1"}), request({1: "2"}), request({2: "1"}), request(None), request({1: "1"}, "other"),
        replace(request({1: "1"}), invoice_id="telco-000002"), replace(request({1: "1"}), key="sla"),
    ]  # fmt: skip
    assert len({each.identity for each in different}) == len(different)


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"format":"other"}', '{"format":"tokenmill.invoice-document.v1"}'])
def test_a_text_that_is_no_document_is_refused(text: str) -> None:
    with pytest.raises(DocumentError):
        parse_document(text)


def test_a_float_cannot_stand_on_a_document() -> None:
    draft = replace(draft_invoice(invoice(), {}), details={"measured": 0.5})
    with pytest.raises(DocumentError, match="a float cannot stand on a document"):
        only(draft).text()


@given(st.lists(st.integers(1, 20_000), min_size=1, max_size=6))
@settings(deadline=None, max_examples=25)
def test_credits_in_parts_give_back_exactly_the_taxes_of_a_line(cents: list[int]) -> None:
    taxed = card(
        sku("a", "output", per_unit("0.99")),
        tax=[{"name": "VAT", "rate_percent": "19"}, {"name": "city", "rate_percent": "0.7"}],
    )
    records = rate(taxed, [(key(), START, {"output_text": Decimal(211)})])
    document = only(draft_invoice(build_invoice("acme", PERIOD, "USD", records, [taxed]), {}))
    assert parse_document(document.text()) == document
    assert [(tax.name, str(tax.amount)) for tax in document.draft.taxes] == [("VAT", "39.69"), ("city", "1.46")]
    assert str(document.draft.total_with_taxes) == "250.04"
    notes: list[Draft] = []
    for number, each in enumerate([*cents, None]):
        asked = request(None if each is None else {1: str(Decimal(each).scaleb(-2))}, str(number))
        try:
            notes.append(draft_credit_note(asked, document, notes))
        except DocumentError:
            continue
    assert exact_sum(note.total_with_taxes for note in notes) == -document.draft.total_with_taxes
    for note in notes:
        assert note.total_with_taxes <= note.total
