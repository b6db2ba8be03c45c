-- The views behind the KPIs (docs/kpis.md), for `tokenmill kpi`, dashboards and analysts. Plain views: they hold nothing,
-- every question is answered from the tables, right before fast.
--
-- What counts is what the worker counted: raw rows less exclusions less dead letters, by their place in the log. So the
-- tokens below are the tokens of the rated records and of the invoices. Money comes from the view `rated` alone and is only
-- summed here, never multiplied.

-- Token usage that counts, one row per attempt of a request, with the figures of one request.
-- Seconds are fractions for statistics, never for money. A first token before the start or after the end is no measurement.
CREATE VIEW IF NOT EXISTS usage_counted AS
SELECT
    u.tenant_id AS tenant_id,
    u.response_model AS model,
    u.endpoint AS endpoint,
    u.operation AS operation,
    u.provider AS provider,
    u.region AS region,
    u.site AS site,
    u.gpu_type AS gpu_type,
    u.service_tier AS service_tier,
    u.project_id AS project_id,
    u.status AS status,
    u.http_status AS http_status,
    u.error_type AS error_type,
    u.attempt AS attempt,
    u.ended_at AS ended_at,
    toStartOfHour(u.ended_at) AS hour,
    u.input_tokens AS input_tokens,
    u.cache_read_input_tokens AS cache_read_tokens,
    u.cache_write_input_tokens AS cache_write_tokens,
    u.output_tokens AS output_tokens,
    u.reasoning_output_tokens AS reasoning_tokens,
    u.training_tokens AS training_tokens,
    u.input_tokens + u.output_tokens AS tokens,
    dateDiff('microsecond', u.started_at, u.ended_at) / 1e6 AS end_to_end_s,
    if(u.first_token_at BETWEEN u.started_at AND u.ended_at,
        dateDiff('microsecond', u.started_at, u.first_token_at) / 1e6, NULL) AS ttft_s,
    if(u.first_token_at BETWEEN u.started_at AND u.ended_at AND u.output_tokens > 1,
        dateDiff('microsecond', u.first_token_at, u.ended_at) / 1e6 / (u.output_tokens - 1), NULL) AS inter_token_s
FROM usage_raw AS u
WHERE (u.log_epoch, u.kafka_partition, u.kafka_offset, u.kafka_row) NOT IN (
        SELECT source_log_epoch, source_partition, source_offset, source_row
        FROM exclusions WHERE type = 'io.tokenmill.usage.token.v1')
    AND (u.topic, u.kafka_partition, u.kafka_offset, toInt64(u.kafka_row)) NOT IN (
        SELECT source_topic, source_partition, source_offset, toInt64(source_row) FROM dead_letters WHERE source_row >= 0)
    AND (u.topic, u.kafka_partition, u.kafka_offset) NOT IN (
        SELECT source_topic, source_partition, source_offset FROM dead_letters WHERE source_row < 0);

-- GPU time that counts, one row per owner, GPU and stretch of time; `hour` is that of its start, which is its event time.
CREATE VIEW IF NOT EXISTS gpu_usage_counted AS
SELECT
    g.tenant_id AS tenant_id,
    g.gpu_type AS gpu_type,
    g.gpu_uuid AS gpu_uuid,
    g.mig_instance_id AS mig_instance_id,
    g.node AS node,
    g.cluster AS cluster,
    g.region AS region,
    g.site AS site,
    g.start AS start,
    g.end AS end,
    toStartOfHour(g.start) AS hour,
    g.allocated_gpu_seconds AS gpu_seconds,
    g.busy_gpu_seconds AS busy_seconds,
    g.unobserved_seconds AS unobserved_seconds,
    g.energy_joules AS energy_joules
FROM gpu_usage_raw AS g
WHERE (g.log_epoch, g.kafka_partition, g.kafka_offset, g.kafka_row) NOT IN (
        SELECT source_log_epoch, source_partition, source_offset, source_row
        FROM exclusions WHERE type = 'io.tokenmill.usage.gpu.v1')
    AND (g.topic, g.kafka_partition, g.kafka_offset, toInt64(g.kafka_row)) NOT IN (
        SELECT source_topic, source_partition, source_offset, toInt64(source_row) FROM dead_letters WHERE source_row >= 0)
    AND (g.topic, g.kafka_partition, g.kafka_offset) NOT IN (
        SELECT source_topic, source_partition, source_offset FROM dead_letters WHERE source_row < 0);

