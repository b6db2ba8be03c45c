"""Reconciliation: whether offered = log = raw, raw - not counted = rated, rated = ledger = invoices, and whether issued
documents are as they were issued.

The two sides of every comparison come from different stores: one from Kafka, the other from ClickHouse. A difference is
named down to the row or key, so that a person can act on it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from infra.clickhouse import connect, store_errors
from infra.config import Settings
from infra.kafka import committed, watermarks
from schemas.rated import RatedUsage
from sinks.compare_offered import Offered
from sinks.compare_rated import LatestRated, compare_invoices, compare_ledger, compare_state
from sinks.compare_rows import RowComparison
from sinks.compare_usage import compare_usage
from sinks.decoded_json import ReadRecord
from sinks.decoding import DecodedRecord
from sinks.documents import check_documents
from sinks.findings import Findings, Report
from sinks.invoices import load_cards
from sinks.kafka_log import group_of
from sinks.logs import LogRegistry
from sinks.runner import topic_sinks

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client

__all__ = ["Report", "reconcile"]


def reconcile(settings: Settings) -> Report:
    """Compare everything that Kafka still holds with ClickHouse. Let workers and sinks catch up first.

    Raises LogChangedError when a topic is not the log that the database follows, StoreError, BrokerError.
    """
    client = connect(settings.clickhouse)
    try:
        return _Reconciliation(settings, client).run()
    finally:
        client.close()


class _Reconciliation:
    def __init__(self, settings: Settings, client: Client) -> None:
        self._settings, self._client = settings, client
        self._findings = Findings()
        self._rated = LatestRated(self._findings)
        self._offered = Offered()
        self._samples = Offered()
        self._last: dict[int, int] = {}

    def run(self) -> Report:
        findings, client, topics = self._findings, self._client, self._settings.topics
        logs = LogRegistry(self._settings, client).look(sorted(topic_sinks(self._settings)))
        for topic, sink in topic_sinks(self._settings).items():
            RowComparison(client, findings, logs[topic], sink).run(self._settings, self._visitor(topic))
            self._check_caught_up(topic)
        for topic, offered in ((topics.usage_events, self._offered), (topics.gpu_samples, self._samples)):
            offered.check_batches(topic, findings)
            offered.check_unreadable(client, topic, findings)
        self._offered.check_balance(client, topics.usage_events, self._trimmed(topics.usage_events), findings)
        self._report_unreadable()
        records = self._rated.records()
        compare_usage(self._settings, client, records, findings)
        trimmed = self._trimmed(topics.usage_rated)
        compare_state(client, self._rated, trimmed, findings)
        compare_ledger(client, self._rated, trimmed, findings)
        compare_invoices(client, records, load_cards(client, self._settings), findings)
        check_documents(client, findings)
        return findings.report()

    def _trimmed(self, topic: str) -> set[int]:
        """The partitions whose oldest records retention has removed."""
        return {partition for partition, marks in watermarks(self._settings, topic).items() if marks.low > 0}

    def _visitor(self, topic: str) -> Any:
        """What looks at each record of a topic while it is read: typed by the topic's own decoded record."""
        topics = self._settings.topics
        self._last = {}

        def visit(item: ReadRecord[RatedUsage] | DecodedRecord) -> None:
            self._last[item.record.partition] = item.record.offset
            if topic == topics.usage_rated and isinstance(item, ReadRecord) and item.content is not None:
                self._rated.add(item.content)
            elif isinstance(item, DecodedRecord):
                (self._offered if topic == topics.usage_events else self._samples).add(item)

        return visit

    def _check_caught_up(self, topic: str) -> None:
        """A difference because the sinks are behind is no loss: say so."""
        done = committed(self._settings, group_of(self._settings), topic)
        behind = {partition: last for partition, last in self._last.items() if done.get(partition, 0) <= last}
        for partition, last in sorted(behind.items()):
            self._findings.problem(
                "partitions that are not stored yet",
                f"{topic} partition {partition}: the sinks have settled up to offset {done.get(partition, 0)}, the log "
                f"goes on to {last}: run the sinks, wait, and reconcile again",
            )

    def _report_unreadable(self) -> None:
        with store_errors("reading unreadable records"):
            rows = self._client.query(
                "SELECT topic, kafka_partition, kafka_offset, reason FROM unreadable_records ORDER BY ALL LIMIT 1000"
            ).result_rows
        for topic, partition, offset, reason in rows:
            self._findings.problem(
                "unreadable records", f"{topic} partition {partition}, offset {offset} cannot be read: {reason}"
            )
