"""A seller's statement: what tenants were charged for its SKUs in a billing period, and the parts of it.

Amounts are those of the invoices, so a statement and the invoices agree to the cent: `gross` is the line as it was
invoiced, the seller's part is rounded once per line, half away from zero, and the rest is the operator's.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from typing import NamedTuple

from rating.cards import RateCard
from rating.documents import DocumentLine, Draft, LineRef
from rating.errors import InvoiceError
from rating.marketplace import share_of
from rating.money import (
    currency_exponent,
    difference,
    exact_sum,
    fraction_to_currency,
    from_scaled,
    round_to_currency,
)
from rating.rated import RatedLine
from rating.skus import Kind


class Part(NamedTuple):
    """Which part of a line is the seller's: exactly `seller` of `amount`; None where no rule says so.

    `percents` are those of the rules, several where the card changed within the period.
    """

    amount: Fraction
    seller: Fraction | None
    percents: tuple[Decimal, ...]


@dataclass(frozen=True, slots=True)
class StatementLine:
    """One line of one tenant. What was given back by a credit note is negative.

    `seller_amount` and `operator_amount` are None where no rule of the card says how to share; else they sum to `gross`.
    """

    tenant_id: str
    sku: str
    kind: Kind
    service_period: str
    currency: str
    quantity: Decimal
    unit: str
    gross: Decimal
    share_percents: tuple[Decimal, ...]
    seller_amount: Decimal | None
    document_id: str | None = None
    """The invoice or credit note that it stands on; None: not final yet."""

    @property
    def operator_amount(self) -> Decimal | None:
        """What the operator keeps."""
        return None if self.seller_amount is None else difference(self.gross, self.seller_amount)


@dataclass(frozen=True, slots=True)
class Statement:
    """All lines of a seller in a billing period and one currency."""

    seller_id: str
    period: str
    currency: str
    lines: tuple[StatementLine, ...]

    @property
    def shared(self) -> tuple[StatementLine, ...]:
        """The lines that a rule shares: only they are in the sums."""
        return tuple(line for line in self.lines if line.seller_amount is not None)

    @property
    def without_rule(self) -> tuple[StatementLine, ...]:
        """The lines that no rule shares: the card lacks one."""
        return tuple(line for line in self.lines if line.seller_amount is None)

    @property
    def gross(self) -> Decimal:
        """What tenants were charged, credits taken off."""
        return self._sum(line.gross for line in self.shared)

    @property
    def seller_amount(self) -> Decimal:
        """What is due to the seller."""
        return self._sum(line.seller_amount for line in self.shared if line.seller_amount is not None)

    @property
    def operator_amount(self) -> Decimal:
        """What the operator keeps."""
        return difference(self.gross, self.seller_amount)

    @property
    def final(self) -> bool:
        """Whether every line stands on an issued document."""
        return all(line.document_id is not None for line in self.lines)

    def _sum(self, amounts: Iterable[Decimal]) -> Decimal:
        return exact_sum([from_scaled(0, currency_exponent(self.currency)), *amounts])


def parts_of(records: Iterable[RatedLine], cards: Iterable[RateCard]) -> dict[LineRef, Part]:
    """How each invoice line of sold SKUs is shared, by the rules of the cards that priced its records.

    Raises InvoiceError when a card that priced a record is not among the cards.
    """
    published = {(card.id, card.version): card for card in cards if card.overrides is None}
    parts: dict[LineRef, Part] = {}
    for record in records:
        if record.seller_id is None or record.amount is None:
            continue
        card = published.get((record.card_id or "", record.card_version or 0))
        # A record that fell to nothing names no card.
        if card is None and record.amount:
            raise InvoiceError(
                f"card {record.card_id} version {record.card_version}, which priced {record.sku}, is not among the cards",
                card_id=record.card_id,
                card_version=record.card_version,
            )
        if card is None:
            continue
        rule = share_of(card.revenue_shares, record.seller_id, record.sku)
        ref = LineRef(record.sku, record.kind, record.service_period, record.meter)
        amount, seller, percents = parts.get(ref, Part(Fraction(0), Fraction(0), ()))
        if rule is None or seller is None:
            parts[ref] = Part(amount + Fraction(record.amount), None, ())
            continue
        more = Fraction(record.amount) * Fraction(rule.share_percent) / 100
        several = percents if rule.share_percent in percents else (*percents, rule.share_percent)
        parts[ref] = Part(amount + Fraction(record.amount), seller + more, several)
    return parts


def invoice_lines(
    tenant_id: str,
    seller_id: str,
    currency: str,
    records: Sequence[RatedLine],
    parts: dict[LineRef, Part],
    document_id: str | None,
) -> list[StatementLine]:
    """The seller's lines on the invoice of a tenant; `parts` is what `parts_of` says of the same records."""
    groups: dict[LineRef, list[RatedLine]] = {}
    for record in records:
        if record.seller_id == seller_id and record.currency == currency:
            ref = LineRef(record.sku, record.kind, record.service_period, record.meter)
            groups.setdefault(ref, []).append(record)
    lines = []
    for ref, group in sorted(groups.items()):
        exact = exact_sum(record.amount for record in group if record.amount is not None)
        quantity = exact_sum(record.quantity for record in group)
        if not exact and not quantity:
            continue
        part = parts.get(ref, Part(Fraction(0), None, ()))
        lines.append(
            StatementLine(
                tenant_id=tenant_id,
                sku=ref.sku,
                kind=ref.kind,
                service_period=ref.service_period,
                currency=currency,
                quantity=quantity,
                unit=group[-1].unit,
                gross=round_to_currency(exact, currency),
                share_percents=part.percents,
                seller_amount=None if part.seller is None else fraction_to_currency(part.seller, currency),
                document_id=document_id,
            )
        )
    return lines


