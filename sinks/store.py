"""The ClickHouse side of a sink: inserts under tokens, and what a table already holds of a log."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pyarrow as pa

from infra.clickhouse import insert_arrow, require_deduplication, store_errors
from infra.errors import StoreError
from sinks.errors import StoreUnavailableError
from sinks.records import LogId
from sinks.tables import ALL, Table

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client


class ClickHouseStore:
    """Implements `sinks.delivery.Store` over one HTTP client."""

    def __init__(self, client: Client) -> None:
        self._client = client

    def check(self) -> None:
        """Every table is there and keeps tokens. Raises StoreError that says what to do."""
        for table in ALL:
            require_deduplication(self._client, table.name)

    def insert(self, table: Table, rows: pa.Table, token: str) -> None:
        """Insert under a token. StoreUnavailableError: worth trying again; StoreError: it will never work like this."""
        with _retryable():
            insert_arrow(self._client, table.name, rows, token=token)

    def highest_offsets(self, table: Table, log_id: LogId) -> Mapping[int, int]:
        """Per partition of a log the highest offset that the table holds."""
        with _retryable(), store_errors(f"reading the offsets in {table.name}"):
            rows = self._client.query(
                f"SELECT kafka_partition, max(kafka_offset) FROM {table.name} "
                "WHERE log_id = {log_id:String} AND topic = {topic:String} GROUP BY kafka_partition",
                parameters={"log_id": str(log_id), "topic": log_id.topic},
            ).result_rows
        return {int(partition): int(offset) for partition, offset in rows}

    def count(self, table: Table, log_id: LogId, partition: int, first: int, last: int) -> int:
        """Rows that the table holds of the offsets `first` to `last`, both inclusive."""
        with _retryable(), store_errors(f"counting rows in {table.name}"):
            rows = self._client.query(
                f"SELECT count() FROM {table.name} WHERE log_id = {{log_id:String}} AND topic = {{topic:String}} "
                "AND kafka_partition = {partition:UInt32} AND kafka_offset BETWEEN {first:UInt64} AND {last:UInt64}",
                parameters={
                    "log_id": str(log_id),
                    "topic": log_id.topic,
                    "partition": partition,
                    "first": first,
                    "last": last,
                },
            ).result_rows
        return int(rows[0][0])


@contextmanager
def _retryable() -> Iterator[None]:
    try:
        yield
    except StoreError as error:
        if error.data.get("retryable"):
            raise StoreUnavailableError(error.message, clickhouse_code=error.data.get("clickhouse_code")) from error
        raise
