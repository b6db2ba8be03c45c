"""Invoice documents: what becomes of an invoice when it is final, and how it is corrected afterwards.

An invoice is a draft while its billing period is open, in grace while late usage may still change it, closed when nothing
can change it any more, and final once a document was issued for it. A document is immutable: it has a number without
gaps in the series of its issuer, names the document that it corrects or replaces, and its hash covers everything on it
and the hash of the document before it. What is wrong is corrected by another document: usage that came late by an
adjustment on the next invoice, everything else by a credit note.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, Literal, NamedTuple

from rating.document_text import line_data, parse_line, plain_data, taxes_data
from rating.errors import DocumentError
from rating.invoices import Invoice, InvoiceLine
from rating.money import exact_sum
from rating.skus import Kind
from rating.terms.taxes import LineTax, summed

DocumentKind = Literal["invoice", "credit_note"]
Stage = Literal["draft", "grace", "closed", "final"]
FORMAT = "tokenmill.invoice-document.v1"
"""Names the form of a document's text; a text of another form is another document."""


class LineRef(NamedTuple):
    """What a line is on its document: no two lines of an invoice share it."""

    sku: str
    kind: Kind
    service_period: str
    meter: str


@dataclass(frozen=True, slots=True)
class DocumentLine:
    """One line of a document. On a credit note `amount` is negative where something is given back.

    `corrects` is the document that the line corrects, `corrects_line` the number of the line on it, from 1. `details`
    explain the amount (tiers, or what a credit rests on), as plain data; `taxes` are on top of it.
    """

    sku: str
    meter: str
    kind: Kind
    service_period: str
    quantity: Decimal
    unit: str
    exact_amount: Decimal
    amount: Decimal
    seller_id: str | None = None
    corrects: str | None = None
    corrects_line: int | None = None
    taxes: tuple[LineTax, ...] = ()
    details: Mapping[str, Any] = field(default_factory=dict, hash=False)

    @property
    def ref(self) -> LineRef:
        """What the line is on its document."""
        return LineRef(self.sku, self.kind, self.service_period, self.meter)


@dataclass(frozen=True, slots=True)
class Draft:
    """A document before it is issued: all but its number. `identity` is what must not be issued twice."""

    identity: str
    kind: DocumentKind
    tenant_id: str
    period: str
    currency: str
    lines: tuple[DocumentLine, ...]
    total: Decimal
    corrects: str | None = None
    """The document that a credit note is about."""
    replaces: str | None = None
    """The invoice, credited in full, that an invoice takes the place of."""
    reason: str | None = None
    details: Mapping[str, Any] = field(default_factory=dict, hash=False)

    @property
    def taxes(self) -> tuple[LineTax, ...]:
        """The taxes of all lines, by name and rate."""
        return summed(tax for line in self.lines for tax in line.taxes)

    @property
    def total_with_taxes(self) -> Decimal:
        """What is to be paid, or given back: the total and the taxes of all lines."""
        return exact_sum((self.total, *(tax.amount for tax in self.taxes)))


class SeriesEnd(NamedTuple):
    """The last document of an issuer."""

    number: int
    content_hash: str | None
    issued_at: datetime | None


NO_DOCUMENT = SeriesEnd(0, None, None)


