-- Issued invoices and credit notes. Append-only: a document is never changed or taken back, another one corrects it.
--
-- `position` counts all documents of the database from 1, and whoever appends does so at the position behind the last one
-- that it has seen: the insert's deduplication token names that position, so of two who append at once one is stored and
-- the other looks again. That makes the numbers of an issuer free of gaps, and every document unique (`identity`).
-- ORDER BY position: it is read from its end (what is the last number) and by tenant, it is small.
-- No PARTITION BY: deduplication works within a partition, so there must be one. No TTL: documents are kept.
CREATE TABLE IF NOT EXISTS invoice_documents
(
    position UInt64 COMMENT 'of all documents, from 1, without gaps',
    document_id String COMMENT '<issuer>-<number>',
    issuer LowCardinality(String),
    number UInt64 COMMENT 'of the issuer, from 1, without gaps',
    kind LowCardinality(String) COMMENT 'invoice, credit_note',
    identity String COMMENT 'what must not be issued twice',
    tenant_id LowCardinality(String),
    period LowCardinality(String) COMMENT 'YYYY-MM: the billing period, also of the invoice that a credit note is about',
    currency LowCardinality(String),
    total Decimal(38, 12) COMMENT 'rounded to the currency; what a credit note gives back is negative',
    corrects String COMMENT 'the invoice that a credit note is about',
    replaces String COMMENT 'the invoice, credited in full, that this one takes the place of',
    issued_at DateTime64(6, 'UTC'),
    content_hash String COMMENT 'SHA-256 of content, which holds the hash of the issuer''s document before it',
    content String COMMENT 'the document: canonical JSON, money and quantities as text',
    attempt String COMMENT 'which attempt stored it',
    INDEX ix_identity identity TYPE bloom_filter,
    INDEX ix_tenant tenant_id TYPE bloom_filter
)
ENGINE = MergeTree
ORDER BY position
SETTINGS non_replicated_deduplication_window = 10000;

-- The lines of all documents: sums over them are what tenants were invoiced, credits taken off.
CREATE VIEW IF NOT EXISTS invoice_document_lines AS
SELECT
    position, document_id, issuer, kind AS document_kind, tenant_id, period, currency, issued_at,
    line_number,
    JSONExtractString(line, 'sku') AS sku,
    JSONExtractString(line, 'meter') AS meter,
    JSONExtractString(line, 'kind') AS kind,
    JSONExtractString(line, 'service_period') AS service_period,
    toDecimal128(JSONExtractString(line, 'quantity'), 9) AS quantity,
    JSONExtractString(line, 'unit') AS unit,
    toDecimal128(JSONExtractString(line, 'amount'), 12) AS amount,
    JSONExtractString(line, 'seller_id') AS seller_id,
    JSONExtractString(line, 'corrects') AS corrects,
    JSONExtractUInt(line, 'corrects_line') AS corrects_line
FROM invoice_documents
ARRAY JOIN JSONExtractArrayRaw(content, 'lines') AS line, arrayEnumerate(JSONExtractArrayRaw(content, 'lines')) AS line_number;
