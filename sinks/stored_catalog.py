"""What was published, from the control records in ClickHouse: cards and assignments as they say themselves.

Workers let a version that reaches back into closed months begin later; here each begins as it says.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from infra.config import Settings
from infra.logs import get_logger
from rating.cards import parse_card
from rating.catalog import Assignment, Catalog
from rating.errors import RatingError
from rating.overrides import parse_overrides
from rating.windows import WindowSize
from schemas.control import AccountAssigned
from schemas.kinds import Kind
from sinks.published import control_records

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client

log = get_logger(__name__)


def load_catalog(client: Client, settings: Settings) -> Catalog:
    """Every card and assignment that was published; those that workers had to refuse are left out. Raises StoreError."""
    window = WindowSize(settings.window_minutes)
    catalog = Catalog(window)
    for data in control_records(client, Kind.RATE_CARD):
        try:
            card = parse_card(data.get("card"), window=window, context_edges=settings.context_edges)
            catalog = catalog.with_card(card)
        except RatingError as error:
            log.warning("catalog.card_left_out", reason=str(error))
    for data in control_records(client, Kind.ASSIGNMENT):
        try:
            catalog = catalog.with_assignment(_assignment(data, window))
        except (RatingError, ValueError) as error:
            log.warning("catalog.assignment_left_out", reason=str(error))
    return catalog


def _assignment(data: dict[str, Any], window: WindowSize) -> Assignment:
    assigned = AccountAssigned.model_validate(data)
    return Assignment(
        assigned.tenant_id,
        assigned.card_id,
        window.index_of(assigned.effective_from),
        None if assigned.effective_to is None else window.index_of(assigned.effective_to),
        parse_overrides(assigned.overrides) if assigned.overrides else None,
    )
