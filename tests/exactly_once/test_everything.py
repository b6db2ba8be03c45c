"""A whole card on Apache Kafka, with kills, price changes, top-ups and late events: what the pure engine makes of them."""

from __future__ import annotations

import signal
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import orjson
import pytest

from infra.config import Settings
from producers.control import ControlWriter
from producers.wallets import WalletWriter
from schemas.batch import rows_to_batch
from schemas.decimals import parse_decimal
from schemas.events import TokenUsage
from schemas.kinds import Kind
from tests.exactly_once import results
from tests.exactly_once.conftest import Deploy
from tests.exactly_once.deployment import EPOCH
from tests.exactly_once.everything import CLOSED, TENANTS, Result, cards, events, grants, pure
from tests.exactly_once.traffic import emit
from tests.support import Broker

pytestmark = [pytest.mark.apache, pytest.mark.kafka]


def _send(settings: Settings, sent: Sequence[TokenUsage], source: str) -> None:
    emit(settings, rows_to_batch(str(Kind.TOKEN_USAGE), list(sent)), source=source, batch_events=40)


def _found(settings: Settings) -> Result:
    """Quantity and amount of every last record that is not nothing, by the parts of its key."""
    found: Result = {}
    for stable in results.last_records(settings).values():
        record: dict[str, Any] = orjson.loads(stable)
        names = ("tenant_id", "sku", "kind", "window_kind", "window_start", "service_period")
        value = record["quantity"], record.get("amount", "0")
        if parse_decimal(value[0]) or parse_decimal(value[1]):
            found[tuple(record[name] for name in names)] = value
    return found


def test_every_model_with_kills_price_changes_top_ups_and_late_events_is_the_pure_engines(
    apache: Broker, deploy: Deploy
) -> None:
    first, second = events(500, 1), events(500, 2)
    closing = [
        event.model_copy(update={"tenant_id": tenant, "id": f"closing-{tenant}"})
        for tenant, event in zip(TENANTS, events(3, 3, CLOSED, 0.01), strict=True)
    ]
    late = events(60, 4, days=20)
    deployment = deploy(apache, tenants=())
    settings = deployment.settings
    prices = cards()
    with ControlWriter(settings, "test") as writer:
        writer.publish_card(prices[0])
        for tenant in TENANTS:
            writer.assign(tenant, "everything", EPOCH)
    with WalletWriter(settings, "test") as wallets:
        for tenant in TENANTS:
            wallets.order(grants(tenant)[0])
    with deployment.worker("worker.in_transaction=4:kill") as killed:
        killed.await_partitions(8)
        _send(settings, first, "test/first")
        assert killed.ended() == -signal.SIGKILL
    with ControlWriter(settings, "test") as writer:
        writer.publish_card(prices[1])
        writer.publish_card(prices[2])
    with WalletWriter(settings, "test") as wallets:
        for tenant in TENANTS:
            wallets.order(grants(tenant)[1])
    with deployment.worker("worker.after_commit=3:kill") as killed:
        _send(settings, second, "test/second")
        assert killed.ended() == -signal.SIGKILL
    with deployment.worker() as worker:
        deployment.await_caught_up(worker)
        _send(settings, closing, "test/closing")
        deployment.await_caught_up(worker)
        _send(settings, late, "test/late")
        deployment.await_caught_up(worker)
        assert worker.terminate(20) == 0
    results.check_revisions(settings)
    assert results.dead_letters(settings) == {}
    on_time = [*first, *second, *closing]
    assert max(each.ended_at for each in first + second) < CLOSED - timedelta(hours=33)
    found, expected = _found(settings), pure(on_time, late)
    kinds = {key[2] for key in expected}
    assert kinds >= {"usage", "credit", "flat_fee", "adjustment", "minimum", "commitment"}, kinds
    wrong = {key: (found.get(key), expected.get(key)) for key in found.keys() | expected.keys()}
    wrong = {key: pair for key, pair in wrong.items() if pair[0] != pair[1]}
    assert not wrong, f"{len(wrong)} of {len(expected)}: {sorted(wrong.items())[:5]}"
