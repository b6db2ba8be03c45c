"""Service levels measured in ClickHouse, judged, and credited: one credit note per final invoice and missed level."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from fractions import Fraction
from typing import TYPE_CHECKING, Any, Final

from rating.cards import RateCard
from rating.credit_notes import CreditRequest
from rating.documents import Document, Draft, remaining
from rating.money import difference, exact_sum, round_to_currency
from rating.patterns import is_pattern
from rating.rated import RatedLine
from rating.sla import ChargedLine, Measured, Metric, SlaTerm, Verdict, credits_of, judge, rank
from rating.windows import period_end, period_start
from sinks.finalize import Account, Credited, Issued, credit, read_issued
from sinks.invoices import list_invoices, load_invoice, load_rated
from sinks.kpi_scope import Scope, ask

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client

_MILLION: Final = 1_000_000
_MICROSECONDS: Final = "toInt64(round({column} * 1e6))"
_VALUES: Final[dict[Metric, tuple[str, str, str]]] = {
    "ttft": (_MICROSECONDS.format(column="ttft_s"), "status = 'success' AND isNotNull(ttft_s)", "ASC"),
    "end_to_end": (_MICROSECONDS.format(column="end_to_end_s"), "status = 'success'", "ASC"),
    # Millionths of a token per second; the worst request is the slowest.
    "tokens_per_second": (
        f"intDiv(toInt128(output_tokens) * {_MILLION * _MILLION}, {_MICROSECONDS.format(column='end_to_end_s')})",
        "status = 'success' AND output_tokens > 0 AND end_to_end_s > 0",
        "DESC",
    ),
}
"""What is measured of a request, in millionths; which requests have it; and from the best to the worst."""
_OWN_FAULT: Final = "status = 'error' AND http_status >= 400 AND http_status < 500"
"""Requests that were refused for what is in them, or for a limit: the service was there."""


@dataclass(frozen=True, slots=True)
class Judged:
    """One service level of a tenant in a period, and what is credited for it in the currency of the card."""

    tenant_id: str
    period: str
    currency: str
    verdict: Verdict
    amounts: dict[int, Decimal]
    """What is credited of each line of the invoice, by number; what is there already is not in it."""
    invoice: Document | None
    """The final invoice; None while there is none."""
    note: Draft | None
    """The credit note for it, if it was issued."""

    @property
    def amount(self) -> Decimal:
        """What is credited in all, as a positive amount."""
        if self.note is not None:
            return difference(Decimal(0), self.note.total)
        return round_to_currency(exact_sum(self.amounts.values()), self.currency)


def judge_period(client: Client, cards: Sequence[RateCard], period: str, *, tenant: str | None = None) -> list[Judged]:
    """Every service level of every tenant in a billing period, by the cards in force at its end. Raises StoreError."""
    published = {(card.id, card.version): card for card in cards if card.overrides is None}
    summaries = [each for each in list_invoices(client, period) if tenant in (None, each.tenant_id)]
    issued = read_issued(client, (each.tenant_id for each in summaries))
    found: list[Judged] = []
    for each in summaries:
        account = Account(each.tenant_id, each.currency)
        card = _card_in_force(load_rated(client, each.tenant_id, period), account, published)
        if card is None or not card.sla:
            continue
        verdicts = [judge(term, measure(client, term, each.tenant_id, period)) for term in card.sla]
        found += _judged(client, cards, account, period, verdicts, issued)
    return found


def _card_in_force(
    records: Sequence[RatedLine], account: Account, published: dict[tuple[str, int], RateCard]
) -> RateCard | None:
    """The card that priced the last usage of the period: it holds for the whole month, as with fees."""
    usage = [each for each in records if each.kind == "usage" and each.currency == account.currency and each.card_id]
    if not usage:
        return None
    last = max(usage, key=lambda each: each.window_start)
    return published.get((last.card_id or "", last.card_version or 0))


def _judged(
    client: Client,
    cards: Sequence[RateCard],
    account: Account,
    period: str,
    verdicts: Sequence[Verdict],
    issued: Issued,
) -> Iterator[Judged]:
    """The verdicts with what each gives, one after the other: no line is credited more than it costs."""
    invoice = issued.invoice(account, period)
    notes = issued.notes(invoice.document_id) if invoice is not None else []
    lines: Sequence[ChargedLine]
    if invoice is not None:
        lines, left = invoice.draft.lines, list(remaining(invoice.draft, notes))
    else:
        lines = load_invoice(client, account.tenant_id, period, cards, account.currency).lines
        left = [line.amount for line in lines]
    for verdict in verdicts:
        note = None
        if invoice is not None:
            identity = _request(invoice.document_id, verdict, {}).identity
            note = next((each for each in notes if each.identity == identity), None)
        amounts = {} if note is not None else credits_of(verdict, lines, left, account.currency)
        for number, amount in amounts.items():
            left[number - 1] = difference(left[number - 1], amount)
        yield Judged(account.tenant_id, period, account.currency, verdict, amounts, invoice, note)


def book(client: Client, judged: Judged, *, by: str) -> Credited | None:
    """Issue the credit note of a missed service level, once for each final invoice and level; None if there is nothing
    to credit or no final invoice yet. Raises DocumentError, StoreError."""
    if judged.invoice is None or judged.note is not None or not judged.amounts:
        return None
    return credit(client, None, _request(judged.invoice.document_id, judged.verdict, judged.amounts), by=by)


def _request(invoice_id: str, verdict: Verdict, amounts: dict[int, Decimal]) -> CreditRequest:
    evidence = verdict.evidence()
    return CreditRequest(
        invoice_id,
        reason=f"service level {verdict.term.sku} missed: {verdict_text(verdict)}",
        amounts=amounts,
        kind="sla_credit",
        key=f"sla/{verdict.term.sku}",
        line_details={number: {"sla": evidence} for number in amounts},
    )


def verdict_text(verdict: Verdict) -> str:
    """What was promised and measured, in words."""
    said = verdict.evidence()
    which = f" of {said['percentile']} % of requests" if said["percentile"] else ""
    return f"{said['metric']}{which} {said['measured']}, promised {said['target']} (of {said['requests']} requests)"


def measure(client: Client, term: SlaTerm, tenant_id: str, period: str) -> Measured:
    """What was measured of a service level for a tenant in a period: exact, by event time, from usage that counts."""
    where, values = _conditions(term, tenant_id, period)
    if term.metric == "availability":
        counted, failed = _ask(
            client,
            f"SELECT countIf(NOT ifNull({_OWN_FAULT}, 0)), countIf(status = 'error' AND NOT ifNull({_OWN_FAULT}, 0)) "
            f"FROM usage_counted WHERE {where}",
            values,
        )[0]
        value = Fraction(100 * (int(counted) - int(failed)), int(counted)) if counted else None
        return Measured(value, int(counted))
    column, measured, order = _VALUES[term.metric]
    source = f"FROM usage_counted WHERE {measured} AND {where}"
    requests = int(_ask(client, f"SELECT count() {source}", values)[0][0])
    if not requests:
        return Measured(None, 0)
    place = rank(term, requests) - 1
    rows = _ask(client, f"SELECT {column} AS value {source} ORDER BY value {order} LIMIT 1 OFFSET {place}", values)
    return Measured(Fraction(int(rows[0][0]), _MILLION), requests)


def _conditions(term: SlaTerm, tenant_id: str, period: str) -> tuple[str, dict[str, object]]:
    """The condition on requests, and the values in it."""
    parts = [
        "tenant_id = {tenant:String}",
        "ended_at >= parseDateTimeBestEffort({start:String}, 'UTC')",
        "ended_at < parseDateTimeBestEffort({end:String}, 'UTC')",
    ]
    values: dict[str, object] = {
        "tenant": tenant_id,
        "start": _text(period_start(period)),
        "end": _text(period_end(period)),
    }
    for name, wanted in term.match.constraints().items():
        parts.append(f"{name} {'LIKE' if is_pattern(wanted) else '='} {{{name}:String}}")
        values[name] = _like(wanted) if is_pattern(wanted) else wanted
    return " AND ".join(parts), values


def _like(pattern: str) -> str:
    r"""A card's pattern as one of SQL: its own signs become `%` and `_`, those of SQL stand for themselves."""
    escaped = pattern.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
    return escaped.replace("*", "%").replace("?", "_")


def _text(instant: datetime) -> str:
    return f"{instant:%Y-%m-%dT%H:%M:%SZ}"


def _ask(client: Client, sql: str, values: dict[str, object]) -> list[tuple[Any, ...]]:
    return ask(client, Scope(), sql, **values)
