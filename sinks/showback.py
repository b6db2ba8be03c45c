"""Showback from ClickHouse: a tenant's rated records shared by the raw usage of its projects and API keys."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final

from infra.clickhouse import store_errors
from infra.config import Settings
from rating.cards import RateCard
from rating.invoices import by_currency
from rating.meters import CUSTOM_DECIMALS
from rating.money import difference, exact_sum, to_scaled
from rating.showback import Owner, Share, Used, showback
from rating.usage import UsageKey, UsageTotals
from rating.windows import WindowSize, period_end, period_start
from schemas.kinds import Kind
from sinks.compare_usage import counted_sql
from sinks.invoices import load_invoice, load_rated

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client

_SECONDS: Final = 6
_SUMS: Final = (
    "sum(toInt128(input_tokens)), sum(toInt128(cache_read_input_tokens)), sum(toInt128(cache_write_input_tokens)), "
    "sum(toInt128(output_tokens)), sum(toInt128(reasoning_output_tokens)), sum(toInt128(training_tokens)), "
    "sum(toInt128(images)), sum(audio_seconds), sum(video_seconds)"
)


@dataclass(frozen=True, slots=True)
class Showback:
    """A tenant's billing period shared over its owners, in one currency.

    The shares sum to `exact_total`; the invoice rounds each line, which makes `rounding` more (or less).
    """

    tenant_id: str
    period: str
    currency: str
    shares: tuple[Share, ...]
    exact_total: Decimal
    invoice_total: Decimal
    provisional: bool

    @property
    def rounding(self) -> Decimal:
        """What the rounding of the invoice's lines adds to the shares."""
        return difference(self.invoice_total, self.exact_total)


def load_showback(
    client: Client,
    settings: Settings,
    tenant_id: str,
    period: str,
    cards: Sequence[RateCard],
    *,
    spread: bool = False,
) -> list[Showback]:
    """The showback of a tenant's billing period, one per currency; none where nothing is charged.

    Raises InvoiceError when a card that priced a record is not among the cards, StoreError.
    """
    found = []
    window = WindowSize(settings.window_minutes)
    used = list(load_used(client, settings, tenant_id, period))
    for currency, records in by_currency(load_rated(client, tenant_id, period)).items():
        priced = [each for each in records if each.currency == currency]
        invoice = load_invoice(client, tenant_id, period, cards, currency)
        found.append(
            Showback(
                tenant_id,
                period,
                currency,
                tuple(showback(priced, used, cards, window=window, spread=spread)),
                exact_sum(each.amount for each in priced if each.amount is not None),
                invoice.total,
                invoice.provisional,
            )
        )
    return found


def load_used(client: Client, settings: Settings, tenant_id: str, period: str) -> Iterator[Used]:
    """The token usage of a tenant's period that counts, by window, owner and everything that a card can match on."""
    seconds = 60 * settings.window_minutes
    edges = ", ".join(map(str, settings.context_edges))
    sql = (
        f"SELECT project_id, api_key_id, intDiv(toUnixTimestamp(ended_at), {seconds}) AS hour, operation, response_model, "
        "endpoint, region, service_tier, gpu_type, "
        f"arrayCount(edge -> edge < input_tokens, [{edges}]) AS bracket, status, count(), {_SUMS}, "
        f"sumMap(mapKeys(units), arrayMap(value -> toDecimal128(value, {CUSTOM_DECIMALS}), mapValues(units))) "
        "FROM usage_raw WHERE tenant_id = {tenant:String} "
        "AND ended_at >= parseDateTimeBestEffort({start:String}, 'UTC') "
        "AND ended_at < parseDateTimeBestEffort({end:String}, 'UTC') "
        f"AND {counted_sql(Kind.TOKEN_USAGE)} "
        "GROUP BY project_id, api_key_id, hour, operation, response_model, endpoint, region, service_tier, gpu_type, "
        "bracket, status"
    )
    values = {
        "tenant": tenant_id,
        "start": f"{period_start(period):%Y-%m-%dT%H:%M:%SZ}",
        "end": f"{period_end(period):%Y-%m-%dT%H:%M:%SZ}",
        "topic": settings.topics.usage_events,
    }
    with store_errors("reading usage by project and API key"):
        rows = client.query(sql, parameters=values).result_rows
    for row in rows:
        yield _used(tenant_id, row)


def _used(tenant_id: str, row: Sequence[Any]) -> Used:
    project, api_key, hour, operation, model, endpoint, region, tier, gpu_type, bracket, status, events = row[:12]
    *counts, audio, video = row[12:21]
    tokens, read, write, output, reasoning, training, images = map(int, counts)
    totals = UsageTotals(
        requests=int(events),
        input_tokens=tokens,
        cache_read_input_tokens=read,
        cache_write_input_tokens=write,
        output_tokens=output,
        reasoning_output_tokens=reasoning,
        training_tokens=training,
        images=images,
        audio_microseconds=to_scaled(audio, _SECONDS),
        video_microseconds=to_scaled(video, _SECONDS),
        units=dict(_units(*row[21])),
    )
    key = UsageKey(tenant_id, operation, model, endpoint, region, tier, gpu_type, int(bracket), status)
    return Used(Owner(project, api_key), key, int(hour), int(events), totals.scaled_leaves())


def _units(names: Iterable[str], quantities: Iterable[Decimal]) -> Iterator[tuple[str, int]]:
    for name, quantity in zip(names, quantities, strict=True):
        yield name, to_scaled(quantity, CUSTOM_DECIMALS)
