"""What a process tells Prometheus: conventions, the page, the figures, and the three paths over HTTP."""

from __future__ import annotations

import socket
import urllib.error
import urllib.request
from collections.abc import Iterator

import pytest
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse

from infra import metrics, metrics_page
from infra.errors import ConfigurationError
from infra.metrics_recording import Counted, Holdings, PartitionMetrics, SinkMetrics, StoredPartition
from infra.metrics_server import Health, serving


@pytest.fixture(scope="module")
def registries() -> dict[metrics.Role, CollectorRegistry]:
    return {"worker": metrics.registry("worker"), "sink": metrics.registry("sink")}


def _value(registry: CollectorRegistry, name: str, **labels: str) -> float | None:
    return registry.get_sample_value(name, labels)


@pytest.mark.parametrize("role", ["worker", "sink"])
def test_the_exposition_parses_and_holds_the_metrics_of_its_role_only(
    registries: dict[metrics.Role, CollectorRegistry], role: metrics.Role
) -> None:
    families = {family.name: family for family in parse(generate_latest(registries[role]).decode())}
    ours = {name for name in families if name.startswith("tokenmill_")}
    wanted = {each.name.removesuffix("_total") for each in metrics.DECLARATIONS if each.role in (None, role)}
    assert ours == wanted
    assert all(families[name].documentation for name in ours)
    assert "process_start_time_seconds" in families


@pytest.mark.parametrize("declared", metrics.DECLARATIONS, ids=lambda each: each.name)
def test_names_follow_the_conventions(declared: metrics.Declaration) -> None:
    assert declared.name.startswith(f"tokenmill_{declared.role}_" if declared.role else "tokenmill_")
    assert declared.name.endswith("_total") == (declared.kind == "counter")
    if declared.kind == "histogram":
        assert declared.name.endswith("_seconds")
    for wrong in ("_ms", "_milli", "_minutes", "_hours", "_mb", "_kb", "_count", "_sum", "_bucket"):
        assert wrong not in declared.name
    assert declared.help.endswith(".")
    assert "|" not in declared.help
    assert not {"le", "quantile", "instance", "job"} & set(declared.labels)


def test_the_page_is_current() -> None:
    assert metrics_page.PAGE.read_text(encoding="utf-8") == metrics_page.page(), "run python -m infra.metrics_page"


_COUNTED = Counted({"rated": 3, "duplicate": 1}, {"no_price": 1}, {"invalid_tokens": 2}, {"duplicate": 1})


def _holdings(evicted: int = 0) -> Holdings:
    return Holdings(1_700_000_000_500_000, 7, 4096, 3, evicted, 2)


def test_a_partition_counts_what_it_flushes_and_leaves_nothing_stale_behind(
    registries: dict[metrics.Role, CollectorRegistry],
) -> None:
    worker, place = registries["worker"], {"topic": "a.topic", "partition": "5"}
    partition = PartitionMetrics("a.topic", 5)
    partition.restored(0.5, 10, _holdings(evicted=100))
    partition.read(2)
    partition.transaction(0.02, 9)
    partition.flushed(0.1, 12, _COUNTED, _holdings(evicted=103))
    partition.behind(4)
    assert _value(worker, "tokenmill_worker_records_total", **place) == 2
    assert _value(worker, "tokenmill_worker_events_total", **place) == 4
    assert _value(worker, "tokenmill_worker_outcomes_total", topic="a.topic", outcome="rated") == 3
    assert _value(worker, "tokenmill_worker_dead_letters_total", topic="a.topic", code="invalid_tokens") == 2
    assert _value(worker, "tokenmill_worker_unrated_events_total", code="no_price") == 1
    assert _value(worker, "tokenmill_worker_exclusions_total", topic="a.topic", outcome="duplicate") == 1
    assert _value(worker, "tokenmill_worker_next_offset", **place) == 12
    assert _value(worker, "tokenmill_worker_lag_records", **place) == 4
    assert _value(worker, "tokenmill_worker_watermark_timestamp_seconds", partition="5") == 1_700_000_000.5
    assert _value(worker, "tokenmill_worker_missing_batches", partition="5") == 2
    # Of the 103 minutes 100 were given up before this process had the partition.
    assert _value(worker, "tokenmill_worker_event_window_evicted_seconds_total", partition="5") == 180
    assert _value(worker, "tokenmill_worker_partitions", topic="a.topic") == 1
    partition.released()
    partition.released()
    assert _value(worker, "tokenmill_worker_partitions", topic="a.topic") == 0
    for name in ("lag_records", "next_offset"):
        assert _value(worker, f"tokenmill_worker_{name}", **place) is None
    assert _value(worker, "tokenmill_worker_watermark_timestamp_seconds", partition="5") is None
    assert _value(worker, "tokenmill_worker_events_total", **place) == 4


