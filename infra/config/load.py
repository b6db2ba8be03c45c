"""Putting the sources together: flags over environment over TOML file over defaults, checked as a whole."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from infra import faults
from infra.config.catalog import CONFIG, PREFIX, Setting, catalog
from infra.config.model import ClickHouseAddress, ClickHouseSettings, KafkaSettings, Settings
from infra.config.secret_files import can_be_read_again, read_secret
from infra.config.security import clickhouse_problems, kafka_problems
from infra.config.sources import (
    DEFAULT_FILE,
    Given,
    Problems,
    from_environment,
    from_file,
    from_flags,
)
from infra.errors import ConfigurationError

_IN_FILES = {
    "kafka_password": "kafka_password_file",
    "kafka_key_password": "kafka_key_password_file",
    "clickhouse_password": "clickhouse_password_file",
}
"""Secrets, and the settings that name a file with each."""
DEFAULT = "default"


@dataclass(frozen=True, slots=True)
class Configuration:
    """Settings that passed every check, and where each of them comes from."""

    settings: Settings
    places: Mapping[str, str]
    """By name, for each setting that is not at its default: the flag, the variable, or the file and line."""
    file: Path | None = None
    """The TOML file that was read."""

    def place(self, name: str) -> str:
        """Where a setting's value comes from; `default` when nobody gave it."""
        return self.places.get(name, DEFAULT)

    def given(self, name: str) -> bool:
        """Whether somebody gave this setting."""
        return name in self.places


def load_settings(overrides: Mapping[str, str] | None = None, environ: Mapping[str, str] | None = None) -> Settings:
    """Settings from flags, environment and TOML file, the stronger ones first; see `read_configuration`."""
    return read_configuration(overrides, environ).settings


def read_configuration(
    overrides: Mapping[str, str] | None = None,
    environ: Mapping[str, str] | None = None,
    *,
    flags: Mapping[str, str] | None = None,
) -> Configuration:
    """The configuration of a process, each value from the strongest source that gives it.

    `overrides`: what flags gave, by setting name, as texts; `config` names the TOML file. `environ`: default is this
    process's environment, and only then `./tokenmill.toml` is read unasked; `TOKENMILL_CONFIG` names another file, and
    none when it is empty. `flags`: how messages should call an override that is not the flag of its name.

    Raises ConfigurationError that lists every problem at once (`data["problems"]`), not only the first.
    """
    overrides, problems = overrides or {}, Problems()
    path, named_by = _file(overrides, os.environ if environ is None else environ, look_around=environ is None)
    environ = os.environ if environ is None else environ
    given = [*from_flags(overrides, flags or {}, problems), *from_environment(environ, problems)]
    if path is not None:
        given += from_file(path, named_by, problems)
    chosen = _strongest(given)
    values = _parsed(chosen, problems)
    places = {name: each.place for name, each in chosen.items()}
    kafka, clickhouse = _kafka(values, chosen, places, problems), _clickhouse(values, chosen, places, problems)
    try:
        faults.plan_from(environ)
    except ConfigurationError as error:
        problems.append(error.message)
    if problems:
        lines = problems.in_order(path)
        message = lines[0] if len(lines) == 1 else "configuration: " + "; ".join(lines)
        raise ConfigurationError(message, problems=lines)
    own = {name: value for name, value in values.items() if not catalog()[name].group}
    settings = Settings(kafka=kafka, clickhouse=clickhouse, **own)  # type: ignore[arg-type]  # parsed by their kinds
    return Configuration(settings, places, path)


def _file(overrides: Mapping[str, str], environ: Mapping[str, str], *, look_around: bool) -> tuple[Path | None, str]:
    """The TOML file to read, and by what it was named."""
    if CONFIG in overrides:
        return Path(overrides[CONFIG]).expanduser(), "--config"
    variable = PREFIX + CONFIG.upper()
    if variable in environ:
        named = environ[variable]
        return (Path(named).expanduser(), variable) if named else (None, "")
    # A link that leads nowhere is a mistake too: reading it says so.
    there = look_around and (DEFAULT_FILE.exists() or DEFAULT_FILE.is_symlink())
    return (DEFAULT_FILE, "") if there else (None, "")


def _strongest(given: list[Given]) -> dict[str, Given]:
    chosen: dict[str, Given] = {}
    for each in given:
        if not each.text and catalog()[each.name].kind.empty_is_unset:
            continue
        if each.name not in chosen or chosen[each.name].strength < each.strength:
            chosen[each.name] = each
    return chosen


def _parsed(chosen: Mapping[str, Given], problems: Problems) -> dict[str, object]:
    values: dict[str, object] = {}
    for name, each in chosen.items():
        try:
            values[name] = catalog()[name].kind.parse(each.text)
        except ValueError as error:
            problems.append(f"{each.problem}: {error}")
    return values


