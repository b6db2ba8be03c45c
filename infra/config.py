"""Configuration: one immutable `Settings`, read from the environment and from flags, checked as a whole.

Every setting is an environment variable `TOKENMILL_<NAME>`; a flag of the same name wins over it. The two addresses:

    TOKENMILL_KAFKA        host:port[,host:port...]
    TOKENMILL_CLICKHOUSE   http[s]://user:password@host:port/database

`TOKENMILL_KAFKA_OPTIONS` is a JSON object of librdkafka client properties, for TLS and SASL.
"""

from __future__ import annotations

import difflib
import json
import math
import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from urllib.parse import quote, unquote, urlsplit

from infra import faults
from infra.errors import ConfigurationError
from infra.topic_names import Topics

PREFIX = "TOKENMILL_"
GIB = 1024**3


@dataclass(frozen=True, slots=True)
class KafkaSettings:
    """How to reach Kafka: bootstrap servers (`host:port`, comma-separated) and further librdkafka client properties."""

    bootstrap: str = "127.0.0.1:9092"
    options: Mapping[str, str] = field(default_factory=dict, repr=False)


@dataclass(frozen=True, slots=True)
class ClickHouseSettings:
    """How to reach ClickHouse over HTTP. The password never appears in a repr."""

    host: str = "127.0.0.1"
    port: int = 8123
    user: str = "default"
    password: str = field(default="", repr=False)
    database: str = "tokenmill"
    secure: bool = False

    @property
    def url(self) -> str:
        """The address with the credentials, as `TOKENMILL_CLICKHOUSE` takes it. Not for logs."""
        scheme = "https" if self.secure else "http"
        host = f"[{self.host}]" if ":" in self.host else self.host
        credentials = f"{quote(self.user, safe='')}:{quote(self.password, safe='')}"
        return f"{scheme}://{credentials}@{host}:{self.port}/{quote(self.database, safe='')}"


@dataclass(frozen=True, slots=True)
class Settings:
    """All settings of one process. Names ending in `_s` are seconds, `_bytes` bytes, `_days` days."""

    kafka: KafkaSettings = field(default_factory=KafkaSettings)
    clickhouse: ClickHouseSettings = field(default_factory=ClickHouseSettings)
    deployment: str = "tokenmill"
    """Names this installation: consumer groups and transactional ids start with it."""
    topic_prefix: str = ""
    """Put before every topic's name, so that deployments can share a cluster."""
    data_dir: Path = Path(".tokenmill")
    """Where embedded parts and spools keep their files."""
    log_level: str = "info"
    partitions: int = 12
    """Partitions of every topic but the catalogue; fixed when the topics are created."""
    replication_factor: int = 0
    """Replicas of each partition; 0 means 3 on a cluster of at least three brokers, else 1."""
    window_minutes: int = 60
    """Length of the rating window: 60, 30 or 15; fixed when the deployment is created."""
    grace_hours: int = 24
    """How long after its end a billing period still takes late usage in."""
    future_limit_s: int = 300
    """An event this far ahead of its record's log time is quarantined."""
    state_days: int = 35
    """How long the state of a closed period is kept."""
    context_edges: tuple[int, ...] = (32_000, 64_000, 128_000, 200_000, 256_000, 512_000, 1_000_000)
    """Edges of the context brackets in input tokens; the only ones that rate cards may use."""
    flush_interval_s: float = 0.5
    """How often the worker commits a partition's changes."""
    dedup_bytes: int = GIB
    """Memory bound of the duplicate windows of all partitions together; each has an equal share."""
    tick_after_s: int = 300
    """A partition that is quiet for this long gets a tick from its owner, so that its periods close; 0 turns ticks off."""
    session_timeout_s: float = 6.0
    """A member of a consumer group that is silent for this long loses its partitions."""
    transaction_timeout_s: float = 15.0
    """A transaction left open by a dead worker is ended by the broker after this long."""
    batch_events: int = 1_000
    """At most this many events in one Kafka record."""
    batch_bytes: int = 512 * 1024
    """At most this many bytes in one Kafka record."""
    linger_s: float = 0.2
    """How long an emitter waits for a batch to fill."""
    sink_rows: int = 100_000
    """At most this many rows in one insert."""
    sink_interval_s: float = 0.5
    """How long a sink waits for an insert to fill."""
    metrics_address: str = ""
    """host:port where a process serves /metrics, /healthz and /readyz; empty is off, port 0 lets the system choose."""

    @property
    def topics(self) -> Topics:
        """The names of the topics of this deployment."""
        return Topics(self.topic_prefix)


