"""TLS and users, with certificates made here: what cannot work is seen before a connection; what can, connects."""

from __future__ import annotations

import asyncio
import shutil
import ssl
import subprocess
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import faust
import pytest
from aiokafka.client import AIOKafkaClient
from aiokafka.errors import KafkaConnectionError
from confluent_kafka import KafkaException
from confluent_kafka.admin import (
    AdminClient,
    ScramCredentialInfo,
    ScramMechanism,
    UserScramCredentialUpsertion,
)
from faust.transport.drivers.aiokafka import credentials_to_aiokafka_auth

from infra.clickhouse import connect
from infra.config import Settings, load_settings
from infra.embedded.apache import ApacheKafka, apache_available
from infra.embedded.clickhouse.process import EmbeddedClickHouse
from infra.embedded.ports import free_port
from infra.errors import ConfigurationError, EmbeddedError, StoreError
from infra.kafka import client_config
from streams.broker import broker_credentials
from tests.conftest import _no_apache

pytestmark = pytest.mark.skipif(
    shutil.which("openssl") is None, reason="needs the program openssl to make certificates"
)

SECRET = "p w;=,geheim"


@dataclass(frozen=True)
class Certificates:
    """A CA, and certificates of 127.0.0.1 that it has signed, in one directory."""

    directory: Path

    def __getattr__(self, name: str) -> str:
        """`certificates.ca_pem`: the path of ca.pem."""
        return str(self.directory / name.replace("_", "."))


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    directory = tmp_path_factory.mktemp("certificates")

    def openssl(*arguments: str) -> None:
        subprocess.run(["openssl", *arguments], cwd=directory, check=True, capture_output=True)

    new = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")
    openssl("req", "-x509", *new, "-keyout", "ca.key", "-out", "ca.pem", "-subj", "/CN=test-ca", "-days", "2")
    (directory / "names").write_text("subjectAltName=IP:127.0.0.1\n")
    for name in ("server", "client"):
        openssl("req", *new, "-keyout", f"{name}.key", "-out", f"{name}.csr", "-subj", f"/CN={name}")
        signing = ("-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-days", "2", "-extfile", "names")
        openssl("x509", "-req", "-in", f"{name}.csr", "-out", f"{name}.pem", *signing)
    openssl("ec", "-aes256", "-passout", "pass:open", "-in", "client.key", "-out", "locked.key")
    both = (directory / "server.key").read_text() + (directory / "server.pem").read_text()
    (directory / "keystore.pem").write_text(both)
    return Certificates(directory)


def _tls(**others: str) -> dict[str, str]:
    return {"kafka_security_protocol": "SSL", **others}


def test_a_key_is_compared_with_its_certificate(certificates: Certificates) -> None:
    pair = {"kafka_certificate_file": certificates.client_pem}
    load_settings(_tls(**pair, kafka_key_file=certificates.client_key), {})
    with pytest.raises(ConfigurationError, match=r"^--kafka-key-file '.*server.key': is not the key of .*client.pem"):
        load_settings(_tls(**pair, kafka_key_file=certificates.server_key), {})
    with pytest.raises(ConfigurationError, match="both must be PEM"):
        load_settings(_tls(**pair, kafka_key_file=certificates.client_csr), {})


def test_an_encrypted_key_needs_its_password_and_nobody_is_asked_for_it(certificates: Certificates) -> None:
    pair = _tls(kafka_certificate_file=certificates.client_pem, kafka_key_file=certificates.locked_key)
    settings = load_settings({**pair, "kafka_key_password": "open"}, {})
    assert isinstance(broker_credentials(settings), faust.SSLCredentials)
    for wrong in ({}, {"kafka_key_password": "wrong"}):
        with pytest.raises(ConfigurationError, match="an encrypted key needs TOKENMILL_KAFKA_KEY_PASSWORD_FILE"):
            load_settings({**pair, **wrong}, {})


def test_both_clients_are_told_the_same(certificates: Certificates) -> None:
    settings = load_settings(
        {
            "kafka_security_protocol": "sasl_ssl",
            "kafka_user": "me",
            "kafka_password": SECRET,
            "kafka_ca_file": certificates.ca_pem,
        },
        {},
    )
    properties = client_config(settings)
    assert {name: properties[name] for name in properties if name.startswith(("sa", "ss", "se"))} == {
        "security.protocol": "SASL_SSL",
        "sasl.mechanism": "SCRAM-SHA-512",
        "sasl.username": "me",
        "sasl.password": SECRET,
        "ssl.ca.location": certificates.ca_pem,
    }
    told = credentials_to_aiokafka_auth(broker_credentials(settings))
    context = told.pop("ssl_context")
    assert told == {
        "security_protocol": "SASL_SSL",
        "sasl_mechanism": "SCRAM-SHA-512",
        "sasl_plain_username": "me",
        "sasl_plain_password": SECRET,
    }
    assert [dict(entry)["commonName"] for found in context.get_ca_certs() for entry in found["subject"]] == ["test-ca"]
    assert (context.check_hostname, context.verify_mode) == (True, ssl.CERT_REQUIRED)


