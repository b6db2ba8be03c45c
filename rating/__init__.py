"""The rating engine: exact, pure, independent of the order of usage.

`rate(card, usage)` rates a list of usage. The stream rates incrementally with `rating.period.TenantPeriod` under a
`rating.catalog.Catalog`; invoices are made from rated records by `rating.invoices`. No module here does I/O, reads a
clock or uses a float.
"""

from rating.batch import rate
from rating.cards import RateCard, parse_card
from rating.usage import UsageKey

__all__ = ["RateCard", "UsageKey", "parse_card", "rate"]
