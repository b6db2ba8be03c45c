"""Invoice documents for people and for programs."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from rich.markup import escape

from infra.cli.invoice_view import money, quantity_text
from infra.cli.output import console, table

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
        tiers = line.details.get("tiers", ()) if explain else ()
        for tier in tiers if len(tiers) > 1 else ():
            made.add_row(
                f"     {escape(_tier_text(tier))}", quantity_text_of(tier), "", str(tier["amount"]), style="dim"
            )
    made.add_section()
    made.add_row("[bold]total[/]", "", "", f"[bold]{money(draft.total, draft.currency)}[/]")
    console.print(made)
    for note in _remarks(document):
        console.print(f"  {note}", markup=False, soft_wrap=True)


def quantity_text_of(tier: Mapping[str, Any]) -> str:
    """The quantity of a tier that stands on a document."""
    from schemas.decimals import parse_decimal

    return quantity_text(parse_decimal(tier["quantity"]))


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


def _tier_text(tier: Mapping[str, Any]) -> str:
    reach = f"up to {tier['upper']}" if "upper" in tier else f"above {tier['lower']}"
    own = ", own price" if "override" in tier else ""
    kind = tier.get("kind", "tier")
    return f"{'' if kind == 'tier' else kind + ', '}{reach} at {tier['unit_price']} per {tier['per']}{own}"
