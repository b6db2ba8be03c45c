-- Control records as they stand in the log: who published which card, assignment or order, and when. A control record
-- is written to every partition it concerns, so one order is several rows here, the view `control` has it once.
-- ORDER BY kind, then the append time: the questions are "which cards" and "what changed when".
-- PARTITION BY month of the broker's append time: one insert is one part, few rows, no TTL: it is the audit trail of prices.
CREATE TABLE IF NOT EXISTS control_records
(
    kind LowCardinality(String) COMMENT 'CloudEvents type',
    id String COMMENT 'CloudEvents id: the same in every partition',
    source LowCardinality(String),
    time Nullable(DateTime64(6, 'UTC')) COMMENT 'CloudEvents time',
    tenant_id LowCardinality(String) COMMENT 'of an assignment, * = the default card of the deployment',
    card_id LowCardinality(String),
    card_version Nullable(UInt64),
    published_at Nullable(DateTime64(6, 'UTC')),
    published_by String,
    data String COMMENT 'JSON object of the record as published',
    log_id LowCardinality(String),
    topic LowCardinality(String),
    kafka_partition UInt32,
    kafka_offset UInt64,
    appended_at DateTime64(3, 'UTC')
)
ENGINE = MergeTree
PARTITION BY toYYYYMM(appended_at)
ORDER BY (kind, appended_at, id, kafka_partition, kafka_offset)
SETTINGS non_replicated_deduplication_window = 10000;

-- Each control record once, at its first place in the log.
CREATE VIEW IF NOT EXISTS control AS
SELECT kind, id, source, time, tenant_id, card_id, card_version, published_at, published_by, data, appended_at
FROM control_records
ORDER BY appended_at, kafka_partition, kafka_offset
LIMIT 1 BY kind, id;
