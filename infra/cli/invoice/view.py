"""Invoice documents for people and for programs."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from rich.markup import escape

from infra.cli.invoice_view import money, print_whole, quantity_text, tier_rows, total_rows
from infra.cli.output import console, table
from rating.invoice_tiers import InvoiceTier

if TYPE_CHECKING:
    from rating.documents import Document, DocumentLine, Stage

_STAGES = {
    "draft": "draft: its month is open",
    "grace": "in grace: late usage may change it",
    "closed": "closed, not final yet",
    "final": "final",
}


def stage_text(stage: Stage) -> str:
    """Where an invoice stands, in words."""
    return _STAGES[stage]


def document_json(document: Document) -> dict[str, Any]:
    """The document as it was issued, with its hash."""
    content: dict[str, Any] = json.loads(document.text())
    return {**content, "content_hash": document.content_hash}


def document_name(document: Document) -> str:
    """What a document is, with its number."""
    return f"{'Credit note' if document.draft.kind == 'credit_note' else 'Invoice'} {document.document_id}"


def show_document(document: Document, *, explain: bool = True) -> None:
    """Print a document as a table: a row per line, with `explain` what its amount is made of below it."""
    draft = document.draft
    title = f"{document_name(document)} of {escape(draft.tenant_id)} for {draft.period}"
    made = table(title, "line", "quantity", "unit", "amount", text=["unit"])
    for number, line in enumerate(draft.lines, 1):
        quantity = quantity_text(line.quantity) if line.quantity else ""
        made.add_row(
            escape(f"{number:>2} {line.sku}{_remark(line, draft.period)}"),
            quantity,
            escape(line.unit) if quantity else "",
            money(line.amount, draft.currency),
        )
        for cells in tier_rows(_tiers(line), line.unit) if explain else ():
            made.add_row(f"   {cells[0]}", *cells[1:], style="dim")
    made.add_section()
    for cells in total_rows(draft):
        made.add_row(*cells)
    print_whole(made)
    for note in _remarks(document):
        console.print(f"  {note}", markup=False, soft_wrap=True)


def _tiers(line: DocumentLine) -> list[InvoiceTier]:
    """The tiers that stand on a document as plain data."""
    return [
        InvoiceTier(**{name: _value(name, value) for name, value in tier.items() if name in _TIER_FIELDS})
        for tier in ({"upper": None, **each} for each in line.details.get("tiers", ()))
    ]


_TIER_FIELDS = frozenset(InvoiceTier.__dataclass_fields__)
_DECIMALS = frozenset({"lower", "upper", "quantity", "unit_price", "per", "amount"})


def _value(name: str, value: Any) -> Any:
    return Decimal(value) if name in _DECIMALS and value is not None else value


def _remark(line: DocumentLine, period: str) -> str:
    of = f" of {line.corrects}" if line.corrects else ""
    if line.corrects_line is not None:
        return f" ({'service level, ' if line.kind == 'sla_credit' else ''}line {line.corrects_line}{of})"
    return "" if line.service_period == period else f" ({line.kind} for {line.service_period}{of})"


def _remarks(document: Document) -> list[str]:
    draft = document.draft
    found = [f"issued {document.issued_at:%Y-%m-%d %H:%M} UTC by {document.issued_by}, SHA-256 {document.content_hash}"]
    if draft.corrects:
        found.append(f"corrects {draft.corrects}: {draft.reason}")
    if draft.replaces:
        found.append(f"replaces {draft.replaces}")
    for each in draft.details.get("unrated", ()):
        found.append(f"not priced: {each['quantity']} {each['unit']} of {each['meter']}")
    return found
