-- What the GPU meter derived: one owner's time on one GPU inside one window. It is written to usage.events.v1 and rated
-- like token usage, rows as in the log, as in usage_raw.
-- ORDER BY owner, GPU type, start: GPU-hours are asked for by tenant and type over time.
-- PARTITION BY month of the broker's append time: one insert is one part, whole or absent.
CREATE TABLE IF NOT EXISTS gpu_usage_raw
(
    tenant_id LowCardinality(String) COMMENT '_pool: shared serving capacity, _idle: no owner',
    gpu_type LowCardinality(String),
    start DateTime64(6, 'UTC') COMMENT 'event time',
    end DateTime64(6, 'UTC'),
    allocated_gpu_seconds Decimal(38, 6),
    busy_gpu_seconds Decimal(38, 6),
    energy_joules Decimal(38, 6),
    unobserved_seconds Decimal(38, 6) COMMENT 'time without samples',
    gpu_uuid LowCardinality(String),
    mig_instance_id LowCardinality(String),
    node LowCardinality(String),
    cluster LowCardinality(String),
    region LowCardinality(String),
    site LowCardinality(String),
    source LowCardinality(String),
    id String,
    -- the meters that prices name, computed when read
    gpu_seconds Decimal(38, 6) ALIAS allocated_gpu_seconds,
    gpu_busy_seconds Decimal(38, 6) ALIAS busy_gpu_seconds,
    gpu_energy_joules Decimal(38, 6) ALIAS energy_joules,
    batch_source LowCardinality(String),
    batch_epoch UInt64,
    batch_number UInt64,
    log_id LowCardinality(String),
    log_epoch UInt32,
    topic LowCardinality(String),
    kafka_partition UInt32,
    kafka_offset UInt64,
    kafka_row UInt32,
    appended_at DateTime64(3, 'UTC'),
    INDEX ix_offset kafka_offset TYPE minmax
)
ENGINE = MergeTree
PARTITION BY toYYYYMM(appended_at)
ORDER BY (tenant_id, gpu_type, start)
SETTINGS non_replicated_deduplication_window = 10000, min_bytes_for_wide_part = 134217728;

-- GPU samples as the agents sent them.
-- ORDER BY type and GPU, then time: one GPU's course is one run of rows, and a type's GPUs lie together.
-- PARTITION BY month of the broker's append time: one insert is one part, whole or absent.
CREATE TABLE IF NOT EXISTS gpu_samples
(
    gpu_type LowCardinality(String),
    gpu_uuid LowCardinality(String),
    time DateTime64(6, 'UTC') COMMENT 'end of the interval that the sample describes',
    interval_s Float64,
    mig_instance_id LowCardinality(String),
    mig_profile LowCardinality(String),
    node LowCardinality(String),
    cluster LowCardinality(String),
    region LowCardinality(String),
    site LowCardinality(String),
    tenant_id LowCardinality(String) COMMENT 'empty: the agent knew no owner',
    namespace LowCardinality(String),
    pod LowCardinality(String),
    gpu_util_ratio Nullable(Float64),
    engine_active_ratio Nullable(Float64),
    sm_active_ratio Nullable(Float64),
    tensor_active_ratio Nullable(Float64),
    power_w Nullable(Float64),
    energy_mj_counter Nullable(Int64),
    fb_used_mib Nullable(Int64),
    fb_total_mib Nullable(Int64),
    source_kind LowCardinality(String) COMMENT 'dcgm, nvml, simulated',
    source LowCardinality(String),
    id String,
    batch_source LowCardinality(String),
    batch_epoch UInt64,
    batch_number UInt64,
    log_id LowCardinality(String),
    log_epoch UInt32,
    topic LowCardinality(String),
    kafka_partition UInt32,
    kafka_offset UInt64,
    kafka_row UInt32,
    appended_at DateTime64(3, 'UTC'),
    INDEX ix_offset kafka_offset TYPE minmax
)
ENGINE = MergeTree
PARTITION BY toYYYYMM(appended_at)
ORDER BY (gpu_type, gpu_uuid, time)
SETTINGS non_replicated_deduplication_window = 10000, min_bytes_for_wide_part = 134217728;
