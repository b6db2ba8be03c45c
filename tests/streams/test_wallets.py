"""Prepaid credits in the log: debits and balances are a function of its prefix, whatever the flushes and restarts."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import orjson
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st

from schemas.control import decode_control
from schemas.partitioning import partition_for
from schemas.wallets import WalletGranted, WalletTransferred, WalletVoided
from tests.streams.support import START, Log, Run, card_document, key_of, per_unit, rate, usage

BY = {"ordered_at": START, "ordered_by": "ana"}


def at(month: int, day: int, hour: int = 0) -> datetime:
    return datetime(2026, month, day, hour, tzinfo=UTC)


def granted(grant_id: str, amount: str, **changes: Any) -> WalletGranted:
    fields = {"tenant_id": "acme", "unit": "USD", "effective_from": at(1, 1), **BY, **changes}
    return WalletGranted.model_validate({"grant_id": grant_id, "amount": amount, **fields})


def voided(grant_id: str, since: datetime) -> WalletVoided:
    return WalletVoided.model_validate({"tenant_id": "acme", "grant_id": grant_id, "effective_from": since, **BY})


def transferred(transfer_id: str, amount: str, **changes: Any) -> WalletTransferred:
    fields = {"tenant_id": "acme", "to_tenant_id": "globex", "unit": "USD", "effective_from": at(1, 1), **BY, **changes}
    return WalletTransferred.model_validate({"transfer_id": transfer_id, "amount": amount, **fields})


def priced(log: Log, *more: dict[str, Any], **terms: Any) -> Log:
    """A card where an input token costs 1 USD and an output token 10."""
    skus = [per_unit("in", "input", "1"), per_unit("out", "output", "10"), *more]
    log.card(card_document(*skus, not_charged=["requests"], **terms))
    log.assign("acme")
    log.assign("globex")
    return log


def tokens(name: str, when: datetime | timedelta, count: int, **changes: Any) -> Any:
    return usage(name, when, **{"input_tokens": count, "output_tokens": 0, **changes})


def debits(run: Run) -> dict[str, str]:
    """The debits that hold, by SKU and window: amount and grants."""
    found = {}
    for record in run.last().values():
        if record["meter"] == "wallet":
            grants = " ".join(f"{name[6:]}={text}" for name, text in record["dimensions"].items() if "/" in name)
            found[f"{record['sku']} {record['window_start']} {record['billing_period']}"] = (
                f"{record['amount']} {grants}{'' if record['provisional'] else ' final'}"
            )
    return found


def balance(run: Run, unit: str = "usd", tenant: str = "acme") -> dict[str, str]:
    data: dict[str, str] = run.signals()[tenant, f"wallet/{unit}"]["data"]
    parts = [Decimal(data[name]) for name in ("balance", "drawn", "expired", "voided", "transferred")]
    assert sum(parts) == Decimal(data["granted"])
    return data


def test_usage_is_paid_from_the_grants_of_its_tenant() -> None:
    log = priced(Log())
    log.control(granted("a", "150"))
    log.batch([tokens("x", timedelta(0), 100), tokens("y", timedelta(hours=1), 100)])
    log.batch([tokens("z", timedelta(hours=1), 5, tenant_id="globex")])
    run = rate(log.records).all()
    assert debits(run) == {
        "wallet/USD/usage/in 2026-01-10T00:00:00Z 2026-01": "-100 a=100",
        "wallet/USD/usage/in 2026-01-10T01:00:00Z 2026-01": "-50 a=50",
    }
    assert balance(run)["level"] == "exhausted"
    signal = run.signals()["acme", "low_balance/usd"]
    assert (signal["kind"], signal["data"]["overage"]) == ("exhausted", True)


def test_a_first_grant_pays_what_came_before_it_in_the_log_from_its_time_on() -> None:
    log = priced(Log())
    log.batch([tokens("x", timedelta(0), 100), tokens("y", timedelta(hours=5), 100)])
    log.control(granted("a", "150", effective_from=START + timedelta(hours=3)))
    run = rate(log.records).all(1)
    assert debits(run) == {"wallet/USD/usage/in 2026-01-10T05:00:00Z 2026-01": "-100 a=100"}


def test_the_signal_says_when_the_balance_is_low_and_when_it_is_not_any_more() -> None:
    log = priced(Log())
    log.control(granted("a", "100", low_balance="20"))
    kinds = []
    run = rate(log.records)
    for step, count in enumerate([70, 15, 10, 20]):
        log.batch([tokens(f"x{step}", timedelta(hours=step), count)])
        run.all()
        signal = run.signals().get(("acme", "low_balance/usd"))
        kinds.append(signal and signal["kind"])
    log.control(granted("b", "50", overage=False))
    log.batch([tokens("more", timedelta(hours=9), 1)])
    run.all()
    kinds.append(run.signals()["acme", "low_balance/usd"]["kind"])
    assert kinds == [None, "raised", "raised", "exhausted", "cleared"]


def test_the_same_order_again_changes_nothing_and_another_one_under_its_id_is_refused() -> None:
    log = priced(Log())
    log.control(granted("a", "150"))
    log.batch([tokens("x", timedelta(0), 100)])
    run = rate(log.records).all()
    before = debits(run)
    written = len(run.rated())
    log.control(granted("a", "150", ordered_by="bob"))
    run.all().restart()
    log.control(granted("a", "150", ordered_by="carl"))
    run.all()
    assert (debits(run), len(run.rated())) == (before, written)
    log.control(granted("a", "15"))
    log.control(granted("b", "1", unit="points"))
    log.control(voided("c", at(1, 1)))
    assert run.all().dead_codes() == {"invalid_control": 3}
    assert debits(run) == before


def test_an_order_on_the_wrong_partition_is_refused() -> None:
    log = Log()
    partition = partition_for("acme", 2)
    log.control(granted("a", "150"))
    assert rate(log.records, partition, partitions=2).all().dead_codes() == {}
    assert rate(log.records, 1 - partition, partitions=2).all().dead_codes() == {"invalid_control": 1}


def test_late_usage_within_grace_and_a_new_price_change_debits_and_never_pay_twice() -> None:
    log = priced(Log())
    log.control(granted("a", "150"))
    log.batch([tokens("x", timedelta(hours=4), 100)])
    run = rate(log.records).all()
    log.batch([tokens("y", timedelta(hours=1), 100)])
    run.all()
    assert debits(run) == {
        "wallet/USD/usage/in 2026-01-10T01:00:00Z 2026-01": "-100 a=100",
        "wallet/USD/usage/in 2026-01-10T04:00:00Z 2026-01": "-50 a=50",
    }
    log.card(card_document(per_unit("in", "input", "0.5"), not_charged=["requests", "output"], version=2))
    run.all()
    assert debits(run) == {
        "wallet/USD/usage/in 2026-01-10T01:00:00Z 2026-01": "-50 a=50",
        "wallet/USD/usage/in 2026-01-10T04:00:00Z 2026-01": "-50 a=50",
    }
    assert balance(run)["balance"] == "50"


def test_a_closed_months_debits_stay_whatever_is_ordered_later() -> None:
    log = priced(Log())
    log.control(granted("a", "60"))
    log.batch([tokens("x", timedelta(0), 100)])
    log.tick(at(2, 3))
    run = rate(log.records).all()
    closed = {"wallet/USD/usage/in 2026-01-10T00:00:00Z 2026-01": "-60 a=60 final"}
    assert debits(run) == closed
    log.control(granted("b", "100", effective_from=at(1, 1), overage=False))
    log.control(voided("a", at(1, 1)))
    run.all()
    assert debits(run) == closed
    log.batch([tokens("late", timedelta(hours=1), 30)])
    log.batch([tokens("y", at(2, 4), 10)])
    run.all()
    assert debits(run) == closed | {
        "wallet/USD/adjustment/in 2026-02-01T00:00:00Z 2026-02": "-30 b=30",
        "wallet/USD/usage/in 2026-02-04T00:00:00Z 2026-02": "-10 b=10",
    }


def test_a_minimum_is_charged_before_credits_which_pay_it_at_the_months_end() -> None:
    log = priced(Log(), minimum={"sku": "least", "amount": "50"})
    log.control(granted("a", "45"))
    log.batch([tokens("x", timedelta(0), 20)])
    run = rate(log.records).all()
    assert debits(run) == {
        "wallet/USD/usage/in 2026-01-10T00:00:00Z 2026-01": "-20 a=20",
        "wallet/USD/minimum/least 2026-01-01T00:00:00Z 2026-01": "-25 a=25",
    }
    assert balance(run)["balance"] == "25"
    log.tick(at(2, 1, 1))
    assert balance(run.all())["balance"] == "0"


def test_a_transfer_goes_to_the_other_tenants_log_once_and_is_refused_when_not_enough_is_left() -> None:
    log = priced(Log())
    log.control(granted("a", "100", expires_at=at(3, 1)))
    log.batch([tokens("x", timedelta(0), 70)])
    log.control(transferred("big", "40"))
    log.control(transferred("t", "30"))
    log.control(transferred("t", "30"))
    run = rate(log.records).all()
    assert run.dead_codes() == {"invalid_control": 1}
    assert balance(run)["transferred"] == "30"
    (written,) = run.to("usage.events.v1")
    record = decode_control(written.value, written.headers)
    assert isinstance(record, WalletGranted)
    assert (record.tenant_id, record.amount, record.expires_at) == ("globex", Decimal(30), at(3, 1))
    assert record.moved_from == "acme"
    log.append(written.value or b"", written.headers)
    log.append(written.value or b"", written.headers)
    log.batch([tokens("z", timedelta(hours=1), 50, tenant_id="globex")])
    run.all()
    assert balance(run, tenant="globex")["drawn"] == "30"
    step_by_step = rate(log.records).all(1)
    assert step_by_step.to("usage.events.v1") == run.to("usage.events.v1")
    assert debits(step_by_step) == debits(run)


def test_compute_credits_and_money_of_one_tenant() -> None:
    log = priced(Log(), per_unit("{gpu_type}/hours", "units.gpu", "2"))
    log.control(granted("pack", "150", unit="tokens", priority=1))
    log.control(granted("cash", "1000"))
    log.batch([tokens("x", timedelta(0), 100), tokens("y", timedelta(hours=1), 100, output_tokens=3)])
    run = rate(log.records).all()
    assert debits(run) == {
        "wallet/tokens/usage/in 2026-01-10T00:00:00Z 2026-01": "-100 pack=100",
        "wallet/tokens/usage/in 2026-01-10T01:00:00Z 2026-01": "-50 pack=50",
        "wallet/USD/usage/in 2026-01-10T01:00:00Z 2026-01": "-50 cash=50",
        "wallet/USD/usage/out 2026-01-10T01:00:00Z 2026-01": "-30 cash=30",
    }
    (record, *_) = [each for each in run.last().values() if each["unit"] == "tokens" and each["meter"] == "wallet"]
    assert (record["quantity"], record["kind"], record["currency"]) == ("100", "credit", "USD")


def test_a_balance_goes_on_when_a_month_is_forgotten_and_late_adjustments_stay_paid() -> None:
    log = priced(Log())
    log.control(granted("a", "1000"))
    log.batch([tokens("x", timedelta(0), 100)])
    log.batch([tokens("y", at(3, 5), 10)])
    log.batch([tokens("late", timedelta(0), 7)])
    log.batch([tokens("z", at(3, 20), 10)])
    runs = [rate(log.records).all(1), rate(log.records).all()]
    for run in runs:
        run.restart()
    log.batch([tokens("after", at(3, 21), 3)])
    for run in runs:
        run.all()
        assert balance(run)["balance"] == "877"
        assert not [
            key for key in run.state if b'"credit"' in key and b'"2026-01"' in key.replace(b"service", b"")[:40]
        ]
        found = debits(run)
        assert found["wallet/USD/adjustment/in 2026-03-01T00:00:00Z 2026-03"] == "-7 a=7"
        assert found["wallet/USD/usage/in 2026-03-21T00:00:00Z 2026-03"] == "-3 a=3"
    assert wallet_state(runs[0]) == wallet_state(runs[1])
    log.tick(at(4, 1, 1))
    for run in runs:
        run.restart()
        assert balance(run.all())["balance"] == "870", "the adjustment is paid at the end of March"


def test_a_restart_knows_what_was_published_and_what_was_moved() -> None:
    log = priced(Log())
    log.control(granted("a", "100"))
    log.batch([tokens("x", timedelta(0), 20), tokens("y", timedelta(hours=1), 20)])
    log.control(transferred("t", "30"))
    run = rate(log.records).all()
    run.restart()
    before = len(run.rated())
    log.batch([tokens("z", timedelta(hours=1), 40)])
    run.all()
    new = {record["sku"]: record for record in run.rated()[before:]}
    assert len(new) == len(run.rated()) - before == 3, "two records of the hour's usage, one debit"
    assert new["wallet/USD/usage/in"]["previous"]["amount"] == "-20"
    assert new["wallet/USD/usage/in"]["amount"] == "-50"
    assert balance(run)["transferred"] == "30"


# --- any log ----------------------------------------------------------------------------------------------------------


def wallet_state(run: Run) -> dict[bytes, Any]:
    """What is kept about wallets, without positions and revisions."""
    found = {}
    for key, value in run.state.items():
        kind = orjson.loads(key)[0]
        if kind in ("grant", "void", "transfer", "moved", "wallet", "owed"):
            found[key] = orjson.loads(value)[1:]
        elif kind == "credit" and orjson.loads(value)[3] != "0":
            found[key] = orjson.loads(value)[2:]
    return found


@st.composite
def prepaid_logs(draw: st.DrawFn) -> Log:
    """Usage over months, some of it late, between grants, voids, transfers, prices and ticks."""
    log = priced(Log(), minimum={"sku": "least", "amount": "30"})
    days = [0, 0, 1, 20, 21, 22, 23, 50, 51, 58, 59, 60, 90]
    for number in range(draw(st.integers(3, 14))):
        step = draw(
            st.sampled_from(["grant", "grant", "usage", "usage", "usage", "void", "move", "card", "tick", "negative"])
        )
        when = START + timedelta(days=draw(st.sampled_from(days)), hours=draw(st.integers(0, 2)))
        if step == "grant":
            every = draw(st.sampled_from([None, None, "month"]))
            changes = {
                "tenant_id": draw(st.sampled_from(["acme", "acme", "globex"])),
                "unit": draw(st.sampled_from(["USD", "USD", "tokens"])),
                "effective_from": when,
                "every": every,
                "rollover": draw(st.sampled_from([None, "3"])) if every else None,
                "expires_at": draw(st.sampled_from([None, when + timedelta(days=30)])),
                "overage": draw(st.booleans()),
                "low_balance": "5",
            }
            log.control(granted(f"g{number}", str(draw(st.integers(1, 60))), **changes))
        elif step == "void":
            log.control(voided(f"g{draw(st.integers(0, number))}", when))
        elif step == "move":
            log.control(transferred(f"t{number}", str(draw(st.integers(1, 20))), effective_from=when))
        elif step == "card":
            price = str(draw(st.integers(1, 3)))
            version = len(log.records)
            log.card(card_document(per_unit("in", "input", price), not_charged=["requests"], version=version))
        elif step == "tick":
            log.tick(when)
        else:
            tenant = draw(st.sampled_from(["acme", "acme", "globex"]))
            log.batch([tokens(f"u{number}", when, draw(st.integers(1, 40)), tenant_id=tenant)])
    return log


@examples(max_examples=8, deadline=None)
@given(st.data(), prepaid_logs())
def test_debits_and_balances_are_a_function_of_the_log(data: st.DataObject, log: Log) -> None:
    def driven() -> Run:
        run = rate(log.records)
        while run.read < len(log.records):
            run.feed(data.draw(st.integers(1, 6)))
            run.flush()
            if data.draw(st.booleans()):
                run.restart()
        return run

    runs = [rate(log.records).all(1), rate(log.records).all(), driven(), driven()]
    first = runs[0]
    seen: dict[tuple[Any, ...], dict[str, Any]] = {}
    for run in runs:
        for record in run.rated():
            law = {name: value for name, value in record.items() if name != "previous"}
            assert seen.setdefault((*key_of(record), record["revision"]), law) == law
        assert run.last() == first.last()
        assert wallet_state(run) == wallet_state(first)
        assert run.dead_codes() == first.dead_codes()
        assert run.to("usage.events.v1") == first.to("usage.events.v1")
        for key, signal in first.signals().items():
            if key[1].startswith("wallet/"):
                assert run.signals()[key]["data"] == signal["data"]
    money_in_is_money_out(first)


def money_in_is_money_out(run: Run) -> None:
    """No wallet below 0, and what debits of money sum to is what was drawn."""
    drawn: dict[str, Decimal] = {}
    for record in run.last().values():
        if record["meter"] == "wallet" and record["unit"] == "USD":
            drawn[record["tenant_id"]] = drawn.get(record["tenant_id"], Decimal(0)) - Decimal(record["amount"])
    for (tenant, policy), _ in run.signals().items():
        if policy == "wallet/usd":
            data = balance(run, tenant=tenant)
            assert all(Decimal(data[name]) >= 0 for name in ("balance", "drawn", "expired", "voided", "transferred"))
            # What belongs to a whole month is paid at its end: until then it is no part of the balance.
            assert Decimal(data["drawn"]) <= drawn.get(tenant, Decimal(0))


@examples(max_examples=4, deadline=None)
@given(st.data(), prepaid_logs())
def test_previous_is_the_debit_before(data: st.DataObject, log: Log) -> None:
    run = rate(log.records).all(data.draw(st.integers(1, 4)))
    last: dict[tuple[str, ...], dict[str, Any]] = {}
    for record in run.rated():
        if record["meter"] == "wallet":
            before = last.get(key_of(record))
            expected = before and {name: before[name] for name in ("revision", "quantity", "amount")}
            assert record.get("previous") == expected
            last[key_of(record)] = record
