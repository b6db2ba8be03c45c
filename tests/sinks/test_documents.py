"""Issued documents in ClickHouse: numbers without gaps, each document once, whoever finalizes at the same time."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, TypeVar

import pytest

from infra.clickhouse import connect, insert_arrow
from infra.config import Settings
from rating.credit_notes import CreditRequest
from rating.documents import Document, Draft, identity_of, issue
from rating.errors import DocumentError
from rating.period import TenantPeriod
from rating.windows import first_hour
from sinks import documents
from sinks.documents import TABLE, check_documents, issue_documents, read_documents, read_head, verify
from sinks.finalize import Outcome, credit, event_times, finalize, load_document
from sinks.findings import Findings
from tests.rating.builders import PERIOD, card, catalog, key, per_unit, sku
from tests.sinks.rated_rows import store_rated

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client

T = TypeVar("T")
CARD = card(sku("out", "output", per_unit("0.01")), flat_fees=[{"sku": "fee", "amount": "20"}])
CATALOG = catalog(CARD)
NEXT = "2026-02"
AT = datetime(2026, 2, 2, tzinfo=UTC)


def rate_month(
    client: Client, tenant: str, quantity: int = 250, *, closed: bool = True, period: str = PERIOD, late: int = 0
) -> None:
    """A tenant's month as the worker would leave it; `late` units arrive after it closed, in the next one."""
    made = TenantPeriod(tenant, period)
    made.add(key(tenant=tenant), first_hour(period), None, {"output_text": Decimal(quantity)})
    if late:
        made.add(key(tenant=tenant), first_hour(period) + 1, NEXT, {"output_text": Decimal(late)})
    store_rated(client, made.lines(CATALOG, closed=closed))


def finalized(client: Client, **options: object) -> list[Outcome]:
    return list(finalize(client, "telco", [CARD], by="anna", now=lambda: AT, **options))  # type: ignore[arg-type]


def results(outcomes: list[Outcome]) -> list[tuple[str, str, str, str | None]]:
    return [
        (each.tenant_id, each.period, each.result, each.document.document_id if each.document else None)
        for each in outcomes
    ]


def test_closed_months_are_issued_once_and_open_ones_not_at_all(database: Client) -> None:
    for tenant in ("acme", "bell"):
        rate_month(database, tenant)
        rate_month(database, tenant, closed=False, period=NEXT)
    first = finalized(database)
    assert results(first) == [
        ("acme", PERIOD, "issued", "telco-000001"),
        ("bell", PERIOD, "issued", "telco-000002"),
        ("acme", NEXT, "open", None),
        ("bell", NEXT, "open", None),
    ]
    assert [str(each.total) for each in first] == ["22.50"] * 4
    stored = database.query(f"SELECT * FROM {TABLE} ORDER BY position").result_rows
    again = finalized(database)
    assert [each.result for each in again] == ["was_final", "was_final", "open", "open"]
    assert [each.document for each in again] == [each.document for each in first]
    assert database.query(f"SELECT * FROM {TABLE} ORDER BY position").result_rows == stored
    assert verify(database) == []


def test_the_stage_of_an_open_month_goes_by_event_time(database: Client) -> None:
    rate_month(database, "acme", closed=False)
    assert [each.stage for each in finalized(database)] == ["draft"]
    rate_month(database, "acme", closed=False, period=NEXT)
    assert [each.stage for each in finalized(database)] == ["grace", "draft"]
    rate_month(database, "acme")
    assert [each.stage for each in finalized(database)] == ["final", "draft"]
    assert event_times(database)["acme"] == datetime(2026, 2, 1, tzinfo=UTC)


def test_late_usage_names_the_invoice_that_it_corrects_and_waits_for_it(database: Client) -> None:
    rate_month(database, "acme", late=100)
    rate_month(database, "acme", period=NEXT)
    (waiting,) = finalized(database, period=NEXT)
    assert (waiting.result, waiting.waits_for, waiting.document) == ("waiting", PERIOD, None)
    issued = finalized(database)
    assert results(issued) == [("acme", PERIOD, "issued", "telco-000001"), ("acme", NEXT, "issued", "telco-000002")]
    assert issued[1].document is not None
    corrections = [line for line in issued[1].document.draft.lines if line.kind == "adjustment"]
    assert [(line.service_period, line.corrects, str(line.amount)) for line in corrections] == [
        (PERIOD, "telco-000001", "1.00")
    ]


