"""The settings of a process, typed: each with its default, what it allows and what it means, in one place.

Everything else is derived from here: the names of environment variables and TOML keys (`infra.config.catalog`), the
checks, `tokenmill config`, the JSON Schema and `docs/configuration.md`.
"""

# ruff: noqa: RUF009  # `setting` is dataclasses.field with our metadata

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar
from urllib.parse import quote, unquote, urlsplit

from infra.config import kinds
from infra.config.kinds import MASK, Kind
from infra.topic_names import Topics

T = TypeVar("T")
GIB = 1024**3
DEFAULT_MECHANISM = "SCRAM-SHA-512"
"""How a user proves who it is when nothing says otherwise: without sending the password."""


@dataclass(frozen=True, slots=True)
class About:
    """What the model says about one setting, beside its name and default."""

    kind: Kind[object]
    help: str
    table: str = ""
    key: str = ""


def about(kind: Kind[T], help: str, *, table: str = "", key: str = "") -> dict[str, About]:
    """The metadata of a field: its kind, its meaning, and where in a TOML file it is written.

    `table` is "" for the top level, `key` defaults to the field's name.
    """
    return {"about": About(kind, help, table, key)}  # type: ignore[arg-type]  # kinds of many types side by side


def setting(default: T, kind: Kind[T], help: str, *, table: str = "", key: str = "") -> T:
    """A field of the model; values that hold secrets stay out of its repr."""
    return field(default=default, repr=kind.hidden is None, metadata=about(kind, help, table=table, key=key))


@dataclass(frozen=True, slots=True)
class KafkaSettings:
    """How to reach Kafka. Secrets never appear in a repr."""

    bootstrap: str = setting("127.0.0.1:9092", kinds.servers(), "Kafka's bootstrap servers.")
    options: Mapping[str, str] = field(
        default_factory=dict,
        repr=False,
        metadata=about(
            kinds.kafka_options(),
            "Further librdkafka client properties. What they say about TLS and SASL also holds for the workers' consumers.",
        ),
    )
    security_protocol: str = setting(
        "",
        kinds.one_of("PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL", empty_is_unset=True),
        "How to talk to the brokers: SSL is TLS, SASL is with a user. Empty: PLAINTEXT.",
    )
    sasl_mechanism: str = setting(
        "",
        kinds.one_of("PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512", empty_is_unset=True),
        f"How the user proves who it is. Empty: {DEFAULT_MECHANISM}.",
    )
    user: str = setting("", kinds.optional_text("a user name"), "User for SASL.")
    password: str = setting("", kinds.secret(), "Password of the user. Better: in a file, see password_file.")
    password_file: Path | None = setting(
        None, kinds.optional_file(), "File that holds the password of the user; a final newline is left out."
    )
    ca_file: Path | None = setting(
        None,
        kinds.optional_file(),
        "CA certificates (PEM) that the brokers' certificates are checked with. Empty: the system's.",
    )
    certificate_file: Path | None = setting(
        None, kinds.optional_file(), "Client certificate (PEM) to show to the brokers; goes with key_file."
    )
    key_file: Path | None = setting(None, kinds.optional_file(), "Private key (PEM) of the client certificate.")
    key_password: str = setting(
        "", kinds.secret(), "Password of the private key. Better: in a file, see key_password_file."
    )
    key_password_file: Path | None = setting(
        None, kinds.optional_file(), "File that holds the password of the private key; a final newline is left out."
    )
    verify: bool = setting(
        True,
        kinds.boolean(),
        "Whether the brokers' certificates and host names are checked. false lets anybody in between read and change all.",
    )

    @property
    def properties(self) -> dict[str, str]:
        """librdkafka's client properties of these settings, without the bootstrap servers. Holds secrets."""
        named = {
            "security.protocol": self.security_protocol,
            "sasl.mechanism": self.sasl_mechanism,
            "sasl.username": self.user,
            "sasl.password": self.password,
            "ssl.ca.location": "" if self.ca_file is None else str(self.ca_file),
            "ssl.certificate.location": "" if self.certificate_file is None else str(self.certificate_file),
            "ssl.key.location": "" if self.key_file is None else str(self.key_file),
            "ssl.key.password": self.key_password,
            "enable.ssl.certificate.verification": "" if self.verify else "false",
        }
        found = {name: value for name, value in named.items() if value} | dict(self.options)
        with_user = found.get("security.protocol", "").upper().startswith("SASL")
        if with_user and not found.keys() & {"sasl.mechanism", "sasl.mechanisms"}:
            # librdkafka's own default is Kerberos, which is no default for anybody who has a user and a password.
            found["sasl.mechanism"] = DEFAULT_MECHANISM
        return found


