"""Credit notes: documents that give back, line by line, what a final invoice charged."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from rating.documents import Document, DocumentLine, Draft, identity_of, remaining
from rating.errors import DocumentError
from rating.money import currency_exponent, difference, exact_sum, from_scaled, plain, round_to_currency
from rating.skus import Kind
from rating.terms.fields import Tax
from rating.terms.taxes import LineTax, taxes_on


@dataclass(frozen=True, slots=True)
class CreditRequest:
    """What is to be credited of an invoice, and why.

    `amounts`: the number of a line, from 1, to what is given back of it, above 0; None: all that is left of the invoice.
    The same request again is the same credit note; what is to be credited twice needs another reason. `key` stands in
    the place of amounts and reason for credits that an invoice may have only once, such as that of its service levels.
    """

    invoice_id: str
    reason: str
    amounts: Mapping[int, Decimal] | None = field(hash=False)
    kind: Kind = "credit"
    key: str | None = None
    line_details: Mapping[int, Mapping[str, Any]] = field(default_factory=dict, hash=False)
    """What explains the amount of a line, by its number."""

    @property
    def identity(self) -> str:
        """What must not be issued twice."""
        if self.key is not None:
            return identity_of("credit_note", self.invoice_id, self.key)
        asked = "all" if self.amounts is None else [(n, plain(amount)) for n, amount in sorted(self.amounts.items())]
        digest = hashlib.sha256(json.dumps([asked, self.reason]).encode()).hexdigest()
        return identity_of("credit_note", self.invoice_id, digest)


def draft_credit_note(request: CreditRequest, invoice: Document, notes: Iterable[Draft]) -> Draft:
    """The credit note of a request. `notes`: those that the invoice has already.

    Raises DocumentError: the document is no invoice, a line is not there, nothing is left, an amount is not above 0, has
    more decimals than the currency, or is more than what is left of its line.
    """
    issued = invoice.draft
    if issued.kind != "invoice":
        raise DocumentError(
            f"{invoice.document_id} is a credit note: name the invoice that it is about, {issued.corrects}",
            document_id=invoice.document_id,
        )
    if not request.reason.strip():
        raise DocumentError("a credit note needs a reason", document_id=invoice.document_id)
    left = remaining(issued, notes)
    amounts = request.amounts
    if amounts is None:
        amounts = {number: amount for number, amount in enumerate(left, 1) if amount}
    else:
        for number, amount in amounts.items():
            _check(invoice, number, amount, left)
    if not amounts:
        raise DocumentError(f"nothing is left of {invoice.document_id}", document_id=invoice.document_id)
    lines = tuple(_credit(request, invoice, number, amounts[number], left[number - 1]) for number in sorted(amounts))
    return Draft(
        identity=request.identity,
        kind="credit_note",
        tenant_id=issued.tenant_id,
        period=issued.period,
        currency=issued.currency,
        lines=lines,
        total=exact_sum([from_scaled(0, currency_exponent(issued.currency)), *(line.amount for line in lines)]),
        corrects=invoice.document_id,
        reason=request.reason,
    )


def _check(invoice: Document, number: int, amount: Decimal, left: tuple[Decimal, ...]) -> None:
    currency = invoice.draft.currency
    where = f"line {number} of {invoice.document_id}"
    if not 1 <= number <= len(left):
        raise DocumentError(f"there is no {where}: it has {len(left)} lines", document_id=invoice.document_id)
    if amount <= 0:
        raise DocumentError(f"{where}: {plain(amount)} is not above 0: say how much is given back", line=number)
    if round_to_currency(amount, currency) != amount:
        raise DocumentError(f"{where}: {plain(amount)} has more decimals than {currency}: round it", line=number)
    if amount > left[number - 1]:
        raise DocumentError(
            f"{where}: {plain(amount)} {currency} is more than the {left[number - 1]:f} that are left of it",
            line=number,
        )


def _credit(request: CreditRequest, invoice: Document, number: int, amount: Decimal, left: Decimal) -> DocumentLine:
    line = invoice.draft.lines[number - 1]
    given = round_to_currency(-amount, invoice.draft.currency)
    return DocumentLine(
        sku=line.sku,
        meter=line.meter,
        kind=request.kind,
        service_period=line.service_period,
        quantity=Decimal(0),
        unit=line.unit,
        exact_amount=given,
        amount=given,
        seller_id=line.seller_id,
        corrects=invoice.document_id,
        corrects_line=number,
        taxes=_taxes(line, left, exact_sum((left, given)), invoice.draft.currency),
        details=request.line_details.get(number, {}),
    )


def _taxes(line: DocumentLine, before: Decimal, after: Decimal, currency: str) -> tuple[LineTax, ...]:
    """The taxes that are given back with a part of a line: those on what was left of it less those on what is.

    So a line that is credited in full, in however many parts, gives back exactly its taxes.
    """
    rates = [Tax(name=tax.name, rate_percent=tax.rate_percent) for tax in line.taxes]
    left = zip(taxes_on(before, rates, currency), taxes_on(after, rates, currency), strict=True)
    return tuple(LineTax(old.name, old.rate_percent, difference(new.amount, old.amount)) for old, new in left)