-- Token usage by hour: sums, so any day, month, tenant or model is a sum of rows.
CREATE VIEW IF NOT EXISTS kpi_tokens AS
SELECT
    u.hour AS hour, u.tenant_id AS tenant_id, u.model AS model, u.endpoint AS endpoint,
    count() AS requests,
    sum(u.input_tokens) AS input_tokens,
    sum(u.cache_read_tokens) AS cache_read_tokens,
    sum(u.cache_write_tokens) AS cache_write_tokens,
    sum(u.output_tokens) AS output_tokens,
    sum(u.reasoning_tokens) AS reasoning_tokens,
    sum(u.tokens) AS tokens
FROM usage_counted AS u
GROUP BY hour, tenant_id, model, endpoint;

-- Latency by hour of requests that succeeded: exact quantiles, in seconds. Quantiles of hours do not add up to those of
-- a day: ask usage_counted for another span.
CREATE VIEW IF NOT EXISTS kpi_latency AS
SELECT
    u.hour AS hour, u.model AS model, u.endpoint AS endpoint, u.region AS region, u.gpu_type AS gpu_type,
    count() AS requests,
    quantilesExactInclusive(0.5, 0.9, 0.95, 0.99)(u.ttft_s) AS ttft_s,
    quantilesExactInclusive(0.5, 0.9, 0.95, 0.99)(u.inter_token_s) AS inter_token_s,
    quantilesExactInclusive(0.5, 0.9, 0.95, 0.99)(u.end_to_end_s) AS end_to_end_s
FROM usage_counted AS u
WHERE u.status = 'success'
GROUP BY hour, model, endpoint, region, gpu_type;

-- Failures by hour, and the tokens that went with them.
CREATE VIEW IF NOT EXISTS kpi_reliability AS
SELECT
    u.hour AS hour, u.tenant_id AS tenant_id, u.model AS model, u.endpoint AS endpoint,
    count() AS requests,
    countIf(u.status = 'error') AS errors,
    countIf(u.status = 'aborted') AS aborted,
    countIf(u.attempt > 1) AS retries,
    countIf(u.http_status = 429) AS rate_limited,
    sum(u.tokens) AS tokens,
    sumIf(u.tokens, u.status = 'error') AS error_tokens,
    sumIf(u.tokens, u.status = 'aborted') AS aborted_tokens
FROM usage_counted AS u
GROUP BY hour, tenant_id, model, endpoint;

-- GPU time by hour, type and owner: a tenant, `_pool` (serves many) or `_idle` (nobody).
CREATE VIEW IF NOT EXISTS kpi_gpu_time AS
SELECT
    g.hour AS hour, g.gpu_type AS gpu_type, g.tenant_id AS owner,
    sum(g.gpu_seconds) AS gpu_seconds,
    sum(g.busy_seconds) AS busy_seconds,
    sum(g.unobserved_seconds) AS unobserved_seconds,
    sum(g.energy_joules) AS energy_joules
FROM gpu_usage_counted AS g
GROUP BY hour, gpu_type, owner;

-- Money by hour as rated now. Fees, minimums and late adjustments stand in the hour that their period begins with.
-- `model` and `gpu_type` are empty where a SKU is not about one.
CREATE VIEW IF NOT EXISTS kpi_revenue AS
SELECT
    toStartOfHour(r.window_start) AS hour, r.billing_period AS billing_period, r.tenant_id AS tenant_id,
    r.dimensions['model'] AS model, r.dimensions['gpu_type'] AS gpu_type,
    r.kind AS kind, r.meter AS meter, startsWith(r.sku, 'uncharged/') AS uncharged, r.currency AS currency,
    sum(r.quantity) AS quantity,
    sum(ifNull(r.amount, 0)) AS amount
FROM rated AS r
GROUP BY hour, billing_period, tenant_id, model, gpu_type, kind, meter, uncharged, currency;

-- Who changed which price when: every rate card version and every assignment, once each.
CREATE VIEW IF NOT EXISTS kpi_price_changes AS
SELECT
    appended_at, ifNull(published_at, appended_at) AS changed_at, published_by AS changed_by,
    if(kind = 'io.tokenmill.control.rate-card.v1', 'rate card', 'assignment') AS what,
    tenant_id, card_id, card_version, data
FROM control
WHERE kind IN ('io.tokenmill.control.rate-card.v1', 'io.tokenmill.control.assignment.v1');