def _whole(low: int, high: int) -> Callable[[str], int]:
    def parse(text: str) -> int:
        try:
            number = int(text)
        except ValueError:
            raise ValueError("not a whole number") from None
        if not low <= number <= high:
            raise ValueError(f"must be from {low} to {high}")
        return number

    return parse


def _seconds(low: float, high: float) -> Callable[[str], float]:
    def parse(text: str) -> float:
        try:
            number = float(text)
        except ValueError:
            raise ValueError("not a number of seconds") from None
        if not math.isfinite(number) or not low <= number <= high:
            raise ValueError(f"must be from {low:g} to {high:g} seconds")
        return number

    return parse


def _matching(pattern: str, meaning: str) -> Callable[[str], str]:
    def parse(text: str) -> str:
        if not re.fullmatch(pattern, text):
            raise ValueError(f"must be {meaning}")
        return text

    return parse


def _one_of(*choices: str) -> Callable[[str], str]:
    def parse(text: str) -> str:
        if text.lower() not in choices:
            raise ValueError(f"must be one of {', '.join(choices)}")
        return text.lower()

    return parse


def _window(text: str) -> int:
    if text not in ("60", "30", "15"):
        raise ValueError("must be 60, 30 or 15 minutes")
    return int(text)


def _edges(text: str) -> tuple[int, ...]:
    try:
        edges = tuple(int(part) for part in text.split(",")) if text.strip() else ()
    except ValueError:
        raise ValueError("must be whole numbers of tokens separated by commas") from None
    if any(edge <= 0 for edge in edges) or list(edges) != sorted(set(edges)) or len(edges) > 32:
        raise ValueError("must be at most 32 rising numbers above 0")
    return edges


def _path(text: str) -> Path:
    if not text or "\0" in text:
        raise ValueError("not a path")
    return Path(text).expanduser()


def _port(text: str) -> int:
    if not re.fullmatch(r"[0-9]{1,5}", text) or not 1 <= int(text) <= 65535:
        raise ValueError(f"port {text!r} is not a number from 1 to 65535")
    return int(text)


def _listen_address(text: str) -> str:
    if not text:
        return ""
    host, colon, port = text.rpartition(":")
    if not colon or not host or "/" in host or " " in host:
        raise ValueError("must be host:port, such as 127.0.0.1:9464 (port 0: the system chooses), or empty for off")
    if not re.fullmatch(r"[0-9]{1,5}", port) or int(port) > 65535:
        raise ValueError(f"port {port!r} is not a number from 0 to 65535")
    return text


def _bootstrap(text: str) -> str:
    servers = [server.strip() for server in text.split(",")]
    for server in servers:
        host, colon, port = server.rpartition(":")
        if not colon or not host or "/" in host:
            raise ValueError(f"{server!r} is not host:port")
        _port(port)
    return ",".join(servers)


def parse_clickhouse(text: str) -> ClickHouseSettings:
    """Read `http[s]://user:password@host:port/database`; what is left out takes ClickHouse's defaults.

    Raises ValueError that says what is wrong without repeating the password.
    """
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError:
        raise ValueError("not an address http://user:password@host:port/database") from None
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError("not an address http://user:password@host:port/database")
    if parts.query or parts.fragment:
        raise ValueError("takes no ? or # part; quote such characters in the password as %3F and %23")
    database = unquote(parts.path.strip("/")) or "tokenmill"
    if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]{0,62}", database):
        raise ValueError(f"{database!r} is not a database name (letters, digits and _)")
    secure = parts.scheme == "https"
    return ClickHouseSettings(
        host=parts.hostname,
        port=port if port else (8443 if secure else 8123),
        user=unquote(parts.username) if parts.username else "default",
        password=unquote(parts.password) if parts.password else "",
        database=database,
        secure=secure,
    )


def _options(text: str) -> Mapping[str, str]:
    try:
        options = json.loads(text)
    except ValueError:
        raise ValueError("not a JSON object") from None
    if not isinstance(options, dict) or not all(isinstance(value, str) for value in options.values()):
        raise ValueError('must be a JSON object of strings, such as {"security.protocol": "SASL_SSL"}')
    for owned in ("bootstrap.servers", "group.id", "transactional.id", "isolation.level", "enable.auto.commit"):
        if owned in options:
            raise ValueError(f"may not hold {owned}: tokenmill sets it")
    return options


