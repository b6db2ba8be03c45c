"""Bills from usage.rated.v1.   pip install confluent-kafka;   python rated_usage.py broker:9092 bills.db [topic]

Keeps the highest revision of every key in SQLite and prints the invoices. Stop it anywhere, start it again, let it read
everything twice: the totals are the same. TLS and SASL are more settings of the consumer.
"""

import json
import sqlite3
import sys
from collections import defaultdict
from decimal import ROUND_HALF_UP, Decimal, getcontext

from confluent_kafka import Consumer, KafkaError, KafkaException

getcontext().prec = 60  # digits, more than any sum has: adding is exact
DECIMALS = {
    0: "BIF CLP DJF GNF ISK JPY KMF KRW PYG RWF UGX UYI VND VUV XAF XOF XPF",
    3: "BHD IQD JOD KWD LYD OMR TND",
    4: "CLF UYW",
}  # of currencies, by ISO 4217; every other one: 2
TABLE = "CREATE TABLE IF NOT EXISTS rated (key BLOB PRIMARY KEY, revision INTEGER, record TEXT)"
TAKE = """INSERT INTO rated VALUES (?, ?, ?) ON CONFLICT (key) DO UPDATE
    SET revision = excluded.revision, record = excluded.record WHERE excluded.revision > rated.revision"""


def read_to_the_end(consumer: Consumer, db: sqlite3.Connection) -> None:
    """Take in all records of the topic. First the database, then the offsets: a crash between repeats, and loses nothing."""
    ended: set[int] = set()
    while not ended or len(ended) < len(consumer.assignment()):
        messages = consumer.consume(1000, timeout=1.0)
        for message in messages:
            if message.error() and message.error().code() != KafkaError._PARTITION_EOF:
                raise KafkaException(message.error())
            (ended.add if message.error() else ended.discard)(message.partition())
        values = [(m.key(), m.value().decode()) for m in messages if not m.error() and m.value()]
        if values:
            db.executemany(TAKE, [(key, json.loads(value)["revision"], value) for key, value in values])
            db.commit()
            consumer.commit(asynchronous=False)


def invoices(db: sqlite3.Connection) -> dict[tuple[str, str, str], Decimal]:
    """Total by tenant, billing period and currency: each line is summed exactly, then rounded once."""
    lines: dict[tuple[tuple[str, str, str], tuple[str, ...]], Decimal] = defaultdict(Decimal)
    totals: dict[tuple[str, str, str], Decimal] = defaultdict(Decimal)
    for (value,) in db.execute("SELECT record FROM rated"):
        record = json.loads(value)
        if "amount" in record and "currency" in record:  # else it has no price yet, or is capacity that nobody pays for
            bill = record["tenant_id"], record["billing_period"], record["currency"]
            line = record["service_period"], record["kind"], record["sku"], record["meter"]
            lines[bill, line] += Decimal(record["amount"])
    for (bill, _), exact in lines.items():
        decimals = next((number for number, codes in DECIMALS.items() if bill[2] in codes), 2)
        totals[bill] += exact.quantize(Decimal(1).scaleb(-decimals), ROUND_HALF_UP)  # half away from zero
    return totals


if __name__ == "__main__":
    brokers, path, topic = (*sys.argv[1:], "usage.rated.v1")[:3]
    where = {"bootstrap.servers": brokers, "group.id": "billing", "isolation.level": "read_committed"}
    how = {"auto.offset.reset": "earliest", "enable.auto.commit": False, "enable.partition.eof": True}
    consumer, db = Consumer(where | how), sqlite3.connect(path)
    db.execute(TABLE)
    consumer.subscribe([topic])
    read_to_the_end(consumer, db)
    consumer.close()
    sys.stdout.writelines(f"{' '.join(bill)} {total}\n" for bill, total in sorted(invoices(db).items()))
