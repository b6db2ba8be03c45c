"""Service levels for people and for programs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.markup import escape

from infra.cli.invoice_view import print_whole
from infra.cli.output import table

if TYPE_CHECKING:
    from sinks.sla import Judged

_UNITS = {"ttft": "s", "end_to_end": "s", "tokens_per_second": "tokens/s", "availability": "%"}


def judged_json(judged: Judged) -> dict[str, object]:
    """One service level as plain data."""
    from schemas.decimals import format_decimal

    return {
        "tenant": judged.tenant_id,
        "period": judged.period,
        "currency": judged.currency,
        **judged.verdict.evidence(),
        "judged": judged.verdict.judged,
        "missed": judged.verdict.credit is not None,
        "credit": format_decimal(judged.amount),
        "invoice": judged.invoice.document_id if judged.invoice else None,
        "credited": judged.note is not None,
    }


def show(found: Sequence[Judged], period: str) -> None:
    """Print service levels as a table."""
    made = table(f"Service levels for {period}", "tenant", "level", "promised", "measured", "requests", "credit", "",
                 text=["level", ""])  # fmt: skip
    for each in found:
        said = each.verdict.evidence()
        unit = _UNITS[each.verdict.term.metric]
        share = f" ({said['percentile']} %)" if said["percentile"] else ""
        made.add_row(
            escape(each.tenant_id),
            escape(f"{each.verdict.term.sku}{share}"),
            f"{said['target']} {unit}",
            "" if said["measured"] is None else f"{_short(said['measured'])} {unit}",
            f"{each.verdict.measured.requests:,}",
            f"{each.amount:,f} {each.currency}" if each.verdict.credit or each.note else "",
            _state(each),
        )
    print_whole(made)


def _short(number: object) -> str:
    """A measured value to six significant digits; JSON has all."""
    return f"{float(str(number)):.6g}"


def _state(judged: Judged) -> str:
    if judged.note is not None:
        return "credited"
    if judged.verdict.credit is not None:
        return "[bold]missed[/]"
    return "kept" if judged.verdict.judged else "too few requests"
