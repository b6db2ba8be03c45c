-- Rated records, twice: as the current state per key, and as a ledger of differences.
--
-- rated_state holds absolute totals, a higher revision of a key replaces the lower ones. It is read only through the
-- view `rated`, because before a merge several revisions of one key stand beside each other.
-- ORDER BY is the key of the record, tenant first: an invoice reads one tenant and period, the key decides what replaces what.
-- PARTITION BY month of window_start: a function of the key, so the revisions of one key always meet in one partition.
CREATE TABLE IF NOT EXISTS rated_state
(
    tenant_id LowCardinality(String),
    sku LowCardinality(String),
    meter LowCardinality(String),
    kind LowCardinality(String) COMMENT 'usage, unrated, minimum, commitment, flat_fee, credit, sla_credit, adjustment',
    window_kind LowCardinality(String) COMMENT 'hour or period',
    window_start DateTime64(6, 'UTC'),
    window_end DateTime64(6, 'UTC'),
    billing_period LowCardinality(String) COMMENT 'YYYY-MM of the invoice',
    service_period LowCardinality(String) COMMENT 'YYYY-MM in which the service was used',
    quantity Decimal(38, 9),
    unit LowCardinality(String),
    amount Nullable(Decimal(38, 12)) COMMENT 'NULL: no price (kind unrated)',
    currency LowCardinality(String) COMMENT 'empty where amount is NULL',
    card_id LowCardinality(String),
    card_version Nullable(UInt64),
    provisional Bool,
    dimensions Map(LowCardinality(String), String),
    seller_id LowCardinality(String),
    revision UInt64 COMMENT 'log epoch x 2^40 + offset of the last source record this total contains',
    previous_revision Nullable(UInt64),
    previous_quantity Nullable(Decimal(38, 9)),
    previous_amount Nullable(Decimal(38, 12)),
    log_id LowCardinality(String),
    topic LowCardinality(String),
    kafka_partition UInt32,
    kafka_offset UInt64,
    appended_at DateTime64(3, 'UTC')
)
ENGINE = ReplacingMergeTree(revision)
PARTITION BY toYYYYMM(window_start)
ORDER BY (tenant_id, service_period, sku, kind, window_kind, window_start)
SETTINGS non_replicated_deduplication_window = 10000;

-- The only way to read rated records: one row per key, the highest revision.
CREATE VIEW IF NOT EXISTS rated AS SELECT * FROM rated_state FINAL;

-- Every change of a total as one signed entry, never changed afterwards: sums over it are exact without FINAL, and it
-- shows how an amount came about. quantity and amount are differences to the record's `previous`, the chain
-- (previous_revision = the revision before) is checked by reconciliation.
-- ORDER BY tenant and period first (statements and sums per tenant), then the key, then revision: a key's history is one run of rows.
-- PARTITION BY month of the broker's append time: one insert is one part, so an insert is whole or absent, no TTL.
CREATE TABLE IF NOT EXISTS rated_ledger
(
    tenant_id LowCardinality(String),
    sku LowCardinality(String),
    meter LowCardinality(String),
    kind LowCardinality(String),
    window_kind LowCardinality(String),
    window_start DateTime64(6, 'UTC'),
    billing_period LowCardinality(String),
    service_period LowCardinality(String),
    quantity Decimal(38, 9) COMMENT 'difference to the previous revision',
    unit LowCardinality(String),
    amount Decimal(38, 12) COMMENT 'difference to the previous revision, a missing price counts as 0',
    currency LowCardinality(String),
    card_id LowCardinality(String),
    card_version Nullable(UInt64),
    revision UInt64,
    previous_revision Nullable(UInt64),
    log_id LowCardinality(String),
    topic LowCardinality(String),
    kafka_partition UInt32,
    kafka_offset UInt64,
    appended_at DateTime64(3, 'UTC')
)
ENGINE = MergeTree
PARTITION BY toYYYYMM(appended_at)
ORDER BY (tenant_id, service_period, sku, kind, window_kind, window_start, revision)
SETTINGS non_replicated_deduplication_window = 10000;
