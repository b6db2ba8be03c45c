"""What `tokenmill tail` prints: one line a record, the same content as JSON, and where it begins and ends."""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence

import pytest
from confluent_kafka import Message

from infra.cli.tail.letters import LetterLines
from infra.cli.tail.line import Lines, Shown
from infra.cli.tail.lines import RatedLines, SignalLines
from infra.config import environment
from infra.topics import apply
from tests.cli.conftest import Run
from tests.conftest import MakeSettings
from tests.sinks import samples
from tests.sinks.samples import Wire
from tests.sinks.support import produce
from tests.support import Broker


def message(wire: Wire) -> Message:
    value, headers = wire
    return Message("t", 2, 41, b"", value, list(headers), None, (2, 1_770_000_000_123))


def read(lines: Lines, wire: Wire) -> Shown:
    found = lines.read(message(wire))
    assert found is not None
    return found


def words(shown: Shown) -> str:
    return " ".join(" ".join(shown.lines).split())


RATED = samples.rated("1200", "0.25", 9, (5, "1000", "0.2"), sku="chat/input")


def test_a_rated_record_is_one_line_with_its_difference() -> None:
    shown = read(RatedLines(None, None, None), samples.rated_wire(RATED))
    assert len(shown.lines) == 1
    assert words(shown) == ("2026-02-02 02:40:00 tenant-0 2026-01-01 00:00 1,200 tokens 0.25 EUR (+0.05) chat/input")
    assert shown.data["quantity"] == "1200"
    assert (shown.data["partition"], shown.data["offset"]) == (2, 41)


def test_what_has_no_price_and_what_is_of_a_period_says_so() -> None:
    unrated = samples.rated("7", None, 9, kind="unrated", sku="unrated/input", card_id=None, card_version=None)
    assert "no price unrated/input unrated" in words(read(RatedLines(None, None, None), samples.rated_wire(unrated)))
    late = samples.rated("7", "1", 9, kind="adjustment", window_kind="period", billing_period="2026-02")
    shown = words(read(RatedLines(None, None, None), samples.rated_wire(late)))
    assert "2026-01 (period)" in shown
    assert shown.endswith("adjustment billed in 2026-02")


@pytest.mark.parametrize(
    ("wanted", "shown"),
    [
        (RatedLines("tenant-0", "chat/*", "usage"), True),
        (RatedLines("tenant-1", None, None), False),
        (RatedLines(None, "chat", None), False),
        (RatedLines(None, None, "unrated"), False),
    ],
)
def test_rated_records_can_be_chosen(wanted: RatedLines, shown: bool) -> None:
    assert (wanted.read(message(samples.rated_wire(RATED))) is not None) is shown


def test_a_signal_is_one_line_without_what_says_nothing() -> None:
    shown = read(SignalLines(None, None, None), samples.signal(4, read=12, rated=0, source="node", ranges=[[1, 2]]))
    assert words(shown).endswith("_all balance balance/0/node-1 ranges=[[1,2]] read=12 source=node")
    assert SignalLines(None, "gap", None).read(message(samples.signal(4))) is None
    assert SignalLines(None, "balance", "balance/*").read(message(samples.signal(4))) is not None
    assert SignalLines("acme", None, None).read(message(samples.signal(4))) is None


def test_a_dead_letter_names_code_place_reason_and_its_rows() -> None:
    shown = read(LetterLines(None, "invalid_*", 3), samples.rejected_rows())
    first, row = shown.lines
    assert " ".join(first.split()) == (
        "2026-02-02 02:40:00 invalid_input_tokens 1 row usage.events.v1 0@9 input_tokens is -4"
    )
    assert row == "    row 1: tenant tenant-1, source node-1, id e-1"
    rows = shown.data["rows"]
    assert isinstance(rows, list)
    assert rows[0]["payload"]["input_tokens"] == -4


def test_rows_of_other_tenants_are_left_out_and_no_rows_may_be_asked_for() -> None:
    assert LetterLines("tenant-0", None, 3).read(message(samples.rejected_rows())) is None
    assert len(read(LetterLines("tenant-1", None, 0), samples.rejected_rows()).lines) == 1
    assert LetterLines(None, "conflict", 3).read(message(samples.rejected_rows())) is None


