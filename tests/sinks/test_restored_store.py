"""ClickHouse after a restore of an older backup, filled again from Kafka as docs/deployment.md says."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from confluent_kafka.admin import AdminClient

from infra.topics import apply
from sinks.kafka_log import group_of
from tests.conftest import MakeSettings
from tests.sinks import samples
from tests.sinks.conftest import Stored
from tests.sinks.support import coordinates, produce, run_until_stored
from tests.support import Broker

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client


@pytest.mark.apache
def test_sinks_without_their_offsets_fill_a_restored_store_and_add_no_row_twice(
    apache: Broker, make_settings: MakeSettings, stored: Stored, database: Client
) -> None:
    settings = stored(make_settings(apache, sink_interval_s="0.1"))
    apply(settings)
    topic = settings.topics.usage_events
    for partition in range(settings.partitions):
        batches = [samples.token_batch(20, number, f"p{partition}-b{number}") for number in range(1, 5)]
        produce(settings, topic, *batches, partition=partition)
    run_until_stored(settings)
    whole = coordinates(database)
    assert len(whole) == settings.partitions * 80

    # The backup is older: of each partition it holds another part. A restored table knows no tokens of inserts.
    database.command("CREATE TABLE restored AS usage_raw")
    database.command("INSERT INTO restored SELECT * FROM usage_raw WHERE kafka_offset < kafka_partition")
    database.command("EXCHANGE TABLES restored AND usage_raw")
    database.command("DROP TABLE restored SYNC")
    assert 0 < len(coordinates(database)) < len(whole)
    client = AdminClient({"bootstrap.servers": settings.kafka.bootstrap})
    client.delete_consumer_groups([group_of(settings)])[group_of(settings)].result()

    run_until_stored(settings)
    assert coordinates(database) == whole
