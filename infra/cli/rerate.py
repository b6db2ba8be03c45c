"""`tokenmill rerate`: closed months are priced again, the difference is booked as adjustments."""

from __future__ import annotations

import getpass
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Literal

import click

from infra.cli.cards import published_catalog
from infra.cli.local_store import store_of
from infra.cli.options import Month, with_settings
from infra.cli.output import print_json, progress_bar, remark, working
from infra.cli.ratecard.try_view import TrialReport, report_json, show_report
from infra.cli.reach import require_topics
from infra.clickhouse import connect
from infra.config import Settings
from infra.errors import ConfigurationError
from rating.cards import RateCard
from rating.catalog import Catalog
from rating.errors import did_you_mean
from rating.pinned import PinnedPrice
from rating.trial import TenantTrial
from rating.windows import closing_time, period_of
from schemas.partitioning import partition_for
from schemas.rerating import OrderedPrice, RerateOrdered

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client

State = Literal["closed", "open", "gone"]
_FLAGS = ("kafka", "clickhouse", "data_dir", "deployment")


@dataclass(frozen=True, slots=True)
class _Month:
    """Where a month stands for a tenant: closed months are corrected in the billing period `booked`."""

    state: State
    booked: str


@click.command(
    short_help="Price closed months again, book the difference.",
    epilog="""\b
The right price is published first: ratecard publish, account assign. An open
month follows it by itself; a closed one stays as it is until it is ordered.

\b
Examples:
  tokenmill rerate --period 2026-01 --dry-run
  tokenmill rerate --period 2026-01 --reason 'output was 10 times too dear'
  tokenmill rerate --period 2026-01 --tenant acme --card standard:4 \\
      --reason 'agreed with acme on 2026-02-12'""",
)
@click.option("--period", type=Month(), required=True, help="service period YYYY-MM, closed")
@click.option("--tenant", "given", multiple=True, help="only this tenant; several times if need be; default: all")
@click.option("--card", "card_name", default=None, metavar="CARD[:VERSION]", help="by this published card instead")
@click.option("--reason", default=None, help="why: it is written on the adjustments")
@click.option("--dry-run", is_flag=True, help="only show what would be corrected")
@click.option("--author", default=None, help="who orders; default: the user of this shell")
@click.option("--json", "as_json", is_flag=True, help="print JSON")
@with_settings(*_FLAGS)
def rerate(
    settings: Settings,
    period: str,
    given: tuple[str, ...],
    card_name: str | None,
    reason: str | None,
    dry_run: bool,
    author: str | None,
    as_json: bool,
) -> None:
    """Price the stored usage of a closed month again and order the difference to be booked.

    The month is priced by what is published now, as it says itself; or by one published card. Its records and invoices stay
    as they are: workers book an adjustment for each line in the month that is open, which names the month it is for. Doing
    it again books nothing twice; an order for the old prices takes the correction back.
    """
    if reason is None and not dry_run:
        raise click.UsageError("give a --reason: it is written on the adjustments; or look first, with --dry-run")
    if reason is not None and (not reason.strip() or len(reason) > _LONGEST_REASON or not reason.isprintable()):
        raise click.BadParameter(f"use 1 to {_LONGEST_REASON} printable characters", param_hint="--reason")
    topics = settings.topics
    require_topics(settings, topics.rating_catalog, topics.usage_events, topics.state)
    from producers.control import ControlWriter, read_catalog

    with working("reading the catalogue"):
        published, unusable = published_catalog(read_catalog(settings), settings)
        months = _months(settings, period)
    with store_of(settings) as clickhouse:
        found, prices, known = _tried(connect(clickhouse), settings, published, period, given, card_name)
    states = {trial.tenant_id: months(trial.tenant_id) for trial in found}
    wrong = [trial for trial in found if _differs(trial)]
    closed = [trial for trial in wrong if states[trial.tenant_id].state == "closed"]
    orders = [
        _order(settings, trial.tenant_id, period, prices(trial.tenant_id), reason or "", author) for trial in closed
    ]
    if not dry_run and orders:
        with working("ordering"), ControlWriter(settings, author or getpass.getuser()) as writer:
            writer.order_rerates(orders)
    report = _report(period, wrong, known)
    if as_json:
        print_json({"dry_run": dry_run, "reason": reason, **report_json(report), "orders": _orders_json(wrong, states)})
        return
    for line in unusable:
        remark(f"Warning: {line}")
    _show(report, states, dry_run=dry_run)


_LONGEST_REASON = 256


def _months(settings: Settings, period: str) -> Callable[[str], _Month]:
    """Where the month stands for a tenant, by the event time of its partition."""
    from infra.cli.status.kafka_look import look_at_kafka

    watermarks = {each.partition: each.watermark for each in look_at_kafka(settings).times}
    closes = closing_time(period, timedelta(hours=settings.grace_hours))

    def month(tenant_id: str) -> _Month:
        watermark = watermarks.get(partition_for(tenant_id, settings.partitions))
        if watermark is None or watermark < closes:
            return _Month("open", "")
        gone = watermark >= closes + timedelta(days=settings.state_days)
        return _Month("gone" if gone else "closed", period_of(watermark))

    return month