def test_bytes_that_are_no_record_are_shown_as_they_are() -> None:
    shown = read(LetterLines(None, None, 3), samples.undecodable(value=b"\xff\x00" * 400))
    assert shown.lines[1].startswith("    800 bytes: '\\xff\\x00")
    assert shown.lines[1].endswith("...")


@pytest.mark.parametrize(
    "lines", [RatedLines(None, None, None), SignalLines(None, None, None), LetterLines(None, None, 3)]
)
def test_a_record_that_is_something_else_is_shown_with_the_reason(lines: Lines) -> None:
    shown = read(lines, (b"nonsense", []))
    assert "cannot be read (partition 2, offset 41)" in shown.lines[0]
    assert "unreadable" in shown.data


def test_a_reader_that_goes_away_is_no_failure(tokenmill: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def reading(*_: object) -> None:
        from infra.cli.tail.reading import _print

        _print(Shown(["a line"], {}), as_json=False, left=None)

    def gone(*_: object, **__: object) -> None:
        raise BrokenPipeError(errno.EPIPE, "Broken pipe")

    monkeypatch.setattr("infra.cli.tail.require_topics", lambda *_: None)
    monkeypatch.setattr("infra.cli.tail.reading.show", reading)
    monkeypatch.setattr("infra.cli.tail.reading.click.echo", gone)
    monkeypatch.setattr("infra.cli.main.os.dup2", lambda *_: None)  # the test's own output must stay open
    assert tokenmill("tail", "rated").code == 0


def _skus(out: str) -> list[str]:
    return [line.split()[-1] for line in out.splitlines()]


@pytest.mark.kafka
def test_reading_begins_and_ends_where_it_was_asked(
    broker: Broker, make_settings: MakeSettings, tokenmill: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = make_settings(broker, partitions="2")
    apply(settings)
    for name, value in environment(settings).items():
        monkeypatch.setenv(name, value)
    assert tokenmill("tail", "rated").out == ""
    every = [f"sku-{number:02d}" for number in range(30)]
    for partition, names in ((0, every[:15]), (1, every[15:])):
        wires = [
            samples.rated_wire(samples.rated("1", "1", 9, sku=sku, tenant_id=f"tenant-{sku[-1]}")) for sku in names
        ]
        produce(settings, settings.topics.usage_rated, *wires, partition=partition)

    assert _skus(tokenmill("tail", "rated").out) == every[-20:]
    assert _skus(tokenmill("tail", "rated", "--tenant", "tenant-1", "-n", "2").out) == ["sku-11", "sku-21"]
    assert sorted(_skus(tokenmill("tail", "rated", "--from", "beginning").out)) == every
    assert len(_skus(tokenmill("tail", "rated", "--from", "beginning", "-n", "4").out)) == 4
    assert sorted(_skus(tokenmill("tail", "rated", "--from", "2020-01-01").out)) == every
    documents = [json.loads(line) for line in tokenmill("tail", "rated", "--json", "-n", "2").out.splitlines()]
    assert [each["sku"] for each in documents] == every[-2:]

    followed = _follow(["rated", "--from", "end", "-n", "1"])
    produce_until(followed, lambda: produce(settings, settings.topics.usage_rated, samples.rated_wire(RATED)))
    assert _skus(followed.communicate(timeout=30)[0]) == ["chat/input"]
    interrupted = _follow(["rated", "-n", "1", "--follow"])
    assert interrupted.stdout is not None
    assert _skus(interrupted.stdout.readline()) == ["chat/input"]
    interrupted.send_signal(signal.SIGINT)
    assert interrupted.communicate(timeout=30)[1].strip() == ""
    assert interrupted.returncode in (0, 130)


def _follow(arguments: Sequence[str]) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", "from infra.cli.main import main; main()", "tail", *arguments]
    root = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    environ = {**os.environ, "PYTHONPATH": root, "PYTHONUNBUFFERED": "1"}
    return subprocess.Popen(command, env=environ, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def produce_until(process: subprocess.Popen[str], write: object) -> None:
    """Write until the reader has seen one record and ended: nobody says when it has begun to read."""
    assert callable(write)
    deadline = time.monotonic() + 30
    while process.poll() is None and time.monotonic() < deadline:
        write()
        time.sleep(0.2)
