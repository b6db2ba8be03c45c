"""Writing control records: cards become known, tenants are assigned, time goes on.

A control record goes to every partition of the events topic that it concerns, and what it says is kept in the catalogue
topic, all in one Kafka transaction: every partition has it, or none. The catalogue is read first, inside the writer's
fencing, so doing the same again writes nothing, and two writers at once cannot both win.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from types import MappingProxyType, TracebackType
from typing import Any, NamedTuple, Self

import orjson
from confluent_kafka import KafkaError, KafkaException, Producer
from pydantic import ValidationError

from infra.config import Settings
from infra.errors import BrokerError
from infra.kafka import broker_error, client_config, end_offsets, read_to_end
from producers.errors import ControlError
from schemas.control import (
    DEFAULT_ACCOUNT,
    LARGEST_DOCUMENT_BYTES,
    AccountAssigned,
    ControlRecord,
    RateCardActivated,
    Tick,
    encode_control,
)
from schemas.headers import RecordHeaders
from schemas.instants import format_instant, to_microseconds
from schemas.partitioning import partition_for
from schemas.rerating import RerateOrdered

_CARD, _ASSIGNMENT = "card", "assignment"
_CALL_S = 15.0
"""Longest wait for one call: some brokers leave a fenced writer hanging."""
_FENCED = frozenset(
    {KafkaError._FENCED, KafkaError.PRODUCER_FENCED, KafkaError.INVALID_PRODUCER_EPOCH, KafkaError._FATAL}
)


@dataclass(frozen=True, slots=True)
class PublishedCatalog:
    """What is published: cards by (id, version as text), assignments by (tenant, RFC 3339 text of their beginning)."""

    cards: Mapping[tuple[str, str], RateCardActivated]
    assignments: Mapping[tuple[str, str], AccountAssigned]

    @property
    def card_ids(self) -> frozenset[str]:
        """The ids of all cards of any version."""
        return frozenset(card_id for card_id, _ in self.cards)


def read_catalog(settings: Settings) -> PublishedCatalog:
    """Read the catalogue topic to its end.

    Raises BrokerError: `unknown_topic` before `tokenmill topics apply`, `broker_unreachable`; ControlError
    `catalog_unreadable` when an entry is none of ours.
    """
    cards: dict[tuple[str, str], RateCardActivated] = {}
    assignments: dict[tuple[str, str], AccountAssigned] = {}
    topic = settings.topics.rating_catalog
    # A commit returns before everybody can read what it wrote: wait for all that was there when this was called.
    end = end_offsets(settings, topic, [0])[0]
    for message in read_to_end(settings, topic, 0, until=end):
        key, value = (message.key() or b"").decode("utf-8", "replace"), message.value()
        kind, _, rest = key.partition("|")
        if kind not in (_CARD, _ASSIGNMENT) or value is None:
            continue  # the registered logs live here too
        name, _, detail = rest.rpartition("|")
        try:
            if kind == _CARD:
                cards[name, detail] = RateCardActivated.model_validate_json(value)
            else:
                assignments[name, detail] = AccountAssigned.model_validate_json(value)
        except ValidationError as error:
            reason = error.errors(include_url=False)[0]["msg"]
            raise ControlError(
                f"catalogue entry {key!r} at offset {message.offset()} cannot be read: {reason}",
                code="catalog_unreadable",
                key=key,
            ) from None
    return PublishedCatalog(MappingProxyType(cards), MappingProxyType(assignments))


def new_cards(catalog: PublishedCatalog, card_documents: Sequence[Mapping[str, Any]]) -> list[bool]:
    """Which of these cards are not published yet, or earlier in the list. ControlError `invalid_card`, `card_conflict`."""
    contents = {key: _canonical(published.card) for key, published in catalog.cards.items()}
    states: list[bool] = []
    for document in card_documents:
        content, card_id, version = _card_content(document)
        known = contents.setdefault((card_id, version), content)
        if known != content:
            published = catalog.cards.get((card_id, version))
            state = (
                f"published with other content (by {published.published_by} at {format_instant(published.published_at)})"
                if published
                else "given twice with different content"
            )
            raise ControlError(
                f"card {card_id} version {version} is {state}: publish the change as a new version",
                code="card_conflict",
                card_id=card_id,
                version=version,
            )
        states.append((card_id, version) not in catalog.cards)
    return states


class ControlWrite(NamedTuple):
    """A control record, the partitions it concerns, and its key in the catalogue (None: it is not kept there)."""

    record: ControlRecord
    id: str
    partitions: Sequence[int]
    catalog_key: str | None


class ControlWriter:
    """Publishes cards, assignments and ticks for a deployment, in the name of `author`. Close it after use.

    One writer at a time: a second one takes over, and the first then reads the catalogue anew and tries once more.
    """

    def __init__(self, settings: Settings, author: str) -> None:
        self._settings = settings
        self._author = author
        self._producer: Producer | None = None

    def publish_card(self, card_document: Mapping[str, Any]) -> bool:
        """As `publish_cards`, for one."""
        return self.publish_cards([card_document])[0]

    def publish_cards(self, card_documents: Sequence[Mapping[str, Any]]) -> list[bool]:
        """Make versions of cards known to every partition, all of them or none. A document has `id`, `version`, money as text.

        Says of each whether it is new: False when exactly this is published already. Raises ControlError: `invalid_card`
        (no id or version, not JSON, a float in it, too large), `card_conflict` (this version is published with other
        content); BrokerError.
        """
        contents = [_card_content(document) for document in card_documents]
        cards = [self._card(*content) for content in contents]
        states: list[bool] = []

        def write(catalog: PublishedCatalog) -> list[ControlWrite]:
            states[:] = new_cards(catalog, card_documents)
            # Of two equal ones the catalogue key is the same: one of them is written.
            return list({card.id: card for card, new in zip(cards, states, strict=True) if new}.values())

        self._write_once(write)
        return states

    def _card(self, content: bytes, card_id: str, version: str) -> ControlWrite:
        now = datetime.now(UTC)
        try:
            record = RateCardActivated(card=orjson.loads(content), published_at=now, published_by=self._author)
        except ValidationError as error:
            raise _invalid("invalid_card", f"card {card_id} version {version}", error) from None

        key = f"{_CARD}|{card_id}|{version}"
        return ControlWrite(record, key, range(self._settings.partitions), key)

    def assign(
        self,
        tenant_id: str,
        card_id: str,
        effective_from: datetime,
        effective_to: datetime | None = None,
        *,
        seller_id: str | None = None,
        plan: str | None = None,
        overrides: Mapping[str, Mapping[str, Any]] | None = None,
    ) -> bool:
        """Charge a tenant by a card from an instant on ("*": every tenant without an assignment of its own).

        `overrides` are prices of the tenant's own: SKU id to charge, money as text. Returns False when exactly this is
        assigned already. Raises ControlError: `invalid_assignment` (also for instants that cut a window), `unknown_card`
        (no version of it is published), `assignment_conflict` (something else begins at this instant); BrokerError.
        """
        try:
            record = AccountAssigned(
                tenant_id=tenant_id,
                card_id=card_id,
                effective_from=effective_from,
                effective_to=effective_to,
                assigned_by=self._author,
                seller_id=seller_id,
                plan=plan,
                overrides={sku: dict(charge) for sku, charge in overrides.items()} if overrides else None,
            )
        except ValidationError as error:
            raise _invalid("invalid_assignment", f"assignment of {tenant_id!r}", error) from None
        self._check_assignment(record)
        return bool(self._write_once(lambda catalog: self._assignment(catalog, record)))

    def _check_assignment(self, record: AccountAssigned) -> None:
        for name, instant in (("effective_from", record.effective_from), ("effective_to", record.effective_to)):
            size_us = self._settings.window_minutes * 60_000_000
            if instant is not None and to_microseconds(instant) % size_us:
                raise ControlError(
                    f"assignment of {record.tenant_id!r}: {name} {format_instant(instant)} cuts a window: it is not the "
                    f"start of a window of {self._settings.window_minutes} minutes",
                    code="invalid_assignment",
                    exit_code=2,
                )
        size = len(orjson.dumps(record.overrides))
        if size > LARGEST_DOCUMENT_BYTES:
            raise ControlError(
                f"the prices of {record.tenant_id!r} have {size} bytes, at most {LARGEST_DOCUMENT_BYTES} are allowed: "
                "publish a card for this tenant",
                code="invalid_assignment",
                exit_code=2,
            )

    def _assignment(self, catalog: PublishedCatalog, record: AccountAssigned) -> list[ControlWrite]:
        """What an assignment adds to the catalogue. Raises ControlError."""
        if record.card_id not in catalog.card_ids:
            known = ", ".join(sorted(catalog.card_ids)) or "none"
            raise ControlError(
                f"no card {record.card_id!r} is published (there are: {known})",
                code="unknown_card",
                card_id=record.card_id,
            )
        beginning = format_instant(record.effective_from)
        published = catalog.assignments.get((record.tenant_id, beginning))
        if published is None:
            key = f"{_ASSIGNMENT}|{record.tenant_id}|{beginning}"
            return [ControlWrite(record, key, self._partitions_of(record.tenant_id), key)]
        if published.model_copy(update={"assigned_by": record.assigned_by}) == record:
            return []
        other = "" if published.card_id != record.card_id else " in another way"
        raise ControlError(
            f"tenant {record.tenant_id!r} is already assigned to card {published.card_id}{other} from {beginning}: choose "
            "another beginning",
            code="assignment_conflict",
            tenant_id=record.tenant_id,
        )

    def tick(self, time: datetime) -> None:
        """Tell every partition that event time has reached `time`: quiet periods close. Raises BrokerError."""
        record = Tick(time=time)
        write = ControlWrite(record, f"tick|{format_instant(record.time)}", range(self._settings.partitions), None)
        self._write_once(lambda _: [write])

    def order_rerates(self, orders: Sequence[RerateOrdered]) -> None:
        """Order that closed months are priced again, all of these orders or none. Ordering the same twice books it once.

        Raises ControlError `invalid_rerate` for prices of a tenant's own that are too large; BrokerError.
        """
        writes = []
        for order in orders:
            if len(orjson.dumps(order.model_dump(mode="json"))) > LARGEST_DOCUMENT_BYTES:
                raise ControlError(
                    f"the order for {order.tenant_id!r} is larger than {LARGEST_DOCUMENT_BYTES} bytes: publish a card for "
                    "this tenant, and order by it",
                    code="invalid_rerate",
                )
            name = f"rerate|{order.tenant_id}|{order.period}|{format_instant(order.ordered_at)}"
            writes.append(ControlWrite(order, name, self._partitions_of(order.tenant_id), None))
        self._write_once(lambda _: writes)

    def close(self) -> None:
        """Let go of the broker."""
        self._producer = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _partitions_of(self, tenant_id: str) -> Sequence[int]:
        everywhere = range(self._settings.partitions)
        return everywhere if tenant_id == DEFAULT_ACCOUNT else [partition_for(tenant_id, len(everywhere))]

    def _write_once(self, decide: Callable[[PublishedCatalog], Sequence[ControlWrite]]) -> int:
        """Write what `decide` makes of the catalogue, in one transaction; how many records that was."""
        for last_try in (False, True):
            try:
                # Own the transactional id before reading: who takes over after this makes the commit below fail.
                producer = self._owned()
                writes = decide(read_catalog(self._settings))
                if writes:
                    self._transact(producer, writes)
            except KafkaException as failure:
                self._producer = None
                error: KafkaError = failure.args[0]
                if last_try or error.code() not in _FENCED:
                    raise self._explained(error) from failure
            else:
                return len(writes)
        raise AssertionError("unreachable")

    def _explained(self, error: KafkaError) -> BrokerError | ControlError:
        if error.code() in _FENCED:
            return ControlError("another control writer is at work: try again", code="control_conflict")
        return broker_error("cannot write control records (trying again is safe)", error)

    def _owned(self) -> Producer:
        if self._producer is None:
            producer = Producer(
                client_config(
                    self._settings,
                    transactional_id=f"{self._settings.deployment}.control",
                    transaction_timeout_ms=int(self._settings.transaction_timeout_s * 1000),
                    retry_backoff_ms=5,
                )
            )
            _until(producer.init_transactions)
            self._producer = producer
        return self._producer

    def _transact(self, producer: Producer, writes: Sequence[ControlWrite]) -> None:
        """Everything in one transaction. KafkaException: nothing of it, or nobody knows (then trying again is safe)."""
        now = datetime.now(UTC)
        source = f"{self._settings.deployment}/control"
        topics = self._settings.topics
        producer.begin_transaction()
        try:
            for write in writes:
                value, headers = encode_control(write.record, write.id, source, now)
                for partition in write.partitions:
                    _produce(producer, topics.usage_events, partition, None, value, headers)
                if write.catalog_key is not None:
                    _produce(producer, topics.rating_catalog, 0, write.catalog_key.encode(), value, headers)
            _until(producer.commit_transaction)
        except KafkaException as failure:
            if failure.args[0].txn_requires_abort():
                _until(producer.abort_transaction)
            raise


def _produce(
    producer: Producer, topic: str, partition: int, key: bytes | None, value: bytes, headers: RecordHeaders
) -> None:
    producer.produce(topic, value, key, partition=partition, headers=list(headers))


def _until(call: Callable[[float], None]) -> None:
    """A transactional call, repeated while it says that it may be, for `_CALL_S` seconds."""
    deadline = time.monotonic() + _CALL_S
    while True:
        left = deadline - time.monotonic()
        try:
            return call(max(left, 0.1))
        except KafkaException as failure:
            if not failure.args[0].retriable() or left <= 0.1:
                raise


def _canonical(card: Mapping[str, Any]) -> bytes:
    # Dates of a YAML file must have become text before: then every reader sees the same document.
    return orjson.dumps(card, option=orjson.OPT_SORT_KEYS | orjson.OPT_PASSTHROUGH_DATETIME)


def _card_content(card: Mapping[str, Any]) -> tuple[bytes, str, str]:
    """The document in canonical form, its id and its version. Raises ControlError `invalid_card`."""
    card_id, version = card.get("id"), card.get("version")
    if not isinstance(card_id, str) or not card_id:
        raise ControlError("a card needs an id (text)", code="invalid_card")
    if isinstance(version, bool) or not isinstance(version, int | str) or not str(version) or "|" in str(version):
        raise ControlError(f"card {card_id} needs a version (a whole number)", code="invalid_card", card_id=card_id)
    try:
        content = _canonical(dict(card))
    except TypeError as error:
        raise ControlError(f"card {card_id} is not plain JSON: {error}", code="invalid_card", card_id=card_id) from None
    if len(content) > LARGEST_DOCUMENT_BYTES:
        raise ControlError(
            f"card {card_id} has {len(content)} bytes, at most {LARGEST_DOCUMENT_BYTES} are allowed: use patterns, or "
            "share the SKUs out among several cards",
            code="invalid_card",
            card_id=card_id,
        )
    return content, card_id, str(version)


def _invalid(code: str, what: str, error: ValidationError) -> ControlError:
    first = error.errors(include_url=False)[0]
    place = ".".join(str(part) for part in first["loc"])
    reason = first["msg"].removeprefix("Value error, ")
    return ControlError(f"{what}: {place + ': ' if place else ''}{reason}", code=code, exit_code=2)