_PARSERS: Mapping[str, Callable[[str], object]] = {
    "kafka": _bootstrap,
    "kafka_options": _options,
    "clickhouse": parse_clickhouse,
    "deployment": _matching(
        r"[a-z0-9][a-z0-9._-]{0,62}", "1 to 63 of a-z, 0-9, '.', '_', '-', beginning with a-z or 0-9"
    ),
    "topic_prefix": _matching(r"[A-Za-z0-9._-]{0,100}", "at most 100 of A-Z, a-z, 0-9, '.', '_', '-'"),
    "data_dir": _path,
    "log_level": _one_of("debug", "info", "warning", "error"),
    "partitions": _whole(1, 1024),
    "replication_factor": _whole(0, 9),
    "window_minutes": _window,
    "grace_hours": _whole(0, 24 * 28),
    "future_limit_s": _whole(0, 86_400),
    "state_days": _whole(1, 400),
    "context_edges": _edges,
    "flush_interval_s": _seconds(0.01, 60),
    "dedup_bytes": _whole(1024**2, 1024 * GIB),
    "tick_after_s": _whole(0, 86_400),
    "session_timeout_s": _seconds(1, 300),
    "transaction_timeout_s": _seconds(1, 900),
    "batch_events": _whole(1, 10_000),
    "batch_bytes": _whole(1024, 900 * 1024),
    "linger_s": _seconds(0, 3600),
    "sink_rows": _whole(1, 1_000_000),
    "sink_interval_s": _seconds(0.01, 3600),
    "metrics_address": _listen_address,
}
_SECRET = ("clickhouse", "kafka_options")


def load_settings(overrides: Mapping[str, str] | None = None, environ: Mapping[str, str] | None = None) -> Settings:
    """Settings from `environ` (default: this process's environment), each replaced by the override of its name.

    Overrides are keyed by setting name (`partitions`, `kafka`, ...), values are texts as in the environment. Raises
    ConfigurationError that lists every problem at once (`data["problems"]`), not only the first.
    """
    environ = os.environ if environ is None else environ
    texts = {name: environ[PREFIX + name.upper()] for name in _PARSERS if PREFIX + name.upper() in environ}
    problems = _misspelled(environ)
    for name, text in (overrides or {}).items():
        if name not in _PARSERS:
            problems.append(f"no setting is called {name!r}{_suggestion(name)}")
        texts[name] = text
    values: dict[str, object] = {}
    for name, text in texts.items():
        try:
            values[name] = _PARSERS[name](text) if name in _PARSERS else None
        except ValueError as error:
            shown = "" if name in _SECRET else f"={text!r}"
            problems.append(f"{PREFIX}{name.upper()}{shown}: {error}")
    try:
        faults.plan_from(environ)
    except ConfigurationError as error:
        problems.append(error.message)
    if problems:
        raise ConfigurationError("configuration: " + "; ".join(problems), problems=tuple(problems))
    return _assemble(values)


def _assemble(values: dict[str, object]) -> Settings:
    bootstrap = values.pop("kafka", KafkaSettings().bootstrap)
    options = values.pop("kafka_options", {})
    kafka = KafkaSettings(bootstrap, options)  # type: ignore[arg-type]  # the parsers' results, by construction
    return Settings(kafka=kafka, **values)  # type: ignore[arg-type]


def _misspelled(environ: Mapping[str, str]) -> list[str]:
    """Variables that nearly name a setting. Others are left alone: Kubernetes adds TOKENMILL_SERVICE_HOST and so on."""
    others = ("faults", "fault_log", "require_kafka", "kafka_jars")
    unknown = [name.removeprefix(PREFIX).lower() for name in environ if name.startswith(PREFIX)]
    return [
        f"{PREFIX}{name.upper()} is no setting{_suggestion(name)}"
        for name in unknown
        if name not in _PARSERS and name not in others and _suggestion(name)
    ]


def _suggestion(name: str) -> str:
    close = difflib.get_close_matches(name, _PARSERS, n=1, cutoff=0.85)
    return f", did you mean {close[0]}?" if close else ""


def setting_names() -> tuple[str, ...]:
    """Every name that `load_settings` takes, for the command line and the documentation."""
    return tuple(_PARSERS)


def environment(settings: Settings) -> dict[str, str]:
    """The variables that give a child process exactly these settings: `load_settings(environ=environment(s)) == s`."""
    texts = {
        "kafka": settings.kafka.bootstrap,
        "kafka_options": json.dumps(dict(settings.kafka.options)),
        "clickhouse": settings.clickhouse.url,
        "context_edges": ",".join(str(edge) for edge in settings.context_edges),
    }
    for each in fields(Settings):
        texts.setdefault(each.name, str(getattr(settings, each.name)))
    return {PREFIX + name.upper(): text for name, text in texts.items()}
