"""The control writer: every partition concerned or none, and doing it again changes nothing."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from confluent_kafka import KafkaError, KafkaException, Message, Producer

from infra.config import KafkaSettings, Settings
from infra.errors import BrokerError
from infra.kafka import Record, read_all, write
from infra.topics import apply, log_epoch
from producers import control
from producers.control import ControlWriter, read_catalog
from producers.errors import ControlError
from schemas.control import AccountAssigned, RateCardActivated, Tick, decode_control
from schemas.partitioning import partition_for
from schemas.rerating import OrderedPrice, RerateOrdered
from tests.conftest import MakeSettings
from tests.support import Broker

CARD = {"id": "standard", "version": 1, "currency": "USD", "skus": [{"sku": "x", "price": "0.15", "per": 1_000_000}]}
JANUARY = datetime(2026, 1, 1, tzinfo=UTC)

pytestmark = pytest.mark.kafka


@pytest.fixture(params=["broker", "tansu"])
def settings(request: pytest.FixtureRequest, make_settings: MakeSettings) -> Settings:
    where: Broker = request.getfixturevalue(request.param)
    made = make_settings(where)
    apply(made)
    return made


def records(settings: Settings) -> list[Message]:
    return list(read_all(settings, settings.topics.usage_events))


def test_a_card_reaches_every_partition_once_and_the_catalogue(settings: Settings) -> None:
    with ControlWriter(settings, "ada") as writer:
        assert writer.publish_card(CARD)
        assert not writer.publish_card(dict(reversed(CARD.items())))
    with ControlWriter(settings, "bob") as writer:
        assert not writer.publish_card(CARD)
    found = records(settings)
    assert sorted(message.partition() for message in found) == list(range(settings.partitions))
    for message in found:
        record = decode_control(message.value(), message.headers())
        assert isinstance(record, RateCardActivated)
        assert (record.card, record.published_by) == (CARD, "ada")
    catalog = read_catalog(settings)
    assert catalog.cards["standard", "1"].card == CARD
    assert log_epoch(settings, settings.topics.usage_events).epoch == 1


def test_another_content_of_a_published_version_is_refused_and_writes_nothing(settings: Settings) -> None:
    with ControlWriter(settings, "ada") as writer:
        writer.publish_card(CARD)
        with pytest.raises(
            ControlError, match=r"standard version 1 is published with other content .*new version"
        ) as e:
            writer.publish_card({**CARD, "currency": "EUR"})
        assert e.value.code == "card_conflict"
        assert writer.publish_card({**CARD, "version": 2, "currency": "EUR"})
    assert len(records(settings)) == 2 * settings.partitions
    assert set(read_catalog(settings).cards) == {("standard", "1"), ("standard", "2")}


def test_several_cards_are_published_together_or_not_at_all(settings: Settings) -> None:
    gold = {**CARD, "id": "gold"}
    with ControlWriter(settings, "ada") as writer:
        assert writer.publish_cards([CARD, gold, dict(gold)]) == [True, True, True]
        assert writer.publish_cards([gold, {**gold, "version": 2}]) == [False, True]
        before = len(records(settings))
        assert before == 3 * settings.partitions
        with pytest.raises(ControlError, match="published with other content"):
            writer.publish_cards([{**CARD, "id": "new"}, {**CARD, "currency": "EUR"}])
        with pytest.raises(ControlError, match="card new version 1 is given twice with different content"):
            writer.publish_cards([{**CARD, "id": "new"}, {**CARD, "id": "new", "currency": "EUR"}])
    assert len(records(settings)) == before
    assert {card for card, _ in read_catalog(settings).cards} == {"standard", "gold"}


def test_a_publication_that_breaks_off_reaches_no_partition_and_not_the_catalogue(
    apache: Broker, make_settings: MakeSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = make_settings(apache)
    apply(made)
    written: list[str] = []
    produce = control._produce

    def break_off(producer: Producer, topic: str, *rest: Any) -> None:
        if topic == made.topics.rating_catalog:
            producer.flush()  # what was written lies in the log, uncommitted
            raise KafkaException(KafkaError(KafkaError._MSG_TIMED_OUT, "broken off", txn_requires_abort=True))
        written.append(topic)
        produce(producer, topic, *rest)

    with ControlWriter(made, "ada") as writer:
        monkeypatch.setattr(control, "_produce", break_off)
        with pytest.raises(BrokerError, match="trying again is safe"):
            writer.publish_card(CARD)
        assert len(written) == made.partitions
        assert records(made) == []
        assert not read_catalog(made).cards
        monkeypatch.setattr(control, "_produce", produce)
        assert writer.publish_card(CARD)
    assert sorted(message.partition() for message in records(made)) == list(range(made.partitions))


def test_prices_of_a_tenants_own_are_part_of_its_assignment(settings: Settings) -> None:
    own = {"x": {"model": "per_unit", "price": "0.10"}}
    with ControlWriter(settings, "ada") as writer:
        writer.publish_card(CARD)
        assert writer.assign("tenant-0001", "standard", JANUARY, plan="gold", overrides=own)
        assert not writer.assign("tenant-0001", "standard", JANUARY, plan="gold", overrides=own)
        with pytest.raises(ControlError, match="assigned to card standard in another way from 2026-01-01") as conflict:
            writer.assign("tenant-0001", "standard", JANUARY, plan="gold")
        assert conflict.value.code == "assignment_conflict"
        with pytest.raises(ControlError, match=r"overrides: .*price is a float"):
            writer.assign("tenant-0002", "standard", JANUARY, overrides={"x": {"price": 0.1}})
    (assigned,) = read_catalog(settings).assignments.values()
    assert (assigned.plan, assigned.overrides) == ("gold", own)


@pytest.mark.parametrize(
    ("start", "options", "words"),
    [
        (JANUARY + timedelta(minutes=30), {}, "effective_from 2026-01-01T00:30:00Z cuts a window"),
        (
            JANUARY,
            {"effective_to": JANUARY + timedelta(seconds=7201)},
            "effective_to 2026-01-01T02:00:01Z cuts a window",
        ),
        (JANUARY, {"overrides": {"x": {"note": "x" * 600_000}}}, "at most 524288 are allowed"),
    ],
    ids=["from", "to", "too large"],
)
def test_an_assignment_that_cannot_hold_is_refused_without_a_broker(
    start: datetime, options: dict[str, Any], words: str
) -> None:
    with pytest.raises(ControlError, match=words) as caught:
        ControlWriter(Settings(kafka=KafkaSettings("127.0.0.1:1")), "ada").assign("t", "standard", start, **options)
    assert (caught.value.code, caught.value.exit_code) == ("invalid_assignment", 2)


def test_an_assignment_reaches_its_tenants_partition_the_default_every_one(settings: Settings) -> None:
    with ControlWriter(settings, "ada") as writer:
        writer.publish_card(CARD)
        before = len(records(settings))
        assert writer.assign("tenant-0001", "standard", JANUARY)
        assert not writer.assign("tenant-0001", "standard", JANUARY)
        assert writer.assign("*", "standard", JANUARY)
    found = records(settings)
    assert len(found) - before == 1 + settings.partitions
    mine = [
        (message.partition(), record)
        for message in found
        if isinstance(record := decode_control(message.value(), message.headers()), AccountAssigned)
        and record.tenant_id == "tenant-0001"
    ]
    ((partition, record),) = mine
    assert partition == partition_for("tenant-0001", settings.partitions)
    assert (record.card_id, record.effective_from, record.assigned_by) == ("standard", JANUARY, "ada")
    assert set(read_catalog(settings).assignments) == {
        ("tenant-0001", "2026-01-01T00:00:00Z"),
        ("*", "2026-01-01T00:00:00Z"),
    }


def test_assignments_that_cannot_hold_are_refused(settings: Settings) -> None:
    with ControlWriter(settings, "ada") as writer:
        with pytest.raises(ControlError, match="no card 'gold' is published") as unknown:
            writer.assign("tenant-0001", "gold", JANUARY)
        writer.publish_card(CARD)
        writer.publish_card({**CARD, "id": "gold"})
        writer.assign("tenant-0001", "standard", JANUARY)
        with pytest.raises(ControlError, match="already assigned to card standard") as conflict:
            writer.assign("tenant-0001", "gold", JANUARY)
        with pytest.raises(ControlError, match="effective_to must be after") as invalid:
            writer.assign("tenant-0002", "gold", JANUARY, JANUARY)
    assert [e.value.code for e in (unknown, conflict, invalid)] == [
        "unknown_card", "assignment_conflict", "invalid_assignment",
    ]  # fmt: skip


def test_a_tick_reaches_every_partition_and_may_be_repeated(settings: Settings) -> None:
    with ControlWriter(settings, "clock") as writer:
        writer.tick(JANUARY)
        writer.tick(JANUARY)
    found = records(settings)
    assert len(found) == 2 * settings.partitions
    assert {decode_control(message.value(), message.headers()) for message in found} == {Tick(time=JANUARY)}


def test_two_writers_take_turns_and_neither_writes_twice(settings: Settings) -> None:
    with ControlWriter(settings, "ada") as ada, ControlWriter(settings, "bob") as bob:
        assert ada.publish_card(CARD)
        assert bob.publish_card({**CARD, "version": 2})
        assert ada.publish_card({**CARD, "version": 3})  # bob took over; ada takes over again
        assert not bob.publish_card({**CARD, "version": 3})
    assert len(records(settings)) == 3 * settings.partitions


def test_a_strange_catalogue_entry_is_named(settings: Settings) -> None:
    write(settings, settings.topics.rating_catalog, [Record(b"card|x|1", b"{}", 0)])
    with pytest.raises(ControlError, match=r"entry 'card\|x\|1' at offset"):
        read_catalog(settings)


@pytest.mark.parametrize(
    ("card", "words"),
    [
        ({"version": 1}, "needs an id"),
        ({"id": "x"}, "needs a version"),
        ({"id": "x", "version": True}, "needs a version"),
        ({"id": "x", "version": 1, "price": 0.1}, "is a float"),
        ({"id": "x", "version": 1, "from": JANUARY}, "not plain JSON"),
        ({"id": "x", "version": 1, "note": "x" * 600_000}, "at most 524288 are allowed"),
    ],
)
def test_a_document_that_is_no_card_is_refused_without_a_broker(card: dict[str, object], words: str) -> None:
    with pytest.raises(ControlError, match=words) as e:
        ControlWriter(Settings(kafka=KafkaSettings("127.0.0.1:1")), "ada").publish_card(card)
    assert e.value.code == "invalid_card"


def test_topics_that_are_not_there_are_reported(broker: Broker, make_settings: MakeSettings) -> None:
    with pytest.raises(BrokerError) as e:
        ControlWriter(make_settings(broker), "ada").publish_card(CARD)
    assert e.value.code == "unknown_topic"


def test_orders_to_rate_again_reach_their_tenants_partitions_and_the_catalogue_stays(settings: Settings) -> None:
    price = OrderedPrice(effective_from=JANUARY, card_id="standard", card_version=1)
    orders = [
        RerateOrdered(
            tenant_id=tenant, period="2026-01", prices=(price,), reason="wrong", ordered_at=JANUARY, ordered_by="ada"
        )
        for tenant in ("acme", "bell")
    ]
    own = {"x" * 600_000: {"model": "flat", "amount": "1"}}
    large = orders[0].model_copy(update={"prices": (price.model_copy(update={"overrides": own}),)})
    with ControlWriter(settings, "ada") as writer:
        writer.order_rerates(orders)
        with pytest.raises(ControlError, match="larger than") as e:
            writer.order_rerates([large])
        assert e.value.code == "invalid_rerate"
    found = {message.partition(): decode_control(message.value(), message.headers()) for message in records(settings)}
    assert found == {partition_for(order.tenant_id, settings.partitions): order for order in orders}
    assert not read_catalog(settings).cards
