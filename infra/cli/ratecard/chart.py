"""A trial as a page with charts: one file, without scripts, that a browser opens and a mail can carry.

Lengths of bars are computed as integers from exact amounts.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from html import escape

from infra.cli.invoice_view import quantity_text
from infra.cli.ratecard.try_view import TrialReport, percent_text, reach_text, signed
from rating.money import difference, exact_sum, round_half_away

_TENANTS, _SKUS, _CROSSINGS = 20, 15, 100
"""What is drawn and listed before it is only counted."""
_WIDTH, _LABEL, _VALUE, _ROW = 860, 210, 190, 26
"""Pixels: the drawing, the names at its left, the figures at its right, a row."""
_LONGEST_LABEL = 26
_STYLE = """
:root { color-scheme: light dark; --ink: #1c2430; --soft: #5b6675; --line: #d9dee5; --page: #ffffff; --tile: #f4f6f9;
  --old: #9aa5b4; --new: #2563c9; --more: #b45309; --less: #0f7b6c; }
@media (prefers-color-scheme: dark) { :root { --ink: #e8ecf2; --soft: #9aa5b4; --line: #343d4a; --page: #14181f;
  --tile: #1e242d; --old: #667080; --new: #6ea3ff; --more: #e39a4a; --less: #4cc0ad; } }
body { margin: 0 auto; max-width: 900px; padding: 28px 20px 60px; background: var(--page); color: var(--ink);
  font: 15px/1.45 system-ui, sans-serif; }
h1 { font-size: 24px; margin: 0 0 2px; } h2 { font-size: 17px; margin: 34px 0 8px; } p { margin: 4px 0; color: var(--soft); }
.tiles { display: flex; flex-wrap: wrap; gap: 12px; margin: 18px 0 4px; }
.tile { background: var(--tile); border-radius: 8px; padding: 10px 16px; min-width: 150px; }
.tile b { display: block; font-size: 20px; font-variant-numeric: tabular-nums; } .tile span { color: var(--soft); }
svg { width: 100%; height: auto; display: block; } svg text { font: 13px system-ui, sans-serif; fill: var(--ink); }
svg .figure { font-variant-numeric: tabular-nums; } svg .soft { fill: var(--soft); } svg .axis { stroke: var(--line); }
svg .old { fill: var(--old); } svg .new { fill: var(--new); } svg .more { fill: var(--more); } svg .less { fill: var(--less); }
table { border-collapse: collapse; width: 100%; } th, td { text-align: left; padding: 5px 10px 5px 0;
  border-bottom: 1px solid var(--line); } th { color: var(--soft); font-weight: 500; }
td.n, th.n { text-align: right; font-variant-numeric: tabular-nums; }
.wide { overflow-x: auto; }
.key i { display: inline-block; width: 11px; height: 11px; border-radius: 2px; margin: 0 5px 0 14px; }
"""


@dataclass(frozen=True, slots=True)
class _Pair:
    """A name with the old and the new amount."""

    name: str
    old: Decimal
    new: Decimal

    @property
    def change(self) -> Decimal:
        return difference(self.new, self.old)


def chart_page(report: TrialReport) -> str:
    """The page: for each currency figures, the change by tenant, old beside new by SKU; then who crosses a tier."""
    parts = [f"<h1>{escape(report.title)}</h1>", f"<p>{escape(report.remark)}</p>"]
    for currency in report.currencies:
        parts += _currency_part(report, currency)
    if not report.currencies:
        parts.append("<p>Nothing was charged and nothing would be.</p>")
    parts += _crossings(report) + _waiting(report)
    title = escape(report.title)
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta name="viewport" content="width=device-width, initial-scale=1">\n<title>{title}</title>\n'
        f"<style>{_STYLE}</style>\n</head>\n<body>\n" + "\n".join(parts) + "\n</body>\n</html>\n"
    )


def _currency_part(report: TrialReport, currency: str) -> list[str]:
    old, new = report.totals(currency)
    tenants = [_Pair(trial.tenant_id, trial.old(currency), trial.new(currency)) for trial in report.by_change(currency)]
    more, less = (sum(_sign(each.change) == sign for each in tenants) for sign in (1, -1))
    tiles = [
        (f"{old:,f}", f"{currency} charged"),
        (f"{new:,f}", f"{currency} with the new card"),
        (signed(difference(new, old)), f"{currency} change, {percent_text(old, new) or '0 %'}"),
        (f"{more} / {less} / {len(tenants) - more - less}", "tenants pay more / less / the same"),
    ]
    found = [
        '<div class="tiles">',
        *(f'<div class="tile"><b>{b}</b><span>{t}</span></div>' for b, t in tiles),
        "</div>",
    ]
    changed = [each for each in tenants if each.change]
    if changed:
        shown = sorted(changed[:_TENANTS], key=lambda each: -each.change)
        found += [f"<h2>Change by tenant, {currency}</h2>", _changes_drawing(shown, currency)]
        found += _rest(len(changed) - len(shown), "tenants with smaller changes")
    skus = _by_sku(report, currency)
    if skus:
        found += [
            f"<h2>Charged and new by SKU, {currency}</h2>",
            '<p class="key"><i style="background: var(--old); margin-left: 0"></i>charged'
            '<i style="background: var(--new)"></i>new</p>',
            _pairs_drawing(skus[:_SKUS], currency),
        ]
        found += _rest(len(skus) - _SKUS, "SKUs with smaller amounts")
    return found


def _by_sku(report: TrialReport, currency: str) -> list[_Pair]:
    amounts: dict[str, list[tuple[Decimal, Decimal]]] = {}
    for trial in report.tenants:
        for line in trial.lines:
            if line.id.currency == currency and (line.old or line.new):
                amounts.setdefault(line.id.sku, []).append((line.old, line.new))
    pairs = [_Pair(sku, exact_sum(o for o, _ in each), exact_sum(n for _, n in each)) for sku, each in amounts.items()]
    return sorted(pairs, key=lambda each: (-max(abs(each.old), abs(each.new)), each.name))


def _changes_drawing(pairs: Sequence[_Pair], currency: str) -> str:
    """Bars to the right for who pays more, to the left for who pays less, from a common axis."""
    rises, falls = (max((sign * each.change for each in pairs), default=Decimal(0)) for sign in (1, -1))
    most, least = max(rises, Decimal(0)), max(falls, Decimal(0))
    room = _WIDTH - _LABEL - _VALUE
    axis = _LABEL + _length(least, most + least, room)
    rows = []
    for number, each in enumerate(pairs):
        y = number * _ROW
        length = _length(abs(each.change), most + least, room)
        x, kind = (axis, "more") if each.change > 0 else (axis - length, "less")
        figure = f"{signed(each.change)} ({percent_text(each.old, each.new)})"
        rows.append(
            f"<g><title>{escape(each.name)}: {each.old:,f} to {each.new:,f} {currency}</title>{_label(each.name, y)}"
            f'<rect class="{kind}" x="{x}" y="{y + 5}" width="{length}" height="{_ROW - 10}" rx="2"/>'
            f'<text class="figure" x="{_WIDTH}" y="{y + 18}" text-anchor="end">{figure}</text></g>'
        )
    line = f'<line class="axis" x1="{axis}" x2="{axis}" y1="0" y2="{len(pairs) * _ROW}"/>'
    return _drawing("Change by tenant", len(pairs) * _ROW, [*rows, line])


def _pairs_drawing(pairs: Sequence[_Pair], currency: str) -> str:
    """Two bars for each name: what was charged, and what would be."""
    most = max((max(abs(each.old), abs(each.new)) for each in pairs), default=Decimal(0))
    room, height = _WIDTH - _LABEL - _VALUE, _ROW + 14
    rows = []
    for number, each in enumerate(pairs):
        y = number * height
        bars = "".join(
            f'<rect class="{kind}" x="{_LABEL}" y="{y + top}" width="{_length(abs(amount), most, room)}" height="12" rx="2"/>'
            f'<text class="figure{soft}" x="{_LABEL + _length(abs(amount), most, room) + 6}" y="{y + top + 11}">'
            f"{amount:,f}</text>"
            for kind, amount, top, soft in (("old", each.old, 4, " soft"), ("new", each.new, 20, ""))
        )
        rows.append(
            f"<g><title>{escape(each.name)}: {each.old:,f} to {each.new:,f} {currency}</title>"
            f"{_label(each.name, y + 6)}{bars}</g>"
        )
    return _drawing("Charged and new by SKU", len(pairs) * height, rows)


def _drawing(name: str, height: int, parts: Iterable[str]) -> str:
    size = f'viewBox="0 0 {_WIDTH} {height}" xmlns="http://www.w3.org/2000/svg"'
    return f'<svg {size} role="img" aria-label="{escape(name)}">{"".join(parts)}</svg>'


def _label(name: str, y: int) -> str:
    short = name if len(name) <= _LONGEST_LABEL else f"{name[: _LONGEST_LABEL - 1]}…"
    return f'<text x="{_LABEL - 10}" y="{y + 18}" text-anchor="end">{escape(short)}</text>'


def _length(amount: Decimal, whole: Decimal, room: int) -> int:
    """Pixels for an amount where `whole` fills the room; something is never nothing."""
    if not whole or not amount:
        return 0
    share = Fraction(amount) / Fraction(whole) * room
    return max(1, round_half_away(share.numerator, share.denominator))


def _crossings(report: TrialReport) -> list[str]:
    crossing = [(trial.tenant_id, line) for trial in report.tenants for line in trial.crossing]
    if not crossing:
        return []
    rows = [
        f"<tr><td>{escape(tenant)}</td><td>{escape(line.id.sku)}</td>"
        f'<td class="n">{quantity_text(line.quantity)} {escape(line.unit)}</td>'
        f"<td>{reach_text(line.old_reach)}</td><td>{reach_text(line.new_reach)}</td>"
        f'<td class="n">{signed(line.change)} {line.id.currency}</td></tr>'
        for tenant, line in crossing[:_CROSSINGS]
    ]
    names = ("tenant", "SKU", "quantity", "tier before", "tier now", "change")
    numbers = ("quantity", "change")
    head = "".join(f'<th class="n">{name}</th>' if name in numbers else f"<th>{name}</th>" for name in names)
    return [
        f"<h2>Ends in another tier: {len(crossing)}</h2>",
        f'<div class="wide"><table><tr>{head}</tr>{"".join(rows)}</table></div>',
        *_rest(len(crossing) - len(rows), "lines"),
    ]


def _waiting(report: TrialReport) -> list[str]:
    """Usage that the new card leaves without a price."""
    rows = [
        f"<tr><td>{escape(trial.tenant_id)}</td><td>{escape(each.meter)}</td>"
        f'<td class="n">{quantity_text(each.quantity)} {escape(each.unit)}</td></tr>'
        for trial in report.tenants
        for each in trial.new_waiting
    ]
    if not rows:
        return []
    head = '<tr><th>tenant</th><th>meter</th><th class="n">quantity</th></tr>'
    return [
        "<h2>Without a price under the new card</h2>",
        f'<div class="wide"><table>{head}{"".join(rows[:_CROSSINGS])}</table></div>',
        *_rest(len(rows) - _CROSSINGS, "rows"),
    ]


def _rest(count: int, what: str) -> list[str]:
    return [f"<p>and {count} {what} more</p>"] if count > 0 else []


def _sign(amount: Decimal) -> int:
    return (amount > 0) - (amount < 0)
