"""Aggregations and percentages in the stream: equal to the pure engine over all events, whatever the way (D4, D5)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st

import streams.totals
from rating.aggregations.gathered import Gathered, MeteredEvent, gathered_of
from rating.aggregations.names import AGGREGATIONS
from rating.cards import parse_card
from rating.catalog import EVERYONE, Assignment, Catalog
from rating.period import TenantPeriod
from rating.usage import UsageKey
from rating.windows import hour_of, period_of
from schemas.decimals import format_decimal
from schemas.events import TokenUsage
from schemas.instants import format_instant, to_microseconds
from tests.streams.support import START, Log, Run, card_document, key_of, per_unit, rate, rate_in_steps, usage
from tests.streams.test_function_of_the_log import driven, kept_state

HOUR_US = 3_600_000_000
LAST_DAY = datetime(2026, 1, 31, 20, tzinfo=UTC)
TIERS = [{"up_to": 3, "price": "0.7", "flat_fee": "1"}, {"up_to": 40, "price": "0.428571428571"}, {"price": "0.0003"}]


def counted(aggregation: str, meter: str = "units.x", **fields: Any) -> dict[str, Any]:
    charge = {"model": "graduated", "tiers": TIERS, "per": 3}
    return {"sku": aggregation, "meter": meter, "aggregation": aggregation, "charge": charge, **fields}


def percentage(**fields: Any) -> dict[str, Any]:
    charge = {"model": "percentage", "rate": "2.99", "free_events": 1, "minimum_per_event": "0.5", **fields}
    return {"sku": "fees", "meter": "units.sales", "charge": charge}


EVERYTHING = (
    *(counted(each) for each in AGGREGATIONS),
    {**counted("unique_api_keys", "requests"), "sku": "seats"},
    percentage(),
)


def with_everything(log: Log) -> None:
    log.card(card_document(*EVERYTHING))
    log.assign()


@st.composite
def events(draw: st.DrawFn) -> list[TokenUsage]:
    """Events at distinct instants, hours apart, around the end of a month."""
    made = []
    for number in range(draw(st.integers(1, 10))):
        hours = draw(st.sampled_from([0, 0, 1, 2, 5, 7]))
        units = {"x": draw(st.sampled_from(["-2", "0", "0.000000001", "1", "7.5"]))}
        if draw(st.booleans()):
            units["sales"] = draw(st.sampled_from(["0", "10", "80", "-5", "10000"]))
        made.append(
            usage(
                f"event-{number}",
                LAST_DAY + timedelta(hours=hours, seconds=draw(st.sampled_from([0, 1800])), microseconds=number),
                units=draw(st.sampled_from([{}, units, units])),
                api_key_id=draw(st.sampled_from([None, "a", "b", "c"])),
                workflow_id=draw(st.sampled_from([None, "v", "w"])),
                region=draw(st.sampled_from([None, "eu"])),
                input_tokens=0,
                output_tokens=0,
            )
        )
    return made


def gathered(event: TokenUsage, at_us: int) -> dict[str, Gathered]:
    """What the pure engine takes for one event; ids are numbered by their letters."""
    made = {}
    for name, text in event.units.items():
        one = MeteredEvent(at_us, 0, int(Decimal(text) * 10**9))
        made[f"units.{name}"] = gathered_of([one], (at_us // HOUR_US + 1) * HOUR_US)
    made["requests"] = Gathered(1)
    for each in made.values():
        for ids, letter in ((each.api_keys, event.api_key_id), (each.workflows, event.workflow_id)):
            if letter is not None:
                ids[ord(letter)] = None
    return made


def pure(known: Sequence[TokenUsage], *skus: Mapping[str, Any]) -> dict[tuple[str, str], tuple[str, str]]:
    """Quantity and amount by SKU and window, by the pure engine over events that all came on time."""
    card = parse_card(card_document(*skus))
    catalog = Catalog().with_card(card).with_assignment(Assignment(EVERYONE, "card", 0))
    now = max(each.ended_at for each in known)
    months: dict[str, TenantPeriod] = {}
    for event in known:
        key = UsageKey(
            "acme", "chat", "llama", "/v1/chat/completions", event.region or "", "default", "", 0, event.status
        )
        period = months.setdefault(period_of(event.ended_at), TenantPeriod("acme", period_of(event.ended_at)))
        period.add(key, hour_of(event.ended_at), None, gathered(event, to_microseconds(event.ended_at)))
    found = {}
    first = months.get("2026-01", TenantPeriod("acme", "2026-01"))
    for month in sorted({*months, period_of(now)}):
        period = months.setdefault(month, TenantPeriod("acme", month))
        if month > "2026-01":
            period.carry(first.level_changes())
        for line in period.lines(catalog, closed=False, now=hour_of(now)):
            if line.quantity or line.amount:
                amount = "None" if line.amount is None else format_decimal(line.amount)
                found[line.sku, format_instant(line.window_start)] = (format_decimal(line.quantity), amount)
    return found


def last(run: Run) -> dict[tuple[str, str], tuple[str, str]]:
    return {
        (record["sku"], record["window_start"]): (record["quantity"], str(record.get("amount")))
        for record in run.last().values()
    }


@st.composite
def logs(draw: st.DrawFn, known: Sequence[TokenUsage], begin: Callable[[Log], None]) -> Log:
    """A log with the events in any order, in batches of any size or as JSON."""
    log = Log()
    begin(log)
    sent = list(draw(st.permutations(known)))
    while sent:
        size = draw(st.integers(1, 4))
        part, sent = sent[:size], sent[size:]
        if draw(st.booleans()):
            log.batch(part)
        else:
            for event in part:
                log.single(event)
    return log


@pytest.fixture
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Parts of ids and events that a few events fill."""
    monkeypatch.setattr(streams.totals, "IDS_A_RECORD", 2)
    monkeypatch.setattr(streams.totals, "EVENTS_A_RECORD", 2)


