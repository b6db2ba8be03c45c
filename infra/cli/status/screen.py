"""A look for people: the verdicts first, then the figures behind them. Fits 80 columns."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from math import inf

from rich.console import RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from infra.cli.output import console, table
from infra.cli.status.look import KafkaLook, Look, NotCounted, StoreLook, events_per_second, rates
from infra.cli.status.verdicts import Verdict, span
from infra.config import Settings
from rating.windows import period_end

_WORST = 5


def screen(now: Look, before: Look | None, found: tuple[Verdict, ...], settings: Settings) -> list[RenderableType]:
    """Everything, part by part."""
    return list(_parts(now, before, found, settings))


def _parts(now: Look, before: Look | None, found: tuple[Verdict, ...], settings: Settings) -> Iterator[RenderableType]:
    yield Text(f"{settings.deployment} at {now.at:%Y-%m-%d %H:%M:%S} UTC", style="dim")
    yield from _verdicts(found)
    if now.kafka is not None:
        yield _lag(now, before, now.kafka)
        yield Text()
        yield _times(now, now.kafka)
        if len(now.kafka.times) > _WORST:
            yield Text(f"  and {len(now.kafka.times) - _WORST} partitions with later watermarks", style="dim")
    if now.signals is not None and now.signals.balance is not None:
        yield from _balance(now)
    if now.store is not None:
        yield from _not_counted("Dead letters", "code", now.store.dead_letters, now)
        yield from _not_counted("Excluded rows", "outcome", now.store.exclusions, now)
        yield from _periods(now, now.store, settings)
        yield from _size(now, before, now.store)
    yield from _process_times(now)


def _verdicts(found: tuple[Verdict, ...]) -> Iterator[RenderableType]:
    persons = [verdict for verdict in found if verdict.level == "person"]
    if not persons:
        yield Text("nothing needs a person", style="bold green")
    for verdict in persons:
        yield Text.assemble(("needs a person: ", "bold red"), verdict.what)
        yield _advice(verdict)
    for verdict in found:
        if verdict.level == "note":
            yield Text.assemble(("note: ", "bold yellow"), verdict.what)
            yield _advice(verdict)
    yield Text()


def _advice(verdict: Verdict) -> RenderableType:
    text = Text(verdict.do, style="dim")
    return Padding(text, (0, 0, 0, 2)) if console.is_terminal else Text.assemble("  ", text)


def _lag(now: Look, before: Look | None, kafka: KafkaLook) -> Table:
    speeds = {(rate.group, rate.topic): rate.per_second for rate in rates(before, now)}
    shown = table(
        "Lag: records not read yet",
        "group, topic",
        "lag",
        "worst\npartition",
        "its\nlag",
        "oldest\nunread",
        "records\nper s",
    )
    for group in kafka.groups:
        state = "" if group.alive is None else ": [red]nobody[/]"
        if group.members:
            state = f": {group.members} process{'' if group.members == 1 else 'es'}"
        shown.add_row(f"[bold]{group.name}[/]{state}", f"{kafka.lag_of(group.name):,}")
        topics = dict.fromkeys(lag.topic for lag in kafka.lags if lag.group == group.name)
        for topic in topics:
            lags = [lag for lag in kafka.lags if (lag.group, lag.topic) == (group.name, topic)]
            worst = max(lags, key=lambda lag: lag.lag)
            oldest = min((lag.oldest for lag in lags if lag.oldest is not None), default=None)
            speed = speeds.get((group.name, topic))
            shown.add_row(
                f"  {topic}",
                f"{sum(lag.lag for lag in lags):,}",
                str(worst.partition) if worst.lag else "",
                f"{worst.lag:,}" if worst.lag else "",
                "" if oldest is None else span(now.at - oldest),
                "" if speed is None else f"{speed:,.0f}",
            )
    return shown


def _times(now: Look, kafka: KafkaLook) -> Table:
    shown = table("Event time", "partition", "watermark", "age", "last record", "position", text=["watermark"])
    times = sorted(kafka.times, key=lambda each: each.watermark or datetime.max.replace(tzinfo=UTC))
    for each in times[:_WORST]:
        shown.add_row(
            str(each.partition),
            "no event yet" if each.watermark is None else f"{each.watermark:%Y-%m-%d %H:%M:%S}",
            "" if each.watermark is None else span(now.at - each.watermark),
            "" if each.last_record is None else f"{span(now.at - each.last_record)} ago",
            "" if each.position is None else f"{each.position:,}",
        )
    return shown


def _balance(now: Look) -> Iterator[RenderableType]:
    balance = None if now.signals is None else now.signals.balance
    if balance is None:
        return
    words = {
        True: ("adds up", "green"),
        False: ("does NOT add up", "red"),
        None: ("adds up as far as it could be compared", "yellow"),
    }
    done = sum(1 for each in balance.partitions if each.adds_up is not None)
    word, colour = words[balance.adds_up] if done else ("was not compared", "yellow")
    shown = table("Balance", "", "rows")
    shown.add_row("read", f"{balance.read:,}")
    for name, number in balance.outcomes.items():
        if number or name == "rated":
            shown.add_row(f"  {name.replace('_', ' ')}", f"{number:,}")
    for code, number in balance.codes.items():
        shown.add_row(f"    {code}", f"{number:,}")
    yield Text()
    yield shown
    compared = f"; {done} of {len(balance.partitions)} partitions compared with ClickHouse"
    yield Text.assemble("  the balance ", (word, f"bold {colour}"), compared)


def _not_counted(title: str, name: str, found: tuple[NotCounted, ...], now: Look) -> Iterator[RenderableType]:
    if not found:
        return
    shown = table(title, name, "rows", "new", "last")
    for each in found:
        last = "" if each.last is None else f"{span(now.at - each.last)} ago"
        shown.add_row(each.name, f"{each.rows:,}", f"{each.recent:,}", last)
    yield Text()
    yield shown


def _periods(now: Look, store: StoreLook, settings: Settings) -> Iterator[RenderableType]:
    watermark = None if now.kafka is None else now.kafka.slowest
    grace = timedelta(hours=settings.grace_hours)
    shown = table("Billing periods", "period", "is", "tenants", "last rated", text=["is"])
    for each in store.periods:
        shown.add_row(
            each.period,
            period_state(each.period, watermark, grace),
            f"{each.tenants:,}",
            "" if each.last_rated is None else f"{span(now.at - each.last_rated)} ago",
        )
    if store.periods:
        yield Text()
        yield shown


def period_state(period: str, watermark: datetime | None, grace: timedelta) -> str:
    """`open`, `in grace` or `closed`, by the slowest partition's event time; "" where that is not known."""
    if watermark is None:
        return ""
    end = period_end(period)
    if watermark < end:
        return "open"
    return "in grace" if watermark < end + grace else "closed"


