"""A trial of a card for people and for programs."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction

from rich.markup import escape

from infra.cli.invoice_view import quantity_text
from infra.cli.output import console, table
from rating.money import difference, exact_sum, round_half_away
from rating.trial import Reach, TenantTrial, TrialLine, Waiting
from schemas.decimals import format_decimal

_SHOWN_TENANTS = 25
"""Tenants that are shown before they are only counted."""
_SHOWN_LINES = 8
"""Lines of a tenant that are shown, where there are several tenants."""


@dataclass(frozen=True, slots=True)
class TrialReport:
    """What a trial found.

    `title` says what was tried on what, `remark` how, for people. `with_usage` tenants used anything in the month.
    """

    title: str
    remark: str
    period: str
    tenants: tuple[TenantTrial, ...]
    with_usage: int

    @property
    def currencies(self) -> tuple[str, ...]:
        """The currencies of all amounts."""
        return tuple(sorted({currency for trial in self.tenants for currency in trial.currencies}))

    def totals(self, currency: str) -> tuple[Decimal, Decimal]:
        """What was charged and what would be."""
        mine = [trial for trial in self.tenants if currency in trial.currencies]
        return exact_sum(trial.old(currency) for trial in mine), exact_sum(trial.new(currency) for trial in mine)

    def by_change(self, currency: str) -> list[TenantTrial]:
        """The tenants with amounts in a currency, the greatest change first."""
        mine = [trial for trial in self.tenants if currency in trial.currencies]
        return sorted(mine, key=lambda each: (-abs(each.new(currency) - each.old(currency)), each.tenant_id))


def percent(old: Decimal, new: Decimal) -> Decimal | None:
    """How much more `new` is, in percent with one decimal, half away from zero; None where the old amount is 0."""
    if not old:
        return None
    share = (Fraction(new) - Fraction(old)) / Fraction(abs(old)) * 1000
    return Decimal(round_half_away(share.numerator, share.denominator)).scaleb(-1)


def percent_text(old: Decimal, new: Decimal) -> str:
    """The same for people; `new` where nothing was charged before."""
    found = percent(old, new)
    return ("new" if new else "") if found is None else f"{found:+,f} %" if found else "0 %"


def signed(amount: Decimal) -> str:
    """An amount with its sign; nothing without one where it is 0."""
    return f"{amount:+,f}" if amount else f"{amount:,f}"


def reach_text(reach: Reach | None) -> str:
    """A tier in words."""
    if reach is None or (not reach.lower and reach.upper is None):
        return "one price" if reach else "not charged"
    return f"above {quantity_text(reach.lower)}" if reach.upper is None else f"up to {quantity_text(reach.upper)}"


def report_json(report: TrialReport) -> dict[str, object]:
    """The trial as plain data: amounts and quantities are texts."""
    return {
        "period": report.period,
        "tenants_with_usage": report.with_usage,
        "totals": [_totals_json(currency, *report.totals(currency)) for currency in report.currencies],
        "tenants": [
            {
                "tenant": trial.tenant_id,
                "totals": [_totals_json(each, trial.old(each), trial.new(each)) for each in trial.currencies],
                "lines": [_line_json(line) for line in trial.lines],
                "without_price": {
                    "old": [_waiting_json(each) for each in trial.old_waiting],
                    "new": [_waiting_json(each) for each in trial.new_waiting],
                },
            }
            for trial in report.tenants
        ],
    }


def _totals_json(currency: str, old: Decimal, new: Decimal) -> dict[str, object]:
    share = percent(old, new)
    return {
        "currency": currency,
        "old": f"{old:f}",
        "new": f"{new:f}",
        "change": f"{difference(new, old):f}",
        "percent": None if share is None else f"{share:f}",
    }


def _line_json(line: TrialLine) -> dict[str, object]:
    return {
        "sku": line.id.sku,
        "meter": line.id.meter,
        "quantity": format_decimal(line.quantity),
        "unit": line.unit,
        **_totals_json(line.id.currency, line.old, line.new),
        "old_tier": _reach_json(line.old_reach),
        "new_tier": _reach_json(line.new_reach),
        "crosses_tier": line.crosses,
    }


def _reach_json(reach: Reach | None) -> dict[str, object] | None:
    if reach is None:
        return None
    upper = None if reach.upper is None else format_decimal(reach.upper)
    return {"above": format_decimal(reach.lower), "up_to": upper}


def _waiting_json(each: Waiting) -> dict[str, object]:
    return {"meter": each.meter, "quantity": format_decimal(each.quantity), "unit": each.unit}


def show_report(report: TrialReport, *, in_full: bool) -> None:
    """Print a table per currency, who crosses a tier, and what has no price. `in_full`: every line of every tenant."""
    console.print(f"[bold]{escape(report.title)}[/]", soft_wrap=True)
    if report.tenants:
        console.print(escape(report.remark), soft_wrap=True)
    else:
        console.print("nobody used anything in this month" if not report.with_usage else "no tenant was chosen")
    for currency in report.currencies:
        _show_amounts(report, currency, in_full=in_full or len(report.tenants) <= 2)
    _show_crossings(report, in_full=in_full)
    _show_waiting(report)


def _show_amounts(report: TrialReport, currency: str, *, in_full: bool) -> None:
    made = table("", "tenant, SKU", "quantity", "charged", "new", "change", "")
    made.title = None
    # A long id goes over two lines; figures are never cut.
    made.columns[0].no_wrap = False
    tenants = report.by_change(currency)
    for trial in tenants[:_SHOWN_TENANTS]:
        made.add_row(escape(trial.tenant_id), "", *_cells(trial.old(currency), trial.new(currency)), style="bold")
        lines = [line for line in trial.lines if line.id.currency == currency]
        if not in_full:
            lines = [line for line in lines if line.change or line.crosses]
        shown = lines if in_full else sorted(lines, key=lambda each: -abs(each.change))[:_SHOWN_LINES]
        for line in shown:
            mark = " *" if line.crosses else ""
            sku = f"  {escape(line.id.sku)}{mark}"
            made.add_row(sku, quantity_text(line.quantity), *_cells(line.old, line.new))
        if len(lines) > len(shown):
            made.add_row(f"  and {len(lines) - len(shown)} more", "", "", "", "", "", style="dim")
    made.add_section()
    made.add_row(f"total, {currency}", "", *_cells(*report.totals(currency)), style="bold")
    console.print(made)
    if len(tenants) > _SHOWN_TENANTS:
        console.print(f"and {len(tenants) - _SHOWN_TENANTS} tenants more, with smaller changes: --json has them all")


def _cells(old: Decimal, new: Decimal) -> tuple[str, str, str, str]:
    return f"{old:,f}", f"{new:,f}", signed(difference(new, old)), percent_text(old, new)


def _show_crossings(report: TrialReport, *, in_full: bool) -> None:
    crossing = [(trial, line) for trial in report.tenants for line in trial.crossing]
    if not crossing:
        return
    console.print("\n* ends in another tier:")
    shown = crossing if in_full else crossing[:_SHOWN_TENANTS]
    for trial, line in shown:
        tiers = f"{reach_text(line.old_reach)} -> {reach_text(line.new_reach)}"
        text = f"  {trial.tenant_id} {line.id.sku}: {quantity_text(line.quantity)} {line.unit}, {tiers}"
        console.print(escape(text), soft_wrap=True)
    if len(crossing) > len(shown):
        console.print(f"  and {len(crossing) - len(shown)} more: --json has them all")


def _show_waiting(report: TrialReport) -> None:
    for title, named in (
        ("without a price under the new card, waiting, unrated:", _waiting(t.new_waiting for t in report.tenants)),
        ("without a price as it was charged:", _waiting(t.old_waiting for t in report.tenants)),
    ):
        if named:
            console.print(f"\n{title}")
            for meter, (quantity, unit, tenants) in sorted(named.items()):
                who = f"{tenants} tenant{'' if tenants == 1 else 's'}"
                console.print(escape(f"  {meter}: {quantity_text(quantity)} {unit} of {who}"), soft_wrap=True)


def _waiting(groups: Iterable[Iterable[Waiting]]) -> dict[str, tuple[Decimal, str, int]]:
    found: dict[str, tuple[Decimal, str, int]] = {}
    for group in groups:
        for each in group:
            quantity, _, tenants = found.get(each.meter, (Decimal(0), "", 0))
            found[each.meter] = (exact_sum((quantity, each.quantity)), each.unit, tenants + 1)
    return found
