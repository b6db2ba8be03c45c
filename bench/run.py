"""`make bench`: how fast the parts are, and how many times a plain per-event Faust agent a worker is."""

from __future__ import annotations

import os
import platform
import signal
import sys
import tempfile
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import cast

import click
import orjson

from bench.brokers import Choice, broker
from bench.events import SHAPES, BenchEvents, Place, Tokens
from bench.report import Repetition, Setting, document, text
from bench.rounds import PlainAgent, Round, tokenmill_round
from bench.screen import Screen
from infra.config import KafkaSettings, Settings
from infra.embedded.clickhouse.process import EmbeddedClickHouse
from infra.errors import TokenmillError
from infra.logs import configure_logging

_SHOWN_DIFFERENCES = 5
_EVENTS = {"few": 1_000_000, "many": 400_000}


@click.command(
    epilog="""\b
Examples:
  python -m bench.run
  python -m bench.run --keys many                 50,000 usage keys that change all the time
  python -m bench.run --events 200000 --repeat 1  a quick look
  python -m bench.run --broker embedded --json bench.json"""
)
@click.option(
    "--events",
    type=click.IntRange(20_000),
    help="events of a repetition  [default: 1000000, with --keys many 400000]",
)
@click.option(
    "--plain-events",
    type=click.IntRange(1_000),
    default=40_000,
    show_default=True,
    help="as many of them are read by the plain agent, and by the warm-up",
)
@click.option("--repeat", type=click.IntRange(1), default=3, show_default=True, help="repetitions, in turns")
@click.option(
    "--keys",
    type=click.Choice(sorted(SHAPES)),
    default="few",
    show_default=True,
    help="few: a mixed workload of 24 tenants; many: 50,000 live usage keys, where a worker's cost is per key and flush",
)
@click.option(
    "--broker",
    "choice",
    type=click.Choice(["auto", "apache", "embedded"]),
    default="auto",
    show_default=True,
    help="auto: Apache Kafka from its Maven jars where java and mvn are, else the embedded broker",
)
@click.option("--json", "json_file", type=click.Path(path_type=Path, dir_okay=False), help="write all figures there")
def main(events: int | None, plain_events: int, repeat: int, keys: str, choice: str, json_file: Path | None) -> None:
    """Measure produce, rate and store beside a plain Faust agent, on one broker, in one run.

    Everything is warmed up once, then measured in turns. The totals of tokenmill and of the plain agent over the same
    events have to be equal: exit code 1 if they are not. Progress goes to stderr. Needs about 1 KB of memory an event.
    """
    configure_logging("warning")
    # As Ctrl-C: everything that was started is stopped.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    count = events or _EVENTS[keys]
    try:
        problems = _bench(count, min(plain_events, count), repeat, keys, cast("Choice", choice), json_file)
    except TokenmillError as error:
        click.echo(f"bench: {error.message}", err=True)
        sys.exit(error.exit_code)
    sys.exit(1 if problems else 0)


def _bench(count: int, plain_count: int, repeat: int, keys: str, choice: Choice, json_file: Path | None) -> list[str]:
    screen = Screen()
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else None
    with ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="tokenmill-bench-")))
        screen.say(f"making {count:,} events")
        events = BenchEvents(SHAPES[keys], count)
        screen.say(f"{len(events.batches):,} batches are made; starting a broker and ClickHouse")
        bootstrap, broker_words = stack.enter_context(broker(choice, directory / "kafka"))
        store = stack.enter_context(EmbeddedClickHouse(directory / "clickhouse"))
        # No ticks: time is that of the events.
        base = Settings(
            kafka=KafkaSettings(bootstrap), clickhouse=store.settings(), data_dir=directory / "data", tick_after_s=0
        )
        plain = PlainAgent(base, events, plain_count, screen)
        screen.stage = "warm-up"
        sample_round = tokenmill_round(base, "warmup", events, plain_count, screen)
        problems = differences("the plain agent, warm-up", plain.run("warmup")[1], sample_round.totals)
        expected = events.totals()
        repetitions: list[Repetition] = []
        for number in range(1, repeat + 1):
            screen.stage = f"repetition {number} of {repeat}"
            done = tokenmill_round(base, f"r{number}", events, count, screen)
            sample, totals = plain.run(f"r{number}")
            repetitions.append(Repetition(done.produce, done.rate, done.store, sample))
            problems += differences(f"tokenmill, repetition {number}", done.totals, expected)
            problems += differences(f"the plain agent, repetition {number}", totals, sample_round.totals)
            screen.say(_in_short(repetitions[-1]))
        setting = _setting(events, plain_count, keys, broker_words, base, done, repeat, load)
        print(text(setting, repetitions, problems, len(sample_round.totals)))
        if json_file is not None:
            content = document(setting, repetitions, problems, len(sample_round.totals))
            json_file.write_bytes(orjson.dumps(content, option=orjson.OPT_INDENT_2))
    return problems


def differences(who: str, found: Mapping[Place, Tokens], expected: Mapping[Place, Tokens]) -> list[str]:
    """A line for each of the first few places where `found` is not what was expected."""
    none = Tokens(0, 0, 0, 0)
    wrong = [place for place in sorted({*found, *expected}) if found.get(place, none) != expected.get(place, none)]
    lines = [
        f"{who}: {', '.join(place)}: {found.get(place, none)}, expected {expected.get(place, none)}"
        for place in wrong[:_SHOWN_DIFFERENCES]
    ]
    return [*lines, f"{who}: {len(wrong)} of {len(expected)} differ"] if wrong else []


def _in_short(repetition: Repetition) -> str:
    return (
        f"produce {repetition.produce.per_second:,.0f}, rate {repetition.rate.per_second:,.0f}, "
        f"store {repetition.store.per_second:,.0f}, plain {repetition.plain.per_second:,.0f} per second, "
        f"ratio {repetition.ratio:.1f}"
    )


def _setting(
    events: BenchEvents,
    plain_count: int,
    keys: str,
    broker_words: str,
    base: Settings,
    last: Round,
    repeat: int,
    load: float | None,
) -> Setting:
    return Setting(
        broker=broker_words,
        cores=os.cpu_count() or 1,
        python=platform.python_version(),
        partitions=base.partitions,
        keys=keys,
        usage_keys=events.usage_keys(),
        events=events.count,
        plain_events=plain_count,
        events_per_record=events.count / last.records,
        rated_records=last.rated_records,
        repetitions=repeat,
        busy_cores=load,
    )


if __name__ == "__main__":
    main()
