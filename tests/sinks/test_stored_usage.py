"""Stored usage gives what the stream rated: the same months, priced again by the same cards, cost the same."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal
from typing import TYPE_CHECKING

from infra.cli.ratecard.trial import Trial, priced_by, prices_with, run_trial
from infra.config import Settings
from rating.cards import parse_card
from rating.trial import TenantTrial
from sinks.stored_catalog import load_catalog
from sinks.stored_usage import tenants_with_usage
from tests.sinks.filled import busy_log, fill, run_of
from tests.streams.support import START, Log, card_document, per_unit, usage

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client


def tried(
    client: Client, settings: Settings, document: dict[str, object], *, wholly: bool = False
) -> dict[str, TenantTrial]:
    published = load_catalog(client, settings)
    trial = Trial("2026-01", published, prices_with(parse_card(document), published, "2026-01", lambda _: wholly))
    tenants = tenants_with_usage(client, "2026-01")
    return {each.tenant_id: each for each in run_trial(client, settings, trial, tenants)}


def test_the_published_card_tried_again_changes_nothing(database: Client) -> None:
    run = run_of(busy_log())
    fill(database, run)
    published = load_catalog(database, run.made)
    card = published.card("card", 2)
    assert card is not None
    found = tried(database, run.made, card.document())
    assert list(found) == ["acme", "bell", "coal"]
    for trial in found.values():
        assert trial.lines
        assert [line.id.sku for line in trial.lines if line.change or line.crosses] == []
        assert trial.old_waiting == trial.new_waiting != ()
    assert sum(trial.old("USD") for trial in found.values()) > 0


def test_another_price_tiers_and_meters_of_every_kind(database: Client) -> None:
    skus = [
        per_unit("{model}/input", "input", "1"),
        per_unit("pictures", "images", "2"),
        per_unit("speech", "audio_seconds", "0.5"),
        per_unit("scans", "units.scans", "0.1"),
        {**per_unit("people", "units.scans", "3"), "aggregation": "unique_api_keys"},
        {**per_unit("most", "units.seats", "7"), "aggregation": "max"},
        {**per_unit("disk", "units.disk", "1"), "aggregation": "time_weighted", "quantity": {"divide_by": "24"}},
        {"sku": "fee", "meter": "units.paid", "charge": {"model": "percentage", "rate": "10", "fixed_fee": "1"}},
    ]
    log = Log()
    log.card(card_document(*skus, not_charged=["output", "requests"]))
    log.assign()
    log.batch([usage("early", START - timedelta(days=20), units={"disk": "3"})])
    log.batch(
        [
            usage("a", api_key_id="k1", units={"scans": "2.5", "paid": "100", "disk": "-1"}, images=2),
            usage(
                "b",
                timedelta(hours=1),
                api_key_id="k2",
                units={"scans": "1", "seats": "4"},
                audio_seconds=Decimal("1.5"),
            ),
            usage("c", timedelta(hours=2), api_key_id="k1", units={"scans": "1", "seats": "3", "paid": "50"}),
        ]
    )
    log.batch([usage("later", timedelta(days=40))])
    run = run_of(log)
    fill(database, run)
    published = load_catalog(database, run.made)
    card = published.card("card", 1)
    assert card is not None
    same = tried(database, run.made, card.document())["acme"]
    assert {line.id.sku: (line.old, line.change) for line in same.lines} == {
        line.id.sku: (line.new, Decimal("0.00")) for line in same.lines
    }
    assert {line.id.sku for line in same.lines} >= {
        "llama/input",
        "pictures",
        "speech",
        "scans",
        "people",
        "most",
        "fee",
    }


def test_late_usage_counts_in_its_month_and_tiers_that_are_crossed_are_told(database: Client) -> None:
    log = Log()
    log.card(card_document(per_unit("{model}/input", "input", "0.1"), not_charged=["output", "requests"]))
    log.assign("acme")
    log.batch([usage("a"), usage("b", timedelta(days=1))])
    log.batch([usage("feb", timedelta(days=30))])
    log.batch([usage("late", timedelta(days=2))])
    run = run_of(log)
    fill(database, run)
    tiers = {"model": "graduated", "tiers": [{"up_to": 250, "price": "0.1"}, {"price": "0.05"}]}
    document = card_document(
        {"sku": "{model}/input", "meter": "input", "charge": tiers}, not_charged=["output", "requests"]
    )
    (line,) = tried(database, run.made, document)["acme"].lines
    assert (line.quantity, line.old, line.new, line.crosses) == (Decimal(300), Decimal(30), Decimal("27.5"), True)
    assert line.new_reach is not None
    assert (line.new_reach.lower, line.new_reach.upper) == (Decimal(250), None)


def test_a_card_stands_where_its_versions_stand_with_the_tenants_own_prices(database: Client) -> None:
    log = Log()
    log.card(card_document(per_unit("{model}/input", "input", "0.1"), not_charged=["output", "requests"]))
    other = card_document(per_unit("{model}/input", "input", "5"), not_charged=["output", "requests"])
    log.card({**other, "id": "other"})
    log.assign("acme", overrides={"{model}/input": {"model": "per_unit", "price": "0.05", "per": "1"}})
    log.assign("bell", "other")
    log.assign("coal")
    log.assign("coal", "other", since=START + timedelta(hours=1))
    for tenant in ("acme", "bell", "coal"):
        log.batch([usage(f"{tenant}-a", tenant_id=tenant), usage(f"{tenant}-b", timedelta(hours=1), tenant_id=tenant)])
    run = run_of(log)
    fill(database, run)
    dearer = card_document(per_unit("{model}/input", "input", "0.2"), not_charged=["output", "requests"], version=9)
    published = load_catalog(database, run.made)
    assert priced_by("card", published, "2026-01", ["acme", "bell", "coal"]) == ["acme", "coal"]
    found = tried(database, run.made, dearer)
    assert {tenant: (trial.old("USD"), trial.new("USD")) for tenant, trial in found.items()} == {
        "acme": (Decimal(10), Decimal(10)),
        "bell": (Decimal(1000), Decimal(1000)),
        "coal": (Decimal(510), Decimal(520)),
    }
    wholly = tried(database, run.made, dearer, wholly=True)
    assert {tenant: trial.new("USD") for tenant, trial in wholly.items()} == {"acme": 40, "bell": 40, "coal": 40}


def test_fees_and_what_has_no_price_are_part_of_a_trial(database: Client) -> None:
    run = run_of(busy_log())
    fill(database, run)
    document = card_document(
        per_unit("{model}/input", "input", "1", 1_000_000), flat_fees=[{"sku": "fee", "amount": "5"}]
    )
    trial = tried(database, run.made, document)["acme"]
    assert {line.id.sku: line.new for line in trial.lines if line.id.sku in ("fee", "requests")} == {
        "fee": Decimal("5.00"),
        "requests": Decimal("0.00"),
    }
    assert {each.meter for each in trial.new_waiting} >= {"output_text", "requests"}


def test_the_terms_of_a_month_and_what_it_takes_over_are_those_of_the_stream(database: Client) -> None:
    input_sku = {**per_unit("{model}/input", "input", "0.1"), "included": {"quantity": "150", "rollover": "100"}}
    document = card_document(
        {**input_sku, "discount_percent": "10"},
        {**per_unit("pictures", "images", "1"), "minimum": "50"},
        flat_fees=[{"sku": "fee", "amount": "20", "in_advance": True}],
        discounts=[{"sku": "loyalty", "percent": "5", "skus": ["*"]}],
        minimum={"sku": "least", "amount": "200"},
        not_charged=["output", "requests"],
    )
    log = Log()
    log.card(document)
    log.assign("acme", since=START - timedelta(days=9))
    log.batch([usage("a"), usage("b", timedelta(days=25), input_tokens=500, images=3)])
    log.batch([usage("c", timedelta(days=60))])
    run = run_of(log)
    fill(database, run)
    published = load_catalog(database, run.made)
    for period in ("2026-01", "2026-02"):
        trial = Trial(period, published, prices_with(parse_card(document), published, period, lambda _: False))
        (acme,) = run_trial(database, run.made, trial, ["acme"])
        assert len(acme.lines) >= 3
        assert [(line.id.sku, line.old, line.new) for line in acme.lines if line.change] == []


def test_a_month_without_usage_has_no_tenants(database: Client) -> None:
    assert tenants_with_usage(database, "2026-01") == []
