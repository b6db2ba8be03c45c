"""Making invoices final: every closed billing period gets its document, once."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Final, Literal, NamedTuple

from infra.clickhouse import store_errors
from rating.cards import RateCard
from rating.credit_notes import CreditRequest, draft_credit_note
from rating.documents import (
    Difference,
    Document,
    Draft,
    Stage,
    differences,
    draft_invoice,
    is_credited,
    stage_of,
)
from rating.errors import DocumentError
from rating.invoices import Invoice
from rating.windows import period_end
from schemas.kinds import Kind
from sinks.documents import issue_documents, read_documents
from sinks.invoices import InvoiceSummary, list_invoices, load_in_chunks

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client

Result = Literal["issued", "was_final", "open", "waiting", "differs"]
"""issued now; issued before; not closed yet; an earlier period of the tenant is not final; final, but the rated records
now say something else."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of the invoice of one tenant, billing period and currency."""

    tenant_id: str
    period: str
    currency: str
    total: Decimal
    stage: Stage
    result: Result
    document: Document | None = None
    waits_for: str | None = None
    """The period that must be final first."""
    differences: tuple[Difference, ...] = ()
    unrated: int = 0
    """Meters with usage that has no price, which is on no line."""


class Account(NamedTuple):
    """Whose invoices stand in one row, month after month."""

    tenant_id: str
    currency: str


class Issued:
    """What was issued to some tenants."""

    def __init__(self, documents: Iterable[Document]) -> None:
        self._invoices: dict[Account, dict[str, Document]] = {}
        self._notes: dict[str, list[Draft]] = {}
        for each in documents:
            draft = each.draft
            if draft.kind == "invoice":
                # Of several, the last one replaces those before it.
                self._invoices.setdefault(Account(draft.tenant_id, draft.currency), {})[draft.period] = each
            elif draft.corrects is not None:
                self._notes.setdefault(draft.corrects, []).append(draft)

    def invoice(self, account: Account, period: str) -> Document | None:
        """The invoice of a period that holds."""
        return self._invoices.get(account, {}).get(period)

    def ids(self, account: Account) -> dict[str, str]:
        """The ids of the invoices that hold, by period."""
        return {period: each.document_id for period, each in self._invoices.get(account, {}).items()}

    def notes(self, document_id: str) -> list[Draft]:
        """The credit notes of an invoice."""
        return self._notes.get(document_id, [])


def read_issued(client: Client, tenants: Iterable[str]) -> Issued:
    """What was issued to these tenants."""
    return Issued(each.document for each in read_documents(client, tenants=sorted(set(tenants))))


def finalize(
    client: Client,
    issuer: str,
    cards: Sequence[RateCard],
    *,
    by: str,
    period: str | None = None,
    tenant: str | None = None,
    replace: bool = False,
    now: Callable[[], datetime] = lambda: datetime.now(UTC),
) -> Iterator[Outcome]:
    """Issue the invoices of every closed period that has none yet, oldest first, of one period or tenant if given.

    What is final is not issued again: its document is compared with what the rated records say now. `replace` issues an
    invoice in the place of one that was credited in full. May be run by several at once. Raises DocumentError
    (`replace` of an invoice of which something is left), StoreError.
    """
    summaries = [each for each in list_invoices(client) if tenant in (None, each.tenant_id)]
    reached = event_times(client)
    wanted = [each for each in summaries if period in (None, each.period)]
    # A chunk is of one period, since an invoice names those before it. A closed period does not change any more, so
    # reading it once is enough, whoever issues documents meanwhile.
    for invoices in load_in_chunks(client, wanted, cards):
        yield from _Chunk(client, issuer, invoices, summaries, reached, replace).run(by, now)


