-- Policy signals: quota, budget, SLA, gaps, the balance of what was read. All that was ever said is kept, the view
-- signals_latest holds what is true now.
-- ORDER BY tenant and policy: what is asked for is one policy's course or its latest value.
-- PARTITION BY month of the broker's append time: one insert is one part.
CREATE TABLE IF NOT EXISTS signals
(
    tenant_id LowCardinality(String) COMMENT 'empty: concerns no tenant',
    policy String,
    kind LowCardinality(String),
    time DateTime64(6, 'UTC'),
    revision UInt64,
    data String COMMENT 'JSON object',
    log_id LowCardinality(String),
    topic LowCardinality(String),
    kafka_partition UInt32,
    kafka_offset UInt64,
    appended_at DateTime64(3, 'UTC')
)
ENGINE = MergeTree
PARTITION BY toYYYYMM(appended_at)
ORDER BY (kind, tenant_id, policy, revision, kafka_offset)
SETTINGS non_replicated_deduplication_window = 10000;

-- The latest word per tenant and policy: highest revision, then highest offset.
CREATE VIEW IF NOT EXISTS signals_latest AS
SELECT *
FROM signals
ORDER BY revision DESC, kafka_offset DESC
LIMIT 1 BY tenant_id, policy;
