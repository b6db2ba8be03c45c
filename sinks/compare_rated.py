"""Is what billing systems read (Kafka) what ClickHouse holds, as state and as ledger, and what invoices say?"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from infra.clickhouse import store_errors
from rating.cards import RateCard
from rating.errors import RatingError
from rating.money import difference, exact_sum, round_to_currency
from schemas.decimals import format_decimal
from schemas.instants import format_instant
from schemas.rated import RatedUsage
from sinks.findings import Findings
from sinks.invoices import list_invoices, load_invoices

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client

_KEY: Final = "tenant_id, sku, kind, window_kind, window_start, service_period"
_ZERO: Final = Decimal(0)


class RatedKey(NamedTuple):
    """The key of a rated record."""

    tenant_id: str
    sku: str
    kind: str
    window_kind: str
    window_start: datetime
    service_period: str

    def __str__(self) -> str:
        return (
            f"{self.tenant_id}, {self.sku}, {self.kind}, {self.window_kind} {format_instant(self.window_start)}, "
            f"service period {self.service_period}"
        )


class _Total(NamedTuple):
    revision: int
    quantity: Decimal
    amount: Decimal


def key_of(record: RatedUsage) -> RatedKey:
    """The key of a record."""
    return RatedKey(
        record.tenant_id, record.sku, record.kind, record.window_kind, record.window_start, record.service_period
    )


class LatestRated:
    """The records of usage.rated.v1 with the highest revision of each key, gathered while the log is read."""

    def __init__(self, findings: Findings) -> None:
        self._findings = findings
        self._latest: dict[RatedKey, RatedUsage] = {}

    def add(self, record: RatedUsage) -> None:
        """One record, in the order of the log. Two contents under one revision break the contract of the topic."""
        key = key_of(record)
        known = self._latest.get(key)
        if known is not None and known.revision == record.revision and _content(known) != _content(record):
            self._findings.problem(
                "revisions with two contents", f"Kafka holds two contents of revision {record.revision}: {key}"
            )
        if known is None or record.revision > known.revision:
            self._latest[key] = record

    def records(self) -> Sequence[RatedUsage]:
        """The latest record of every key."""
        return tuple(self._latest.values())

    def totals(self) -> dict[RatedKey, _Total]:
        """Revision, quantity and amount of every key; a missing price counts as 0."""
        return {
            key: _Total(record.revision, record.quantity, record.amount if record.amount is not None else _ZERO)
            for key, record in self._latest.items()
        }


def _content(record: RatedUsage) -> RatedUsage:
    return record.model_copy(update={"previous": None})


def compare_state(client: Client, rated: LatestRated, trimmed: Collection[int], findings: Findings) -> None:
    """Kafka against the view `rated`, key by key. In `trimmed` partitions retention has removed the oldest records."""
    with store_errors("reading rated records"):
        rows = client.query(
            f"SELECT {_KEY}, revision, quantity, ifNull(amount, 0), kafka_partition FROM rated", tz_mode="aware"
        ).result_rows
    expected = rated.totals()
    stored = _totals(rows, expected, trimmed)
    findings.count("rated_keys", len(expected))
    for key, total in expected.items():
        held = stored.get(key)
        if held is None:
            findings.missing += 1
            findings.money(total.amount)
            findings.problem("missing rated rows", f"rated_state: no row for {key} ({_show(total)})")
        elif held != total:
            findings.money(difference(held.amount, total.amount))
            findings.problem(
                "changed rated rows", f"rated_state: {key}: Kafka has {_show(total)}, the table {_show(held)}"
            )
    for key in sorted(stored.keys() - expected.keys()):
        findings.duplicated += 1
        findings.money(stored[key].amount)
        findings.problem("rated rows without a record", f"rated_state: {key} ({_show(stored[key])}) is not in Kafka")


def _totals(
    rows: Iterable[Sequence[Any]], expected: Collection[RatedKey], trimmed: Collection[int]
) -> dict[RatedKey, _Total]:
    """Rows of (key, revision, quantity, amount, partition) by key, without those that only retention took from Kafka."""
    totals = {}
    for row in rows:
        key = RatedKey(*row[:6])
        if key in expected or int(row[9]) not in trimmed:
            totals[key] = _Total(int(row[6]), row[7], row[8])
    return totals


def compare_ledger(client: Client, rated: LatestRated, trimmed: Collection[int], findings: Findings) -> None:
    """Kafka against the sums of the ledger, key by key, and the chain of each key's entries."""
    with store_errors("reading the ledger"):
        rows = client.query(
            f"SELECT {_KEY}, max(revision), sum(quantity), sum(amount) FROM rated_ledger GROUP BY {_KEY}",
            tz_mode="aware",
        ).result_rows
        broken = client.query(
            f"SELECT {_KEY}, revision FROM (SELECT {_KEY}, revision, toInt64(ifNull(previous_revision, -1)) AS previous, "
            f"lagInFrame(toInt64(revision), 1, toInt64(-1)) OVER (PARTITION BY {_KEY} ORDER BY revision "
            "ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW) AS before FROM rated_ledger) "
            f"WHERE previous != before ORDER BY {_KEY}, revision LIMIT 1000",
            tz_mode="aware",
        ).result_rows
    expected = rated.totals()
    booked = _totals(rows, expected, trimmed)
    nothing = _Total(0, _ZERO, _ZERO)
    for key in sorted(expected.keys() | booked.keys()):
        total, held = expected.get(key, nothing), booked.get(key, nothing)
        if (total.quantity, total.amount) != (held.quantity, held.amount):
            findings.money(difference(held.amount, total.amount))
            findings.problem(
                "ledger sums that differ",
                f"rated_ledger: {key}: Kafka has {_show(total)}, the entries sum to {_show(held)}",
            )
    for row in broken:
        findings.problem(
            "broken chains", f"rated_ledger: {RatedKey(*row[:6])}: revision {row[6]} does not follow the one before it"
        )


