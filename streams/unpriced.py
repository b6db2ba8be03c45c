"""Usage without a price, summed per tenant and meter, so that a signal can state it as a whole (DESIGN D8)."""

from dataclasses import dataclass
from decimal import Decimal

from rating.money import exact_sum
from schemas.rated import parse_record_key

UNRATED = "unrated"
"""The kind of rated records that hold usage without a price, and the beginning of their SKU."""
_MARK = b":unrated/"


@dataclass(frozen=True, slots=True)
class UnpricedUsage:
    """What a tenant used of one meter and has no price for, over all windows that are kept; 0 when prices came."""

    tenant_id: str
    meter: str
    quantity: Decimal
    windows: int
    first_window: str | None


class UnpricedTotals:
    """The unrated records of a partition, by the keys of rated records."""

    def __init__(self) -> None:
        self._records: dict[tuple[str, str], dict[bytes, tuple[str, Decimal]]] = {}
        """By tenant and meter: window and quantity of each record other than zero."""
        self._changed: set[tuple[str, str]] = set()

    def note(self, record_key: bytes, quantity: str) -> None:
        """A record has a quantity now; records of other kinds are passed over."""
        found = _place(record_key)
        if found is None:
            return
        place, window = found
        self._changed.add(place)
        if quantity != "0":
            self._records.setdefault(place, {})[record_key] = (window, Decimal(quantity))
        else:
            self._drop(place, record_key)

    def forget(self, record_key: bytes) -> None:
        """The record's state is gone. No change is told: what had no price till then will have none."""
        found = _place(record_key)
        if found is not None:
            self._drop(found[0], record_key)

    def take_changed(self) -> list[UnpricedUsage]:
        """The totals of the tenants and meters with changes since the last call."""
        changed, self._changed = sorted(self._changed), set()
        return [self._total(*place) for place in changed]

    def _total(self, tenant_id: str, meter: str) -> UnpricedUsage:
        records = self._records.get((tenant_id, meter), {}).values()
        first = min((window for window, _ in records), default=None)
        return UnpricedUsage(tenant_id, meter, exact_sum(quantity for _, quantity in records), len(records), first)

    def _drop(self, place: tuple[str, str], record_key: bytes) -> None:
        records = self._records.get(place, {})
        records.pop(record_key, None)
        if not records:
            self._records.pop(place, None)


def _place(record_key: bytes) -> tuple[tuple[str, str], str] | None:
    """Tenant, meter and window of an unrated record's key; None for other kinds."""
    if _MARK not in record_key:
        return None
    tenant_id, sku, kind, _, window_start, _ = parse_record_key(record_key)
    return ((tenant_id, sku.removeprefix(f"{UNRATED}/")), window_start) if kind == UNRATED else None
