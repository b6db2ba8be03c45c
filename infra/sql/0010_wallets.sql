-- Prepaid credits: debits are rated records of meter `wallet`, kind credit, with an amount below 0.

-- Money by hour as rated now. Debits of prepaid credits pay revenue and do not lower it: they are left out.
-- Fees, minimums and late adjustments stand in the hour that their period begins with.
-- `model` and `gpu_type` are empty where a SKU is not about one.
CREATE OR REPLACE VIEW kpi_revenue AS
SELECT
    toStartOfHour(r.window_start) AS hour, r.billing_period AS billing_period, r.tenant_id AS tenant_id,
    r.dimensions['model'] AS model, r.dimensions['gpu_type'] AS gpu_type,
    r.kind AS kind, r.meter AS meter, startsWith(r.sku, 'uncharged/') AS uncharged, r.currency AS currency,
    sum(r.quantity) AS quantity,
    sum(ifNull(r.amount, 0)) AS amount
FROM rated AS r
WHERE r.meter != 'wallet'
GROUP BY hour, billing_period, tenant_id, model, gpu_type, kind, meter, uncharged, currency;

-- What each grant paid: one row per debit and grant. `credits` is in `unit`; `paid` is the whole debit's amount, which
-- several grants may share.
CREATE VIEW IF NOT EXISTS wallet_debits AS
SELECT
    r.tenant_id AS tenant_id, substring(drawn.1, 7) AS grant_id, r.unit AS unit,
    r.window_start AS window_start, r.billing_period AS billing_period, r.service_period AS service_period,
    r.dimensions['pays'] AS sku, toDecimal128(drawn.2, 12) AS credits, -r.amount AS paid, r.currency AS currency,
    r.provisional AS provisional
FROM rated AS r
ARRAY JOIN CAST(r.dimensions, 'Array(Tuple(String, String))') AS drawn
WHERE r.meter = 'wallet' AND startsWith(drawn.1, 'grant/');
