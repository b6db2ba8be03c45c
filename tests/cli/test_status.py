"""What `tokenmill status` says about what it found: rules over plain values, and the screen."""

from __future__ import annotations

import io
import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from math import inf

import pytest
from rich.console import Console

from infra.cli import output
from infra.cli.status import screen as status_screen
from infra.cli.status.look import (
    BalanceLook,
    BillingPeriod,
    Gap,
    Group,
    KafkaLook,
    Look,
    NotCounted,
    PartitionBalance,
    PartitionLag,
    PartitionTime,
    ProcessTimes,
    Signals,
    StoreLook,
    TableSize,
    Unpriced,
    events_per_second,
    rates,
)
from infra.cli.status.screen import period_state, screen, show
from infra.cli.status.signals_look import Said, interpret
from infra.cli.status.verdicts import needs_a_person, span, verdicts
from infra.config import Settings
from infra.metrics_reading import Durations
from tests.cli.conftest import Run

NOW = datetime(2026, 2, 3, 12, tzinfo=UTC)
SETTINGS = Settings()
WORKERS, SINKS, EVENTS = "tokenmill.workers", "tokenmill.sink", "usage.events.v1"


def lag(records: int = 0, age_s: float = 0, position: int = 100, **changes: object) -> PartitionLag:
    oldest = NOW - timedelta(seconds=age_s) if records else None
    return replace(PartitionLag(WORKERS, EVENTS, 3, records, position, oldest), **changes)  # type: ignore[arg-type]


def kafka(*lags: PartitionLag, **changes: object) -> KafkaLook:
    time = PartitionTime(3, 99, NOW - timedelta(seconds=5), NOW - timedelta(seconds=4))
    found = KafkaLook(lags or (lag(),), (Group(WORKERS, True, 2), Group(SINKS, True, 1)), (time,))
    return replace(found, **changes)  # type: ignore[arg-type]


def balance(**changes: object) -> BalanceLook:
    part = replace(PartitionBalance(3, 99, 50, 50, 8, 50, 8), **changes)  # type: ignore[arg-type]
    return BalanceLook(50, {"rated": 42, "duplicate": 5, "dead_letter": 3}, {"conflict": 3}, (part,))


def store(**changes: object) -> StoreLook:
    signals = changes.pop("signals", Signals(balance=balance()))
    found = StoreLook(
        dead_letters=(),
        exclusions=(NotCounted("duplicate", 5, 5, NOW),),
        unreadable=0,
        signals=signals,  # type: ignore[arg-type]
        inserts=None,
        periods=(BillingPeriod("2026-02", 7, NOW), BillingPeriod("2026-01", 7, NOW)),
        tables=(TableSize("usage_raw", 1_000_000_000, 99_000_000_000),),
    )
    return replace(found, **changes)  # type: ignore[arg-type]


def a_look(kafka_look: KafkaLook | None = None, store_look: StoreLook | None = None) -> Look:
    return Look(NOW, kafka_look or kafka(), store=store_look or store())


def codes(now: Look, before: Look | None = None, settings: Settings = SETTINGS) -> list[tuple[str, str]]:
    return [(verdict.level, verdict.code) for verdict in verdicts(now, before, settings)]


def test_a_sound_installation_needs_nobody() -> None:
    assert codes(a_look()) == []


def test_kafka_and_clickhouse_that_do_not_answer_need_a_person_each() -> None:
    away = Look(NOW, kafka_error="no Kafka", store_error="no ClickHouse")
    assert codes(away) == [("person", "kafka_unreachable"), ("person", "store_unreachable")]


def test_signals_of_the_topic_are_judged_when_clickhouse_is_away() -> None:
    gap = Signals((Gap(3, "node", 1, 2, ((4, 5),), NOW),))
    assert ("person", "gaps") in codes(Look(NOW, kafka(), store_error="away", topic_signals=gap))


@pytest.mark.parametrize(("group", "code"), [(WORKERS, "no_worker"), (SINKS, "no_sink")])
def test_a_group_that_nobody_is_in_needs_a_person_and_a_broker_that_does_not_say_is_believed(
    group: str, code: str
) -> None:
    assert codes(a_look(kafka(groups=(Group(group, False, 0),)))) == [("person", code)]
    assert codes(a_look(kafka(groups=(Group(group, None, None),)))) == []


def test_lag_is_judged_by_its_age_and_by_whether_it_moves() -> None:
    def judged(age_s: float, moved: bool) -> list[tuple[str, str]]:
        now = a_look(kafka(lag(500, age_s, position=100)))
        before = a_look(kafka(lag(600, age_s, position=90 if moved else 100)))
        return codes(now, before)

    assert judged(59, moved=False) == []
    assert judged(61, moved=False) == [("person", "stuck")]
    assert judged(61, moved=True) == [("note", "catching_up")]
    assert judged(601, moved=True) == [("person", "behind")]
    assert judged(601, moved=False) == [("person", "stuck")]


