"""Every setting by name: its variable, its place in a TOML file, its default; and names for names that are none."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping
from dataclasses import MISSING, dataclass, fields
from functools import cache
from typing import Any, Final

from infra.config.kinds import Kind
from infra.config.model import (
    CLICKHOUSE_ADDRESS,
    About,
    ClickHouseAddress,
    ClickHouseSettings,
    KafkaSettings,
    Settings,
)

PREFIX: Final = "TOKENMILL_"
CONFIG: Final = "config"
"""Names the TOML file; a variable and a flag, but nothing that a file could hold."""
TABLES: Final[Mapping[str, str]] = {
    "": "The deployment",
    "kafka": "Kafka",
    "clickhouse": "ClickHouse",
    "topics": "Topics",
    "rating": "Rating",
    "worker": "Workers",
    "emitter": "Emitters",
    "sink": "Sinks",
}
"""The tables of a TOML file with their titles; "" is the top level."""

_OTHER_VARIABLES: Final = ("faults", "fault_log", "require_kafka", "kafka_jars", "embedded_clickhouse_password", CONFIG)


@dataclass(frozen=True, slots=True)
class Setting:
    """One setting of the model. `name` is the variable's without prefix, in lower case."""

    name: str
    group: str
    """The attribute of `Settings` that holds it: "kafka", "clickhouse", or "" for `Settings` itself."""
    attribute: str
    """Its attribute there; "" for the address of ClickHouse, which is several."""
    table: str
    key: str
    default: object
    kind: Kind[Any]
    """Of any type: the catalogue holds settings of many."""
    help: str

    @property
    def variable(self) -> str:
        """The environment variable: `TOKENMILL_PARTITIONS`."""
        return PREFIX + self.name.upper()

    @property
    def toml(self) -> str:
        """Where a TOML file holds it: `[topics] partitions`."""
        return f"[{self.table}] {self.key}" if self.table else self.key

    @property
    def hidden(self) -> bool:
        """Whether its value holds a secret."""
        return self.kind.hidden is not None

    def shown(self, value: object) -> object:
        """The value as it may be shown: passwords masked."""
        return value if self.kind.hidden is None else self.kind.hidden(value)


@cache
def catalog() -> Mapping[str, Setting]:
    """All settings by name, in the order of the documentation."""
    found = [_named("kafka", "bootstrap", KafkaSettings, name="kafka"), *_of(KafkaSettings, "kafka")]
    found.append(Setting("clickhouse", "clickhouse", "", *_rest(CLICKHOUSE_ADDRESS, "url", ClickHouseAddress())))
    found += [*_of(ClickHouseSettings, "clickhouse"), *_of(Settings, "")]
    order = list(TABLES)
    found.sort(key=lambda setting: order.index(setting.table))
    return {setting.name: setting for setting in found}


def _of(model: type, group: str) -> Iterator[Setting]:
    for each in fields(model):
        if "about" in each.metadata and (group, each.name) != ("kafka", "bootstrap"):
            yield _named(group, each.name, model, name=f"{group}_{each.name}" if group else each.name)


def _named(group: str, attribute: str, model: type, *, name: str) -> Setting:
    found = next(each for each in fields(model) if each.name == attribute)
    default = found.default if found.default is not MISSING else {}
    said: About = found.metadata["about"]
    return Setting(name, group, attribute, *_rest(said, attribute, default, group))


def _rest(said: About, attribute: str, default: object, group: str = "") -> tuple[str, str, object, Kind[Any], str]:
    return said.table or group, said.key or attribute, default, said.kind, said.help


@cache
def by_place() -> Mapping[tuple[str, str], Setting]:
    """Settings by TOML table and key."""
    return {(setting.table, setting.key): setting for setting in catalog().values()}


def suggestion(name: str) -> Setting | None:
    """The setting that somebody may have meant, who wrote a name that is none; None when nothing is near."""
    plain = name.lower().replace("-", "_").removeprefix(PREFIX.lower())
    spellings = {setting.name: setting for setting in catalog().values()}
    for (table, key), setting in by_place().items():
        spellings.setdefault(f"{table}_{key}" if table else key, setting)
    if plain in spellings:
        return spellings[plain]
    close = difflib.get_close_matches(plain, spellings, n=1, cutoff=0.85)
    return spellings[close[0]] if close else None


def misspelled(variable: str) -> str | None:
    """The variable that somebody may have meant with one of our prefix that is none; None when it is all right.

    Variables that resemble no setting are left alone: Kubernetes adds TOKENMILL_SERVICE_HOST and so on.
    """
    name = variable.removeprefix(PREFIX).lower()
    if name in catalog() or name in _OTHER_VARIABLES:
        return None
    found = suggestion(name)
    if found is not None:
        return found.variable
    return PREFIX + CONFIG.upper() if difflib.get_close_matches(name, [CONFIG], cutoff=0.8) else None


def setting_names() -> tuple[str, ...]:
    """Every name that `load_settings` takes, for the command line and the documentation."""
    return tuple(catalog())
