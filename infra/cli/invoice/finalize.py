"""`tokenmill invoice finalize`: closed months get their documents."""

from __future__ import annotations

import getpass
import sys
from typing import TYPE_CHECKING

import click
from rich.markup import escape

from infra.cli.invoice.view import stage_text
from infra.cli.invoice_view import print_whole
from infra.cli.local_store import store_of
from infra.cli.options import Month, was_given, with_settings
from infra.cli.output import console, print_json, progress_bar, remark, table
from infra.clickhouse import connect
from infra.config import Settings

if TYPE_CHECKING:
    from rating.documents import Difference
    from sinks.finalize import Outcome

_STORED_TIMEOUT_S = 60.0


@click.command(
    epilog="""\b
Examples:
  tokenmill invoice finalize --issuer acme-telco --period 2026-01
  tokenmill invoice finalize --issuer acme-telco    every closed month
  tokenmill invoice finalize --issuer acme-telco --tenant tenant-0001 \\
      --period 2026-01 --replace    a new one for one credited in full"""
)
@click.option("--issuer", default=None, help="whose series of numbers; default: the deployment")
@click.option("--tenant", default=None, help="one tenant; default: all")
@click.option("--period", type=Month(), default=None, help="billing period YYYY-MM; default: every closed one")
@click.option("--replace", is_flag=True, help="issue anew what was credited in full; needs --tenant and --period")
@click.option("--author", default=None, help="who issues; default: the user of this shell")
@click.option("--json", "as_json", is_flag=True, help="print JSON")
@with_settings("kafka", "clickhouse", "data_dir", "deployment")
def finalize(
    settings: Settings,
    issuer: str | None,
    tenant: str | None,
    period: str | None,
    replace: bool,
    author: str | None,
    as_json: bool,
) -> None:
    """Issue the invoices of closed months: immutable, numbered without gaps, each with the SHA-256 of its content.

    Repeating it changes nothing: what is final is compared with the rated records. May run twice at once. Exit code 1 if a
    final invoice and the rated records disagree, or if an invoice of the --period asked for cannot be final yet.
    """
    from sinks.finalize import finalize as issue
    from sinks.invoices import load_cards

    if replace and (tenant is None or period is None):
        raise click.UsageError("--replace needs --tenant and --period: it is about one invoice")
    _wait_for_the_sink(settings)
    outcomes = []
    with store_of(settings) as clickhouse, progress_bar("invoices") as advance:
        client = connect(clickhouse)
        for outcome in issue(
            client,
            issuer or settings.deployment,
            load_cards(client, settings),
            by=author or getpass.getuser(),
            period=period,
            tenant=tenant,
            replace=replace,
        ):
            outcomes.append(outcome)
            advance(1)
    if as_json:
        print_json({"invoices": [_json(each) for each in outcomes]})
    else:
        _show(outcomes, tenant, period)
    late = period is not None and any(each.result in ("open", "waiting") for each in outcomes)
    sys.exit(1 if late or any(each.result == "differs" for each in outcomes) else 0)


def _wait_for_the_sink(settings: Settings) -> None:
    """An invoice is made of what is stored: with Kafka at hand, wait until that is all that was rated."""
    if not was_given("kafka"):
        remark("Kafka is not named: whether ClickHouse holds everything that was rated is not checked")
        return
    from infra.lag import wait_until_read
    from sinks.kafka_log import group_of

    wait_until_read(settings, [(group_of(settings), settings.topics.usage_rated)], timeout_s=_STORED_TIMEOUT_S)


def _show(outcomes: list[Outcome], tenant: str | None, period: str | None) -> None:
    if not outcomes:
        click.echo("no invoice: nothing is charged to " + (tenant or "anybody") + (f" in {period}" if period else ""))
        return
    made = table("Invoices", "tenant", "period", "total", "document", "state", text=["period", "document", "state"])
    for each in outcomes:
        made.add_row(
            escape(each.tenant_id),
            each.period,
            f"{each.total:,f} {each.currency}",
            each.document.document_id if each.document else "",
            escape(_state(each)),
        )
    print_whole(made)
    for each in outcomes:
        for difference in each.differences:
            console.print(f"  {each.tenant_id}, {_difference_text(each, difference)}", markup=False)
        if each.unrated and each.result == "issued":
            remark(
                f"{each.tenant_id}, {each.period}: {each.unrated} meters have usage without a price, which is on no line"
            )


def _state(outcome: Outcome) -> str:
    return {
        "issued": "issued",
        "was_final": "was final already",
        "open": stage_text(outcome.stage),
        "waiting": f"closed, waits for {outcome.waits_for}",
        "differs": "final, but the rated records differ",
    }[outcome.result]


def _difference_text(outcome: Outcome, difference: Difference) -> str:
    document = outcome.document.document_id if outcome.document else ""
    was, now = (
        f"{values[0].normalize():f} for {values[1].normalize():f}" if values else "no such line"
        for values in (difference.issued, difference.now)
    )
    return f"{difference.ref.sku} ({difference.ref.kind}): {document} says {was}, the rated records {now}"


def _json(outcome: Outcome) -> dict[str, object]:
    document = outcome.document
    return {
        "tenant": outcome.tenant_id,
        "period": outcome.period,
        "currency": outcome.currency,
        "total": f"{outcome.total:f}",
        "stage": outcome.stage,
        "result": outcome.result,
        "document_id": document.document_id if document else None,
        "content_hash": document.content_hash if document else None,
        "waits_for": outcome.waits_for,
        "differences": [_difference_text(outcome, each) for each in outcome.differences],
        "unrated": outcome.unrated,
    }