def test_a_final_invoice_that_the_records_no_longer_agree_with_is_told_and_stays(database: Client) -> None:
    rate_month(database, "acme")
    (issued,) = finalized(database)
    rate_month(database, "acme", 300)  # nothing may do this to a closed month
    (found,) = finalized(database)
    assert found.result == "differs"
    assert found.document == issued.document
    assert [(each.ref.sku, each.issued, each.now) for each in found.differences] == [
        ("out", (Decimal(250), Decimal("2.5")), (Decimal(300), Decimal(3)))
    ]


def test_an_invoice_credited_in_full_is_replaced_when_asked_and_only_then(database: Client) -> None:
    rate_month(database, "acme")
    finalized(database)
    once = {"tenant": "acme", "period": PERIOD, "replace": True}
    with pytest.raises(DocumentError, match="telco-000001 cannot be replaced, something is left of it"):
        finalized(database, **once)
    credit(database, None, CreditRequest("telco-000001", "wrong name", None), by="anna")
    assert [each.result for each in finalized(database)] == ["was_final"]
    (new,) = finalized(database, **once)
    assert new.document is not None
    assert (new.result, new.document.document_id, new.document.draft.replaces) == (
        "issued", "telco-000003", "telco-000001",
    )  # fmt: skip
    assert results(finalized(database)) == [("acme", PERIOD, "was_final", "telco-000003")]


def draft(name: str) -> Draft:
    return Draft(identity_of("test", name), "invoice", name, PERIOD, "USD", (), Decimal(0))


def unless_known(client: Client, *drafts: Draft) -> Callable[[], list[Draft]]:
    def plan() -> list[Draft]:
        known = {each.document.draft.identity for each in read_documents(client)}
        return [each for each in drafts if each.identity not in known]

    return plan


def put(client: Client, *names: str, issuer: str = "telco") -> list[Document]:
    return issue_documents(client, issuer, unless_known(client, *map(draft, names)), by="anna", now=lambda: AT)


def test_who_loses_the_race_looks_again_and_takes_the_next_number(database: Client, migrated: Settings) -> None:
    other = connect(migrated.clickhouse)
    mine, looks = [draft("mine"), draft("common")], 0

    def plan() -> list[Draft]:
        nonlocal looks
        looks += 1
        drafts = unless_known(database, *mine)()
        if looks == 1:  # the other one is faster, after we have looked
            put(other, "common", "theirs")
        return drafts

    made = issue_documents(database, "telco", plan, by="bob", now=lambda: AT)
    assert looks == 2
    assert [(each.document_id, each.draft.tenant_id) for each in made] == [("telco-000003", "mine")]
    assert [each.document.draft.tenant_id for each in read_documents(database)] == ["common", "theirs", "mine"]
    assert verify(database) == []
    other.close()


def at_once(work: Callable[[int, Client], T], times: int, settings: Settings) -> list[T]:
    """What the same work gives that several do at the same time, each with a client of its own."""

    def run(number: int) -> T:
        own = connect(settings.clickhouse)
        try:
            return work(number, own)
        finally:
            own.close()

    with ThreadPoolExecutor(times) as pool:
        return list(pool.map(run, range(times)))


def test_many_at_once_leave_no_gap_and_issue_nothing_twice(database: Client, migrated: Settings) -> None:
    names = [f"tenant-{number}" for number in range(6)]

    def work(shift: int, own: Client) -> list[str]:
        issuer = ("telco", "cloud")[shift % 2]
        return [each.document_id for name in names[shift:] + names[:shift] for each in put(own, name, issuer=issuer)]

    made = [name for each in at_once(work, 3, migrated) for name in each]
    assert len(made) == len(set(made)) == len(names)
    assert sorted(each.document.draft.tenant_id for each in read_documents(database)) == names
    assert verify(database) == []


def test_two_finalizers_at_once_give_each_invoice_one_number(database: Client, migrated: Settings) -> None:
    tenants = [f"tenant-{number}" for number in range(4)]
    for tenant in tenants:
        rate_month(database, tenant)
    found = at_once(lambda _, own: finalized(own), 3, migrated)
    numbers = {tuple(each.document.document_id for each in outcomes if each.document) for outcomes in found}
    assert numbers == {tuple(f"telco-{number:06d}" for number in range(1, 5))}
    assert sum(each.result == "issued" for outcomes in found for each in outcomes) == 4
    assert verify(database) == []


def test_a_token_that_a_dying_server_noted_without_its_rows_blocks_nobody(database: Client) -> None:
    put(database, "first")
    head = read_head(database)
    lost = issue([draft("lost")], "telco", head.end_of("telco"), AT, "anna")
    rows = documents._rows(head.position, lost, "lost")
    insert_arrow(database, TABLE, rows, token=f"{TABLE}/{head.position + 1}")
    database.command(f"ALTER TABLE {TABLE} DELETE WHERE attempt = 'lost' SETTINGS mutations_sync = 2")
    assert [each.document_id for each in put(database, "second")] == ["telco-000002"]
    assert verify(database) == []