@dataclass(frozen=True, slots=True)
class ClickHouseAddress:
    """What `http[s]://user:password@host:port/database` says; None for a user or password that it does not name."""

    host: str = "127.0.0.1"
    port: int = 8123
    database: str = "tokenmill"
    secure: bool = False
    user: str | None = None
    password: str | None = field(default=None, repr=False)

    def text(self, password: str | None = None) -> str:
        """The address as it is written, with `password` in place of its own."""
        credentials = ""
        if self.user is not None:
            credentials = quote(self.user, safe="")
        if self.password is not None:
            credentials += ":" + (quote(self.password, safe="") if password is None else password)
        host = f"[{self.host}]" if ":" in self.host else self.host
        at = f"{credentials}@" if credentials else ""
        scheme = "https" if self.secure else "http"
        return f"{scheme}://{at}{host}:{self.port}/{quote(self.database, safe='')}"


_ADDRESS = "http[s]://[user:password@]host[:port][/database]"


def parse_address(text: str) -> ClickHouseAddress:
    """Read `http[s]://user:password@host:port/database`; what is left out takes ClickHouse's defaults.

    Raises ValueError that says what is wrong without repeating the password.
    """
    try:
        parts = urlsplit(text)
        number = parts.port
    except ValueError:
        raise ValueError("not an address http://user:password@host:port/database") from None
    if parts.scheme not in ("http", "https") or not parts.hostname or number == 0:
        raise ValueError("not an address http://user:password@host:port/database")
    if "@" in parts.path:  # and what stands before it is part of a password, so it is not repeated
        raise ValueError("has an @ after a /: quote / in a user or password as %2F")
    if parts.query or parts.fragment:
        raise ValueError("takes no ? or # part; quote such characters in the password as %3F and %23")
    database = unquote(parts.path.strip("/")) or "tokenmill"
    if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]{0,62}", database):
        raise ValueError(f"{database!r} is not a database name (letters, digits and _)")
    user = unquote(parts.username) if parts.username else None
    password = unquote(parts.password) if parts.password else None
    if any(not sign.isprintable() for sign in (user or "") + (password or "")):
        raise ValueError("has a control character in the user or the password")
    secure = parts.scheme == "https"
    return ClickHouseAddress(
        host=parts.hostname,
        port=number if number else (8443 if secure else 8123),
        database=database,
        secure=secure,
        user=user,
        password=password,
    )


def parse_clickhouse(text: str) -> ClickHouseSettings:
    """The settings that an address alone gives. Raises ValueError, as `parse_address`."""
    found = parse_address(text)
    return ClickHouseSettings(
        found.host, found.port, found.user or "default", found.password or "", found.database, found.secure
    )


CLICKHOUSE_ADDRESS = About(
    Kind(
        parse_address,
        f"{_ADDRESS}; without a port 8123, with https 8443",
        {"type": "string", "pattern": "^https?://"},
        format=lambda value: value.text(),  # type: ignore[attr-defined]
        hidden=lambda value: value.text(password=MASK),  # type: ignore[attr-defined]
    ),
    "Where ClickHouse answers over HTTP, and which database is ours.",
    "clickhouse",
    "url",
)
"""The setting `clickhouse`: several fields of `ClickHouseSettings` in one address."""


@dataclass(frozen=True, slots=True)
class ClickHouseSettings:
    """How to reach ClickHouse over HTTP. The password never appears in a repr."""

    host: str = "127.0.0.1"
    port: int = 8123
    user: str = setting("default", kinds.optional_text("a user name"), "User, where the address names none.")
    password: str = setting("", kinds.secret(), "Password of the user. Better: in a file, see password_file.")
    database: str = "tokenmill"
    secure: bool = False
    password_file: Path | None = setting(
        None, kinds.optional_file(), "File that holds the password of the user; a final newline is left out."
    )
    ca_file: Path | None = setting(
        None,
        kinds.optional_file(),
        "CA certificates (PEM) that the server's certificate is checked with. Empty: the system's.",
    )
    verify: bool = setting(
        True,
        kinds.boolean(),
        "Whether the server's certificate and host name are checked. false lets anybody in between read and change all.",
    )

    @property
    def address(self) -> ClickHouseAddress:
        """The address without user and password."""
        return ClickHouseAddress(self.host, self.port, self.database, self.secure)

    @property
    def url(self) -> str:
        """The address with the credentials, as `TOKENMILL_CLICKHOUSE` takes it. Not for logs."""
        with_user = ClickHouseAddress(self.host, self.port, self.database, self.secure, self.user, self.password)
        return with_user.text()