@pytest.mark.usefixtures("small_parts")
def test_the_stream_comes_to_what_the_pure_engine_says_whatever_the_way() -> None:
    @examples(max_examples=12, deadline=None)
    @given(st.data())
    def holds(data: st.DataObject) -> None:
        known = data.draw(events())
        log = data.draw(logs(known, with_everything))
        run = data.draw(driven(log))
        assert last(run) == pure(known, *EVERYTHING)
        whole, one_by_one = rate(log.records).all(), rate(log.records).all(1)
        assert kept_state(run) == kept_state(whole) == kept_state(one_by_one)
        seen: dict[tuple[Any, ...], dict[str, Any]] = {}
        for each in (run, whole, one_by_one):
            for record in each.rated():
                law = {name: value for name, value in record.items() if name != "previous"}
                assert seen.setdefault((*key_of(record), record["revision"]), law) == law

    holds()


@pytest.mark.usefixtures("small_parts")
def test_parts_of_ids_and_events_come_back_in_their_order() -> None:
    log = Log()
    with_everything(log)
    for number in range(6):
        log.batch([usage(f"e{number}", timedelta(seconds=number), units={"sales": "10"}, api_key_id=f"k{number}")])
    whole, run = rate(log.records).all(), rate(log.records)
    run.feed(7)
    run.flush()
    run.restart()
    run.all()
    assert kept_state(run) == kept_state(whole)
    assert {orjson.loads(key)[-1] for key in run.state if orjson.loads(key)[0] in ("ids", "events")} == {0, 1, 2}


def test_new_cards_that_ask_for_more_price_from_the_next_window_on() -> None:
    log = Log()
    log.card(card_document(per_unit("requests", "requests", "0")))
    log.assign()
    log.batch([usage("a", timedelta(minutes=5), units={"sales": "100"}, api_key_id="k")])
    log.card(card_document(percentage(), {**counted("unique_api_keys", "requests")}, version=2))
    hours = [(10, "b"), (20, "c"), (70, "d"), (75, "e"), (130, "f")]
    for minutes, name in hours:
        log.batch([usage(name, timedelta(minutes=minutes), units={"sales": "100"}, api_key_id=name)])
    run = rate(log.records).all(1)
    found = {key: value for key, value in last(run).items() if key[0] in ("fees", "unique_api_keys")}
    # The hour in which the card came is as if the card had no such SKUs; the first event after it is the free one.
    assert {(sku, start[11:13]): value for (sku, start), value in found.items()} == {
        ("fees", "01"): ("200", "2.99"),
        ("fees", "02"): ("100", "2.99"),
        ("unique_api_keys", "01"): ("2", "1.466666666667"),
        ("unique_api_keys", "02"): ("1", "0.233333333333"),
    }
    unrated = {key: value for key, value in last(run).items() if key[0].startswith("unrated/units")}
    assert list(unrated.values()) == [("300", "None")]
    assert run.outcomes() == {"unrated": 6}, "tokens have no price on this card"
    kept = [orjson.loads(key) for key in run.state]
    gathered_in = {key[10] for key in kept if key[0] in ("ids", "events")}
    assert gathered_in == {hour_of(START) + 1, hour_of(START) + 2}, "nothing is gathered by halves"
    again = rate(log.records)
    for count in (3, 2, 9):
        again.feed(count)
        again.flush()
        again.restart()
    assert last(again) == last(run)
    assert kept_state(again) == kept_state(run)