@dataclass(frozen=True, slots=True)
class Document:
    """An issued document. `previous_hash` is the hash of the issuer's document before it, None for the first."""

    document_id: str
    issuer: str
    number: int
    issued_at: datetime
    issued_by: str
    previous_hash: str | None
    draft: Draft
    stored: str | None = field(default=None, compare=False, repr=False)
    """The text that it was read from. It is kept, since a later version of this program would write another one."""

    def text(self) -> str:
        """The document as canonical JSON: what is stored, and what its hash is of. Money and quantities are text."""
        return self._written() if self.stored is None else self.stored

    def _written(self) -> str:
        draft = self.draft
        head = {
            "format": FORMAT,
            "document_id": self.document_id,
            "issuer": self.issuer,
            "number": self.number,
            "issued_at": _instant_text(self.issued_at),
            "issued_by": self.issued_by,
            "previous_hash": self.previous_hash,
        }
        body = {
            **plain_data(draft.details),
            "identity": draft.identity,
            "kind": draft.kind,
            "tenant_id": draft.tenant_id,
            "period": draft.period,
            "currency": draft.currency,
            "total": f"{draft.total:f}",
            "taxes": taxes_data(draft.taxes),
            "total_with_taxes": f"{draft.total_with_taxes:f}",
            "corrects": draft.corrects,
            "replaces": draft.replaces,
            "reason": draft.reason,
            "lines": [line_data(line) for line in draft.lines],
        }
        named = {name: value for name, value in {**body, **head}.items() if value is not None}
        return json.dumps(named, sort_keys=True, separators=(",", ":"), ensure_ascii=False)

    @property
    def content_hash(self) -> str:
        """SHA-256 of the text, as 64 hexadecimal digits."""
        return text_hash(self.text())


_HEAD = frozenset({"format", "document_id", "issuer", "number", "issued_at", "issued_by", "previous_hash"})
_BODY = frozenset(
    {"identity", "kind", "tenant_id", "period", "currency", "total", "taxes", "total_with_taxes"}
    | {"corrects", "replaces", "reason", "lines"}
)


def text_hash(text: str) -> str:
    """SHA-256 of a document's text (UTF-8), as 64 hexadecimal digits."""
    return hashlib.sha256(text.encode()).hexdigest()


def parse_document(text: str) -> Document:
    """The document of a text that `Document.text` gave. Raises DocumentError for any other text."""
    try:
        data = json.loads(text, parse_float=Decimal)
        if data["format"] != FORMAT:
            raise DocumentError(
                f"a document of the form {data['format']!r} cannot be read: this version reads {FORMAT}"
            )
        draft = Draft(
            identity=data["identity"],
            kind=data["kind"],
            tenant_id=data["tenant_id"],
            period=data["period"],
            currency=data["currency"],
            lines=tuple(DocumentLine(**parse_line(line)) for line in data["lines"]),
            total=Decimal(data["total"]),
            corrects=data.get("corrects"),
            replaces=data.get("replaces"),
            reason=data.get("reason"),
            details={name: value for name, value in data.items() if name not in _HEAD | _BODY},
        )
        return Document(
            document_id=data["document_id"],
            issuer=data["issuer"],
            number=data["number"],
            issued_at=datetime.fromisoformat(data["issued_at"]),
            issued_by=data["issued_by"],
            previous_hash=data.get("previous_hash"),
            draft=draft,
            stored=text,
        )
    except (ValueError, KeyError, TypeError, ArithmeticError) as error:
        if isinstance(error, DocumentError):
            raise
        raise DocumentError(f"this is no invoice document ({error}): {text[:80]!r}") from None


def stage_of(invoice: Invoice, *, period_over: bool, issued: bool) -> Stage:
    """Where an invoice stands. `period_over`: event time has passed the end of its billing period."""
    if issued:
        return "final"
    if not invoice.provisional:
        return "closed"
    return "grace" if period_over else "draft"


def document_id(issuer: str, number: int) -> str:
    """What a document is called: `acme-telco-000007`."""
    return f"{issuer}-{number:06d}"


def issue(drafts: Sequence[Draft], issuer: str, after: SeriesEnd, at: datetime, by: str) -> list[Document]:
    """The drafts as documents, numbered on from the issuer's last one.

    Numbers and times go on together: a document is never dated before the one in front of it, whatever the clocks of
    two machines say. Raises DocumentError for an issuer that cannot begin a number.
    """
    if not issuer or not issuer.isprintable() or issuer != issuer.strip() or len(issuer) > 64:
        raise DocumentError(f"{issuer!r} cannot be an issuer: use 1 to 64 printable characters", issuer=issuer)
    number, previous, last = after
    issued_at = at if last is None else max(at, last)
    documents = []
    for draft in drafts:
        number += 1
        made = Document(document_id(issuer, number), issuer, number, issued_at, by, previous, draft)
        documents.append(made)
        previous = made.content_hash
    return documents


