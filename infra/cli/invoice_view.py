"""An invoice for people and for programs."""

from collections.abc import Iterator, Sequence
from decimal import Decimal

from rich.markup import escape
from rich.table import Table

from infra.cli.output import console, table
from rating.documents import Draft
from rating.invoice_tiers import InvoiceTier
from rating.invoices import Invoice, InvoiceLine
from rating.terms.taxes import LineTax
from schemas.decimals import format_decimal

_WIDEST = 2000
"""Characters of the widest table in a pipe: ids of lines have at most 512."""


def money(amount: Decimal, currency: str) -> str:
    """An amount that is rounded to its currency, with its digits as they are."""
    return f"{amount:,f} {currency}"


def quantity_text(quantity: Decimal) -> str:
    """A quantity without needless zeros, digits in groups."""
    whole, _, part = format_decimal(quantity).partition(".")
    return f"{int(whole):,}" + (f".{part}" if part else "")


def print_whole(made: Table) -> None:
    """Print a table: a terminal folds what is too long for it, in a pipe nothing is cut."""
    if console.is_terminal:
        console.print(made)
        return
    needed = console.measure(made, options=console.options.update(max_width=_WIDEST)).maximum
    type(console)(file=console.file, highlight=False, width=max(console.width, needed)).print(made)


def invoice_json(invoice: Invoice) -> dict[str, object]:
    """The invoice as plain data: quantities and money are texts of exact decimals."""
    return {
        "tenant": invoice.tenant_id,
        "period": invoice.period,
        "currency": invoice.currency,
        "total": f"{invoice.total:f}",
        "taxes": [_tax_json(tax) for tax in invoice.taxes],
        "total_with_taxes": f"{invoice.total_with_taxes:f}",
        "provisional": invoice.provisional,
        "lines": [_line_json(line) for line in invoice.lines],
        "unrated": [
            {"meter": each.meter, "quantity": format_decimal(each.quantity), "service_period": each.service_period}
            for each in invoice.unrated
        ],
    }


def _line_json(line: InvoiceLine) -> dict[str, object]:
    return {
        "sku": line.sku,
        "meter": line.meter,
        "kind": line.kind,
        "service_period": line.service_period,
        "quantity": format_decimal(line.quantity),
        "unit": line.unit,
        "amount": f"{line.amount:f}",
        "exact_amount": format_decimal(line.exact_amount),
        "taxes": [_tax_json(tax) for tax in line.taxes],
        "tiers": [_tier_json(tier) for tier in line.tiers],
    }


def _tax_json(tax: LineTax) -> dict[str, object]:
    return {"name": tax.name, "rate_percent": format_decimal(tax.rate_percent), "amount": f"{tax.amount:f}"}


def _tier_json(tier: InvoiceTier) -> dict[str, object]:
    return {
        "kind": tier.kind,
        "above": format_decimal(tier.lower),
        "up_to": None if tier.upper is None else format_decimal(tier.upper),
        "quantity": format_decimal(tier.quantity),
        "price": format_decimal(tier.unit_price),
        "per": format_decimal(tier.per),
        "basis": tier.basis,
        "unit": tier.unit,
        "amount": format_decimal(tier.amount),
        "card": f"{tier.card_id} v{tier.card_version}",
        "own_price": tier.override is not None,
    }


def show_invoice(invoice: Invoice, state: str | None = None) -> None:
    """Print an invoice as a table: a row per line, the tiers of a line below it where it has several.

    `state` says where it stands; left out, whether its amounts can still change.
    """
    state = state or ("provisional" if invoice.provisional else "final amounts")
    title = f"Invoice of {escape(invoice.tenant_id)} for {invoice.period} ({state})"
    lines = table(title, "line", "quantity", "unit", "amount", text=["unit"])
    for line in invoice.lines:
        period = "" if line.service_period == invoice.period else f" ({line.kind} for {line.service_period})"
        name = escape(line.sku + period)
        lines.add_row(name, quantity_text(line.quantity), escape(line.unit), money(line.amount, invoice.currency))
        for tier in tier_rows(line.tiers, line.unit):
            lines.add_row(*tier, style="dim")
    lines.add_section()
    for cells in total_rows(invoice):
        lines.add_row(*cells)
    print_whole(lines)
    for each in invoice.unrated:
        console.print(f"  not yet priced: {quantity_text(each.quantity)} {each.unit} of {each.meter}", markup=False)


def tier_rows(tiers: Sequence[InvoiceTier], unit: str) -> Iterator[tuple[str, str, str, str]]:
    """The cells that say how the amount of a line in `unit` came about; none where a price per unit is all of it."""
    if len(tiers) < 2 and not any(_is_worth_saying(tier, unit) for tier in tiers):
        return
    for tier in tiers:
        has_quantity = tier.kind in ("tier", "included")
        yield (
            f"  {_tier_text(tier)}",
            quantity_text(tier.quantity) if has_quantity else "",
            escape(tier.unit) if has_quantity and tier.unit != unit else "",
            format_decimal(tier.amount),
        )


def total_rows(invoice: Invoice | Draft) -> Iterator[tuple[str, str, str, str]]:
    """The cells below the lines: the taxes, if there are any, and what is to be paid."""
    if invoice.taxes:
        yield "net", "", "", money(invoice.total, invoice.currency)
    for tax in invoice.taxes:
        name = escape(f"{tax.name} {format_decimal(tax.rate_percent)} %")
        yield name, "", "", money(tax.amount, invoice.currency)
    yield "[bold]total[/]", "", "", f"[bold]{money(invoice.total_with_taxes, invoice.currency)}[/]"


def _is_worth_saying(tier: InvoiceTier, unit: str) -> bool:
    """Whether a line's only tier says more than a price per unit."""
    return tier.unit != unit or tier.basis != "units" or bool(tier.lower)


def _tier_text(tier: InvoiceTier) -> str:
    price = format_decimal(tier.unit_price)
    if tier.kind == "tier":
        reach = ""
        if tier.upper is not None:
            reach = f"up to {quantity_text(tier.upper)} "
        elif tier.lower:
            reach = f"above {quantity_text(tier.lower)} "
        text = f"{reach}at {_unit_price(tier)}"
    elif tier.kind == "included":
        text = f"included: {quantity_text(tier.upper or tier.quantity)}"
    else:
        text = {
            "discount": f"{price} % off",
            "overage": f"{price} times the price above the commitment",
            "maximum": f"at most {price}",
        }[tier.kind]
    return text + (", own price" if tier.override and tier.kind == "tier" else "")


def _unit_price(tier: InvoiceTier) -> str:
    price = format_decimal(tier.unit_price)
    if tier.basis == "percent":
        return f"{price} %"
    if tier.basis == "multiple":
        return f"{price} times"
    return f"{price} per {'started ' if tier.basis == 'packages' else ''}{quantity_text(tier.per)}"
