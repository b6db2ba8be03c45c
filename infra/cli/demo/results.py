"""What a demo found out, read back from ClickHouse and from the reconciliation."""

from dataclasses import dataclass

from infra.cli.demo.flow import Timed
from infra.clickhouse import connect
from infra.config import Settings
from rating.invoices import Invoice
from sinks.balance import Balance, load_balance
from sinks.findings import Report
from sinks.invoices import list_invoices, load_cards, load_invoice
from sinks.queries import GpuTypeUsage, ModelUsage, TokenPrice, gpu_types, token_prices, tokens_and_money
from sinks.reconcile import reconcile


@dataclass(frozen=True, slots=True)
class Results:
    """Everything the demo shows; the JSON report is made of the same."""

    timed: Timed
    balance: Balance
    usage: list[ModelUsage]
    gpus: list[GpuTypeUsage]
    prices: list[TokenPrice]
    invoices: list[Invoice]
    reconciliation: Report
    stored_rows: int


def collect(settings: Settings, timed: Timed) -> Results:
    """Reconcile, then read what was stored. Raises TokenmillError."""
    reconciliation = reconcile(settings)
    client = connect(settings.clickhouse)
    cards = load_cards(client, settings)
    invoices = [
        load_invoice(client, each.tenant_id, each.period, cards, each.currency) for each in list_invoices(client)
    ]
    return Results(
        timed,
        load_balance(client),
        tokens_and_money(client, settings),
        gpu_types(client, settings),
        token_prices(client, settings),
        invoices,
        reconciliation,
        sum(rows for name, rows in reconciliation.compared.items() if name.endswith("_stored")),
    )