def _size(now: Look, before: Look | None, store: StoreLook) -> Iterator[RenderableType]:
    rows, size = sum(each.rows for each in store.tables), sum(each.bytes for each in store.tables)
    largest = max(store.tables, key=lambda each: each.bytes, default=None)
    yield Text()
    line = f"ClickHouse holds {rows:,} rows in {_bytes(size)}"
    if largest is not None and largest.bytes:
        line += f", most of it in {largest.name} ({largest.rows:,} rows)"
    yield Text(line)
    speed = events_per_second(before, now)
    if speed is not None:
        yield Text(f"{speed:,.0f} usage events per second were stored during this look")
    if store.inserts is not None:
        each = store.inserts
        yield Text(
            f"{each.inserts:,} inserts of {each.rows:,} rows in the last 10 min, half within {each.p50_s:.2f} s, "
            f"99 % within {each.p99_s:.2f} s"
        )


def _process_times(now: Look) -> Iterator[RenderableType]:
    if not any(each.transactions or each.inserts for each in now.processes):
        return
    shown = table(
        "Transactions and inserts", "process", "what", "number", "half\nwithin", "99 %\nwithin", text=["what"]
    )
    for each in now.processes:
        for what, took in (("transactions", each.transactions), ("inserts", each.inserts)):
            if took is not None:
                shown.add_row(each.address, what, f"{took.count:,}", _within(took.p50_s), _within(took.p99_s))
    yield Text()
    yield shown


def _within(bound_s: float) -> str:
    return "longer" if bound_s == inf else f"{bound_s:g} s"


def _bytes(size: int) -> str:
    for unit, each in (("TiB", 1 << 40), ("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)):
        if size >= each:
            return f"{size / each:,.1f} {unit}"
    return f"{size} B"


def show(parts: list[RenderableType]) -> None:
    """Print them. In a pipe a sentence stays one line, for `grep`."""
    for part in parts:
        console.print(part, soft_wrap=isinstance(part, Text) and not console.is_terminal)