def test_one_look_alone_calls_nothing_stuck() -> None:
    assert codes(a_look(kafka(lag(500, 61)))) == [("note", "catching_up")]


def test_the_lag_of_a_group_that_nobody_is_in_is_not_told_twice() -> None:
    dead = kafka(lag(500, 9999), groups=(Group(WORKERS, False, 0),))
    assert codes(a_look(dead)) == [("person", "no_worker")]


def test_of_a_topic_the_oldest_partition_is_named() -> None:
    found = verdicts(a_look(kafka(lag(5, 700, partition=1), lag(9, 800, partition=2))), None, SETTINGS)
    assert [verdict.code for verdict in found] == ["behind"]
    assert "14 records, worst: partition 2" in found[0].what


def test_a_partition_without_even_a_tick_needs_a_person_unless_ticks_are_off() -> None:
    quiet = kafka(times=(PartitionTime(3, 99, NOW - timedelta(hours=2), NOW - timedelta(seconds=901)),))
    assert codes(a_look(quiet)) == [("person", "no_ticks")]
    assert codes(a_look(quiet), settings=replace(SETTINGS, tick_after_s=0)) == []
    soon = kafka(times=(PartitionTime(3, 99, NOW - timedelta(hours=2), NOW - timedelta(seconds=899)),))
    assert codes(a_look(soon)) == []


def test_a_replay_of_old_events_is_a_note() -> None:
    old = kafka(times=(PartitionTime(3, 99, NOW - timedelta(days=400), NOW),))
    assert codes(a_look(old)) == [("note", "event_time_behind")]


def test_a_recreated_topic_needs_a_person() -> None:
    assert codes(a_look(kafka(other_logs=("usage.events.v1 is not the log it was",)))) == [("person", "log_changed")]


@pytest.mark.parametrize(
    "changed",
    [{"stored": 49}, {"stored": 51}, {"put_aside": 7}, {"ended": 49}, {"ended": 49, "stored": None, "put_aside": None}],
)
def test_a_balance_that_does_not_add_up_needs_a_person(changed: dict[str, int | None]) -> None:
    wrong = balance(**changed)
    assert wrong.adds_up is False
    found = codes(a_look(store_look=store(signals=Signals(balance=wrong))))
    assert found == [("person", "balance")]


def test_a_balance_that_could_not_be_compared_is_neither_right_nor_wrong() -> None:
    open_ = balance(stored=None, put_aside=None)
    assert open_.adds_up is None
    assert codes(a_look(store_look=store(signals=Signals(balance=open_)))) == []


def test_new_dead_letters_need_a_person_and_old_ones_do_not() -> None:
    letters = (NotCounted("conflict", 9, 2, NOW), NotCounted("too_late", 4, 0, NOW - timedelta(days=3)))
    assert codes(a_look(store_look=store(dead_letters=letters))) == [
        ("person", "dead_letters"),
        ("note", "old_dead_letters"),
    ]


def test_gaps_missing_prices_foreign_records_and_migrations_need_a_person() -> None:
    signals = Signals((Gap(0, "node", 1, 1, (), None),), (Unpriced("acme", "input", "1000", 2),), (3,))
    found = store(signals=signals, unreadable=1, missing_migrations=("0009 later",))
    assert codes(a_look(store_look=found)) == [
        ("person", "gaps"),
        ("person", "unpriced"),
        ("person", "migrations"),
        ("person", "unreadable"),
        ("note", "event_window_cut"),
    ]


def test_notes_alone_need_nobody() -> None:
    noted = verdicts(a_look(store_look=store(signals=Signals(cut_windows=(3,)))), None, SETTINGS)
    assert noted
    assert not needs_a_person(noted)


def test_rates_are_what_was_committed_between_two_looks() -> None:
    before = replace(a_look(kafka(lag(position=100))), at=NOW - timedelta(seconds=4), usage_rows=1_000)
    now = replace(a_look(kafka(lag(position=300))), usage_rows=9_000)
    assert [(rate.group, rate.topic, rate.per_second) for rate in rates(before, now)] == [(WORKERS, EVENTS, 50.0)]
    assert events_per_second(before, now) == 2_000
    assert rates(None, now) == ()
    assert events_per_second(now, now) is None


def _said(policy: str, kind: str, revision: int, **data: object) -> Said:
    return Said("_operator", policy, kind, NOW, revision, data)


