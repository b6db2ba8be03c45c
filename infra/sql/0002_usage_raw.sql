-- Every row of every TokenUsage record that could be read, exactly as it stands in the log: also rows that the worker
-- then rejected, recognised as duplicates or moved to another partition. What counts is raw minus exclusions minus
-- dead_letters, by coordinates. Never updated, nothing deleted: it is the audit log.
-- A value that is missing in the event is NULL only where "unknown" differs from zero, else '' or 0.
-- ORDER BY tenant and model first: they are in nearly every filter and have few values, then event time, so that a
-- tenant's hours lie together (and compress), no id, because nobody reads by id alone and it is the widest column.
-- The offset's minmax index serves reconciliation, which asks by coordinates.
-- PARTITION BY month of the broker's append time, not of event time: an insert is then one part, so whole or absent, and a
-- late event does not open an old part. Event time follows append time closely enough for its index to prune.
-- min_bytes_for_wide_part: an insert of 100,000 rows becomes one file instead of one or two per column, which halves its
-- cost (measured), and merges make wide parts of it later.
CREATE TABLE IF NOT EXISTS usage_raw
(
    tenant_id LowCardinality(String),
    response_model LowCardinality(String) COMMENT 'the model that served, which is the one charged',
    ended_at DateTime64(6, 'UTC') COMMENT 'event time',
    started_at DateTime64(6, 'UTC'),
    first_token_at Nullable(DateTime64(6, 'UTC')),
    status LowCardinality(String) COMMENT 'success, error, aborted',
    http_status Nullable(Int64),
    error_type LowCardinality(String),
    finish_reason LowCardinality(String),
    provider LowCardinality(String),
    operation LowCardinality(String),
    endpoint LowCardinality(String),
    request_model LowCardinality(String),
    deployment_id LowCardinality(String),
    region LowCardinality(String),
    site LowCardinality(String),
    gpu_type LowCardinality(String),
    service_tier LowCardinality(String),
    stream Bool,
    attempt Int64,
    input_tokens Int64 COMMENT 'all input tokens, cached included',
    cache_read_input_tokens Int64,
    cache_write_input_tokens Int64,
    output_tokens Int64 COMMENT 'all output tokens, reasoning included',
    reasoning_output_tokens Int64,
    training_tokens Int64,
    input_audio_tokens Int64,
    output_audio_tokens Int64,
    input_image_tokens Int64,
    images Int64,
    audio_seconds Decimal(38, 6),
    video_seconds Decimal(38, 6),
    units Map(LowCardinality(String), String) COMMENT 'custom meters: name to decimal',
    usage_source LowCardinality(String) COMMENT 'engine, gateway_count, estimated',
    project_id LowCardinality(String),
    api_key_id LowCardinality(String),
    end_user_id String,
    request_id String,
    session_id String,
    workflow_id String,
    source LowCardinality(String) COMMENT 'who reported, an event is identified by (source, id)',
    id String,
    -- the disjoint meters that prices name, computed when read
    input_uncached Int64 ALIAS input_tokens - cache_read_input_tokens - cache_write_input_tokens,
    input_cache_read Int64 ALIAS cache_read_input_tokens,
    input_cache_write Int64 ALIAS cache_write_input_tokens,
    output_text Int64 ALIAS output_tokens - reasoning_output_tokens,
    output_reasoning Int64 ALIAS reasoning_output_tokens,
    -- where the row comes from
    batch_source LowCardinality(String) COMMENT 'header tokenmill-source, empty for a single event',
    batch_epoch UInt64,
    batch_number UInt64 COMMENT 'number of the batch, 0 for a single event',
    log_id LowCardinality(String) COMMENT '<cluster id>/<topic id>',
    log_epoch UInt32,
    topic LowCardinality(String),
    kafka_partition UInt32,
    kafka_offset UInt64,
    kafka_row UInt32 COMMENT 'index of the row in its record',
    appended_at DateTime64(3, 'UTC') COMMENT 'timestamp of the record: append time of the broker',
    INDEX ix_ended_at ended_at TYPE minmax,
    INDEX ix_offset kafka_offset TYPE minmax
)
ENGINE = MergeTree
PARTITION BY toYYYYMM(appended_at)
ORDER BY (tenant_id, response_model, ended_at)
SETTINGS non_replicated_deduplication_window = 10000, min_bytes_for_wide_part = 134217728;
