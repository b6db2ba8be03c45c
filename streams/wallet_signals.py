"""What the signals `wallet/<unit>` and `low_balance/<unit>` say about a tenant's prepaid credits."""

from __future__ import annotations

from typing import NamedTuple

from rating.money import from_scaled
from rating.wallets import Grant, WalletReport, decimals_of
from rating.windows import WindowSize
from schemas.decimals import format_decimal
from schemas.instants import format_instant

_SHOWN_GRANTS = 50


class Told(NamedTuple):
    """A wallet that changed: as told before (None: never), and now."""

    tenant_id: str
    before: WalletReport | None
    report: WalletReport


def low_balance(told: Told) -> str | None:
    """The kind of the signal `low_balance`, when it has to be told: raised, exhausted or cleared."""
    before = "sufficient" if told.before is None else told.before.level
    now = told.report.level
    return None if now == before else {"low": "raised", "exhausted": "exhausted", "sufficient": "cleared"}[now]


def balance_data(report: WalletReport, window_minutes: int) -> dict[str, object]:
    """The data of both signals: granted = balance + drawn + expired + voided + transferred; amounts are text."""
    window, decimals = WindowSize(window_minutes), decimals_of(report.unit)

    def text(amount: int) -> str:
        return format_decimal(from_scaled(amount, decimals))

    def grant(each: Grant, left: int) -> dict[str, object]:
        expires = None if each.end is None else format_instant(window.start(each.end))
        return {"id": each.id, "left": text(left), "priority": each.priority, "expires_at": expires}

    return {
        "unit": report.unit,
        "balance": text(report.balance),
        "granted": text(report.granted),
        "drawn": text(report.drawn),
        "expired": text(report.lapsed),
        "voided": text(report.voided),
        "transferred": text(report.moved),
        "level": report.level,
        "low_balance": None if report.threshold is None else text(report.threshold),
        "overage": report.overage,
        "grants": [grant(each, left) for each, left in report.in_force[:_SHOWN_GRANTS]],
    }
