"""What a metrics page says about durations, read as `tokenmill status` reads it."""

from __future__ import annotations

import math

import pytest

from infra import metrics
from infra.embedded.ports import free_port
from infra.metrics_reading import Durations, ask, durations
from infra.metrics_server import serving

_PAGE = """# HELP took_seconds .
# TYPE took_seconds histogram
took_seconds_bucket{{topic="a",le="0.1"}} {}
took_seconds_bucket{{topic="a",le="1.0"}} {}
took_seconds_bucket{{topic="a",le="+Inf"}} {}
took_seconds_count{{topic="a"}} {}
took_seconds_sum{{topic="a"}} 1.0
"""
_OTHER = """took_seconds_bucket{topic="b",le="0.1"} 0
took_seconds_bucket{topic="b",le="1.0"} 99
took_seconds_bucket{topic="b",le="+Inf"} 99
"""


def test_the_bounds_hold_half_and_99_percent_of_all_labels() -> None:
    assert durations(_PAGE.format(99, 100, 100, 100), "took_seconds") == Durations(100, 0.1, 0.1)
    assert durations(_PAGE.format(98, 100, 100, 100), "took_seconds") == Durations(100, 0.1, 1.0)
    assert durations(_PAGE.format(49, 98, 100, 100), "took_seconds") == Durations(100, 1.0, math.inf)
    assert durations(_PAGE.format(1, 1, 1, 1) + _OTHER, "took_seconds") == Durations(100, 1.0, 1.0)


def test_nothing_measured_is_no_duration() -> None:
    assert durations(_PAGE.format(0, 0, 0, 0), "took_seconds") is None
    assert durations(_PAGE.format(1, 1, 1, 1), "other_seconds") is None


def test_what_a_process_serves_is_read_and_a_silent_address_is_none() -> None:
    address = f"127.0.0.1:{free_port()}"
    with serving(address, "sink"):
        metrics.SINK_INSERT.labels(table="t").observe(0.02)
        found = durations(ask(address, "metrics") or "", "tokenmill_sink_insert_seconds")
        assert found is not None
        assert found.count >= 1
        assert ask(address, "nothing/here") is None
    assert ask(address, "metrics") is None


def test_a_probe_that_has_gone_is_no_error(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    def gone(*_: object) -> None:
        raise BrokenPipeError(32, "Broken pipe")

    monkeypatch.setattr("infra.metrics_server._Handler._answer", gone)
    address = f"127.0.0.1:{free_port()}"
    with serving(address, "sink"):
        assert ask(address, "metrics") is None
    assert "Traceback" not in capfd.readouterr().err
