"""Every price model with every modifier in the stream: whatever the order, the cuts and the restarts, as in plain fractions."""

from __future__ import annotations

from collections import defaultdict
from decimal import Decimal
from fractions import Fraction

from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st

from rating.money import difference, q12
from schemas.events import TokenUsage
from tests.rating.builders import Document, sku
from tests.rating.prices import charges, modifiers, price_with
from tests.streams.oracle import plain
from tests.streams.support import Log, card_document
from tests.streams.test_function_of_the_log import deliveries, distinct_events, driven

SECOND = "2026-01-10T13:00:00Z"
"""From here on another version prices: some usage of the first hours is before it, the rest of the month after it."""


def card_of(priced: Document, fields: Document, **changes: object) -> Document:
    return card_document({**sku("{model}/input", "input", priced), **fields}, **changes)


def expected(events: list[TokenUsage], versions: list[tuple[Document, Document]]) -> dict[tuple[str, str, str], str]:
    """Amount of input by tenant, SKU and hour."""
    hours: dict[tuple[str, str, str], dict[str, int]] = defaultdict(lambda: defaultdict(int))
    for event in events:
        if event.status in ("success", "aborted") and event.input_tokens:
            hour = event.ended_at.strftime("%Y-%m-%dT%H:00:00Z")
            hours[event.tenant_id, f"{event.response_model}/input", hour[:7]][hour] += event.input_tokens
    found: dict[tuple[str, str, str], str] = {}
    for (tenant, name, _), quantities in hours.items():
        position: int | None = None
        for hour in sorted(quantities):
            charge, fields = versions[hour >= SECOND]
            # Before the first usage of a month nothing was charged, also not a fee that is owed at zero.
            before = Decimal(0) if position is None else q12(price_with(fields, charge, Fraction(position)))
            position = (position or 0) + quantities[hour]
            after = q12(price_with(fields, charge, Fraction(position)))
            found[tenant, name, hour] = plain(difference(after, before))
    return found


@examples(max_examples=25, deadline=None)
@given(st.data())
def test_the_last_records_are_those_of_the_price_in_fractions(data: st.DataObject) -> None:
    first, second = [(data.draw(charges()), data.draw(modifiers())) for _ in range(2)]

    def begin(log: Log) -> None:
        log.card(card_of(*first))
        log.card(card_of(*second, version=2, effective_from=SECOND))
        log.assign()

    events = data.draw(distinct_events(most=10))
    run = data.draw(driven(data.draw(deliveries(events, begin))))
    found = {
        (record["tenant_id"], record["sku"], record["window_start"]): record["amount"]
        for record in run.last().values()
        if record["sku"].endswith("/input") and record["kind"] == "usage"
    }
    assert found == expected(events, [first, second])