def invoiceidentity_of(tenant_id: str, period: str, currency: str, replaces: str | None = None) -> str:
    """The identity of the invoice of a tenant's billing period in one currency."""
    return identity_of("invoice", tenant_id, period, currency, *([replaces] if replaces else []))


def draft_invoice(invoice: Invoice, corrected: Mapping[str, str], replaces: str | None = None) -> Draft:
    """The document of a closed period's invoice.

    `corrected`: the invoice of the same tenant and currency by its billing period: what usage that came late corrects.
    Raises DocumentError while the period is open or in grace: its amounts can still change.
    """
    if invoice.provisional:
        raise DocumentError(
            f"{invoice.tenant_id}: {invoice.period} is not closed, its amounts can still change: wait until event time "
            "has passed its grace",
            tenant_id=invoice.tenant_id,
            period=invoice.period,
        )
    details = plain_data(invoice)
    for known in ("tenant_id", "period", "currency", "lines", "total", "provisional"):
        details.pop(known, None)
    return Draft(
        identity=invoiceidentity_of(invoice.tenant_id, invoice.period, invoice.currency, replaces),
        kind="invoice",
        tenant_id=invoice.tenant_id,
        period=invoice.period,
        currency=invoice.currency,
        lines=tuple(_document_line(line, invoice.period, corrected) for line in invoice.lines),
        total=invoice.total,
        replaces=replaces,
        details=details,
    )


def _document_line(line: InvoiceLine, period: str, corrected: Mapping[str, str]) -> DocumentLine:
    details = plain_data(line)
    own = {name: getattr(line, name) for name in InvoiceLine.__dataclass_fields__ if name in _LINE_FIELDS}
    late = line.service_period < period
    return DocumentLine(
        **own,
        corrects=corrected.get(line.service_period) if late else None,
        details={name: value for name, value in details.items() if name not in _LINE_FIELDS},
    )


_LINE_FIELDS = frozenset(DocumentLine.__dataclass_fields__) - {"corrects", "corrects_line", "details"}


class Difference(NamedTuple):
    """A line that a document states in another way than the rated records do now; None: there is no such line."""

    ref: LineRef
    issued: tuple[Decimal, Decimal] | None
    """Quantity and exact amount on the document."""
    now: tuple[Decimal, Decimal] | None


def differences(issued: Iterable[DocumentLine], invoice: Invoice) -> list[Difference]:
    """Where an issued invoice and its rated records disagree: nowhere, as long as nothing rewrote a closed period."""
    before = {line.ref: (line.quantity, line.exact_amount) for line in issued}
    now = {
        LineRef(line.sku, line.kind, line.service_period, line.meter): (line.quantity, line.exact_amount)
        for line in invoice.lines
    }
    return [
        Difference(ref, before.get(ref), now.get(ref))
        for ref in sorted(before.keys() | now.keys())
        if before.get(ref) != now.get(ref)
    ]


def remaining(invoice: Draft, notes: Iterable[Draft]) -> tuple[Decimal, ...]:
    """What is left of each line of an invoice after its credit notes, in the order of the lines."""
    left = [line.amount for line in invoice.lines]
    for note in notes:
        for line in note.lines:
            if line.corrects_line is not None:
                left[line.corrects_line - 1] = exact_sum((left[line.corrects_line - 1], line.amount))
    return tuple(left)


def is_credited(invoice: Draft, notes: Iterable[Draft]) -> bool:
    """Whether nothing is left of an invoice."""
    return not any(remaining(invoice, notes))


def identity_of(*parts: str) -> str:
    """What must not be issued twice, as one text."""
    return json.dumps(parts, separators=(",", ":"), ensure_ascii=False)


def _instant_text(value: datetime) -> str:
    return value.astimezone(UTC).isoformat().replace("+00:00", "Z")
