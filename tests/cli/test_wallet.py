"""Granting, voiding and moving prepaid credits, and looking at them, as an account manager does it."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import orjson
import pytest

from infra.config import Settings, environment
from infra.kafka import Record, read_all, write
from infra.topics import apply
from schemas.control import decode_control
from schemas.partitioning import partition_for
from schemas.signals import PolicySignal, encode_signal
from schemas.wallets import WalletGranted
from tests.cli.conftest import Run
from tests.conftest import MakeSettings
from tests.support import Broker

GRANT = ("wallet", "grant", "acme", "500", "--unit", "USD", "--id", "po-1", "--from", "2026-01-01")


@pytest.fixture
def settings(tansu: Broker, make_settings: MakeSettings, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """Topics of this test's own."""
    made = make_settings(tansu)
    apply(made)
    for name, value in environment(made).items():
        monkeypatch.setenv(name, value)
    return made


@pytest.mark.kafka
def test_an_order_lies_once_in_its_tenants_log(settings: Settings, tokenmill: Run) -> None:
    assert tokenmill(*GRANT).out == "acme gets 500 USD as po-1, from 2026-01-01T00:00:00Z\n"
    again = tokenmill(*GRANT, "--author", "bob", "--reason", "once more")
    assert (again.code, again.out) == (0, "acme got already 500 USD as po-1, from 2026-01-01T00:00:00Z\n")
    other = tokenmill(*GRANT, "--low-balance", "5")
    assert (other.code, other.out) == (1, "")
    assert "acme has another grant po-1" in other.err
    void = ("wallet", "void", "acme", "po-1", "--from", "2026-02-01", "--json")
    assert [orjson.loads(tokenmill(*void).out)["ordered"] for _ in range(2)] == [True, False]
    move = ("wallet", "transfer", "acme", "globex", "5", "--unit", "USD", "--id", "m", "--from", "2026-01-02", "--json")
    assert [orjson.loads(tokenmill(*move).out)["ordered"] for _ in range(2)] == [True, False]
    found = list(read_all(settings, settings.topics.usage_events))
    assert {message.partition() for message in found} == {partition_for("acme", settings.partitions)}
    records = [decode_control(message.value(), message.headers()) for message in found]
    assert [type(record).__name__ for record in records] == ["WalletGranted", "WalletVoided", "WalletTransferred"]


@pytest.mark.kafka
def test_show_tells_what_workers_told_and_what_they_have_not_read(settings: Settings, tokenmill: Run) -> None:
    assert tokenmill("wallet", "show").out.startswith("nobody has prepaid credits: ")
    assert tokenmill("wallet", "show", "acme").out.startswith("acme has no prepaid credits: ")
    tokenmill(*GRANT)
    assert "acme po-1: 500 USD from 2026-01-01T00:00:00Z" in tokenmill("wallet", "show").out
    data: dict[str, Any] = {
        "unit": "USD",
        "balance": "12.5",
        "granted": "500",
        "drawn": "487.5",
        "expired": "0",
        "voided": "0",
        "transferred": "0",
        "level": "low",
        "low_balance": "20",
        "overage": False,
        "grants": [{"id": "po-1", "left": "12.5", "priority": 100, "expires_at": "2027-01-01T00:00:00Z"}],
    }
    time = datetime(2026, 1, 9, tzinfo=UTC)
    signal = PolicySignal(tenant_id="acme", policy="wallet/usd", kind="balance", time=time, revision=1, data=data)
    value, headers = encode_signal(signal, "test")
    write(settings, settings.topics.usage_signals, [Record(value=value, key=signal.key, headers=headers, partition=0)])
    shown = tokenmill("wallet", "show", "acme")
    assert shown.code == 1, "a wallet is low"
    assert all(text in shown.out for text in ("12.5", "487.5", "low, no overage", "po-1", "2027-01-01"))
    assert "not in force" not in shown.out
    (wallet,) = orjson.loads(tokenmill("wallet", "show", "--json").out)["wallets"]
    assert wallet == {"tenant": "acme", "as_of": "2026-01-09T00:00:00Z", **data}
    assert orjson.loads(tokenmill("wallet", "show", "globex", "--json").out) == {"wallets": [], "not_in_force": []}


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (("acme", "five", "--unit", "USD"), 2, "not a number"),
        (("acme", "0", "--unit", "USD"), 1, "above 0"),
        (("acme", "1", "--unit", "points"), 1, "say with covers"),
        (("acme", "1", "--unit", "US$"), 2, "unit: a currency such as USD"),
        (("acme", "1", "--unit", "usd"), 1, "as a currency is"),
        (("_pool", "1", "--unit", "USD"), 2, "tenant_id"),
        (("acme", "0.0000000001", "--unit", "tokens"), 1, "more than 9 decimals"),
        (("acme", "1", "--unit", "USD", "--rollover", "1"), 1, "every"),
        (("acme", "1", "--unit", "tokens", "--covers", "*=0"), 2, "above 0"),
        (("acme", "1", "--unit", "USD", "--id", "a|b"), 2, "grant_id: letters"),
        (("acme", "1", "--unit", "USD", "--from", "2026-01-02", "--expires", "2026-01-01"), 2, "--expires"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_is_written(
    arguments: tuple[str, ...], code: int, words: str, tokenmill: Run
) -> None:
    ended = tokenmill("wallet", "grant", *arguments, "--kafka", "127.0.0.1:1")
    assert (ended.code, ended.out) == (code, "")
    assert words in ended.err


def test_covers_and_recurrence_are_in_the_record() -> None:
    record = WalletGranted.model_validate(
        {
            "tenant_id": "acme",
            "grant_id": "a",
            "unit": "points",
            "amount": "5",
            "every": "month",
            "effective_from": "2026-01-01T00:00:00Z",
            "ordered_at": "2026-01-01T00:00:00Z",
            "ordered_by": "ana",
            "covers": [{"skus": "*/output", "credits": "3", "per": "1000"}],
        }
    )
    assert record.model_dump(mode="json", exclude_none=True)["covers"] == [
        {"skus": "*/output", "credits": "3", "per": "1000"}
    ]