def test_options_of_librdkafka_say_it_to_both_as_well(certificates: Certificates) -> None:
    options = (
        '{"security.protocol": "sasl_ssl", "sasl.username": "me", "sasl.password": "p", "sasl.mechanisms": "PLAIN", '
        '"enable.ssl.certificate.verification": "false"}'
    )
    told = credentials_to_aiokafka_auth(broker_credentials(load_settings({"kafka_options": options}, {})))
    assert (told["sasl_mechanism"], told["sasl_plain_username"]) == ("PLAIN", "me")
    assert told["ssl_context"].verify_mode == ssl.CERT_NONE


@pytest.mark.parametrize(
    "options",
    [
        '{"security.protocol": "SASL_SSL", "sasl.mechanism": "OAUTHBEARER"}',
        '{"security.protocol": "SSL", "ssl.keystore.location": "k.p12"}',
        '{"security.protocol": "SSL", "ssl.ca.location": "nothing.pem"}',
    ],
)
def test_a_worker_refuses_what_its_client_cannot_do_like_the_others(options: str) -> None:
    with pytest.raises(ConfigurationError, match=r"^kafka_options: "):
        broker_credentials(load_settings({"kafka_options": options}, {}))


@pytest.fixture(scope="module")
def secured(tmp_path_factory: pytest.TempPathFactory, certificates: Certificates) -> Iterator[dict[str, str]]:
    """The addresses of two listeners of one Apache Kafka: TLS with a user, and TLS with a client certificate."""
    reason = apache_available()
    if reason is not None:
        _no_apache(reason)
    for attempt in range(3):
        ports = {name: free_port() for name in ("PLAINTEXT", "CONTROLLER", "SASL_SSL", "SSL")}
        options = _listeners(ports, certificates)
        kafka = ApacheKafka(tmp_path_factory.mktemp("secured"), port=ports["PLAINTEXT"], options=options)
        try:
            kafka.start()
            break
        except EmbeddedError:
            if attempt == 2:
                raise  # else somebody has taken one of the ports in the meantime
    with kafka:
        client = AdminClient({"bootstrap.servers": kafka.bootstrap, "log_level": 0})
        info = ScramCredentialInfo(ScramMechanism.SCRAM_SHA_512, 4096)
        asked = client.alter_user_scram_credentials([UserScramCredentialUpsertion("me", info, SECRET.encode())])
        for future in asked.values():
            future.result()
        yield {name: f"127.0.0.1:{port}" for name, port in ports.items()}


def _listeners(ports: Mapping[str, int], certificates: Certificates) -> dict[str, str]:
    """Broker properties of these listeners."""
    places = {name: f"{name}://127.0.0.1:{port}" for name, port in ports.items()}
    return {
        "listeners": ",".join(places.values()),
        "advertised.listeners": ",".join(places[name] for name in places if name != "CONTROLLER"),
        "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,SASL_SSL:SASL_SSL,SSL:SSL,CONTROLLER:PLAINTEXT",
        "controller.quorum.voters": f"1@127.0.0.1:{ports['CONTROLLER']}",
        "sasl.enabled.mechanisms": "SCRAM-SHA-512",
        "listener.name.sasl_ssl.scram-sha-512.sasl.jaas.config": (
            "org.apache.kafka.common.security.scram.ScramLoginModule required;"
        ),
        "ssl.keystore.type": "PEM",
        "ssl.keystore.location": certificates.keystore_pem,
        "ssl.truststore.type": "PEM",
        "ssl.truststore.location": certificates.ca_pem,
        "listener.name.ssl.ssl.client.auth": "required",
    }