def test_a_sink_shows_the_partitions_that_it_owns_and_no_others(
    registries: dict[metrics.Role, CollectorRegistry],
) -> None:
    sink, shown = registries["sink"], SinkMetrics()
    shown.partitions([StoredPartition("t", 0, 7, 3), StoredPartition("t", 1, 9, None)])
    assert _value(sink, "tokenmill_sink_next_offset", topic="t", partition="0") == 7
    assert _value(sink, "tokenmill_sink_lag_records", topic="t", partition="0") == 3
    assert _value(sink, "tokenmill_sink_lag_records", topic="t", partition="1") is None
    assert _value(sink, "tokenmill_sink_partitions", topic="t") == 2
    shown.partitions([])
    assert _value(sink, "tokenmill_sink_next_offset", topic="t", partition="0") is None
    assert _value(sink, "tokenmill_sink_partitions", topic="t") == 0


# -- health -----------------------------------------------------------------------------------------------------------


def test_a_process_is_alive_while_it_starts_and_while_its_loop_goes_round() -> None:
    now = [100.0]
    health = Health(30, clock=lambda: now[0])
    now[0] += 1000
    assert (health.alive, health.ready) == (True, False)
    health.beat()
    health.is_ready = lambda: True
    now[0] += 30
    assert (health.alive, health.ready) == (True, True)
    now[0] += 0.1
    assert (health.alive, health.ready) == (False, False)


@pytest.fixture
def served() -> Iterator[tuple[str, Health]]:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with serving(f"127.0.0.1:{port}", "sink") as health:
        yield f"http://127.0.0.1:{port}", health


def _get(url: str, **headers: str) -> tuple[int, str, str]:
    try:
        with urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=10) as answer:
            return answer.status, answer.headers["Content-Type"], answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.headers["Content-Type"], error.read().decode()


def test_metrics_come_in_the_format_that_is_asked_for(served: tuple[str, Health]) -> None:
    where, _ = served
    status, kind, text = _get(f"{where}/metrics")
    assert (status, kind.split(";")[0]) == (200, "text/plain")
    assert {family.name for family in parse(text)} >= {"tokenmill_ready", "tokenmill_sink_insert_seconds"}
    _, kind, text = _get(f"{where}/metrics?x=1", Accept="application/openmetrics-text; version=1.0.0")
    assert kind.startswith("application/openmetrics-text; version=1.0.0")
    assert list(parse_openmetrics(text))  # type: ignore[no-untyped-call]


def test_health_and_readiness_are_answered_as_they_are(served: tuple[str, Health]) -> None:
    where, health = served
    assert _get(f"{where}/healthz")[0] == 200
    assert _get(f"{where}/readyz")[0] == 503
    health.is_ready = lambda: True
    assert _get(f"{where}/readyz")[::2] == (200, "ready\n")
    assert "tokenmill_ready 1.0" in _get(f"{where}/metrics")[2]
    health.limit_s = -1.0
    health.beat()
    status, _, text = _get(f"{where}/healthz")
    assert status == 503
    assert text.startswith("the loop has not been round for ")
    assert _get(f"{where}/readyz")[0] == 503
    assert _get(f"{where}/else")[0] == 404


def test_an_address_that_cannot_be_had_is_a_configuration_error() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(ConfigurationError, match=address) as refused, serving(address, "worker"):
            pass
    assert refused.value.exit_code == 2


def test_no_address_means_no_server() -> None:
    with serving("", "worker") as health:
        assert not health.ready
