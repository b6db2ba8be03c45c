"""KPIs agree with the rated records, with the invoices, and with the same figures computed from the events in plain Python."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from statistics import quantiles
from typing import TYPE_CHECKING

import pytest

from infra.clickhouse import connect
from infra.embedded.clickhouse.process import EmbeddedClickHouse
from infra.errors import StoreError
from infra.migrations import apply
from rating.meters import GROUP_METERS
from sinks.invoices import list_invoices, load_cards, load_invoices
from sinks.kpi_economics import comparison, gpu_economics, revenue
from sinks.kpi_governance import price_changes, rate_limit_hits, signals, unpriced_usage
from sinks.kpi_scope import Scope, Span
from sinks.kpi_usage import Objective, error_types, performance, reliability, token_usage
from sinks.usage import UsageSink
from tests.sinks import samples
from tests.sinks.filled import busy_log, fill, run_of
from tests.sinks.test_rows_in_clickhouse import store
from tests.streams.support import START, Log, Run, card_document, usage

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client

TOKEN_METERS = {name for group, leaves in GROUP_METERS.items() for name in (group, *leaves)}


@pytest.fixture(scope="module")
def run() -> Run:
    found = run_of(busy_log())
    # What is asked below is only worth asking when there is something to be left out.
    assert found.outcomes()["duplicate"] > 10
    assert found.dead_codes()["undecodable"] == 1
    return found


@pytest.fixture(scope="module")
def filled(clickhouse: EmbeddedClickHouse, run: Run) -> Iterator[Client]:
    """A database with the run stored, made once and only read."""
    settings = clickhouse.settings(f"t{uuid.uuid4().hex[:10]}")
    apply(connect(settings, database=""), settings.database)
    client = connect(settings)
    fill(client, run)
    yield client
    client.close()


def test_the_tokens_of_kpis_are_those_of_the_rated_records_and_of_the_invoices(filled: Client, run: Run) -> None:
    (total,) = token_usage(filled, Scope())
    rated = sum(Decimal(each["quantity"]) for each in run.last().values() if each["meter"] in TOKEN_METERS)
    cards = load_cards(filled, run.made)
    billed = Decimal(0)
    for tenant, period in sorted({(each.tenant_id, each.period) for each in list_invoices(filled)}):
        for invoice in load_invoices(filled, tenant, period, cards):
            billed += sum(line.quantity for line in invoice.lines if line.meter in TOKEN_METERS)
            billed += sum(each.quantity for each in invoice.unrated if each.meter in TOKEN_METERS)
    assert total.tokens == rated == billed > 100_000


def test_hours_tenants_models_and_endpoints_add_up_to_the_whole(filled: Client, run: Run) -> None:
    (total,) = token_usage(filled, Scope())
    splits = (
        Scope(by="hour"),
        Scope(by="day", per=("tenant",)),
        Scope(by="month", per=("model", "endpoint")),
        Scope(per=("tenant", "model", "endpoint")),
    )
    for scope in splits:
        rows = token_usage(filled, scope)
        assert len(rows) > 1
        assert sum(row.tokens for row in rows) == total.tokens
        assert sum(row.requests for row in rows) == total.requests == 90


def test_a_tenant_a_model_and_a_time_limit_the_question(filled: Client, run: Run) -> None:
    by_tenant = {row.place.tenant: row for row in token_usage(filled, Scope(per=("tenant",)))}
    (acme,) = token_usage(filled, Scope(tenant="acme"))
    assert acme.tokens == by_tenant["acme"].tokens
    hour = START + timedelta(hours=1)
    first = token_usage(filled, Scope(end=hour))[0]
    second = token_usage(filled, Scope(start=hour))[0]
    assert (first.requests, second.requests) == (60, 30)
    assert token_usage(filled, Scope(tenant="nobody")) == []
    assert token_usage(filled, Scope(model="qwen"))[0].requests == sum(1 for n in range(90) if n % 7 == 3)


def test_quantiles_are_exact_and_of_requests_that_succeeded(filled: Client, run: Run) -> None:
    (row,) = performance(filled, Scope())
    waits = [n / 10 for n in range(90) if n % 4 and n % 5 < 3]
    assert row.ttft is not None
    assert row.ttft.measured == len(waits)
    hundredths = quantiles(waits, n=100, method="inclusive")
    for found, wanted in zip(
        (row.ttft.p50, row.ttft.p90, row.ttft.p95, row.ttft.p99), (hundredths[i] for i in (49, 89, 94, 98)), strict=True
    ):
        assert found == pytest.approx(wanted, abs=1e-6)
    assert row.end_to_end is not None
    assert row.end_to_end.measured == sum(1 for n in range(90) if n % 5 < 3)
    assert row.seconds == 2 * 3600
    assert row.requests_per_s == pytest.approx(90 / 7200)


def test_goodput_counts_tokens_within_the_objective(filled: Client, run: Run) -> None:
    def judged(good: Callable[[int], bool]) -> int:
        return sum(10 + n for n in range(90) if good(n))

    (row,) = performance(filled, Scope(), Objective(ttft_s=3.05, inter_token_s=0.1))
    assert row.judged_tokens == judged(lambda n: n % 5 > 2 or n % 4 != 0)
    assert row.good_tokens == judged(lambda n: n % 5 < 3 and n % 4 != 0 and n / 10 <= 3.05 and 2 / (10 + n - 1) <= 0.1)
    assert 0 < row.good_tokens < row.judged_tokens < row.output_tokens


def test_a_first_token_before_the_start_is_no_measurement(database: Client) -> None:
    log = Log()
    log.card(card_document())
    log.assign("*")
    log.batch([usage("e", started_at=START, ended_at=START, first_token_at=START - timedelta(seconds=5))])
    fill(database, run_of(log))
    (row,) = performance(database, Scope())
    assert (row.requests, row.ttft, row.inter_token) == (1, None, None)


def test_failures_are_tied_to_their_tokens(filled: Client, run: Run) -> None:
    (row,) = reliability(filled, Scope())

    def tokens(chosen: Callable[[int], bool]) -> int:
        return sum(1000 + 17 * n + 10 + n for n in range(90) if chosen(n))

    assert (row.requests, row.errors, row.aborted, row.retries, row.rate_limited) == (90, 18, 18, 15, 9)
    assert row.tokens == tokens(lambda n: True)
    assert row.error_tokens == tokens(lambda n: n % 5 == 3)
    assert row.aborted_tokens == tokens(lambda n: n % 5 == 4)
    assert row.error_rate == pytest.approx(0.2)
    assert [(each.error_type, each.http_status, each.requests) for each in error_types(filled, Scope())] == [
        ("", None, 9),
        ("rate_limited", 429, 9),
    ]
    assert sum(hit.hits for hit in rate_limit_hits(filled, Scope())) == 9


def test_usage_without_a_price_and_signals_are_governance(filled: Client, run: Run) -> None:
    unpriced = unpriced_usage(filled, Scope())
    assert {each.meter for each in unpriced} <= TOKEN_METERS
    wanted = sum(1000 + 17 * n + 10 + n for n in range(90) if n % 7 == 3 and n % 5 != 3)
    assert sum(each.quantity for each in unpriced) == wanted
    found = {(each.family, each.kind) for each in signals(filled, Scope())}
    assert found == {("missing_batches", "gap"), ("unpriced_usage", "raised")}


def test_price_changes_say_who_when_and_what(filled: Client, run: Run) -> None:
    first, assigned, second = price_changes(filled, Scope())
    assert (first.changed_by, first.card_id, first.card_version) == ("test", "card", 1)
    assert first.changes == ("first version: 3 SKUs in USD, effective from 2020-01-01T00:00:00Z",)
    assert (assigned.what, assigned.tenant) == ("assignment", "*")
    assert second.changes == ("effective_from: 2020-01-01T00:00:00Z -> 2026-01-10T01:00:00Z",)
    assert price_changes(filled, Scope(start=datetime(2031, 1, 1, tzinfo=UTC))) == []


def test_a_changed_a_new_and_a_removed_price_are_named(database: Client) -> None:
    log = Log()
    document = card_document()
    log.card(document)
    input_sku, output_sku, _ = document["skus"]
    dearer = {**input_sku, "charge": {**input_sku["charge"], "price": "0.20"}}
    log.card({**document, "version": 2, "skus": [dearer, output_sku, {**output_sku, "sku": "new"}]})
    fill(database, run_of(log))
    changes = price_changes(database, Scope())[-1].changes
    assert any(line.startswith("new added: 0.60 per 1000000") for line in changes)
    assert "requests removed" in changes
    assert any(line.startswith("{model}/input: 0.15 per 1000000") and "-> 0.20 per" in line for line in changes)


def test_revenue_is_that_of_the_rated_records(filled: Client, run: Run) -> None:
    (total,) = revenue(filled, Scope())
    rated = [each for each in run.last().values() if each.get("currency")]
    assert total.amount == sum(Decimal(each["amount"]) for each in rated)
    assert sum(row.amount for row in revenue(filled, Scope(by="hour"))) == total.amount
    priced = [each for each in rated if each["meter"] in TOKEN_METERS and not each["sku"].startswith("uncharged/")]
    assert total.tokens == sum(Decimal(each["quantity"]) for each in priced)
    assert revenue(filled, Scope(tenant="acme"))[0].per_gpu_hour is None


def test_gpu_hours_idle_share_and_tokens_per_gpu_hour(database: Client, run: Run) -> None:
    fill(database, run)
    store(database, UsageSink(), samples.gpu_usage_batch())
    (gpu,) = gpu_economics(database, Scope())
    assert (gpu.allocated_hours, gpu.idle_share) == (Decimal(0), Decimal(1))
    assert gpu.requests == 45
    assert gpu.tokens_per_gpu_hour is None
    assert gpu.tokens_per_joule == (Decimal(gpu.tokens) / 99).quantize(Decimal("1e-12"))
    assert gpu.cost_per_million(Decimal(3)) is not None
    with pytest.raises(ValueError, match="no tenant"):
        gpu_economics(database, Scope(tenant="acme"))


def test_the_reference_cases_of_the_design_are_reproduced() -> None:
    cases = comparison([], None, gpu_hour_price=Decimal("3"), rented_share=Decimal("0.7"))
    assert [case.outcome.tokens.per_year for case in cases] == [157_680, 315_360]
    assert {case.outcome.gpu_hours.per_year for case in cases} == {Decimal(18_396)}


def test_a_bucket_counts_only_as_far_as_it_lies_in_the_span() -> None:
    at = int(START.timestamp())
    span = Span(at + 1800, at + 30 * 3600)
    assert span.seconds_of("", None) == 30 * 3600 - 1800
    assert span.seconds_of(f"{START:%Y-%m-%dT%H}:00Z", "hour") == 1800
    assert span.seconds_of(f"{START:%Y-%m-%d}", "day") == 24 * 3600 - 1800
    assert span.seconds_of("2026-01", "month") == 30 * 3600 - 1800
    assert span.seconds_of("2026-02", "month") == 0


def test_without_the_views_the_answer_says_migrate(database: Client) -> None:
    elsewhere = replace(Scope(), tenant="x")
    database.command("RENAME TABLE kpi_tokens TO kpi_tokens_away")
    try:
        with pytest.raises(StoreError, match="tokenmill migrate") as refused:
            token_usage(database, elsewhere)
    finally:
        database.command("RENAME TABLE kpi_tokens_away TO kpi_tokens")
    assert refused.value.code == "store_no_views"
