"""`tokenmill up`: the whole stack, kept running on this machine."""

import re
from pathlib import Path

import click

from infra.cli.options import with_settings
from infra.config import Settings

_UNITS = {"": 1, "b": 1, "kib": 1024, "mib": 1024**2, "gib": 1024**3, "kb": 1000, "mb": 1000**2, "gb": 1000**3}


class Size(click.ParamType):
    """A number of bytes: 2GiB, 500MB."""

    name = "size"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """The number of bytes of a text."""
        if isinstance(value, int):
            return value
        found = re.fullmatch(r"\s*([0-9]{1,12})\s*([A-Za-z]*)\s*", str(value))
        if found is None or found[2].lower() not in _UNITS:
            self.fail(f"{value!r} is not a size such as 2GiB or 500MiB", param, ctx)
        return int(found[1]) * _UNITS[found[2].lower()]


@click.command(
    epilog="""\b
Examples:
  tokenmill up                        all embedded, the log in memory
  tokenmill up --broker apache        Apache Kafka: goes on where it stopped
  tokenmill up --workers 3 --sinks 2
  tokenmill up --kafka broker:9092    starts what is not there yet
  tokenmill up --reset                delete what earlier runs left"""
)
@click.option(
    "--broker",
    type=click.Choice(["embedded", "apache", "configured"]),
    default=None,
    help="embedded: the log in memory, gone at the end; apache: Apache Kafka from its Maven jars, its log kept in the data "
    "directory (needs Java 17 and Maven); configured: the one that --kafka or TOKENMILL_KAFKA names.  "
    "[default: configured if one is named, else embedded]",
)
@click.option("--workers", type=click.IntRange(1, 64), default=1, show_default=True, help="number of workers")
@click.option("--sinks", type=click.IntRange(1, 64), default=1, show_default=True, help="number of sinks")
@click.option(
    "--log-limit", type=Size(), default="2GiB", show_default=True, help="stop when the embedded broker has more memory"
)
@click.option("--reset", is_flag=True, help="delete the embedded store and logs that earlier runs and demos left")
@click.option("--json", "as_json", is_flag=True, help="print what happens as JSON, one object a line")
@with_settings("kafka", "clickhouse", "data_dir", "deployment", logs="warning")
def up(
    settings: Settings, broker: str | None, workers: int, sinks: int, log_limit: int, reset: bool, as_json: bool
) -> None:
    """Run Kafka, ClickHouse, workers and sinks until Ctrl-C, and keep them running.

    A process that dies is started again, after a wait that doubles with each failure in a row; one that cannot be kept
    alive ends everything with exit code 1 and its last lines. What Kafka and ClickHouse the configuration names is used,
    the rest is embedded. On a new embedded broker the example rate cards are published, and price every tenant.
    """
    from infra.cli.options import was_given
    from infra.cli.up.run import Wanted, run

    chosen = broker or ("configured" if was_given("kafka") else "embedded")
    if chosen == "configured" and not was_given("kafka"):
        raise click.UsageError("--broker configured: name it with --kafka or TOKENMILL_KAFKA")
    wanted = Wanted(
        broker=chosen,
        own_store=not was_given("clickhouse"),
        workers=workers,
        sinks=sinks,
        log_limit=log_limit,
        reset=reset,
        given=frozenset(name for name in ("tick_after_s", "flush_interval_s") if was_given(name)),
    )
    run(settings, wanted, data_dir=Path(settings.data_dir), as_json=as_json)