class _Chunk:
    """Some invoices of one billing period, which are issued together."""

    def __init__(
        self,
        client: Client,
        issuer: str,
        invoices: Sequence[Invoice],
        summaries: Sequence[InvoiceSummary],
        reached: Mapping[str, datetime],
        replace: bool,
    ) -> None:
        self._client = client
        self._issuer = issuer
        self._invoices = {Account(each.tenant_id, each.currency): each for each in invoices}
        self._reached = reached
        self._replace = replace
        self._earlier: dict[Account, list[str]] = {}
        for each in summaries:
            if invoices and each.period < invoices[0].period:
                self._earlier.setdefault(Account(each.tenant_id, each.currency), []).append(each.period)
        self._before = Issued(())

    def run(self, by: str, now: Callable[[], datetime]) -> Iterator[Outcome]:
        made = issue_documents(self._client, self._issuer, self._plan, by=by, now=now)
        new = {Account(each.draft.tenant_id, each.draft.currency): each for each in made}
        for account, invoice in self._invoices.items():
            yield self._outcome(account, invoice, new.get(account))

    def _plan(self) -> list[Draft]:
        """What is to be issued by what was issued up to now."""
        self._before = read_issued(self._client, (account.tenant_id for account in self._invoices))
        drafts = []
        for account, invoice in self._invoices.items():
            if invoice.provisional or self._waits_for(account):
                continue
            known = self._before.invoice(account, invoice.period)
            if known is not None and not self._replace:
                continue
            if known is not None and not is_credited(known.draft, self._before.notes(known.document_id)):
                raise DocumentError(
                    f"{known.document_id} cannot be replaced, something is left of it: credit it first, tokenmill invoice "
                    f"credit-note {known.document_id} --all --reason ...",
                    document_id=known.document_id,
                )
            drafts.append(
                draft_invoice(invoice, self._before.ids(account), known.document_id if known is not None else None)
            )
        return drafts

    def _waits_for(self, account: Account) -> str | None:
        final = self._before.ids(account)
        return min((period for period in self._earlier.get(account, ()) if period not in final), default=None)

    def _outcome(self, account: Account, invoice: Invoice, new: Document | None) -> Outcome:
        known = new or self._before.invoice(account, invoice.period)
        over = self._reached.get(account.tenant_id, _NEVER) >= period_end(invoice.period)
        found: tuple[Difference, ...] = ()
        waits_for = None
        result: Result = "issued"
        if new is None and known is not None:
            found = tuple(differences(known.draft.lines, invoice))
            result = "differs" if found else "was_final"
        elif new is None:
            waits_for = None if invoice.provisional else self._waits_for(account)
            result = "waiting" if waits_for else "open"
        return Outcome(
            tenant_id=account.tenant_id,
            period=invoice.period,
            currency=account.currency,
            total=invoice.total if known is None else known.draft.total,
            stage=stage_of(invoice, period_over=over, issued=known is not None),
            result=result,
            document=known,
            waits_for=waits_for,
            differences=found,
            unrated=len(invoice.unrated),
        )


_NEVER: Final = datetime.min.replace(tzinfo=UTC)


def event_times(client: Client) -> dict[str, datetime]:
    """How far event time has come for each tenant, as far as the store knows: its partition's last rated hour or tick."""
    with store_errors("reading event time"):
        hours = client.query(
            "SELECT kafka_partition, max(window_start) FROM rated_state WHERE window_kind = 'hour' GROUP BY kafka_partition",
            tz_mode="aware",
        ).result_rows
        ticks = client.query(
            "SELECT kafka_partition, max(time) FROM control_records WHERE kind = {kind:String} AND isNotNull(time) "
            "GROUP BY kafka_partition",
            parameters={"kind": Kind.TICK.value},
            tz_mode="aware",
        ).result_rows
        tenants = client.query("SELECT DISTINCT tenant_id, kafka_partition FROM rated_state").result_rows
    partitions: dict[int, datetime] = {}
    for partition, time in (*hours, *ticks):
        partitions[partition] = max(partitions.get(partition, time), time)
    found: dict[str, datetime] = {}
    for tenant_id, partition in tenants:
        time = partitions.get(partition, _NEVER)
        found[str(tenant_id)] = max(found.get(str(tenant_id), time), time)
    return found


@dataclass(frozen=True, slots=True)
class Credited:
    """A credit note, and whether it was issued now or was there before."""

    document: Document
    new: bool


def credit(
    client: Client,
    issuer: str | None,
    request: CreditRequest,
    *,
    by: str,
    now: Callable[[], datetime] = lambda: datetime.now(UTC),
) -> Credited:
    """Issue the credit note of a request, in the series of `issuer` (default: that of the invoice); once.

    Raises DocumentError (see `draft_credit_note`; there is no such invoice), StoreError.
    """
    invoice = load_document(client, request.invoice_id)
    known: list[Document] = []

    def plan() -> list[Draft]:
        known[:] = [each.document for each in read_documents(client, identities=[request.identity])]
        if known:
            return []
        notes = [each.document.draft for each in read_documents(client, about=invoice.document_id)]
        return [draft_credit_note(request, invoice, notes)]

    made = issue_documents(client, issuer or invoice.issuer, plan, by=by, now=now)
    return Credited(made[0], True) if made else Credited(known[0], False)


def load_document(client: Client, document_id: str) -> Document:
    """A document by its id. Raises DocumentError when there is none."""
    found = read_documents(client, document_id=document_id)
    if not found:
        raise DocumentError(f"there is no document {document_id}: tokenmill invoice list", document_id=document_id)
    return found[0].document