def _kafka(
    values: dict[str, object], chosen: dict[str, Given], places: dict[str, str], problems: Problems
) -> KafkaSettings:
    for name in ("kafka_password", "kafka_key_password"):
        _from_file(name, values, chosen, places, problems)
    kafka = replace(KafkaSettings(), **_attributes("kafka", values))  # type: ignore[arg-type]  # parsed by their kinds
    if all(name in values for name in chosen if catalog()[name].group == "kafka"):
        problems.extend(kafka_problems(kafka, chosen))
    return kafka


def _clickhouse(
    values: dict[str, object], chosen: dict[str, Given], places: dict[str, str], problems: Problems
) -> ClickHouseSettings:
    address = values.get("clickhouse", ClickHouseAddress())
    assert isinstance(address, ClickHouseAddress)  # noqa: S101  # its kind parses nothing else
    for part, text, others in (
        ("user", address.user, ("clickhouse_user",)),
        ("password", address.password, ("clickhouse_password", "clickhouse_password_file")),
    ):
        if text is not None and _address_decides(part, others, values, chosen, places, problems):
            values[f"clickhouse_{part}"] = text
            places[f"clickhouse_{part}"] = chosen["clickhouse"].place
    _from_file("clickhouse_password", values, chosen, places, problems)
    where = {name: getattr(address, name) for name in ("host", "port", "database", "secure")}
    clickhouse = replace(ClickHouseSettings(), **where, **_attributes("clickhouse", values))  # type: ignore[arg-type]
    if all(name in values for name in chosen if catalog()[name].group == "clickhouse"):
        problems.extend(clickhouse_problems(clickhouse, chosen))
    return clickhouse


def _address_decides(
    part: str,
    others: tuple[str, ...],
    values: dict[str, object],
    chosen: dict[str, Given],
    places: dict[str, str],
    problems: Problems,
) -> bool:
    """Whether the address's own user or password holds: it does unless a stronger source gives that part alone."""
    strength = chosen["clickhouse"].strength
    for name in others:
        if name not in chosen:
            continue
        if chosen[name].strength > strength:
            return False
        if chosen[name].strength == strength:
            named = chosen["clickhouse"].place
            problems.append(f"{chosen[name].problem}: the address at {named} names a {part} too: keep one")
            return False
        _forget(name, values, chosen, places)
    return True


def _from_file(
    name: str, values: dict[str, object], chosen: dict[str, Given], places: dict[str, str], problems: Problems
) -> None:
    """Read a secret from the file that is named for it, if that is the stronger of the two."""
    in_file = _IN_FILES[name]
    if in_file not in chosen:
        return
    if name in chosen and chosen[name].strength == chosen[in_file].strength:
        problems.append(f"{chosen[in_file].problem}: {chosen[name].place} gives the same secret: keep one")
        return
    if name in chosen and chosen[name].strength > chosen[in_file].strength:
        _forget(in_file, values, chosen, places)
        return
    path = values.get(in_file)
    if not isinstance(path, Path):
        return
    _forget(name, values, chosen, places)
    try:
        values[name] = read_secret(path)
    except ValueError as error:
        problems.append(f"{chosen[in_file].problem}: {error}")
        return
    places[name] = f"{path}, named by {places[in_file]}"
    if not can_be_read_again(path):
        values[in_file] = None


def _forget(name: str, values: dict[str, object], chosen: dict[str, Given], places: dict[str, str]) -> None:
    values.pop(name, None)
    chosen.pop(name, None)
    places.pop(name, None)


def _attributes(group: str, values: Mapping[str, object]) -> dict[str, object]:
    return {
        catalog()[name].attribute: value
        for name, value in values.items()
        if catalog()[name].group == group and catalog()[name].attribute
    }


def value_of(settings: Settings, setting: Setting) -> object:
    """The value of one setting of the catalogue; of ClickHouse's address without user and password."""
    holder = getattr(settings, setting.group) if setting.group else settings
    return getattr(holder, setting.attribute) if setting.attribute else settings.clickhouse.address


def environment(settings: Settings) -> dict[str, str]:
    """The variables that give a child process exactly these settings: `load_settings(environ=environment(s)) == s`.

    Every variable is there, the empty ones too, so that nothing of this process's own environment or of a file in the
    child's directory shines through when they are put over it. A secret that was read from a file is handed on as that
    file: a restarted child sees a changed password, and the password stands in no environment. Other secrets are in the
    result: for the environment of a child, never for a command line or a log.
    """
    texts = {setting.name: setting.kind.format(value_of(settings, setting)) for setting in catalog().values()}
    for secret, in_file in _IN_FILES.items():
        if texts[in_file]:
            texts[secret] = ""
    texts[CONFIG] = ""
    return {PREFIX + name.upper(): text for name, text in texts.items()}
