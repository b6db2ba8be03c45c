-- Rows that the worker read and did not count, with their place in the source log: raw minus exclusions minus
-- dead_letters is what was rated. Every meter column is here, so that SQL can subtract without a join.
-- ORDER BY outcome and tenant first: the question is "how much of what was left out, for whom", then the source place.
-- PARTITION BY month of the broker's append time: one insert is one part, whole or absent.
CREATE TABLE IF NOT EXISTS exclusions
(
    outcome LowCardinality(String) COMMENT 'duplicate, void, rerouted, stale_sample',
    type LowCardinality(String) COMMENT 'CloudEvents type of the excluded event',
    tenant_id LowCardinality(String),
    response_model LowCardinality(String),
    operation LowCardinality(String),
    endpoint LowCardinality(String),
    region LowCardinality(String),
    service_tier LowCardinality(String),
    gpu_type LowCardinality(String),
    status LowCardinality(String),
    event_time Nullable(DateTime64(6, 'UTC')),
    hour Nullable(DateTime64(6, 'UTC')) COMMENT 'start of the rating window of event_time',
    requests Int64,
    input_tokens Int64,
    cache_read_input_tokens Int64,
    cache_write_input_tokens Int64,
    output_tokens Int64,
    reasoning_output_tokens Int64,
    training_tokens Int64,
    input_audio_tokens Int64,
    output_audio_tokens Int64,
    input_image_tokens Int64,
    images Int64,
    audio_seconds Decimal(38, 6),
    video_seconds Decimal(38, 6),
    allocated_gpu_seconds Decimal(38, 6),
    busy_gpu_seconds Decimal(38, 6),
    energy_joules Decimal(38, 6),
    unobserved_seconds Decimal(38, 6),
    units Map(LowCardinality(String), String),
    source LowCardinality(String),
    id String,
    source_log_epoch UInt32 COMMENT 'registered epoch of the log that holds the excluded row',
    source_partition UInt32,
    source_offset UInt64,
    source_row UInt32,
    log_id LowCardinality(String) COMMENT 'log of the exclusion record itself, as the columns below',
    topic LowCardinality(String),
    kafka_partition UInt32,
    kafka_offset UInt64,
    kafka_row UInt32,
    appended_at DateTime64(3, 'UTC'),
    INDEX ix_source_offset source_offset TYPE minmax,
    INDEX ix_offset kafka_offset TYPE minmax
)
ENGINE = MergeTree
PARTITION BY toYYYYMM(appended_at)
ORDER BY (outcome, tenant_id, source_partition, source_offset, source_row)
SETTINGS non_replicated_deduplication_window = 10000, min_bytes_for_wide_part = 134217728;

-- What could not be counted, for operators: one row per rejected row, or one per record that cannot be read at all.
-- ORDER BY code and time: "which kind of trouble, since when".
-- PARTITION BY month of the broker's append time: one insert is one part, whole or absent.
CREATE TABLE IF NOT EXISTS dead_letters
(
    code LowCardinality(String) COMMENT 'invalid_*, undecodable, conflict, future_event, too_late',
    reason String,
    tenant_id LowCardinality(String) COMMENT 'empty where the record could not be read',
    type LowCardinality(String),
    source LowCardinality(String),
    id String,
    source_topic LowCardinality(String),
    source_partition UInt32,
    source_offset UInt64,
    source_row Int32 COMMENT 'index of the rejected row, -1: the whole record',
    payload String COMMENT 'the rejected row as JSON, or the first bytes of the record as they came',
    payload_bytes UInt64 COMMENT 'length of the record, payload holds at most its first 64 KiB',
    payload_sha256 String COMMENT 'of the whole record, empty for a row',
    log_id LowCardinality(String) COMMENT 'log of the dead letter itself, as the columns below',
    topic LowCardinality(String),
    kafka_partition UInt32,
    kafka_offset UInt64,
    kafka_row UInt32,
    appended_at DateTime64(3, 'UTC'),
    INDEX ix_source_offset source_offset TYPE minmax,
    INDEX ix_offset kafka_offset TYPE minmax
)
ENGINE = MergeTree
PARTITION BY toYYYYMM(appended_at)
ORDER BY (code, appended_at, source_topic, source_partition, source_offset, source_row)
SETTINGS non_replicated_deduplication_window = 10000;

-- Records of our own output topics that a sink could not read. Empty in a sound system: somebody else writes there, or a
-- version is wrong. Reconciliation reports every row. (Unreadable input is a dead letter, written by the worker.)
-- ORDER BY place: it is read by place.
-- PARTITION BY month of the broker's append time: one insert is one part, whole or absent.
CREATE TABLE IF NOT EXISTS unreadable_records
(
    reason String,
    payload String COMMENT 'first 64 KiB of the record',
    payload_bytes UInt64,
    log_id LowCardinality(String),
    topic LowCardinality(String),
    kafka_partition UInt32,
    kafka_offset UInt64,
    appended_at DateTime64(3, 'UTC')
)
ENGINE = MergeTree
PARTITION BY toYYYYMM(appended_at)
ORDER BY (topic, kafka_partition, kafka_offset)
SETTINGS non_replicated_deduplication_window = 10000;
