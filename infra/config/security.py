"""Settings that must fit each other: users, passwords, TLS. Every mistake that can be seen without a connection.

A setting that can have no effect is refused, because whoever wrote it believes that the connection is protected; unless a
stronger source has changed what it depends on (`--clickhouse http://127.0.0.1:8123` beside a file with a CA).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from infra.config.catalog import catalog
from infra.config.model import ClickHouseSettings, KafkaSettings
from infra.config.sources import FILE, Given

_PROTOCOLS = ("PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL")
_WITH_PASSWORD = ("PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512")
_PROPERTIES = {
    "kafka_security_protocol": ("security.protocol",),
    "kafka_sasl_mechanism": ("sasl.mechanism", "sasl.mechanisms"),
    "kafka_user": ("sasl.username",),
    "kafka_password": ("sasl.password",),
    "kafka_password_file": ("sasl.password",),
    "kafka_ca_file": ("ssl.ca.location", "ssl.ca.pem"),
    "kafka_certificate_file": ("ssl.certificate.location", "ssl.certificate.pem"),
    "kafka_key_file": ("ssl.key.location", "ssl.key.pem"),
    "kafka_key_password": ("ssl.key.password",),
    "kafka_key_password_file": ("ssl.key.password",),
    "kafka_verify": ("enable.ssl.certificate.verification",),
}
"""What librdkafka calls the same thing."""
_OF_A_USER = ("kafka_user", "kafka_password", "kafka_password_file", "kafka_sasl_mechanism")
_OF_TLS = ("kafka_ca_file", "kafka_certificate_file", "kafka_key_file", "kafka_verify")


@dataclass(frozen=True, slots=True)
class Choices:
    """What was given for each setting (the strongest), for messages that name the places."""

    given: Mapping[str, Given]

    def begin(self, name: str) -> str:
        """How a line about a given setting begins."""
        return self.given[name].problem

    def call(self, name: str, like: str) -> str:
        """What to call a setting towards somebody who gave `like`: by its variable, or by its place in a TOML file."""
        setting = catalog()[name]
        return setting.toml if like in self.given and self.given[like].strength == FILE else setting.variable

    def without_effect(self, names: tuple[str, ...], because_of: str) -> str | None:
        """The first of `names` that was given, and not by a weaker source than what takes its effect."""
        decided = self.given[because_of].strength if because_of in self.given else 0
        return next((name for name in names if name in self.given and self.given[name].strength >= decided), None)


def kafka_problems(kafka: KafkaSettings, given: Mapping[str, Given]) -> Iterator[str]:
    """What cannot work about Kafka's security settings, one line each."""
    choices = Choices(given)
    yield from _given_twice(kafka, choices)
    protocol = kafka.properties.get("security.protocol", "PLAINTEXT").upper()
    if protocol not in _PROTOCOLS:
        yield f"{choices.begin('kafka_options')}: security.protocol must be one of {', '.join(_PROTOCOLS)}"
        return
    yield from _user_problems(kafka, protocol, choices)
    yield from _tls_problems(kafka, protocol, choices)


def _given_twice(kafka: KafkaSettings, choices: Choices) -> Iterator[str]:
    for name, properties in _PROPERTIES.items():
        for each in properties:
            if each in kafka.options and name in choices.given:
                yield f"{choices.begin(name)}: {each} in {choices.begin('kafka_options')} says it too: keep one"


def _user_problems(kafka: KafkaSettings, protocol: str, choices: Choices) -> Iterator[str]:
    by = "kafka_security_protocol"
    if not protocol.startswith("SASL"):
        name = choices.without_effect(_OF_A_USER, by)
        if name is not None:
            wanted = "SASL_SSL" if protocol == "SSL" else "SASL_SSL (or SASL_PLAINTEXT, without TLS)"
            yield f"{choices.begin(name)}: has no effect with {protocol}: set {choices.call(by, name)} to {wanted}"
        return
    found = kafka.properties
    if found.get("sasl.mechanisms", found.get("sasl.mechanism", "")).upper() not in _WITH_PASSWORD:
        return
    about = choices.begin(by) if by in choices.given else choices.begin("kafka_options")
    if "sasl.username" not in found:
        yield f"{about}: needs a user: set {choices.call('kafka_user', by)}"
    if "sasl.password" not in found and "kafka_password_file" not in choices.given:  # one that cannot be read was named
        yield f"{about}: needs a password: set {choices.call('kafka_password_file', by)}"