@dataclass(frozen=True, slots=True)
class Settings:
    """All settings of one process. Names ending in `_s` are seconds, `_bytes` bytes, `_days` days."""

    kafka: KafkaSettings = field(default_factory=KafkaSettings)
    clickhouse: ClickHouseSettings = field(default_factory=ClickHouseSettings)
    deployment: str = setting(
        "tokenmill",
        kinds.text_like(r"[a-z0-9][a-z0-9._-]{0,62}", "1 to 63 of a-z, 0-9, '.', '_', '-', beginning with a-z or 0-9"),
        "Names this installation: consumer groups and transactional ids start with it.",
    )
    data_dir: Path = setting(Path(".tokenmill"), kinds.directory(), "Where embedded parts and spools keep their files.")
    log_level: str = setting(
        "info",
        kinds.one_of("debug", "info", "warning", "error"),
        "How much is logged. Commands that print a result log errors only, unless this is set.",
    )
    metrics_address: str = setting(
        "", kinds.listen_address(), "Where a process serves /metrics, /healthz and /readyz; empty is off."
    )
    metrics_targets: tuple[str, ...] = setting(
        (),
        kinds.addresses(256),
        "Where the workers and sinks of the deployment serve their metrics: `tokenmill status` asks them how long transactions "
        "and inserts take.",
    )
    topic_prefix: str = setting(
        "",
        kinds.text_like(r"[A-Za-z0-9._-]{0,100}", "at most 100 of A-Z, a-z, 0-9, '.', '_', '-'"),
        "Put before every topic's name, so that deployments can share a cluster.",
        table="topics",
        key="prefix",
    )
    partitions: int = setting(
        12,
        kinds.whole(1, 1024),
        "Partitions of every topic but the catalogue; fixed when the topics are created.",
        table="topics",
    )
    replication_factor: int = setting(
        0,
        kinds.whole(0, 9),
        "Replicas of each partition; 0 means 3 on a cluster of at least three brokers, else 1.",
        table="topics",
    )
    window_minutes: int = setting(
        60,
        kinds.minutes_of(60, 30, 15),
        "Length of the rating window; fixed when the deployment is created.",
        table="rating",
    )
    grace_hours: int = setting(
        24,
        kinds.whole(0, 24 * 28),
        "How long after its end a billing period still takes late usage in.",
        table="rating",
    )
    future_limit_s: int = setting(
        300,
        kinds.whole(0, 86_400),
        "An event this far ahead of its record's log time is quarantined.",
        table="rating",
    )
    state_days: int = setting(35, kinds.whole(1, 400), "How long the state of a closed period is kept.", table="rating")
    context_edges: tuple[int, ...] = setting(
        (32_000, 64_000, 128_000, 200_000, 256_000, 512_000, 1_000_000),
        kinds.edges(32),
        "Edges of the context brackets in input tokens; the only ones that rate cards may use.",
        table="rating",
    )
    flush_interval_s: float = setting(
        0.5, kinds.seconds(0.01, 60), "How often the worker commits a partition's changes.", table="worker"
    )
    dedup_bytes: int = setting(
        GIB,
        kinds.whole(1024**2, 1024 * GIB),
        "Memory bound of the duplicate windows of all partitions together; each has an equal share.",
        table="worker",
    )
    tick_after_s: int = setting(
        300,
        kinds.whole(0, 86_400),
        "A partition that is quiet for this long gets a tick from its owner, so that its periods close; 0 turns ticks off.",
        table="worker",
    )
    session_timeout_s: float = setting(
        6.0,
        kinds.seconds(1, 300),
        "A member of a consumer group that is silent for this long loses its partitions.",
        table="kafka",
    )
    transaction_timeout_s: float = setting(
        15.0,
        kinds.seconds(1, 900),
        "A transaction left open by a dead worker is ended by the broker after this long.",
        table="worker",
    )
    batch_events: int = setting(
        1_000, kinds.whole(1, 10_000), "At most this many events in one Kafka record.", table="emitter"
    )
    batch_bytes: int = setting(
        512 * 1024, kinds.whole(1024, 900 * 1024), "At most this many bytes in one Kafka record.", table="emitter"
    )
    linger_s: float = setting(
        0.2, kinds.seconds(0, 3600), "How long an emitter waits for a batch to fill.", table="emitter"
    )
    sink_rows: int = setting(
        100_000, kinds.whole(1, 1_000_000), "At most this many rows in one insert.", table="sink", key="rows"
    )
    sink_interval_s: float = setting(
        0.5,
        kinds.seconds(0.01, 3600),
        "How long a sink waits for an insert to fill.",
        table="sink",
        key="interval_s",
    )

    @property
    def topics(self) -> Topics:
        """The names of the topics of this deployment."""
        return Topics(self.topic_prefix)
