-- Which Kafka log each topic of this database follows. A topic that was deleted and made anew has the same name and
-- starts again at offset 0: it is another log. Every stored row carries log_id, the sinks refuse a log that is not the
-- current one of its topic here, so offsets of two logs are never mixed up.
-- ORDER BY topic, log_id: tiny, one row per log of a topic, the highest `revision` is the current one.
-- No PARTITION BY: a handful of rows in all.
CREATE TABLE IF NOT EXISTS logs
(
    topic LowCardinality(String) COMMENT 'Name of the Kafka topic',
    log_id String COMMENT '<cluster id>/<topic id>: the identity of the log',
    cluster_id String,
    topic_id String,
    partitions UInt32 COMMENT 'Number of partitions when the log was first followed',
    epoch UInt32 COMMENT 'Epoch that `topics apply` registered for this log, 0 where a topic has none',
    revision UInt64 COMMENT 'How many logs this topic has had, this one included: the highest is the one followed now'
)
ENGINE = ReplacingMergeTree(revision)
ORDER BY (topic, log_id)
SETTINGS non_replicated_deduplication_window = 10000;