def test_prices_of_a_tenants_own_ask_too() -> None:
    log = Log()
    log.card(card_document(per_unit("sales", "units.sales", "1"), per_unit("requests", "requests", "0")))
    log.assign()
    log.batch([usage("a", units={"sales": "100"}, input_tokens=0, output_tokens=0)])
    log.assign("acme", overrides={"sales": {"model": "percentage", "rate": "1", "fixed_fee": "2"}})
    for hours in (1, 2):
        log.batch([usage(f"b{hours}", timedelta(hours=hours), units={"sales": "100"}, input_tokens=0, output_tokens=0)])
    run = rate(log.records)
    while run.read < len(log.records):
        run.feed(2)
        run.flush()
        run.restart()
    amounts = [amount for (sku, _), (_, amount) in sorted(last(run).items()) if sku == "sales"]
    assert amounts == ["100", "3", "3"], "until then by the price of the card"


RESERVED = {
    "sku": "reserved",
    "meter": "units.gpus",
    "aggregation": "time_weighted",
    "unit": "gpu-hours",
    "charge": {"model": "per_unit", "price": "2.50"},
}


def level(name: str, change: str, at: timedelta | datetime) -> TokenUsage:
    return usage(name, at, units={"gpus": change}, input_tokens=0, output_tokens=0)


def reserved_log() -> Log:
    log = Log()
    log.card(card_document(RESERVED, per_unit("requests", "requests", "0")))
    log.assign()
    return log


def hours_by_month(run: Run) -> dict[str, tuple[int, Decimal]]:
    found: dict[str, list[Decimal]] = {}
    for record in run.last().values():
        if record["sku"] == "reserved":
            found.setdefault(record["service_period"], []).append(Decimal(record["quantity"]))
    return {month: (len(hours), sum(hours, Decimal(0))) for month, hours in sorted(found.items())}


def test_a_level_goes_on_without_events_over_months_that_are_forgotten() -> None:
    log = reserved_log()
    log.batch([level("up", "2", datetime(2026, 1, 10, tzinfo=UTC))])
    log.batch([level("down", "-1", datetime(2026, 1, 20, 12, 30, tzinfo=UTC))])
    for month in (2, 3, 4):
        log.tick(datetime(2026, month, 20, 0, 30, tzinfo=UTC))
    log.batch([level("off", "-1", datetime(2026, 4, 21, 6, tzinfo=UTC))])
    log.tick(datetime(2026, 7, 20, tzinfo=UTC))
    expected = {
        "2026-01": (22 * 24, Decimal("252.5") * 2 + Decimal("275.5")),
        "2026-02": (28 * 24, Decimal(28 * 24)),
        "2026-03": (31 * 24, Decimal(31 * 24)),
        "2026-04": (20 * 24 + 6, Decimal(20 * 24 + 6)),
    }
    runs = [rate_in_steps(log.records, 1), rate_in_steps(log.records, 100, restart=False)]
    for run in runs:
        assert hours_by_month(run) == expected
        assert kept_state(run) == kept_state(runs[0])
    assert not [key for key in runs[0].state if b'"level"' in key], "a level of 0 leaves nothing behind"


def test_what_forgotten_months_left_of_a_level_is_kept() -> None:
    log = reserved_log()
    log.batch([level("up", "2", datetime(2026, 1, 10, tzinfo=UTC))])
    log.tick(datetime(2026, 4, 20, tzinfo=UTC))
    run = rate_in_steps(log.records, 1)
    kept = {key: value for key, value in run.state.items() if orjson.loads(key)[0] == "level"}
    ((key, value),) = kept.items()
    assert (orjson.loads(key)[-2:], orjson.loads(value)[1:]) == (["units.gpus", ""], [2 * 10**9])


def test_a_level_that_is_sold_later_counts_the_changes_before() -> None:
    log = Log()
    log.card(card_document(per_unit("requests", "requests", "0")))
    log.assign()
    log.batch([level("up", "3", timedelta(0))])
    log.card(card_document(RESERVED, version=2, effective_from="2026-01-10T05:00:00Z"))
    log.tick(START + timedelta(hours=6, minutes=1))
    for run in (rate_in_steps(log.records, 1), rate_in_steps(log.records, 100)):
        assert hours_by_month(run) == {"2026-01": (2, Decimal(6))}


