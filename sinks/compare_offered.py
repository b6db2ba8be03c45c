"""Is everything that was offered accounted for? Numbers of batches, the worker's balance, and unreadable records."""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING, Final

from infra.clickhouse import store_errors
from schemas.headers import BatchHeaders, Numbering
from sinks.balance import load_balance
from sinks.decoding import DecodedRecord
from sinks.findings import Findings

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client

_NAMED_AT_ONCE: Final = 20


class Offered:
    """What the log offers, gathered while it is read: events per partition, numbers of batches, unreadable records."""

    def __init__(self) -> None:
        self.events: dict[int, int] = {}
        self._numbers: dict[tuple[str, int, int], set[int]] = {}
        """Numbers seen per source, epoch and partition."""
        self._unreadable: list[tuple[int, int]] = []

    def add(self, item: DecodedRecord) -> None:
        """One record."""
        partition = item.record.partition
        self.events[partition] = self.events.get(partition, 0) + item.offered
        if item.problem:
            self._unreadable.append((partition, item.record.offset))
        if item.headers is not None:
            self._note(item.headers, partition)

    def _note(self, headers: BatchHeaders, partition: int) -> None:
        if headers.numbering is Numbering.SEQUENCE:
            self._numbers.setdefault((headers.source, headers.epoch, partition), set()).add(headers.number)

    def check_batches(self, topic: str, findings: Findings) -> None:
        """Every number from the first to the highest that an emitter gave is there. (Earlier ones may be past retention.)"""
        for (source, epoch, partition), numbers in sorted(self._numbers.items()):
            absent = sorted(set(range(min(numbers), max(numbers) + 1)) - numbers)
            if absent:
                findings.missing += len(absent)
                named = ", ".join(map(str, absent[:_NAMED_AT_ONCE])) + (", ..." if len(absent) > _NAMED_AT_ONCE else "")
                findings.problem(
                    "gaps in the numbers of batches",
                    f"{topic} partition {partition}: source {source!r}, epoch {epoch}: batches never arrived: {named}",
                )

    def check_unreadable(self, client: Client, topic: str, findings: Findings) -> None:
        """Every record that cannot be read is in the dead letters."""
        findings.count("unreadable_input", len(self._unreadable))
        if not self._unreadable:
            return
        with store_errors("reading the dead letters"):
            rows = client.query(
                "SELECT DISTINCT source_partition, source_offset FROM dead_letters WHERE source_topic = {topic:String}",
                parameters={"topic": topic},
            ).result_rows
        known = {(int(partition), int(offset)) for partition, offset in rows}
        for partition, offset in self._unreadable:
            if (partition, offset) not in known:
                findings.missing += 1
                findings.problem(
                    "unreadable records without a dead letter",
                    f"{topic} partition {partition}, offset {offset} cannot be read and is in no dead letter",
                )

    def check_balance(self, client: Client, topic: str, trimmed: Collection[int], findings: Findings) -> None:
        """The worker says it read exactly what the log offers, and each row ended somewhere.

        The worker counts from the beginning, so partitions that retention has `trimmed` cannot be compared.
        """
        balance = load_balance(client)
        for partition in sorted((set(self.events) | set(balance.partitions())) - set(trimmed)):
            offered, read = self.events.get(partition, 0), balance.read_of(partition)
            findings.count("offered", offered)
            findings.count("read", read)
            if offered != read:
                findings.problem(
                    "partitions with another balance",
                    f"{topic} partition {partition}: the log offers {offered} events, the worker's balance says "
                    f"{read} were read",
                )
        for each in balance.sources:
            if each.counts.read != each.counts.ended:
                findings.problem(
                    "sources that do not add up",
                    f"{topic} partition {each.partition}: of {each.counts.read} events read from {each.source!r} "
                    f"{each.counts.ended} ended somewhere",
                )
