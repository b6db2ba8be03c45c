-- Lines that count something else of a meter than its sum (seats by API keys, peaks) bring money, and no tokens.

CREATE OR REPLACE VIEW kpi_revenue AS
SELECT
    toStartOfHour(r.window_start) AS hour, r.billing_period AS billing_period, r.tenant_id AS tenant_id,
    r.dimensions['model'] AS model, r.dimensions['gpu_type'] AS gpu_type,
    r.kind AS kind, r.meter AS meter, startsWith(r.sku, 'uncharged/') AS uncharged, r.currency AS currency,
    sumIf(r.quantity, NOT mapContains(r.dimensions, 'aggregation')) AS quantity,
    sum(ifNull(r.amount, 0)) AS amount
FROM rated AS r
WHERE r.meter != 'wallet'
GROUP BY hour, billing_period, tenant_id, model, gpu_type, kind, meter, uncharged, currency;