def _show(total: _Total) -> str:
    return (
        f"quantity {format_decimal(total.quantity)}, amount {format_decimal(total.amount)}, revision {total.revision}"
    )


def compare_invoices(
    client: Client, rated: Iterable[RatedUsage], cards: Iterable[RateCard], findings: Findings
) -> None:
    """Kafka against the invoices made from ClickHouse: exact sums, and the total of the rounded lines."""
    expected = _expected_invoices(rated)
    cards = tuple(cards)
    known = set(expected) | {(each.tenant_id, each.period, each.currency) for each in list_invoices(client)}
    findings.count("invoices", len(known))
    for tenant_id, period in sorted({(tenant, period) for tenant, period, _ in known}):
        try:
            made = {invoice.currency: invoice for invoice in load_invoices(client, tenant_id, period, cards)}
        except RatingError as error:
            findings.problem("invoices that cannot be made", f"invoice of {tenant_id} for {period}: {error}")
            continue
        for currency in sorted(currency for tenant, when, currency in known if (tenant, when) == (tenant_id, period)):
            exact, total = expected.get((tenant_id, period, currency), (_ZERO, _ZERO))
            invoice = made.get(currency)
            invoiced = exact_sum(line.exact_amount for line in invoice.lines) if invoice is not None else _ZERO
            billed = invoice.total if invoice is not None else _ZERO
            if (exact, total) != (invoiced, billed):
                findings.money(difference(invoiced, exact))
                findings.problem(
                    "invoices that differ",
                    f"invoice of {tenant_id} for {period}: Kafka comes to {format_decimal(exact)} {currency} "
                    f"({format_decimal(total)} rounded by line), the invoice to {format_decimal(invoiced)} "
                    f"({format_decimal(billed)})",
                )


def _expected_invoices(rated: Iterable[RatedUsage]) -> Mapping[tuple[str, str, str], tuple[Decimal, Decimal]]:
    """Per tenant, period and currency the exact sum, and the sum of lines rounded to the currency."""
    lines: dict[tuple[str, str, str], dict[tuple[str, str, str, str], list[Decimal]]] = {}
    for record in rated:
        if record.amount is None or record.currency is None:
            continue
        line = (record.service_period, record.kind, record.sku, record.meter)
        invoice = (record.tenant_id, record.billing_period, record.currency)
        lines.setdefault(invoice, {}).setdefault(line, []).append(record.amount)
    return {
        invoice: (
            exact_sum(amount for amounts in found.values() for amount in amounts),
            exact_sum(round_to_currency(exact_sum(amounts), invoice[2]) for amounts in found.values()),
        )
        for invoice, found in lines.items()
    }
