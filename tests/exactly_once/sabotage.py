"""Workers with one protection left out. Their results have to break a law, or the test of that protection proves nothing."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from itertools import count
from typing import Any
from unittest.mock import patch

import numpy as np

from infra.config import Settings


def leave_out(protection: str) -> None:
    """Leave one protection out in this process; called before the worker starts."""
    leave: dict[str, Callable[[], None]] = {
        "committed only": _restore_what_was_aborted,
        "position": _begin_anywhere,
        "fencing": _let_every_process_write,
        "event window": _forget_events,
    }
    leave[protection]()


def _restore_what_was_aborted() -> None:
    """State is read back with what a killed worker left in an open transaction."""
    from infra.kafka import client_config

    def uncommitted(settings: Settings, **extra: object) -> dict[str, object]:
        return client_config(settings, **{**extra, "isolation_level": "read_uncommitted"})

    patch("streams.log_reader.client_config", uncommitted).start()


def _begin_anywhere() -> None:
    """The source offset follows its transaction, as in an ordinary consumer, and the position in the state is not looked at."""
    from confluent_kafka import Producer

    from streams.restore import restore

    class LateOffsets:
        """Writes each offset with the next transaction only: the one of a killed worker's last transaction is lost."""

        def __init__(self, config: dict[str, object]) -> None:
            self._producer = Producer(config)
            self._late: object = None

        def __getattr__(self, name: str) -> Any:
            return getattr(self._producer, name)

        def send_offsets_to_transaction(self, offsets: object, *arguments: Any) -> None:
            late, self._late = self._late, offsets
            if late is not None:
                self._producer.send_offsets_to_transaction(late, *arguments)

    def forgetful(*arguments: Any) -> Any:
        return replace(restore(*arguments), position=-1, next_in_log=None)

    patch("streams.partition.restore", forgetful).start()
    patch("streams.transactions.Producer", LateOffsets).start()


def _let_every_process_write() -> None:
    """Each process has transactional ids of its own, so none fences another."""
    from streams.transactions import PartitionTransactions

    def own(settings: Settings, *arguments: Any) -> PartitionTransactions:
        return PartitionTransactions(replace(settings, deployment=f"{settings.deployment}-{os.getpid()}"), *arguments)

    patch("streams.partition.PartitionTransactions", own).start()


def _forget_events() -> None:
    """No event is recognised when it comes again in another batch."""
    numbers = count(1)

    def always_new(batch: Any) -> Any:
        return np.array([next(numbers) for _ in range(batch.num_rows)], dtype=np.uint64)

    patch("streams.outcomes.identities", always_new).start()
