"""The control records in ClickHouse, as they were published."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import orjson

from infra.clickhouse import store_errors
from schemas.kinds import Kind

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client


def control_records(client: Client, kind: Kind) -> Iterator[dict[str, Any]]:
    """The data of the control records of a kind, once each, oldest first. Raises StoreError."""
    with store_errors("reading published rate cards and assignments"):
        rows = client.query(
            "SELECT data FROM control WHERE kind = {kind:String} ORDER BY appended_at, id",
            parameters={"kind": kind.value},
        ).result_rows
    for (data,) in rows:
        yield orjson.loads(data)
