"""The demo's report as JSON: numbers of events as integers, quantities and money as texts of exact decimals."""

from infra.cli.demo.results import Results
from infra.cli.invoice_view import invoice_json

_LINE = ("sku", "meter", "quantity", "amount")


def report(results: Results) -> dict[str, object]:
    """The report; `accepted` is the sum of the other five numbers of events."""
    counts = results.balance.total
    reconciliation = results.reconciliation.as_json()
    timed = results.timed
    return {
        "events": {
            "accepted": counts.accepted,
            "rated": counts.rated,
            "unrated": counts.unrated,
            "duplicate": counts.duplicate,
            "dead_letter": counts.dead_letter,
            "quarantined": counts.quarantined,
        },
        "tokens": {
            "input": str(sum(each.input_tokens for each in results.usage)),
            "cache_read": str(sum(each.cache_read_tokens for each in results.usage)),
            "output": str(sum(each.output_tokens for each in results.usage)),
            "reasoning": str(sum(each.reasoning_tokens for each in results.usage)),
        },
        "requests": sum(each.requests for each in results.usage),
        "invoices": [_invoice(invoice_json(invoice)) for invoice in results.invoices],
        "reconciliation": {name: reconciliation[name] for name in ("missing", "duplicated", "amount_difference")},
        "rates": {
            "produce_events_per_s": timed.fed.events_per_s,
            "rate_events_per_s": _per_second(timed.fed.events + timed.fed.samples, timed.rated_s),
            "store_rows_per_s": _per_second(results.stored_rows, timed.stored_s),
        },
    }


def _invoice(invoice: dict[str, object]) -> dict[str, object]:
    lines = invoice["lines"]
    if not isinstance(lines, list):
        raise TypeError("an invoice has a list of lines")
    return {name: invoice[name] for name in ("tenant", "period", "currency", "total")} | {
        "lines": [{name: line[name] for name in _LINE} for line in lines]
    }


def _per_second(number: int, seconds: float) -> int:
    return round(number / seconds) if seconds else 0
