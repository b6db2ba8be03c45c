"""Starting everything in order, handing it to the keeper, and the end."""

from __future__ import annotations

import gc
import time
from contextlib import ExitStack
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from infra import migrations
from infra import topics as kafka_topics
from infra.card_files import EXAMPLES
from infra.cli.cards import load_cards
from infra.cli.reach import SERVICE_S, require_kafka
from infra.cli.steps import Steps
from infra.cli.stopping import clean_up_on_signals
from infra.cli.up.directory import ENVIRONMENT_FILE, Directory, taken
from infra.cli.up.keeper import Keeper
from infra.cli.up.screen import Overview, Place, Screen
from infra.cli.up.stack import STARTERS, Running, Stack, services, start_store
from infra.cli.up.upkeep import readable
from infra.clickhouse import connect
from infra.config import PREFIX, ClickHouseSettings, Settings, environment
from infra.config.catalog import catalog
from infra.supervisor import Supervisor
from producers.control import ControlWriter, read_catalog
from schemas.control import DEFAULT_ACCOUNT

_AUTHOR: Final = "tokenmill up"
_DEFAULT_CARD: Final = "standard"
_PRICED_FROM: Final = datetime(2020, 1, 1, tzinfo=UTC)
_ADDRESSES: Final = ("kafka", "clickhouse")
_NOT_EXPORTED: Final = ("config", "data_dir", "metrics_address", "log_level", "flush_interval_s")
_IN_MEMORY: Final[dict[str, Any]] = {
    # When somebody tries things out, events of another time come: this machine's clock must not close their periods.
    "tick_after_s": 0,
    # Every flush writes the totals that changed anew, and nothing removes the old ones from memory.
    "flush_interval_s": 2.0,
}


@dataclass(frozen=True, slots=True)
class Wanted:
    """What the command was asked for. `broker`: embedded, apache or configured; `log_limit` in bytes."""

    broker: str
    own_store: bool
    workers: int
    sinks: int
    log_limit: int
    reset: bool
    given: frozenset[str] = frozenset()
    """Settings that were given: they hold, whatever suits an embedded broker."""


def run(settings: Settings, wanted: Wanted, *, data_dir: Path, as_json: bool) -> None:
    """Run the stack until a signal. Raises TokenmillError when it cannot be started or kept running."""
    clean_up_on_signals()
    settings = replace(settings, data_dir=data_dir.absolute())
    if wanted.broker == "embedded":
        settings = replace(settings, **{name: value for name, value in _IN_MEMORY.items() if name not in wanted.given})
    screen = Screen(as_json=as_json)
    with taken(settings.data_dir, wanted.broker, reset=wanted.reset, own_store=wanted.own_store) as directory:
        try:
            with ExitStack() as parts:
                _run(settings, wanted, directory, parts, screen)
        finally:
            directory.stopped(wanted.broker)
            gc.freeze()  # or the interpreter walks all that was imported once more before it ends


def _run(settings: Settings, wanted: Wanted, directory: Directory, parts: ExitStack, screen: Screen) -> None:
    remarks: list[str] = []
    with Steps() as steps:
        stack = _start(settings, wanted, directory, parts, steps, remarks)
        supervisor = Supervisor(time.monotonic)
        keeper = parts.enter_context(Keeper(stack, supervisor, screen, wanted.log_limit))
        parts.callback(keeper.stop)
        steps.step(f"starting {_counted(wanted.workers, 'worker')} and {_counted(wanted.sinks, 'sink')}")
        environ = exported(stack.settings)
        directory.note(wanted.broker, environ)
        ready = keeper.until_ready()
    if ready:
        screen.ready(_overview(stack, wanted, directory, environ, remarks))
        keeper.until_asked()


def _start(
    settings: Settings, wanted: Wanted, directory: Directory, parts: ExitStack, steps: Steps, remarks: list[str]
) -> Stack:
    broker: Running | None = None
    store: Running | None = None
    if wanted.broker in STARTERS:
        steps.step(f"starting {'Apache Kafka' if wanted.broker == 'apache' else 'the embedded broker'}")
        kafka, broker = STARTERS[wanted.broker](directory, parts)
        settings = replace(settings, kafka=kafka)
    else:
        require_kafka(settings, SERVICE_S)
    if wanted.own_store:
        steps.step("starting the embedded ClickHouse")
        started, store = start_store(directory, parts)
        settings = replace(settings, clickhouse=started.settings(settings.clickhouse.database))
    steps.step("creating topics and tables")
    kafka_topics.apply(settings)
    migrations.apply(connect(settings.clickhouse, database=""), settings.clickhouse.database)
    if broker is not None and not read_catalog(settings).cards:
        steps.step("publishing the example rate cards")
        remarks.append(_publish_examples(settings))
    running = services(settings, directory, wanted.workers, wanted.sinks)
    settings = replace(settings, metrics_targets=tuple(service.metrics for service in running))
    return Stack(settings, broker, store, running)


def _publish_examples(settings: Settings) -> str:
    cards = [card for _, card in load_cards(sorted(EXAMPLES.glob("*.yaml")), settings)]
    with ControlWriter(settings, _AUTHOR) as writer:
        writer.publish_cards([card.document() for card in cards])
        writer.assign(DEFAULT_ACCOUNT, _DEFAULT_CARD, _PRICED_FROM)
    names = ", ".join(card.id for card in cards)
    return (
        f"The log is new: the example rate cards ({names}) are published, {_DEFAULT_CARD} prices every tenant without a "
        "card of its own."
    )


def exported(settings: Settings) -> dict[str, str]:
    """The variables that point another process at what runs here: no secrets, and nothing that is as it is by default."""
    ours, defaults = environment(settings), environment(Settings())
    secret = {name for name, setting in catalog().items() if setting.hidden} - set(_ADDRESSES)
    if settings.clickhouse.password:
        secret.add("clickhouse")
    chosen = {}
    for name in (*_ADDRESSES, *sorted(catalog())):
        variable = f"{PREFIX}{name.upper()}"
        differs = name in _ADDRESSES or ours[variable] != defaults[variable]
        if differs and name not in secret and name not in _NOT_EXPORTED:
            chosen[variable] = ours[variable]
    return chosen


def _overview(
    stack: Stack, wanted: Wanted, directory: Directory, environ: dict[str, str], remarks: list[str]
) -> Overview:
    kinds = {
        "embedded": f"in memory, at most {readable(wanted.log_limit)}: gone when this stops; "
        f"workers commit every {stack.settings.flush_interval_s:g} s",
        "apache": f"Apache Kafka, its log is kept in {directory.apache}",
        "configured": "as configured",
    }
    kept = f"its data stay in {directory.store}" if stack.store is not None else "as configured"
    places = [
        Place("Kafka", stack.settings.kafka.bootstrap, kinds[wanted.broker], _log(stack.broker)),
        Place("ClickHouse", _shown(stack.settings.clickhouse), kept, _log(stack.store)),
    ]
    for service in stack.services:
        places.append(Place(service.name, f"http://{service.metrics}/metrics", "", service.log))
    logs = f"Logs: {directory.logs}"
    return Overview(tuple(places), environ, directory.path / ENVIRONMENT_FILE, (*remarks, logs))


def _log(running: Running | None) -> Path | None:
    return None if running is None else running.log


def _shown(clickhouse: ClickHouseSettings) -> str:
    scheme = "https" if clickhouse.secure else "http"
    return f"{scheme}://{clickhouse.host}:{clickhouse.port}/{clickhouse.database}"


def _counted(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"
