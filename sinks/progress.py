"""How far the sinks are behind the logs."""

from __future__ import annotations

from infra.config import Settings
from infra.kafka import committed, end_offsets
from sinks.kafka_log import group_of
from sinks.runner import topic_sinks


def lag(settings: Settings) -> dict[str, int]:
    """Per topic the offsets between what the sinks have settled and the end of the log; all 0: everything is stored.

    Offsets, not rows: transaction markers count too. A sink settles about one interval after the last record came.
    """
    behind: dict[str, int] = {}
    for topic in topic_sinks(settings):
        done = committed(settings, group_of(settings), topic)
        ends = end_offsets(settings, topic, isolation="read_committed")
        behind[topic] = sum(max(0, end - done.get(partition, 0)) for partition, end in ends.items())
    return behind