def credit_lines(
    invoice: Draft, notes: Sequence[tuple[str, Draft]], seller_id: str, parts: dict[LineRef, Part], wanted: set[str]
) -> list[StatementLine]:
    """What the credit notes of an invoice take back from a seller.

    `notes`: all of them in order, with their ids; `wanted`: the ids of those that are asked for. A line that is credited
    in full, however many credit notes it takes, leaves the seller exactly nothing.
    """
    left = [line.amount for line in invoice.lines]
    found = []
    for document_id, note in notes:
        for line in note.lines:
            if line.corrects_line is None or line.seller_id != seller_id:
                continue
            number = line.corrects_line - 1
            original = invoice.lines[number]
            before, left[number] = left[number], exact_sum((left[number], line.amount))
            part = parts.get(original.ref, Part(Fraction(0), None, ()))
            if document_id in wanted:
                found.append(_credited(note, line, original, part, (before, left[number]), document_id))
    return found


def _credited(
    note: Draft,
    line: DocumentLine,
    original: DocumentLine,
    part: Part,
    left: tuple[Decimal, Decimal],
    document_id: str,
) -> StatementLine:
    before, after = (_seller_of(amount, original, part, note.currency) for amount in left)
    return StatementLine(
        tenant_id=note.tenant_id,
        sku=line.sku,
        kind=line.kind,
        service_period=line.service_period,
        currency=note.currency,
        quantity=line.quantity,
        unit=line.unit,
        gross=line.amount,
        share_percents=part.percents,
        seller_amount=None if before is None or after is None else difference(after, before),
        document_id=document_id,
    )


def _seller_of(left: Decimal, original: DocumentLine, part: Part, currency: str) -> Decimal | None:
    """The seller's part of what is left of a line: all of its part of a whole line, nothing of nothing."""
    if part.seller is None:
        return None
    if left == original.amount or not part.amount:
        return fraction_to_currency(part.seller, currency)
    return fraction_to_currency(Fraction(left) * part.seller / part.amount, currency)