def _reached(settings: Settings) -> tuple[bool, bool]:
    """Whether librdkafka's client and Faust's reach Kafka."""

    async def by_faust() -> bool:
        told = credentials_to_aiokafka_auth(broker_credentials(settings))
        client = AIOKafkaClient(bootstrap_servers=settings.kafka.bootstrap, **told)
        try:
            await client.bootstrap()
        except KafkaConnectionError:
            return False
        finally:
            await client.close()
        return True

    try:
        AdminClient(client_config(settings)).list_topics(timeout=2)
    except KafkaException:
        return False, asyncio.run(by_faust())
    return True, asyncio.run(by_faust())


@pytest.mark.apache
def test_both_clients_reach_kafka_by_tls_and_user_or_neither_does(
    secured: dict[str, str], certificates: Certificates, tmp_path: Path
) -> None:
    (tmp_path / "pw").write_text(f"{SECRET}\n")
    right = {
        "kafka": secured["SASL_SSL"],
        "kafka_security_protocol": "SASL_SSL",
        "kafka_user": "me",
        "kafka_password_file": str(tmp_path / "pw"),
        "kafka_ca_file": certificates.ca_pem,
    }
    unchecked = {name: text for name, text in right.items() if name != "kafka_ca_file"}
    assert _reached(load_settings(right, {})) == (True, True)
    assert _reached(load_settings({**unchecked, "kafka_verify": "false"}, {})) == (True, True)
    assert _reached(load_settings(unchecked, {})) == (False, False), "a certificate that nobody vouches for"
    host = right["kafka"].replace("127.0.0.1", "localhost")
    assert _reached(load_settings({**right, "kafka": host}, {})) == (False, False), "the name of another host"
    (tmp_path / "pw").write_text("wrong")
    assert _reached(load_settings(right, {})) == (False, False)


@pytest.mark.apache
def test_both_clients_show_a_client_certificate(secured: dict[str, str], certificates: Certificates) -> None:
    right = _tls(
        kafka=secured["SSL"],
        kafka_ca_file=certificates.ca_pem,
        kafka_certificate_file=certificates.client_pem,
        kafka_key_file=certificates.locked_key,
        kafka_key_password="open",
    )
    without = {name: text for name, text in right.items() if "key" not in name and "certificate" not in name}
    assert _reached(load_settings(right, {})) == (True, True)
    assert _reached(load_settings(without, {})) == (False, False)


@contextmanager
def _behind_tls(port: int, certificates: Certificates) -> Iterator[int]:
    """A port that speaks TLS and passes everything on to `port`."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificates.server_pem, certificates.server_key)
    loop, ready = asyncio.new_event_loop(), threading.Event()
    found: list[int] = []

    async def copy(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
        while data := await source.read(65536):
            target.write(data)
        target.close()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        inner_reader, inner_writer = await asyncio.open_connection("127.0.0.1", port)
        await asyncio.gather(copy(reader, inner_writer), copy(inner_reader, writer), return_exceptions=True)

    async def run() -> None:
        server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context)
        found.append(server.sockets[0].getsockname()[1])
        ready.set()

    loop.create_task(run())
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    try:
        assert ready.wait(10)
        yield found[0]
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


def test_clickhouse_is_reached_by_tls_only_when_its_certificate_is_right(
    certificates: Certificates, tmp_path: Path
) -> None:
    with (
        EmbeddedClickHouse(tmp_path / "store", user="alice", password=SECRET) as store,
        _behind_tls(store.port, certificates) as port,
    ):
        right = {
            "clickhouse": f"https://127.0.0.1:{port}/default",
            "clickhouse_user": "alice",
            "clickhouse_password": SECRET,
            "clickhouse_ca_file": certificates.ca_pem,
        }
        unchecked = {name: text for name, text in right.items() if name != "clickhouse_ca_file"}
        for settings in ({**right}, {**unchecked, "clickhouse_verify": "false"}):
            client = connect(load_settings(settings, {}).clickhouse)
            assert client.query("SELECT 1").result_rows == [(1,)]
            client.close()
        host = right["clickhouse"].replace("127.0.0.1", "localhost")
        for wrong, said in (
            (unchecked, "its certificate is refused (unable to get"),
            ({**right, "clickhouse": host}, "its certificate is refused (Hostname mismatch"),
            ({**unchecked, "clickhouse": f"http://127.0.0.1:{port}/default"}, "begin the address with https://"),
            ({**right, "clickhouse": f"https://127.0.0.1:{store.port}/default"}, "it does not speak TLS there"),
            ({**right, "clickhouse_password": "wrong"}, "refused user 'alice': check user and password"),
        ):
            with pytest.raises(StoreError) as raised:
                connect(load_settings(wrong, {}).clickhouse)
            assert said in raised.value.message
            assert "geheim" not in raised.value.message
