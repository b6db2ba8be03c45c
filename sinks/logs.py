"""Which log each topic is: the database follows one log per topic, and sinks refuse any other (DESIGN D2)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import pyarrow as pa

from infra.clickhouse import insert_arrow, store_errors
from infra.config import Settings
from infra.errors import LogChangedError
from infra.kafka import admin, log_identity
from infra.topics import log_epoch, registered_logs
from sinks.records import LogId

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client


class LogRegistry:
    """Names the logs of topics, and compares them with the table `logs`.

    `accept_new`: a topic that is another log than before is taken on from its beginning, beside the rows of the former.
    """

    def __init__(self, settings: Settings, client: Client, *, accept_new: bool = False) -> None:
        self._settings, self._client, self._accept_new = settings, client, accept_new
        self._followed: dict[str, LogId] = {}

    def identify(self, topics: Sequence[str]) -> Mapping[str, LogId]:
        """The log of each topic, noted as the one to follow if there was none or a new one is accepted.

        Raises LogChangedError that states the choices when a topic is not the log that was followed so far.
        """
        known = self._known()
        found: dict[str, LogId] = {}
        for topic, (log_id, partitions) in self._present(topics).items():
            followed, revision = known.get(topic, ("", 0))
            if followed != str(log_id):
                if followed and not self._accept_new:
                    raise self._changed(topic, followed, log_id)
                self._follow(log_id, partitions, revision + 1)
            found[topic] = self._followed[topic] = log_id
        return found

    def confirm(self, topics: Sequence[str]) -> Mapping[str, LogId]:
        """The logs that `identify` gave, after asking Kafka, and not ClickHouse, whether the topics still are those."""
        kafka = admin(self._settings)
        for topic in topics:
            followed, present = self._followed[topic], log_identity(self._settings, topic, kafka)
            if (present.cluster_id, present.topic_id) != (followed.cluster_id, followed.topic_id):
                raise self._changed(topic, str(followed), LogId(topic, present.cluster_id, present.topic_id))
        return {topic: self._followed[topic] for topic in topics}

    def look(self, topics: Sequence[str]) -> Mapping[str, LogId]:
        """As `identify`, but notes nothing."""
        known = self._known()
        found = {topic: log_id for topic, (log_id, _) in self._present(topics).items()}
        for topic, log_id in found.items():
            followed = known.get(topic, ("", 0))[0]
            if followed not in ("", str(log_id)):
                raise self._changed(topic, followed, log_id)
        return found

    def _present(self, topics: Sequence[str]) -> dict[str, tuple[LogId, int]]:
        kafka = admin(self._settings)
        registered = registered_logs(self._settings)
        found: dict[str, tuple[LogId, int]] = {}
        for topic in topics:
            identity = log_identity(self._settings, topic, kafka)
            epoch = 0
            if topic in (self._settings.topics.usage_events, self._settings.topics.gpu_samples):
                known = registered.get(topic)
                epoch = (known if known and known.identity == identity else log_epoch(self._settings, topic)).epoch
            found[topic] = (LogId(topic, identity.cluster_id, identity.topic_id, epoch), identity.partitions)
        return found

    def _known(self) -> dict[str, tuple[str, int]]:
        with store_errors("reading which logs this database follows"):
            rows = self._client.query(
                "SELECT topic, argMax(log_id, revision), max(revision) FROM logs GROUP BY topic"
            ).result_rows
        return {str(topic): (str(log_id), int(revision)) for topic, log_id, revision in rows}

    def _follow(self, log_id: LogId, partitions: int, revision: int) -> None:
        row = pa.table(
            {
                "topic": pa.array([log_id.topic]),
                "log_id": pa.array([str(log_id)]),
                "cluster_id": pa.array([log_id.cluster_id]),
                "topic_id": pa.array([log_id.topic_id]),
                "partitions": pa.array([partitions], pa.uint32()),
                "epoch": pa.array([log_id.epoch], pa.uint32()),
                "revision": pa.array([revision], pa.uint64()),
            }
        )
        insert_arrow(self._client, "logs", row, token=f"logs/{log_id.topic}/{log_id}/{revision}")

    def _changed(self, topic: str, followed: str, found: LogId) -> LogChangedError:
        database = self._settings.clickhouse.database
        return LogChangedError(
            f"{topic} is not the log that database {database!r} follows: stored {followed}, found {found}. The topic was "
            "made anew or this is another cluster. Choose: point TOKENMILL_KAFKA at the former cluster; or use another "
            "database (TOKENMILL_CLICKHOUSE); or start the sink with --accept-new-log to store the new log beside the "
            "rows of the former one",
            topic=topic,
            followed=followed,
            found=str(found),
        )
