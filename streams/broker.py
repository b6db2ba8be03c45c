"""Kafka options of librdkafka's names, as Faust and aiokafka want them: one configuration for both clients."""

import ssl

import faust

from infra.config import Settings
from infra.errors import ConfigurationError

_PROTOCOLS = ("PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL")
_MECHANISMS = ("PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512")


def broker_urls(settings: Settings) -> list[str]:
    """The bootstrap servers as Faust's URLs."""
    return [f"kafka://{server.strip()}" for server in settings.kafka.bootstrap.split(",")]


def broker_credentials(settings: Settings) -> faust.SASLCredentials | faust.SSLCredentials | None:
    """TLS and SASL for Faust from the librdkafka options; None for a plain connection.

    Raises ConfigurationError for a protocol or mechanism that Faust's client does not speak.
    """
    options = settings.kafka.options
    protocol = options.get("security.protocol", "PLAINTEXT").upper()
    if protocol not in _PROTOCOLS:
        raise ConfigurationError(f"kafka option security.protocol={protocol}: must be one of {', '.join(_PROTOCOLS)}")
    if protocol == "PLAINTEXT":
        return None
    context = _tls_context(settings) if protocol.endswith("SSL") else None
    if protocol == "SSL":
        return faust.SSLCredentials(context)
    mechanism = options.get("sasl.mechanism", options.get("sasl.mechanisms", "PLAIN")).upper()
    if mechanism not in _MECHANISMS:
        raise ConfigurationError(f"kafka option sasl.mechanism={mechanism}: workers speak {', '.join(_MECHANISMS)}")
    return faust.SASLCredentials(
        username=options.get("sasl.username", ""),
        password=options.get("sasl.password", ""),
        ssl_context=context,
        mechanism=mechanism,
    )


def _tls_context(settings: Settings) -> ssl.SSLContext:
    options = settings.kafka.options
    context = ssl.create_default_context(cafile=options.get("ssl.ca.location"))
    certificate = options.get("ssl.certificate.location")
    if certificate:
        context.load_cert_chain(certificate, options.get("ssl.key.location"), options.get("ssl.key.password"))
    if options.get("ssl.endpoint.identification.algorithm", "https").lower() == "none":
        context.check_hostname = False
    return context
