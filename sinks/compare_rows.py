"""Is every row of the Kafka log in ClickHouse, once? Kafka says how many rows each record has, ClickHouse which it holds."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, Final, Generic, TypeVar

from infra.clickhouse import store_errors
from infra.config import Settings
from infra.kafka import read_all
from sinks.buffer import Decoded
from sinks.delivery import TopicSink
from sinks.findings import Findings
from sinks.records import LogId, SourceRecord
from sinks.tables import Table

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client

D = TypeVar("D", bound=Decoded)
Place = tuple[int, int]
"""Partition and offset."""

RECORDS_AT_ONCE: Final = 50_000


class RowComparison(Generic[D]):
    """Compares one topic with the tables it fills. The log is read once; `visit` sees every record on the way."""

    def __init__(self, client: Client, findings: Findings, log_id: LogId, sink: TopicSink[D]) -> None:
        self._client, self._findings, self._log_id, self._sink = client, findings, log_id, sink
        self._expected: dict[Table, dict[Place, int]] = {}
        self._first: dict[int, int] = {}
        """Per partition the first offset of the records that are held."""
        self._last: dict[int, int] = {}
        self._records = 0

    def run(self, settings: Settings, visit: Callable[[D], None]) -> None:
        """Read the whole log, comparing as it goes."""
        for message in read_all(settings, self._log_id.topic):
            record = SourceRecord(
                message.topic(),
                message.partition(),
                message.offset(),
                max(message.timestamp()[1], 0),
                message.key(),
                message.value(),
                message.headers() or (),
            )
            item = self._sink.decode(record)
            visit(item)
            self._add(record, self._sink.row_counts(item))
            if self._records >= RECORDS_AT_ONCE:
                self._compare()
        self._compare()

    def _add(self, record: SourceRecord, counts: Mapping[Table, int]) -> None:
        self._records += 1
        # From the end of what was compared before: what lies between is no record, so no row either.
        self._first.setdefault(record.partition, self._last.get(record.partition, record.offset - 1) + 1)
        self._last[record.partition] = record.offset
        for table, rows in counts.items():
            self._expected.setdefault(table, {})[record.partition, record.offset] = rows

    def _compare(self) -> None:
        if self._records:
            for table in self._sink.tables:
                if not table.replaces:
                    self._compare_table(table, self._expected.get(table, {}))
        self._expected, self._first, self._records = {}, {}, 0

    def _compare_table(self, table: Table, expected: Mapping[Place, int]) -> None:
        stored = self._stored(table)
        self._findings.count(f"{table.name}_expected", sum(expected.values()))
        self._findings.count(f"{table.name}_stored", sum(rows for rows, _, _ in stored.values()))
        for place, rows in expected.items():
            if rows and stored.get(place) != (rows, rows, rows):
                self._explain(table, place, rows)
        if not self._sink.compacted:  # there, records may be gone from the log whose rows are rightly stored
            for place in stored.keys() - expected.keys():
                self._explain(table, place, 0)

    def _stored(self, table: Table) -> dict[Place, tuple[int, int, int]]:
        """Rows, distinct rows and highest row number + 1, of every record that the table knows in the range held."""
        ranges = " OR ".join(
            f"(kafka_partition = {partition} AND kafka_offset BETWEEN {first} AND {self._last[partition]})"
            for partition, first in self._first.items()
        )
        numbers = "uniqExact(kafka_row), max(kafka_row) + 1" if table.numbered else "1, count()"
        found = self._query(
            f"SELECT kafka_partition, kafka_offset, count(), {numbers} FROM {table.name} "
            f"WHERE log_id = {{log_id:String}} AND topic = {{topic:String}} AND ({ranges}) GROUP BY 1, 2"
        )
        return {
            (int(partition), int(offset)): (int(rows), int(distinct), int(highest))
            for partition, offset, rows, distinct, highest in found
        }

    def _explain(self, table: Table, place: Place, rows: int) -> None:
        """Name the rows of one record that are missing, there twice, or of no record."""
        number = "kafka_row" if table.numbered else "0"
        found = self._query(
            f"SELECT {number} AS number, count() FROM {table.name} WHERE log_id = {{log_id:String}} "
            f"AND topic = {{topic:String}} AND kafka_partition = {place[0]} AND kafka_offset = {place[1]} GROUP BY number"
        )
        have = {int(row): int(count) for row, count in found}
        for row in range(rows):
            if row not in have:
                self._findings.missing += 1
                self._findings.problem("missing rows", f"{self._where(table, place, row)} is missing")
        for row, count in sorted(have.items()):
            if row >= rows:
                self._findings.duplicated += count
                text = f"{self._where(table, place, row)} belongs to no row of the log"
                self._findings.problem("rows without a record", text)
            elif count > 1:
                self._findings.duplicated += count - 1
                self._findings.problem("doubled rows", f"{self._where(table, place, row)} is there {count} times")

    def _where(self, table: Table, place: Place, row: int) -> str:
        numbered = f", row {row}" if table.numbered else ""
        return f"{table.name}: {self._log_id.topic} partition {place[0]}, offset {place[1]}{numbered}"

    def _query(self, sql: str) -> Iterable[tuple[Any, ...]]:
        parameters = {"log_id": str(self._log_id), "topic": self._log_id.topic}
        with store_errors("comparing rows with the log"):
            return [tuple(row) for row in self._client.query(sql, parameters=parameters).result_rows]