def _tried(
    client: Client,
    settings: Settings,
    published: Catalog,
    period: str,
    given: Sequence[str],
    card_name: str | None,
) -> tuple[list[TenantTrial], Callable[[str], Sequence[PinnedPrice]], int]:
    """What each tenant was charged and would be, the prices that say so, and how many tenants used anything."""
    from infra.cli.ratecard.trial import Trial, as_published, priced_by, prices_with, run_trial
    from sinks.stored_usage import tenants_with_usage

    known = tenants_with_usage(client, period)
    for tenant in given:
        if tenant not in known:
            raise ConfigurationError(
                f"tenant {tenant} has no usage in {period}{did_you_mean(tenant, known)}",
                code="unknown_tenant",
                exit_code=1,
            )
    chosen = sorted(set(given)) or known
    prices = as_published(published, period)
    if card_name is not None:
        card = _published_card(published, card_name)
        having = priced_by(card.id, published, period, chosen)
        prices = prices_with(card, published, period, lambda tenant: tenant not in having)
        if not given:
            chosen = having
    found: list[TenantTrial] = []
    with progress_bar("tenants", len(chosen)) as advance:
        for trial in run_trial(client, settings, Trial(period, published, prices), chosen):
            found.append(trial)
            advance(1)
    return found, prices, len(known)


def _published_card(published: Catalog, name: str) -> RateCard:
    """The card that CARD or CARD:VERSION names. Raises ConfigurationError."""
    card_id, _, number = name.partition(":")
    versions = {each.card.version: each.card for each in published.versions() if each.card.id == card_id}
    if not versions:
        ids = sorted({each.card.id for each in published.versions()})
        there_are = f" (there are: {', '.join(ids) or 'none'})"
        raise ConfigurationError(
            f"no card {card_id!r} is published{did_you_mean(card_id, ids)}{there_are}", exit_code=1
        )
    wanted = max(versions) if not number else int(number) if number.isdecimal() else 0
    if wanted not in versions:
        known = ", ".join(map(str, sorted(versions)))
        raise ConfigurationError(f"card {card_id} has no version {number} (there are: {known})", exit_code=1)
    return versions[wanted]


def _order(
    settings: Settings, tenant: str, period: str, prices: Sequence[PinnedPrice], reason: str, author: str | None
) -> RerateOrdered:
    from rating.windows import WindowSize

    window = WindowSize(settings.window_minutes)
    return RerateOrdered(
        tenant_id=tenant,
        period=period,
        prices=tuple(
            OrderedPrice(
                effective_from=window.start(price.first),
                card_id=price.card.id if price.card else None,
                card_version=price.card.version if price.card else None,
                overrides=price.overrides.document() if price.overrides else None,
            )
            for price in prices
        ),
        reason=reason or "dry run",
        ordered_at=datetime.now(UTC),
        ordered_by=author or getpass.getuser(),
    )


def _differs(trial: TenantTrial) -> bool:
    return any(line.change for line in trial.lines) or trial.old_waiting != trial.new_waiting


def _report(period: str, wrong: Sequence[TenantTrial], known: int) -> TrialReport:
    count = len(wrong)
    title = f"{period} rated again: {count} tenant{'' if count == 1 else 's'} charged otherwise"
    return TrialReport(
        title, "charged: all that is on record about the month, corrections included", period, tuple(wrong), known
    )


def _orders_json(wrong: Sequence[TenantTrial], states: dict[str, _Month]) -> list[dict[str, object]]:
    return [
        {
            "tenant": trial.tenant_id,
            "month": states[trial.tenant_id].state,
            "booked_in": states[trial.tenant_id].booked if states[trial.tenant_id].state == "closed" else None,
        }
        for trial in wrong
    ]


def _show(report: TrialReport, states: dict[str, _Month], *, dry_run: bool) -> None:
    if not report.tenants:
        click.echo(f"nothing to correct: {report.period} was charged as the prices say")
        return
    show_report(report, in_full=len(report.tenants) == 1)
    by_state: dict[str, list[str]] = {}
    for trial in report.tenants:
        by_state.setdefault(states[trial.tenant_id].state, []).append(trial.tenant_id)
    closed = by_state.get("closed", [])
    if closed:
        booked = ", ".join(sorted({states[tenant].booked for tenant in closed}))
        what = "would be ordered" if dry_run else "ordered"
        click.echo(f"\n{what} for {_names(closed)}: adjustments in {booked}")
    if "open" in by_state:
        click.echo(
            f"\nno order for {_names(by_state['open'])}: {report.period} is open there and follows what is published; the "
            "difference is on its way, or the worker stands still (tokenmill status)"
        )
    if "gone" in by_state:
        click.echo(
            f"\nno order for {_names(by_state['gone'])}: {report.period} closed too long ago, workers do not keep it any "
            "more: settle it by a credit note"
        )


def _names(tenants: Sequence[str]) -> str:
    return ", ".join(tenants) if len(tenants) <= 5 else f"{len(tenants)} tenants"
