"""usage.rated.v1 as rows: the current state per key, and the ledger of differences."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from decimal import Context, Decimal, Inexact, InvalidOperation
from typing import Final

import pyarrow as pa

from schemas.errors import SchemaError
from schemas.rated import RatedUsage, decode_rated
from sinks.columns import AMOUNT, MICROSECONDS, QUANTITY, TEXT_MAP, coordinates, one_chunk
from sinks.decoded_json import ReadRecord, unreadable_rows
from sinks.records import LogId, SourceRecord
from sinks.tables import RATED_LEDGER, RATED_STATE, UNREADABLE, Table

EXACT: Final = Context(prec=76, traps=[Inexact, InvalidOperation])
"""Wide enough for the difference of any two numbers of 38 digits; a digit that would get lost raises."""
_ZERO: Final = Decimal(0)
_QUANTITY_STEP: Final = Decimal("1e-9")
_AMOUNT_STEP: Final = Decimal("1e-12")
_LARGEST: Final = Decimal(10) ** 25
"""Above it, sums of amounts would come near the end of Decimal(38, 12), where ClickHouse overflows without a word."""

_DICTIONARY: Final = pa.dictionary(pa.int32(), pa.string())


class RatedSink:
    """Builds rated_state and rated_ledger from rated records."""

    tables: tuple[Table, ...] = (RATED_STATE, RATED_LEDGER, UNREADABLE)
    compacted = True

    def decode(self, record: SourceRecord) -> ReadRecord[RatedUsage]:
        """Read one record; a problem where it is not a rated record or has digits that the tables cannot hold."""
        try:
            rated = decode_rated(record.value or b"")
            previous = rated.previous
            for number in (rated.quantity, previous.quantity if previous else None):
                _check(number, _QUANTITY_STEP)
            for number in (rated.amount, previous.amount if previous else None):
                _check(number, _AMOUNT_STEP)
        except SchemaError as error:
            return ReadRecord(record, None, error.message)
        except (Inexact, InvalidOperation):
            return ReadRecord(record, None, "quantity or amount has more digits than can be stored exactly")
        return ReadRecord(record, rated)

    def build(self, items: Sequence[ReadRecord[RatedUsage]], log_id: LogId) -> Mapping[Table, pa.Table]:
        """Rows of state and ledger, in the order of the log."""
        built: dict[Table, pa.Table] = {}
        bad = unreadable_rows(items, log_id)
        if bad is not None:
            built[UNREADABLE] = bad
        good = [(item.content, item.record) for item in items if item.content is not None]
        if good:
            rated = [content for content, _ in good]
            places = coordinates([record for _, record in good], log_id)
            built[RATED_STATE] = one_chunk({**_common(rated), **_state(rated), **places})
            built[RATED_LEDGER] = one_chunk({**_common(rated), **_differences(rated), **places})
        return built

    def row_counts(self, item: ReadRecord[RatedUsage]) -> Mapping[Table, int]:
        """Rows of one record. Its row in the state may be replaced by a later one at any time, so it is not counted."""
        return {UNREADABLE: 1} if item.content is None else {RATED_LEDGER: 1}


def _check(number: Decimal | None, step: Decimal) -> None:
    if number is not None and (number.quantize(step, context=EXACT) != number or abs(number) > _LARGEST):
        raise InvalidOperation


def _common(rated: Sequence[RatedUsage]) -> dict[str, pa.Array]:
    texts = {
        name: pa.array([getattr(each, name) for each in rated], _DICTIONARY)
        for name in (
            *("tenant_id", "sku", "meter", "kind", "window_kind", "billing_period", "service_period"),
            *("unit", "currency", "card_id"),
        )
    }
    return {
        **texts,
        "window_start": pa.array([each.window_start for each in rated], MICROSECONDS),
        "card_version": pa.array([each.card_version for each in rated], pa.uint64()),
        "revision": pa.array([each.revision for each in rated], pa.uint64()),
        "previous_revision": pa.array(
            [each.previous.revision if each.previous is not None else None for each in rated], pa.uint64()
        ),
    }


def _state(rated: Sequence[RatedUsage]) -> dict[str, pa.Array]:
    before = [each.previous for each in rated]
    return {
        "window_end": pa.array([each.window_end for each in rated], MICROSECONDS),
        "quantity": pa.array([each.quantity for each in rated], QUANTITY),
        "amount": pa.array([each.amount for each in rated], AMOUNT),
        "provisional": pa.array([each.provisional for each in rated], pa.bool_()),
        "dimensions": pa.array([list(each.dimensions.items()) for each in rated], TEXT_MAP),
        "seller_id": pa.array([each.seller_id for each in rated], _DICTIONARY),
        "previous_quantity": pa.array([each.quantity if each is not None else None for each in before], QUANTITY),
        "previous_amount": pa.array([each.amount if each is not None else None for each in before], AMOUNT),
    }


def _differences(rated: Sequence[RatedUsage]) -> dict[str, pa.Array]:
    quantities, amounts = [], []
    for each in rated:
        previous = each.previous
        quantities.append(EXACT.subtract(each.quantity, previous.quantity if previous is not None else _ZERO))
        before = previous.amount if previous is not None and previous.amount is not None else _ZERO
        amounts.append(EXACT.subtract(each.amount if each.amount is not None else _ZERO, before))
    return {"quantity": pa.array(quantities, QUANTITY), "amount": pa.array(amounts, AMOUNT)}
