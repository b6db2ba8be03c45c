"""Kafka to ClickHouse, exactly once, and what is asked of the result.

    runner, delivery, buffer, intent    the protocol: ranges, notes, tokens (start with `delivery`)
    kafka_log, store, logs, tables      its two sides: the consumer group, ClickHouse, the identity of logs
    usage, gpu_samples, rated, ...      one module per topic: records to rows (`event_rows`, `control`, `columns` help)
    reconcile, compare_*, findings      whether everything is there, once, and adds up
    invoices, balance, queries          answers from what is stored

The tables are in `infra/sql`.
"""
