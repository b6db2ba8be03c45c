"""`tokenmill ratecard try`: what a card that is not published would have charged for a month."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

import click

from infra.cli.cards import load_card
from infra.cli.local_store import store_of
from infra.cli.options import STORE, Month, with_settings
from infra.cli.output import print_json, progress_bar, remark
from infra.cli.ratecard.chart import chart_page
from infra.cli.ratecard.try_view import TrialReport, report_json, show_report
from infra.clickhouse import connect
from infra.config import Settings
from infra.errors import ConfigurationError
from rating.cards import RateCard
from rating.errors import did_you_mean
from rating.trial import TenantTrial


class HtmlFile(click.Path):
    """A file to be written whose name ends in .html."""

    name = "file.html"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> Path:
        """The path of a text."""
        path = Path(str(value))
        if path.suffix.lower() not in (".html", ".htm"):
            self.fail(f"{value!r}: the chart is a page, name a file that ends in .html", param, ctx)
        return path


@click.command(
    "try",
    short_help="Try a card on the stored usage of a month.",
    epilog="""\b
Examples:
  tokenmill ratecard try --card standard-2.yaml --period 2026-01
  tokenmill ratecard try --card standard-2.yaml --period 2026-01 \\
      --tenant acme --chart acme.html
  tokenmill ratecard try --card new.yaml --period 2026-01 --everyone --json""",
)
@click.option("--card", "file", type=click.Path(path_type=Path, dir_okay=False), required=True, help="rate card file")
@click.option("--period", type=Month(), required=True, help="service period YYYY-MM")
@click.option("--tenant", "given", multiple=True, help="only this tenant; several times if need be")
@click.option("--everyone", is_flag=True, help="price everything by the card, whoever has another one")
@click.option("--chart", type=HtmlFile(), default=None, metavar="FILE.html", help="write a page with charts")
@click.option("--json", "as_json", is_flag=True, help="print JSON")
@with_settings(*STORE)
def try_card(
    settings: Settings,
    file: Path,
    period: str,
    given: tuple[str, ...],
    everyone: bool,
    chart: Path | None,
    as_json: bool,
) -> None:
    """Price the stored usage of a month with a card that is not published, beside what was charged: nothing is changed.

    The card stands for the published versions of the same id, for the whole month whatever it says about its own time; own
    prices of tenants stay. If nobody has a card of this id, it prices everybody. Per tenant and SKU you see the old and the
    new amount and which lines end in another tier. Exit code 1 when usage has no price under the card.
    """
    if chart is not None and not chart.parent.is_dir():
        raise click.BadParameter(f"there is no folder {chart.parent}", param_hint="--chart")
    _, card = load_card(file, settings)
    report = _report(settings, card, period, given, everyone=everyone)
    if chart is not None:
        chart.write_text(chart_page(report), encoding="utf-8")
    if as_json:
        named = {"id": card.id, "version": card.version, "currency": card.currency}
        print_json({"card": named, **report_json(report)})
    else:
        show_report(report, in_full=bool(given))
    if chart is not None:
        remark(f"chart: {chart}")
    if any(trial.new_waiting for trial in report.tenants):
        sys.exit(1)


def _report(settings: Settings, card: RateCard, period: str, given: Sequence[str], *, everyone: bool) -> TrialReport:
    from infra.cli.ratecard.trial import Trial, priced_by, prices_with, run_trial
    from sinks.stored_catalog import load_catalog
    from sinks.stored_usage import tenants_with_usage

    with store_of(settings) as clickhouse:
        client = connect(clickhouse)
        known = tenants_with_usage(client, period)
        published = load_catalog(client, settings)
        having = priced_by(card.id, published, period, known)
        chosen = _chosen(given, known, having, period, everyone=everyone)
        trial = Trial(
            period,
            published,
            prices_with(card, published, period, lambda tenant: everyone or tenant not in having),
        )
        found: list[TenantTrial] = []
        with progress_bar("tenants", len(chosen)) as advance:
            for each in run_trial(client, settings, trial, chosen):
                found.append(each)
                advance(1)
    count = len(chosen)
    title = f"{card.id} version {card.version} on {period}: {count} tenant{'' if count == 1 else 's'}"
    return TrialReport(title, _remark(card, chosen, having, everyone=everyone), period, tuple(found), len(known))


def _remark(card: RateCard, chosen: Sequence[str], having: Sequence[str], *, everyone: bool) -> str:
    """How the card was tried."""
    replacing = [] if everyone else [tenant for tenant in chosen if tenant in having]
    if len(replacing) == len(chosen):
        return f"in the place of the published versions of {card.id}, for the whole month; own prices stay"
    if not replacing:
        why = "" if everyone else f"; no version of {card.id} prices {'them' if len(chosen) > 1 else 'it'} so far"
        return f"as if it had priced everything, the whole month{why}"
    return (
        f"in the place of the published versions of {card.id} for {len(replacing)} of them, and of everything for the "
        f"{len(chosen) - len(replacing)} that have no version of it"
    )


def _chosen(
    given: Sequence[str], known: Sequence[str], having: Sequence[str], period: str, *, everyone: bool
) -> Sequence[str]:
    for tenant in given:
        if tenant not in known:
            near = did_you_mean(tenant, known) or (f" (there are: {', '.join(known[:5])}, ...)" if known else "")
            raise ConfigurationError(
                f"tenant {tenant} has no usage in {period}{near}", code="unknown_tenant", exit_code=1
            )
    if given:
        return sorted(set(given))
    return list(known) if everyone else list(having) or list(known)
