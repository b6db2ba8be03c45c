"""Time goes on in partitions where nothing happens: their periods close."""

from __future__ import annotations

import pytest

from tests.exactly_once import oracle, results
from tests.exactly_once.conftest import Deploy
from tests.exactly_once.traffic import emit, usage_rows
from tests.support import Broker, eventually

pytestmark = [pytest.mark.apache, pytest.mark.kafka]


def test_ticks_close_the_periods_of_quiet_partitions(apache: Broker, deploy: Deploy) -> None:
    deployment = deploy(apache, tick_after_s="1")
    settings, rows = deployment.settings, usage_rows(2_000)
    emit(settings, rows)

    def open_keys() -> set[bytes]:
        last = {record.key: record for record in results.rated_records(settings)}
        return {key for key, record in last.items() if record.content["provisional"]}

    with deployment.worker() as worker:
        deployment.await_caught_up(worker)
        eventually(lambda: len(results.last_records(settings)) == len(oracle.expected(rows)), what="all keys")
        eventually(lambda: not open_keys(), 30, every=0.5, what="the closing of January")
        assert worker.events("partition.tick")
        assert worker.terminate(20) == 0
    results.check_revisions(settings)
    results.check_totals(settings, oracle.expected(rows))


@pytest.mark.control
def test_without_ticks_a_quiet_period_stays_open(apache: Broker, deploy: Deploy) -> None:
    deployment = deploy(apache, tick_after_s="0")
    emit(deployment.settings, usage_rows(2_000))
    with deployment.worker() as worker:
        deployment.await_caught_up(worker)
    records = results.rated_records(deployment.settings)
    assert records
    assert all(record.content["provisional"] for record in records)
