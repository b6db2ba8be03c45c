"""Cards and assignments in the log: what has no price, what gets one later, and what may not be touched (D2, D4, D8)."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import orjson
import pytest

from infra.config import Settings
from schemas.control import AccountAssigned, encode_control
from schemas.headers import CLOUDEVENTS_JSON
from schemas.partitioning import partition_for
from streams.rate_processor import RateProcessor
from tests.streams.support import LONG_AGO, START, Log, Run, card_document, log_of, per_unit, rate, settings, usage


def at(month: int, day: int, hour: int = 0) -> datetime:
    return datetime(2026, month, day, hour, tzinfo=UTC)


def unpriced_signals(run: Run) -> dict[tuple[str, str], tuple[str, str, int]]:
    return {
        (signal["tenant_id"], signal["data"]["meter"]): (
            signal["kind"],
            signal["data"]["quantity"],
            signal["data"]["windows"],
        )
        for (_, policy), signal in run.signals().items()
        if policy.startswith("unpriced_usage/")
    }


def test_unrated_usage_is_kept_and_priced_when_a_card_appears() -> None:
    log = Log()
    log.batch([usage("a"), usage("b", timedelta(hours=1))])
    run = rate(log.records).all()
    assert run.outcomes() == {"unrated": 2}
    assert run.amounts()["unrated/input_uncached 2026-01-10T00:00:00Z 2026-01"] == "100 None"
    assert unpriced_signals(run)["acme", "input_uncached"] == ("raised", "200", 2)
    log.card(card_document(not_charged=["requests"]))
    log.assign()
    run.all()
    assert not [sku for sku in run.amounts() if sku.startswith("unrated/")]
    zeros = [record for record in run.rated() if record["kind"] == "unrated" and record["quantity"] == "0"]
    assert {record["sku"] for record in zeros} == {"unrated/input_uncached", "unrated/output_text", "unrated/requests"}
    assert all(record["previous"]["quantity"] != "0" and "amount" not in record for record in zeros)
    assert run.amounts()["llama/input 2026-01-10T00:00:00Z 2026-01"] == "100 0.000015"
    assert unpriced_signals(run)["acme", "input_uncached"] == ("cleared", "0", 0)


def test_only_the_meter_without_a_price_is_unrated() -> None:
    log = Log()
    log.card(card_document())
    log.assign()
    log.batch([usage("a", images=3), usage("b")])
    run = rate(log.records).all()
    assert run.outcomes() == {"rated": 1, "unrated": 1}
    assert run.balance()["gateway/1"]["by_code"] == {"no_price": 1}
    assert run.amounts()["unrated/images 2026-01-10T00:00:00Z 2026-01"] == "3 None"
    assert run.amounts()["llama/input 2026-01-10T00:00:00Z 2026-01"] == "200 0.00003"


def test_signals_of_unpriced_usage_state_the_whole_whatever_is_priced_first() -> None:
    log = Log()
    log.card(card_document())
    log.assign()
    for hour in range(3):
        log.batch([usage(f"event-{hour}", timedelta(hours=hour), images=1)])
    run = rate(log.records).all(1)
    assert unpriced_signals(run) == {("acme", "images"): ("raised", "3", 3)}
    run.restart()
    log.card(card_document(per_unit("pictures", "images", "1"), version=2, effective_from="2026-01-10T01:00:00Z"))
    run.all(1)
    assert unpriced_signals(run)["acme", "images"] == ("raised", "1", 1)
    per_revision = [
        (orjson.loads(record.value or b"")["revision"], record.key) for record in run.to("usage.signals.v1")
    ]
    assert len(per_revision) == len(set(per_revision)), "one signal of a policy per revision"


def test_a_tenant_without_an_account_is_told_apart_from_one_without_a_price() -> None:
    log = Log()
    log.card(card_document(per_unit("{model}/input", "input", "1")))
    log.assign("acme")
    log.batch([usage("a"), usage("b", tenant_id="globex"), usage("c", tenant_id="globex")])
    run = rate(log.records).all()
    assert run.balance()["gateway/1"]["by_code"] == {"no_account": 2, "no_price": 1}
    assert run.outcomes() == {"unrated": 3}


def test_the_default_card_is_for_tenants_without_one_of_their_own() -> None:
    log = Log()
    log.card(card_document())
    log.card(card_document(per_unit("own", "input", "1"), id="own", not_charged=["output", "requests"]))
    log.assign()
    log.assign("acme", "own")
    log.batch([usage("a"), usage("b", tenant_id="globex")])
    found = {
        (record["tenant_id"], record["sku"])
        for record in rate(log.records).all().last().values()
        if record["amount"] != "0"
    }
    assert found == {("acme", "own"), ("globex", "llama/input"), ("globex", "llama/output"), ("globex", "requests")}


def test_other_models_units_and_media_have_lines_of_their_own() -> None:
    log = Log()
    skus = [
        per_unit("{model}/input", "input", "1", model="llama*"),
        per_unit("pictures", "images", "2"),
        per_unit("speech", "audio_seconds", "0.5"),
        per_unit("film", "video_seconds", "0.25"),
        per_unit("scans", "units.scans", "0.1"),
    ]
    log.card(card_document(*skus, not_charged=["output", "requests"]))
    log.assign()
    log.batch(
        [
            usage(
                "a", images=2, audio_seconds="1.5", video_seconds="2", units={"scans": "2.5", "pages": "1.000000001"}
            ),
            usage("b", response_model="gpt", units={"scans": "0.5"}),
        ]
    )
    run = rate(log.records).all()
    amounts = {sku.split(" ")[0]: amount for sku, amount in run.amounts().items() if not sku.startswith("uncharged/")}
    assert amounts == {
        "llama/input": "100 100",
        "pictures": "2 4",
        "speech": "1.5 0.75",
        "film": "2 0.5",
        "scans": "3 0.3",
        "unrated/units.pages": "1.000000001 None",
        "unrated/input_uncached": "100 None",
    }
    assert run.outcomes() == {"unrated": 2}


def test_failed_requests_are_rated_at_nothing_with_the_reason() -> None:
    log = Log()
    log.card(card_document())
    log.assign()
    log.batch([usage("a", status="error"), usage("b", status="aborted")])
    run = rate(log.records).all()
    assert run.outcomes() == {"rated": 2}
    assert run.amounts()["uncharged/status_error/input_uncached 2026-01-10T00:00:00Z 2026-01"] == "100 0"
    assert run.amounts()["llama/input 2026-01-10T00:00:00Z 2026-01"] == "100 0.000015"


@pytest.mark.parametrize("step", [1, 100])
def test_a_card_or_assignment_that_reaches_back_into_a_closed_period_begins_with_the_open_one(step: int) -> None:
    log = Log()
    cheap = per_unit("in", "input", "1")
    log.card(card_document(cheap, not_charged=["output", "requests"]))
    log.assign("acme")
    log.batch(
        [usage("january", at(1, 10)), usage("february", at(2, 3)), usage("globex", at(1, 11), tenant_id="globex")]
    )
    log.card(card_document(per_unit("in", "input", "9"), not_charged=["output", "requests"], version=2))
    log.assign("globex")
    log.assign("globex", until=datetime(2026, 1, 20, tzinfo=UTC))
    log.batch([usage("globex-2", at(2, 3), tenant_id="globex")])
    run = rate(log.records).all(step)
    assert not run.dead_letters(), "an assignment that was over before changes nothing"
    found = {
        (record["tenant_id"], record["service_period"]): (
            record["sku"],
            record.get("amount"),
            record.get("card_version"),
        )
        for record in run.last().values()
        if record["sku"] == "in" or record["sku"] == "unrated/input_uncached"
    }
    assert found == {
        ("acme", "2026-01"): ("in", "100", 1),
        ("acme", "2026-02"): ("in", "900", 2),
        ("globex", "2026-01"): ("unrated/input_uncached", None, None),
        ("globex", "2026-02"): ("in", "900", 2),
    }


def test_a_card_change_inside_a_period_prices_each_hour_by_its_own_version() -> None:
    log = Log()
    log.card(card_document(per_unit("in", "input", "1"), not_charged=["output", "requests"]))
    log.assign()
    log.batch([usage("a", at(1, 10)), usage("b", at(1, 20))])
    new = card_document(
        per_unit("in", "input", "9"),
        not_charged=["output", "requests"],
        version=2,
        effective_from="2026-01-15T00:00:00Z",
    )
    log.card(new)
    amounts = rate(log.records).all().amounts()
    assert amounts["in 2026-01-10T00:00:00Z 2026-01"] == "100 100"
    assert amounts["in 2026-01-20T00:00:00Z 2026-01"] == "100 900"


# --- control records that can't be used -------------------------------------------------------------------------------


def nested(depth: int) -> Any:
    return b"[" * depth + b"]" * depth


BAD_CARDS: dict[str, dict[str, Any]] = {
    "no skus list": card_document() | {"skus": "none"},
    "an unknown meter": card_document(per_unit("a", "wishes", "1")),
    "a date that no calendar has in UTC": card_document() | {"effective_from": "9999-12-31T23:00:00-14:00"},
    "a date before the first": card_document() | {"effective_from": "0001-01-01T00:00:00+14:00"},
    "an unknown currency": card_document() | {"currency": "XXL"},
    "half an hour": card_document() | {"effective_from": "2026-01-01T00:20:00Z"},
    "a card beyond the state": card_document() | {"description": "x" * 600_000},
}


@pytest.mark.parametrize("name", BAD_CARDS)
def test_a_card_that_can_not_work_is_a_dead_letter_and_everything_goes_on(name: str) -> None:
    log = Log()
    log.card(card_document())
    log.assign()
    bad = log.card(BAD_CARDS[name] | {"version": 2})
    log.batch([usage("a")])
    run = rate(log.records).all()
    assert run.outcomes() == {"rated": 1}, "a control record is no event"
    (letter,) = run.dead_letters()
    assert (letter.code, letter.source.offset, letter.value) == ("invalid_control", bad.offset, bad.value[: 64 * 1024])
    assert len(letter.reason) > 20


def test_one_version_with_two_contents_is_refused() -> None:
    log = Log()
    log.card(card_document())
    log.card(card_document(per_unit("other", "input", "1")))
    log.card(card_document())
    run = rate(log.records).all()
    assert [(letter.code, letter.source.offset) for letter in run.dead_letters()] == [("invalid_control", 1)]
    assert "version 1" in run.dead_letters()[0].reason


def test_a_control_record_nested_without_end_is_a_dead_letter() -> None:
    log = Log()
    good = log.card(card_document())
    deep = good.value.replace(b'"skus":', b'"deep":' + nested(900) + b',"skus":')
    log.append(deep, good.headers.items())
    log.append(b'{"card": 7}', good.headers.items())
    log.append(b"{", good.headers.items())
    run = rate(log.records).all()
    assert [letter.source.offset for letter in run.dead_letters()] == [1, 2, 3]
    assert run.outcomes() == {"dead_letter": 1}, "of the last one nobody knows that it was to be a control record"


def test_control_records_may_be_structured_too_and_unknown_ones_are_dead_letters() -> None:
    log = Log()
    log.card(card_document())
    record = AccountAssigned(tenant_id="*", card_id="card", effective_from=LONG_AGO)
    value, headers = encode_control(record, "x", "test", START)
    envelope = {name.removeprefix("ce_"): text.decode() for name, text in headers if name.startswith("ce_")}
    structured = orjson.dumps({**envelope, "data": orjson.loads(value)})
    log.append(structured, [("content-type", CLOUDEVENTS_JSON.encode())])
    unknown = orjson.dumps({**envelope, "type": "io.tokenmill.control.wish.v1", "data": {}})
    log.append(unknown, [("content-type", CLOUDEVENTS_JSON.encode())])
    log.batch([usage("a")])
    run = rate(log.records).all()
    assert run.outcomes() == {"rated": 1, "dead_letter": 1}
    assert [letter.source.offset for letter in run.dead_letters()] == [2]


def test_an_assignment_on_the_wrong_partition_charges_nobody() -> None:
    made: Settings = settings(partitions=3)
    right = partition_for("acme", 3)
    log = Log()
    log.card(card_document(flat_fees=[{"sku": "fee", "amount": "5"}]))
    log.assign("acme")
    log.tick(at(1, 10))
    for partition in range(3):
        run = Run(made, lambda partition=partition: RateProcessor(made, log_of(made), partition), log.records).all()  # type: ignore[misc]
        assert len(run.rated()) == (partition == right)
        assert [letter.code for letter in run.dead_letters()] == ["invalid_control"] * (partition != right)


@pytest.mark.parametrize("restart", [False, True])
def test_controls_come_back_after_a_restart(restart: bool) -> None:
    log = Log()
    log.batch([usage("first", at(2, 20))])
    log.card(card_document(per_unit("in", "input", "1"), not_charged=["output", "requests"]))
    log.card(card_document(per_unit("in", "input", "2"), not_charged=["output", "requests"], version=2))
    log.assign("acme", since=at(1, 1))
    log.assign("acme", since=at(2, 21), until=at(2, 22))
    log.assign("acme", "nothing", since=at(2, 23))
    log.assign("acme", since=at(2, 24), overrides={"in": {"model": "per_unit", "price": "0.07"}})
    run = rate(log.records).all()
    if restart:
        run.restart()
    log.batch([usage(f"event-{day}", at(2, day)) for day in range(20, 26)])
    run.all()
    found = {
        sku.split(" ")[1][8:10]: amount
        for sku, amount in run.amounts().items()
        if sku.startswith(("in ", "unrated/input_uncached"))
    }
    assert found == {
        "20": "200 400",
        "21": "100 200",
        "22": "100 200",
        "23": "100 None",
        "24": "100 7",
        "25": "100 7",
    }


def test_prices_of_a_tenants_own_hold_for_that_tenant_in_any_order_of_the_log() -> None:
    own: dict[str, dict[str, Any]] = {
        "llama/input": {"model": "per_unit", "price": "0.07"},
        "{model}/output": {"model": "graduated", "tiers": [{"up_to": 10, "price": "2"}, {"price": "1"}]},
    }
    found = []
    for late in (False, True):
        log = Log()
        log.card(card_document())
        log.assign()
        if not late:
            log.assign("acme", overrides=own)
        log.batch([usage("a"), usage("b", timedelta(hours=1)), usage("c", tenant_id="globex")])
        run = rate(log.records)
        if late:
            run.all(1)
            log.assign("acme", overrides=own)
        run.all(1)
        found.append({key: record for key, record in run.last().items() if record["tenant_id"] == "acme"})
        globex = [record for record in run.last().values() if record["tenant_id"] == "globex"]
        assert all("override" not in record["dimensions"] for record in globex)
    assert found[0] == found[1]
    amounts = {(record["sku"], record["window_start"][11:13]): record["amount"] for record in found[0].values()}
    assert amounts["llama/input", "00"] == amounts["llama/input", "01"] == "7"
    assert {record["dimensions"].get("override") is None for record in found[0].values()} == {True, False}


@pytest.mark.parametrize(
    "overrides",
    [{"in": {"model": "per_unit", "price": "-1"}}, {"in": {}}, {"in": {"model": "flat", "amount": "9" * 40}}],
    ids=["negative", "empty", "too large"],
)
def test_prices_that_cannot_work_are_a_dead_letter_and_the_tenant_keeps_its_card(overrides: dict[str, Any]) -> None:
    log = Log()
    log.card(card_document())
    log.assign()
    log.assign("acme", overrides=overrides)
    log.batch([usage("a")])
    run = rate(log.records).all()
    assert run.dead_codes() == {"invalid_control": 1}
    assert run.amounts()["llama/input 2026-01-10T00:00:00Z 2026-01"] == "100 0.000015"
