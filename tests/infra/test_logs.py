from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path

import pytest

from infra.logs import configure_logging, get_logger


@pytest.fixture(autouse=True)
def _restored() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers, root.level = handlers, level


def _lines(stream: io.StringIO) -> list[dict[str, object]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_events_are_json_lines_with_level_logger_and_time() -> None:
    stream = io.StringIO()
    configure_logging("info", stream=stream)
    get_logger("sinks.raw").info("batch_stored", rows=3, amount=Decimal("0.10"), where=Path("x"))
    (line,) = _lines(stream)
    assert str(line.pop("timestamp")).endswith("Z")
    assert line == {
        "event": "batch_stored",
        "level": "info",
        "logger": "sinks.raw",
        "rows": 3,
        "amount": "0.10",
        "where": "x",
    }


def test_levels_below_are_dropped_and_libraries_speak_from_warning_up() -> None:
    stream = io.StringIO()
    configure_logging("info", stream=stream)
    get_logger("a").debug("hidden")
    logging.getLogger("aiokafka").info("hidden")
    logging.getLogger("aiokafka").warning("member %s left", 7)
    assert [line["event"] for line in _lines(stream)] == ["member 7 left"]


def test_an_exception_is_one_line_and_a_terminal_gets_plain_text() -> None:
    stream = io.StringIO()
    configure_logging("info", stream=stream)
    try:
        raise ValueError("broken")
    except ValueError:
        get_logger("a").exception("failed")
    (line,) = _lines(stream)
    assert "ValueError: broken" in str(line["exception"])

    plain = io.StringIO()
    configure_logging("info", as_json=False, stream=plain)
    get_logger("a").info("started", port=7)
    assert "started" in plain.getvalue()
    assert not plain.getvalue().startswith("{")