def test_what_signals_said_of_an_earlier_log_does_not_hold_any_more() -> None:
    now = 2 << 40
    words = [
        _said("balance/0/a", "balance", now + 7, partition=0, read=3, rated=2, duplicate=1, by_code={}),
        _said("balance/0/b", "balance", now + 9, partition=0, read=2, dead_letter=2, by_code={"conflict": 2}),
        _said("balance/0/old", "balance", (1 << 40) + 99, partition=0, read=1000, rated=1000),
        _said("missing_batches/0/a", "gap", (1 << 40) + 99, partition=0, source="old", missing_batches=1),
        _said("missing_batches/0/b", "cleared", now + 9, partition=0, source="b", missing_batches=0),
        _said("unpriced_usage/x", "raised", (1 << 40) + 99, meter="input", quantity="5", windows=1),
    ]
    found = interpret(words)
    assert found.gaps == ()
    assert [each.meter for each in found.unpriced] == ["input"]
    assert found.balance is not None
    assert found.balance.partitions == (PartitionBalance(0, 9, 5, 5, 3, None, None),)
    assert found.balance.codes == {"conflict": 2}


def test_a_period_is_open_then_in_grace_then_closed() -> None:
    grace = timedelta(hours=24)
    end = datetime(2026, 2, 1, tzinfo=UTC)
    assert period_state("2026-01", end - timedelta(seconds=1), grace) == "open"
    assert period_state("2026-01", end, grace) == "in grace"
    assert period_state("2026-01", end + grace, grace) == "closed"
    assert period_state("2026-01", None, grace) == ""


def test_durations_are_short() -> None:
    lengths = (timedelta(seconds=-3), timedelta(seconds=119), timedelta(minutes=119), timedelta(hours=47))
    assert [span(each) for each in (*lengths, timedelta(days=3))] == ["0 s", "119 s", "119 min", "47 h", "3 d"]


@pytest.mark.parametrize("width", [80, 120])
def test_the_screen_begins_with_the_verdicts_and_fits_the_terminal(width: int, monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Console(file=io.StringIO(), width=width, color_system=None, highlight=False, force_terminal=True)
    for module in (output, status_screen):
        monkeypatch.setattr(module, "console", terminal)
    signals = Signals((Gap(0, "gateway/" + "x" * 60, 1, 1, ((5, 5),), None),), balance=balance(stored=49))
    now = a_look(kafka(lag(500_000, 700)), store(signals=signals))
    show(screen(now, None, verdicts(now, None, SETTINGS), SETTINGS))
    assert isinstance(terminal.file, io.StringIO)
    lines = terminal.file.getvalue().splitlines()
    assert max(len(line) for line in lines) <= width
    assert lines[1].startswith("needs a person: tokenmill.workers is 11 min behind")
    text = "\n".join(lines)
    assert "does NOT add up" in text
    assert "500,000" in text
    assert "2026-02 open" in " ".join(text.split())


def test_without_kafka_and_clickhouse_the_command_says_so_and_ends_with_1(
    tokenmill: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("infra.cli.reach.COMMAND_S", 0.1)
    away = ("--kafka", "127.0.0.1:1", "--clickhouse", "http://127.0.0.1:1")
    ended = tokenmill("status", *away)
    assert ended.code == 1
    assert "needs a person: no Kafka answers at 127.0.0.1:1" in ended.out
    assert "needs a person: no ClickHouse answers at 127.0.0.1:1" in ended.out
    assert ended.err == ""
    found = json.loads(tokenmill("status", "--json", *away).out)
    assert [verdict["code"] for verdict in found["verdicts"]] == ["kafka_unreachable", "store_unreachable"]


def test_the_times_of_processes_are_shown_and_a_silent_one_needs_a_person() -> None:
    worker = ProcessTimes("a:1", True, transactions=Durations(1_234, 0.05, 0.25))
    sink = ProcessTimes("b:2", True, inserts=Durations(7, 0.1, inf))
    now = Look(NOW, kafka(), store=store(), processes=(worker, sink))
    stream = io.StringIO()
    for part in screen(now, None, (), SETTINGS):
        Console(file=stream, width=80).print(part)
    rows = [line.split() for line in stream.getvalue().splitlines()]
    assert ["a:1", "transactions", "1,234", "0.05", "s", "0.25", "s"] in rows
    assert ["b:2", "inserts", "7", "0.1", "s", "longer"] in rows
    assert not verdicts(now, None, SETTINGS)
    found = verdicts(replace(now, processes=(worker, ProcessTimes("c:3", False))), None, SETTINGS)
    assert [verdict.code for verdict in found] == ["process_silent"]
    assert "c:3" in found[0].what
    assert needs_a_person(found)