def _tls_problems(kafka: KafkaSettings, protocol: str, choices: Choices) -> Iterator[str]:
    by = "kafka_security_protocol"
    if not protocol.endswith("SSL"):
        name = choices.without_effect(tuple(name for name in _OF_TLS if name != "kafka_verify" or not kafka.verify), by)
        if name is not None:
            wanted = "SASL_SSL" if protocol.startswith("SASL") else "SSL (or SASL_SSL, with a user)"
            yield f"{choices.begin(name)}: has no effect with {protocol}: set {choices.call(by, name)} to {wanted}"
        return
    certificate, key = "kafka_certificate_file", "kafka_key_file"
    for one, other in ((certificate, key), (key, certificate)):
        if one in choices.given and other not in choices.given:
            yield f"{choices.begin(one)}: goes with {choices.call(other, one)}, which is not set"
    for name in ("kafka_key_password", "kafka_key_password_file"):
        if name in choices.given and key not in choices.given:
            yield f"{choices.begin(name)}: goes with {choices.call(key, name)}, which is not set"
    yield from _ca_problem("kafka_ca_file", kafka.ca_file, choices)
    if kafka.certificate_file is not None and kafka.key_file is not None:
        yield from _certificate_problems(kafka.certificate_file, kafka.key_file, kafka.key_password, choices)


def _ca_problem(name: str, path: Path | None, choices: Choices) -> Iterator[str]:
    import ssl

    if path is None:
        return
    unreadable = _unreadable(path)
    if unreadable:
        yield f"{choices.begin(name)}: {unreadable}"
        return
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(path)
    except (ssl.SSLError, ValueError):
        yield f"{choices.begin(name)}: holds no certificate that can be read: it must be PEM (-----BEGIN CERTIFICATE-----)"


def _certificate_problems(certificate: Path, key: Path, password: str, choices: Choices) -> Iterator[str]:
    import ssl

    unreadable = False
    for name, path in (("kafka_certificate_file", certificate), ("kafka_key_file", key)):
        why = _unreadable(path)
        if why:
            unreadable = True
            yield f"{choices.begin(name)}: {why}"
    if unreadable:
        return
    try:
        # Without a password OpenSSL would ask for it at the terminal.
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_cert_chain(certificate, key, password=lambda: password)
    except (ssl.SSLError, ValueError) as error:
        if getattr(error, "reason", None) == "KEY_VALUES_MISMATCH":
            why = f"is not the key of {certificate}: name the key that belongs to it"
        else:
            wanted = choices.call("kafka_key_password_file", "kafka_key_file")
            why = f"cannot be used with {certificate}: both must be PEM, and an encrypted key needs {wanted}"
        yield f"{choices.begin('kafka_key_file')}: {why}"


def _unreadable(path: Path) -> str:
    try:
        with path.open("rb") as file:
            file.read(1)
    except OSError as error:
        return f"cannot be read ({error.strerror}): name a file that this user can read"
    return ""


def clickhouse_problems(clickhouse: ClickHouseSettings, given: Mapping[str, Given]) -> Iterator[str]:
    """What cannot work about ClickHouse's security settings, one line each."""
    choices = Choices(given)
    if clickhouse.secure:
        yield from _ca_problem("clickhouse_ca_file", clickhouse.ca_file, choices)
        return
    names = ("clickhouse_ca_file",) if clickhouse.verify else ("clickhouse_ca_file", "clickhouse_verify")
    name = choices.without_effect(names, "clickhouse")
    if name is not None:
        yield (
            f"{choices.begin(name)}: has no effect without TLS: begin the address in {choices.call('clickhouse', name)} "
            "with https://"
        )