def test_what_is_forgotten_goes_by_the_cards_of_its_time_wherever_a_flush_falls() -> None:
    log = Log()
    log.card(card_document(per_unit("requests", "requests", "0")))
    log.assign()
    log.batch([level("up", "3", timedelta(0))])
    log.tick(datetime(2026, 4, 20, tzinfo=UTC))
    log.card(card_document(RESERVED, version=2, effective_from="2026-04-01T00:00:00Z"))
    log.tick(datetime(2026, 4, 20, 2, tzinfo=UTC))
    for run in (rate_in_steps(log.records, 1), rate_in_steps(log.records, 3)):
        assert hours_by_month(run) == {}, "January was forgotten before anybody sold the level"


def test_a_late_change_adjusts_closed_months_and_moves_the_open_one() -> None:
    log = reserved_log()
    log.batch([level("up", "1", datetime(2026, 1, 10, tzinfo=UTC))])
    log.tick(datetime(2026, 3, 3, 0, 30, tzinfo=UTC))
    log.batch([level("late", "1", datetime(2026, 1, 31, tzinfo=UTC))])
    for run in (rate_in_steps(log.records, 1), rate_in_steps(log.records, 100)):
        adjusted = {
            (record["service_period"], record["billing_period"]): record["quantity"]
            for record in run.last().values()
            if record["sku"] == "reserved" and record["kind"] == "adjustment"
        }
        assert adjusted == {("2026-01", "2026-03"): "24", ("2026-02", "2026-03"): str(28 * 24)}
        march = [record for record in run.last().values() if record["service_period"] == "2026-03"]
        assert {record["quantity"] for record in march if record["sku"] == "reserved"} == {"2"}


def test_a_unit_that_some_aggregation_prices_is_not_unrated() -> None:
    log = Log()
    log.card(card_document(counted("max"), per_unit("requests", "requests", "0")))
    log.assign()
    log.batch([usage("a", units={"x": "2"}, input_tokens=0, output_tokens=0)])
    log.batch([usage("b", units={"y": "2"}, input_tokens=0, output_tokens=0)])
    run = rate(log.records).all()
    assert run.outcomes() == {"rated": 1, "unrated": 1}
    assert {record["sku"] for record in run.last().values()} == {
        "max",
        "requests",
        "uncharged/counted_otherwise/units.x",
        "unrated/units.y",
    }


def test_state_of_custom_meters_that_holds_only_sums_counts_as_one_event() -> None:
    log = Log()
    log.card(card_document(counted("sum")))
    log.assign()
    log.batch(
        [usage("a", timedelta(minutes=10), units={"x": "2"}), usage("b", timedelta(minutes=20), units={"x": "3"})]
    )
    log.card(card_document(*(counted(each) for each in AGGREGATIONS), version=2))
    log.batch([usage("c", timedelta(minutes=30), units={"x": "4"})])
    run = rate(log.records)
    run.feed(3)
    run.flush()
    for key, value in run.state.items():
        if orjson.loads(key)[0] == "units":
            run.state[key] = orjson.dumps(orjson.loads(value)[:2])
    run.restart()
    run.all()
    found = {sku: quantity for (sku, _), (quantity, _) in last(run).items() if sku in AGGREGATIONS and quantity != "0"}
    assert found == {"sum": "9", "count": "2", "max": "5", "latest": "4", "time_weighted": "7"}


def test_nothing_but_sums_is_kept_where_no_card_asks_for_more() -> None:
    log = Log()
    log.card(card_document(per_unit("x", "units.x", "1")))
    log.assign()
    log.batch([usage("a", units={"x": "2"}, api_key_id="k", workflow_id="w")])
    run = rate(log.records).all()
    kinds = {orjson.loads(key)[0] for key in run.state}
    assert {"usage", "units"} <= kinds
    assert not kinds & {"ids", "events", "level", "gathered"}
    (units,) = (orjson.loads(value)[1:] for key, value in run.state.items() if orjson.loads(key)[0] == "units")
    assert (units[:3], units[3], units[5:]) == (
        [2 * 10**9, 1, 2 * 10**9],
        to_microseconds(START),
        [2 * 10**9, 2 * 10**9 * HOUR_US],
    )
