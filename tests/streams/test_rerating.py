"""Closed months that are priced again: adjustments, the old records untouched, nothing twice (D4 to D6)."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import orjson
import pytest

from schemas.rerating import OrderedPrice, RerateOrdered
from streams.restore import POSITION_KEY
from tests.streams.support import Log, Run, card_document, per_unit, rate, rate_in_steps, usage


def at(month: int, day: int, hour: int = 0) -> datetime:
    return datetime(2026, month, day, hour, tzinfo=UTC)


def card(price: str, version: int = 1, meter: str = "input", **changes: Any) -> dict[str, Any]:
    name = "{model}/" + meter.replace("_", "-")
    return card_document(
        per_unit(name, meter, price), version=version, not_charged=["input", "output", "requests"], **changes
    )


def order(version: int | None = 2, period: str = "2026-01", **changes: Any) -> RerateOrdered:
    price = OrderedPrice(
        effective_from=datetime.fromisoformat(f"{period}-01T00:00:00+00:00"),
        card_id=None if version is None else "card",
        card_version=version,
        overrides=changes.pop("overrides", None),
    )
    fields: dict[str, Any] = {"tenant_id": "acme", "prices": (price,), "ordered_at": at(2, 10), "ordered_by": "ana"}
    return RerateOrdered(**fields | {"period": period, "reason": "wrong price"} | changes)


def closed_january() -> Log:
    """100 tokens on the 10th and on the 20th at 10 times the right price; the month is closed, the right price is known."""
    log = Log()
    log.card(card("0.1"))
    log.assign("acme")
    log.batch([usage("a", at(1, 10)), usage("b", at(1, 20))])
    log.batch([usage("feb", at(2, 10))])
    log.card(card("0.01", version=2))
    return log


def corrections(run: Run) -> dict[tuple[str, str], tuple[str, str | None]]:
    """Quantity and amount of the adjustments by SKU and billing period."""
    return {
        (record["sku"], record["billing_period"]): (record["quantity"], record.get("amount"))
        for record in run.last().values()
        if record["window_kind"] == "period" and not record["sku"].startswith("uncharged/")
    }


def january(run: Run) -> Decimal:
    return sum(
        (Decimal(r.get("amount", 0)) for r in run.last().values() if r["service_period"] == "2026-01"), Decimal(0)
    )


def check_revisions(run: Run) -> None:
    """A revision determines the content."""
    contents: dict[tuple[str, int], Any] = {}
    for written, record in zip(run.to("usage.rated.v1"), run.rated(), strict=True):
        revision = record["revision"]
        record.pop("previous", None)
        assert contents.setdefault((str(written.key), revision), record) == record


@pytest.mark.parametrize("step", [1, 100])
def test_a_closed_month_gets_an_adjustment_and_keeps_its_records(step: int) -> None:
    log = closed_january()
    before = rate(log.records).all(step).last()
    log.control(order())
    run = rate(log.records).all(step)
    after = run.last()
    assert {key: record for key, record in after.items() if key in before} == before
    assert corrections(run) == {("llama/input/rerated", "2026-02"): ("0", "-18")}
    (correction,) = [record for key, record in after.items() if key not in before]
    assert (correction["kind"], correction["service_period"], correction["card_version"]) == (
        "adjustment",
        "2026-01",
        2,
    )
    assert correction["dimensions"] == {"model": "llama", "rerated": "wrong price"}
    assert (correction["currency"], correction["provisional"]) == ("USD", False)
    assert january(run) == 2
    check_revisions(run)


def test_the_open_month_follows_what_is_published_without_an_order() -> None:
    log = closed_january()
    log.control(order(period="2026-02"))
    run = rate(log.records).all()
    assert run.amounts()["llama/input 2026-02-10T00:00:00Z 2026-02"] == "100 1"
    assert not corrections(run)
    assert not [key for key in run.state if b'"rerate"' in key]


@pytest.mark.parametrize("step", [1, 100])
def test_the_same_order_again_changes_nothing_in_any_month(step: int) -> None:
    log = closed_january()
    log.control(order())
    expected = rate(log.records).all(step).last()
    log.control(order())
    log.batch([usage("mar", at(3, 5), tenant_id="globex")])
    log.control(order())
    run = rate(log.records).all(step)
    assert {key: record for key, record in run.last().items() if key[0] == "acme"} == {
        key: {**record, "provisional": False} for key, record in expected.items()
    }


def test_a_second_order_replaces_the_first_of_its_month_and_follows_those_of_earlier_ones() -> None:
    log = closed_january()
    log.card(card("0.02", version=3))
    log.control(order(2))
    log.control(order(3))
    run = rate(log.records).all()
    assert corrections(run) == {("llama/input/rerated", "2026-02"): ("0", "-16")}
    log.batch([usage("mar", at(3, 5))])
    log.control(order(2))
    run.records = log.records
    run.all()
    assert corrections(run) == {
        ("llama/input/rerated", "2026-02"): ("0", "-16"),
        ("llama/input/rerated", "2026-03"): ("0", "-2"),
    }
    assert january(run) == 2
    check_revisions(run)


def test_an_order_for_the_old_price_takes_the_correction_back() -> None:
    log = closed_january()
    log.control(order(2))
    log.control(order(1))
    run = rate(log.records).all(1)
    assert not corrections(run)
    assert january(run) == 20
    zero = [record for record in run.rated() if record["sku"] == "llama/input/rerated"][-1]
    assert (zero["amount"], zero["previous"]["amount"]) == ("0", "-18")


@pytest.mark.parametrize("restart", [False, True])
@pytest.mark.parametrize("step", [1, 2, 100])
def test_late_usage_of_a_month_that_was_priced_again_costs_the_new_price(step: int, restart: bool) -> None:
    log = closed_january()
    log.batch([usage("late", at(1, 15))])
    log.control(order())
    log.batch([usage("mar", at(3, 5))])
    log.batch([usage("later", at(1, 15))])
    run = rate_in_steps(log.records, step, restart=restart)
    assert corrections(run) == {
        ("llama/input", "2026-02"): ("100", "10"),
        ("llama/input/rerated", "2026-02"): ("0", "-27"),
        ("llama/input", "2026-03"): ("100", "10"),
        ("llama/input/rerated", "2026-03"): ("0", "-9"),
    }
    assert january(run) == 4
    check_revisions(run)


def test_a_price_that_was_missing_is_charged_and_the_usage_waits_no_more() -> None:
    log = closed_january()
    log.batch([usage("pictures", at(2, 11), images=3), usage("old", at(1, 11), images=2)])
    skus = (per_unit("{model}/input", "input", "0.1"), per_unit("pictures", "images", "5"))
    log.card(card_document(*skus, version=3, not_charged=["output", "requests"]))
    log.control(order(3))
    run = rate(log.records).all(1)
    found = corrections(run)
    assert found["pictures/rerated", "2026-02"] == ("2", "10")
    # The late usage without a price was booked in February, so its counter-entry needs a name of its own.
    assert found["unrated/images", "2026-02"] == ("2", None)
    assert found["unrated/images/rerated/images/", "2026-02"] == ("-2", None)


def test_usage_that_moves_to_another_line_moves_with_its_quantity() -> None:
    log = closed_january()
    log.card(card("0.01", version=3, meter="input_uncached"))
    log.control(order(3))
    run = rate(log.records).all()
    assert corrections(run) == {
        ("llama/input/rerated", "2026-02"): ("-200", "-20"),
        ("llama/input-uncached/rerated", "2026-02"): ("200", "2"),
    }


def test_prices_of_the_tenants_own_hold_as_ordered() -> None:
    log = closed_january()
    own = {"{model}/input": {"model": "per_unit", "price": "0.005", "per": "1"}}
    log.control(order(2, overrides=own))
    run = rate(log.records).all()
    run.restart()
    assert corrections(run) == {("llama/input/rerated", "2026-02"): ("0", "-19")}
    log.batch([usage("late", at(1, 15))])
    run.records = log.records
    run.all()
    assert january(run) == Decimal("1.5")


def test_a_minimum_is_part_of_what_a_month_costs_again() -> None:
    log = Log()
    log.card(card("0.1", minimum={"sku": "least", "amount": "15"}))
    log.assign("acme")
    log.batch([usage("a", at(1, 10)), usage("b", at(1, 20))])
    log.batch([usage("feb", at(2, 10))])
    log.card(card("0.01", version=2, minimum={"sku": "least", "amount": "15"}))
    log.control(order())
    run = rate(log.records).all()
    assert january(run) == 15
    assert corrections(run)["least/rerated", "2026-02"] == ("0", "13")


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (order(9), "card card version 9 of the order is not published"),
        (
            order(prices=(OrderedPrice(effective_from=at(2, 1), card_id="card", card_version=1),)),
            "begins at 2026-02-01T00:00:00Z: not a window of 2026-01",
        ),
        (order(period="2025-10", version=1), "closed too long ago"),
        (order(overrides={"x": {"model": "per_unit", "price": "-1"}}), "negative"),
    ],
)
def test_an_order_that_cannot_be_carried_out_is_a_dead_letter(wrong: RerateOrdered, said: str) -> None:
    log = closed_january()
    log.control(wrong)
    run = rate(log.records).all()
    (letter,) = run.dead_letters()
    assert (letter.code, said in letter.reason) == ("invalid_control", True)
    assert not corrections(run)


def test_an_order_goes_with_the_state_of_its_month() -> None:
    log = closed_january()
    log.control(order())
    log.batch([usage("april", at(4, 15))])
    run = rate(log.records).all(1)
    assert not [key for key in run.state if b"2026-01" in key and key != POSITION_KEY]
    assert orjson.loads(run.state[POSITION_KEY])


def test_flushes_and_restarts_anywhere_give_the_same_records() -> None:
    log = closed_january()
    log.batch([usage("c", at(2, 12)), usage("late", at(1, 15))])
    log.control(order())
    log.batch([usage("d", at(2, 13)), usage("later", at(1, 16))])
    expected = rate(log.records).all().last()
    for step in (1, 2, 3, 5):
        run = rate(log.records)
        while run.read < len(log.records):
            run.feed(step)
            run.flush()
            run.restart()
        assert run.last() == expected
        check_revisions(run)


def test_what_was_read_between_two_orders_is_corrected_by_the_first_wherever_a_flush_falls() -> None:
    log = closed_january()
    log.control(order(2))
    log.batch([usage("c", at(2, 12))])
    log.control(order(1))
    told = [
        [
            (record["sku"], record["amount"])
            for record in rate(log.records).all(step).rated()
            if "rerated" in record["sku"]
        ]
        for step in (1, 100)
    ]
    assert told[0] == told[1] == [("llama/input/rerated", "-18"), ("llama/input/rerated", "0")]