def test_numbers_are_of_an_issuer_and_do_not_go_back_in_time(database: Client) -> None:
    put(database, "a")
    put(database, "b", issuer="cloud")
    later = replace(put(database, "c")[0], issued_at=AT)
    assert later.document_id == "telco-000002"
    made = issue_documents(
        database, "cloud", lambda: [draft("d")], by="anna", now=lambda: datetime(2020, 1, 1, tzinfo=UTC)
    )
    assert (made[0].document_id, made[0].issued_at) == ("cloud-000002", AT)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("UPDATE content = replace(content, 'b', 'x') WHERE position = 2", "its content was changed"),
        ("UPDATE content = 'gone' WHERE position = 2", "this is no invoice document"),
        ("DELETE WHERE position = 2", "a document is missing or twice"),
        ("DELETE WHERE position = 2", "the document before it was changed, or is missing"),
        ("DELETE WHERE position = 2", "number 2 of telco is expected"),
        ('UPDATE identity = \'["test","a"]\' WHERE position = 2', "is the same document as telco-000001"),
        ("UPDATE number = 7 WHERE position = 2", "number 2 of telco is expected"),
    ],
)
def test_a_table_that_somebody_changed_is_noticed(database: Client, change: str, said: str) -> None:
    put(database, "a", "b", "c")
    database.command(f"ALTER TABLE {TABLE} {change} SETTINGS mutations_sync = 2")
    assert any(said in problem for problem in verify(database)), verify(database)


def test_the_same_credit_note_again_is_a_no_op_and_more_than_is_left_is_refused(database: Client) -> None:
    rate_month(database, "acme")
    finalized(database)
    asked = CreditRequest("telco-000001", "outage", {1: Decimal(15)})
    first, again = (credit(database, None, asked, by="anna") for _ in range(2))
    assert (first.new, again.new) == (True, False)
    assert first.document == again.document
    assert (first.document.document_id, first.document.draft.corrects) == ("telco-000002", "telco-000001")
    with pytest.raises(DocumentError, match=r"15 USD is more than the 5\.00 that are left"):
        credit(database, None, replace(asked, reason="another outage"), by="anna")
    with pytest.raises(DocumentError, match="there is no document telco-000009"):
        credit(database, None, replace(asked, invoice_id="telco-000009"), by="anna")
    assert load_document(database, "telco-000002") == first.document


def test_two_credits_at_once_do_not_give_back_more_than_was_charged(
    database: Client, migrated: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    rate_month(database, "acme")
    finalized(database)
    other = connect(migrated.clickhouse)
    original = issue

    def slower(*arguments: object) -> list[Document]:
        monkeypatch.setattr(documents, "issue", original)
        credit(other, None, CreditRequest("telco-000001", "theirs", {1: Decimal(15)}), by="bob")
        return original(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(documents, "issue", slower)
    with pytest.raises(DocumentError, match=r"more than the 5\.00 that are left"):
        credit(database, None, CreditRequest("telco-000001", "mine", {1: Decimal(15)}), by="anna")
    other.close()


def test_the_lines_of_all_documents_sum_to_their_totals_in_sql(database: Client) -> None:
    rate_month(database, "acme", late=100)
    rate_month(database, "acme", period=NEXT)
    finalized(database)
    credit(database, None, CreditRequest("telco-000001", "outage", {2: Decimal("0.5")}), by="anna")
    totals = "SELECT document_id, sum(amount) FROM invoice_document_lines GROUP BY document_id ORDER BY document_id"
    assert database.query(totals).result_rows == [
        ("telco-000001", Decimal("22.5")), ("telco-000002", Decimal("23.5")), ("telco-000003", Decimal("-0.5")),
    ]  # fmt: skip
    correcting = (
        "SELECT corrects, corrects_line, quantity FROM invoice_document_lines WHERE corrects != '' ORDER BY position"
    )
    assert database.query(correcting).result_rows == [
        ("telco-000001", 0, Decimal(100)),
        ("telco-000001", 2, Decimal(0)),
    ]


def test_reconciliation_tells_of_a_changed_document(database: Client) -> None:
    put(database, "a", "b")
    findings = Findings()
    check_documents(database, findings)
    assert findings.report().ok
    assert findings.report().compared == {"documents": 2}
    database.command(f"ALTER TABLE {TABLE} DELETE WHERE position = 1 SETTINGS mutations_sync = 2")
    check_documents(database, findings)
    assert "position 1 is expected, 2 (telco-000002) follows" in findings.report().problems[0]
