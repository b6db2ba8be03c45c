"""What needs a person, and what to do about it: rules over a look, without any I/O. docs/operations.md explains each code."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final, Literal

from infra.cli.status.look import Gap, KafkaLook, Look, NotCounted, Signals, StoreLook
from infra.config import Settings
from sinks.kafka_log import group_of
from streams.transactions import group_id

STUCK: Final = timedelta(seconds=60)
"""Unread records older than this in a partition that does not move are a standstill."""
BEHIND: Final = timedelta(minutes=10)
"""Unread records older than this need a person even while the group moves."""
QUIET_TICKS: Final = 3
"""A partition without a record for so many tick intervals has no owner that ticks."""
EVENT_TIME_BEHIND: Final = timedelta(hours=24)
_SHOWN: Final = 3

Level = Literal["person", "note"]


@dataclass(frozen=True, slots=True)
class Verdict:
    """One thing to know: `person` needs somebody to act, `note` does not. `code` is stable; `what` and `do` are sentences."""

    level: Level
    code: str
    what: str
    do: str


_LETTER_ADVICE: Final = {
    "conflict": "a sender uses one id for two different events: find it by `source`",
    "undecodable": "a sender writes what is no event: see the original headers and bytes",
    "future_event": "a sender's clock is ahead: mend its time synchronisation",
    "too_late": "usage came after its period's state was dropped: find out where it was held back",
}


def verdicts(now: Look, before: Look | None, settings: Settings) -> tuple[Verdict, ...]:
    """Everything that a look gives reason to say: first what needs a person."""
    found = [
        *_reachability(now, settings),
        *(_kafka(now, before, settings) if now.kafka is not None else ()),
        *(_signals(now.signals) if now.signals is not None else ()),
        *(_store(now.store) if now.store is not None else ()),
    ]
    return tuple(sorted(found, key=lambda verdict: verdict.level != "person"))


def needs_a_person(found: tuple[Verdict, ...]) -> bool:
    """Whether anything does."""
    return any(verdict.level == "person" for verdict in found)


def _person(code: str, what: str, do: str) -> Verdict:
    return Verdict("person", code, what, do)


def _reachability(now: Look, settings: Settings) -> Iterator[Verdict]:
    if now.kafka is None:
        yield _person(
            "kafka_unreachable",
            now.kafka_error,
            "until it answers nothing is metered: producers spool; tokenmill doctor",
        )
    if now.store is None:
        yield _person(
            "store_unreachable",
            now.store_error,
            "rating goes on and the sinks wait; nothing is lost while Kafka keeps the records",
        )
    silent = [each.address for each in now.processes if not each.answers]
    if silent:
        yield _person(
            "process_silent",
            f"nothing answers at {_some(silent)}, where a worker or a sink should serve its metrics",
            "see whether it runs and what its log says; the addresses are those of TOKENMILL_METRICS_TARGETS",
        )


def _kafka(now: Look, before: Look | None, settings: Settings) -> Iterator[Verdict]:
    kafka = now.kafka
    if kafka is None:
        return
    for problem in kafka.other_logs:
        yield _person("log_changed", problem, "nothing follows a log by its name alone: see docs/operations.md")
    dead = {group.name for group in kafka.groups if group.alive is False}
    if group_id(settings) in dead:
        yield _person("no_worker", "no worker is running: usage is not rated", "start `tokenmill worker`")
    if group_of(settings) in dead:
        yield _person("no_sink", "no sink is running: nothing reaches ClickHouse", "start `tokenmill sink`")
    yield from _lag(now, before, dead)
    yield from _time(now, kafka, settings, group_id(settings) in dead)


def _lag(now: Look, before: Look | None, dead: set[str]) -> Iterator[Verdict]:
    """One verdict for each group and topic, naming its worst partition."""
    if now.kafka is None:
        return
    then = {}
    if before is not None and before.kafka is not None:
        then = {(each.group, each.topic, each.partition): each.position for each in before.kafka.lags}
    named: dict[tuple[str, str], tuple[datetime, int, bool]] = {}
    for each in now.kafka.lags:
        if not each.lag or each.oldest is None or each.group in dead:
            continue
        # Without an earlier look nobody knows whether it moves: give it the benefit of the doubt.
        moved = each.position != then.get((each.group, each.topic, each.partition), -1)
        age = now.at - each.oldest
        if age > BEHIND or (age > STUCK and not moved):
            worst = named.get((each.group, each.topic))
            if worst is None or each.oldest < worst[0]:
                named[each.group, each.topic] = (each.oldest, each.partition, moved)
        elif age > STUCK:
            named.setdefault((each.group, each.topic), (each.oldest, each.partition, True))
    for (group, topic), (oldest, partition, moved) in named.items():
        age = now.at - oldest
        lag = now.kafka.lag_of(group, topic)
        what = f"{group} is {span(age)} behind on {topic} ({lag:,} records, worst: partition {partition})"
        if not moved:
            yield _person(
                "stuck", f"{what} and does not move", "see whether its process runs and what its log says; restart it"
            )
        elif age > BEHIND:
            yield _person("behind", what, "start more processes, up to one a partition, and watch the rate")
        else:
            yield Verdict("note", "catching_up", what, "it moves: look again in a minute")


def _time(now: Look, kafka: KafkaLook, settings: Settings, no_worker: bool) -> Iterator[Verdict]:
    silence = timedelta(seconds=QUIET_TICKS * settings.tick_after_s)
    quiet: dict[int, timedelta] = {}
    behind: dict[int, timedelta] = {}
    for each in kafka.times:
        if each.last_record is None:
            continue
        if settings.tick_after_s and not no_worker and now.at - each.last_record > silence:
            quiet[each.partition] = now.at - each.last_record
        elif each.watermark is not None and each.last_record - each.watermark > EVENT_TIME_BEHIND:
            behind[each.partition] = each.last_record - each.watermark
    if quiet:
        yield _person(
            "no_ticks",
            f"{_partitions(quiet)} got no record for {span(max(quiet.values()))}, not even a tick: billing periods do not "
            "close there",
            "look for the worker that owns it; ticks come from workers with TOKENMILL_TICK_AFTER_S above 0",
        )
    if behind:
        yield Verdict(
            "note",
            "event_time_behind",
            f"event time is up to {span(max(behind.values()))} behind the log in {_partitions(behind)}",
            "right for a replay or a backlog; else a sender's clock or spool",
        )


def _partitions(found: Iterable[int]) -> str:
    """`partition 3`, or `partitions 1, 2, 3 and 9 more`."""
    numbers = sorted(found)
    more = f" and {len(numbers) - _SHOWN} more" if len(numbers) > _SHOWN else ""
    return f"partition{'' if len(numbers) == 1 else 's'} {', '.join(map(str, numbers[:_SHOWN]))}{more}"


def _signals(signals: Signals) -> Iterator[Verdict]:
    if signals.gaps:
        missing = sum(gap.missing for gap in signals.gaps)
        yield _person(
            "gaps",
            f"{missing:,} batches were sent and never arrived: {_some([_gap(gap) for gap in signals.gaps])}",
            "a proven loss: let the sender send its spool again under the same numbers; tokenmill tail signals --kind gap",
        )
    if signals.unpriced:
        named = [f"{each.quantity} {each.meter} of {each.tenant}" for each in signals.unpriced]
        yield _person(
            "unpriced",
            f"usage without a price: {_some(named)}",
            "publish a card version that prices it, or assign the tenant: it is rated then, nothing is lost",
        )
    if signals.cut_windows:
        yield Verdict(
            "note",
            "event_window_cut",
            f"the window of event ids was cut short in partition {_some([str(p) for p in signals.cut_windows])}",
            "raise TOKENMILL_DEDUP_BYTES: a single event sent again after that is counted twice until reconciliation",
        )
    balance = signals.balance
    if balance is not None and balance.adds_up is False:
        wrong = [
            f"partition {each.partition}: {each.read:,} read, {each.ended:,} ended, "
            f"{'?' if each.stored is None else format(each.stored, ',')} stored, {each.not_rated:,} not rated, "
            f"{'?' if each.put_aside is None else format(each.put_aside, ',')} put aside"
            for each in balance.partitions
            if each.adds_up is False
        ]
        yield _person(
            "balance", f"the balance does NOT add up: {_some(wrong)}", "run `tokenmill reconcile`: it names the rows"
        )


def _gap(gap: Gap) -> str:
    first = gap.ranges[0] if gap.ranges else None
    numbers = f" {first[0]}-{first[1]}" if first else ""
    return f"{gap.missing} of {gap.source}{numbers} in partition {gap.partition}"


def _store(store: StoreLook) -> Iterator[Verdict]:
    if store.missing_migrations:
        yield _person(
            "migrations",
            f"the tables lack migrations: {_some(list(store.missing_migrations))}",
            "run `tokenmill migrate`",
        )
    if store.unreadable:
        yield _person(
            "unreadable",
            f"{store.unreadable:,} records of our own topics cannot be read: somebody else writes there",
            "tokenmill query 'SELECT * FROM unreadable_records'; take away the right to write",
        )
    recent = [letter for letter in store.dead_letters if letter.recent]
    for letter in recent:
        yield _person(
            "dead_letters",
            f"{letter.recent:,} new dead letters {letter.name}, {letter.rows:,} in all",
            f"{_advice(letter)}; tokenmill tail dlq --code {letter.name}",
        )
    old = [letter for letter in store.dead_letters if not letter.recent]
    if old:
        named = [f"{letter.rows:,} {letter.name}" for letter in old]
        yield Verdict("note", "old_dead_letters", f"dead letters of earlier: {_some(named)}", "tokenmill tail dlq")


def _advice(letter: NotCounted) -> str:
    return _LETTER_ADVICE.get(letter.name, "a sender breaks the schema: the reason says which rule")


def _some(names: list[str]) -> str:
    more = len(names) - _SHOWN
    return "; ".join(names[:_SHOWN]) + (f" and {more} more" if more > 0 else "")


def span(length: timedelta) -> str:
    """A duration for people: `42 s`, `17 min`, `5 h`, `3 d`."""
    seconds = max(int(length.total_seconds()), 0)
    for unit, size in (("d", 86_400), ("h", 3_600), ("min", 60)):
        if seconds >= 2 * size:
            return f"{seconds // size} {unit}"
    return f"{seconds} s"
