"""Kafka's security settings as Faust and aiokafka want them: one configuration for them and for librdkafka's clients."""

import ssl
from collections.abc import Mapping

import faust

from infra.config import Settings
from infra.errors import ConfigurationError

_MECHANISMS = ("PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512")
_TLS_OPTIONS = frozenset(
    {
        "ssl.ca.location",
        "ssl.ca.pem",
        "ssl.certificate.location",
        "ssl.key.location",
        "ssl.key.password",
        "ssl.cipher.suites",
        "ssl.endpoint.identification.algorithm",
    }
)
"""What librdkafka calls the parts of TLS that Python's `ssl` can do as well."""


def broker_urls(settings: Settings) -> list[str]:
    """The bootstrap servers as Faust's URLs."""
    return [f"kafka://{server.strip()}" for server in settings.kafka.bootstrap.split(",")]


def broker_credentials(settings: Settings) -> faust.SASLCredentials | faust.SSLCredentials | None:
    """TLS and SASL for Faust, the same as for librdkafka's clients; None for a plain connection.

    Raises ConfigurationError for what Faust's client does not speak: it must not connect in another way than asked for.
    """
    properties = settings.kafka.properties
    protocol = properties.get("security.protocol", "PLAINTEXT").upper()
    context = _tls_context(properties) if protocol.endswith("SSL") else None
    if protocol == "SSL":
        return faust.SSLCredentials(context)
    if not protocol.startswith("SASL"):
        return None
    mechanism = properties.get("sasl.mechanisms", properties.get("sasl.mechanism", "")).upper()
    if mechanism not in _MECHANISMS:
        raise ConfigurationError(f"kafka_options: sasl.mechanism {mechanism}: workers speak {', '.join(_MECHANISMS)}")
    return faust.SASLCredentials(
        username=properties.get("sasl.username", ""),
        password=properties.get("sasl.password", ""),
        ssl_context=context,
        mechanism=mechanism,
    )


def _tls_context(properties: Mapping[str, str]) -> ssl.SSLContext:
    unknown = sorted(name for name in properties if name.startswith("ssl.") and name not in _TLS_OPTIONS)
    if unknown:
        raise ConfigurationError(
            f"kafka_options: {', '.join(unknown)}: workers cannot do this; use kafka_ca_file, kafka_certificate_file and "
            "kafka_key_file, with PEM files"
        )
    try:
        return _loaded_context(properties)
    except (OSError, ValueError) as error:
        raise ConfigurationError(f"kafka_options: the ssl options cannot be used: {error}") from None


def _loaded_context(properties: Mapping[str, str]) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=properties.get("ssl.ca.location"), cadata=properties.get("ssl.ca.pem"))
    certificate = properties.get("ssl.certificate.location")
    if certificate:
        # A password that is asked for at the terminal would stop a service; OpenSSL asks when none is given.
        password = properties.get("ssl.key.password", "")
        context.load_cert_chain(certificate, properties.get("ssl.key.location"), lambda: password)
    if properties.get("ssl.cipher.suites"):
        context.set_ciphers(properties["ssl.cipher.suites"])
    if properties.get("ssl.endpoint.identification.algorithm", "https").lower() == "none":
        context.check_hostname = False
    if properties.get("enable.ssl.certificate.verification", "true").lower() in ("false", "f", "0"):
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context
