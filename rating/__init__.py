"""The rating engine: exact, pure, independent of the order of usage.

`rate(card, usage)` rates a list of usage (its documentation has an example), `build_invoice` makes an invoice of the
records. The stream rates incrementally with `rating.period.TenantPeriod` under a `rating.catalog.Catalog`. No module here
does I/O, reads a clock or uses a float.
"""

from rating.batch import rate
from rating.cards import RateCard, parse_card
from rating.invoices import build_invoice
from rating.usage import UsageKey

__all__ = ["RateCard", "UsageKey", "build_invoice", "parse_card", "rate"]
