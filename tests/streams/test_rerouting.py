"""Events on a partition that is not their tenant's go on as they are, and stand in the exclusions with their own places."""

from __future__ import annotations

from schemas.batch import encode_batch
from schemas.cloudevents import encode_binary, encode_structured
from schemas.headers import BatchHeaders
from schemas.kinds import Kind
from schemas.partitioning import partition_for
from tests.schemas.samples import raw_batch, write_stream
from tests.streams.support import Log, batch_of, rate, usage

HERE, FAR = (next(f"t-{n}" for n in range(99) if partition_for(f"t-{n}", 3) == wanted) for wanted in (0, 1))


def test_single_events_are_forwarded_as_they_came() -> None:
    log = Log()
    sent = []
    for number, tenant in enumerate((HERE, FAR, FAR, HERE, FAR)):
        value, headers = (encode_structured if number % 2 else encode_binary)(usage(f"e-{number}", tenant_id=tenant))
        log.append(value, headers, key=tenant.encode())
        sent.append((value, dict(headers)))
    here = rate(log.records, partitions=3).all()
    moved = here.to(here.made.topics.usage_events)
    assert [(record.value, dict(record.headers)) for record in moved] == [sent[1], sent[2], sent[4]]
    assert {(record.partition, record.key) for record in moved} == {(1, FAR.encode())}
    assert [(row["offset"], row["row"], row["outcome"]) for row in here.excluded()] == [
        (log.records[place].offset, 0, "rerouted") for place in (1, 2, 4)
    ]
    there = Log()
    for record in [*moved, *moved]:
        there.append(record.value or b"", record.headers)
    assert rate(there.records, 1, partitions=3).all(1).outcomes() == {"unrated": 3, "duplicate": 3}


def test_rows_of_a_batch_are_rerouted_under_the_number_of_their_record() -> None:
    log = Log()
    log.append(
        encode_batch(batch_of([usage("a", tenant_id=HERE)])), BatchHeaders(str(Kind.TOKEN_USAGE), "x", 1, 1).encode()
    )
    rows = [usage("b", tenant_id=FAR), usage("c", tenant_id=HERE), usage("d", tenant_id=FAR)]
    record = log.append(encode_batch(batch_of(rows)), BatchHeaders(str(Kind.TOKEN_USAGE), "x", 1, 2).encode())
    here = rate(log.records, partitions=3).all()
    (moved,) = here.to(here.made.topics.usage_events)
    assert dict(moved.headers)["tokenmill-number"] == b"%d" % record.offset
    assert [(row["offset"], row["row"]) for row in here.excluded()] == [(record.offset, 0), (record.offset, 2)]
    there = Log()
    for _ in range(2):
        there.append(moved.value or b"", moved.headers)
    assert rate(there.records, 1, partitions=3).all(1).outcomes() == {"unrated": 2, "duplicate": 2}


def test_a_row_that_breaks_the_rules_is_a_dead_letter_where_it_is_read() -> None:
    log = Log()
    value, headers = encode_structured(usage("good", tenant_id=FAR))
    log.append(value, headers)
    rows = [usage("a", tenant_id=FAR).model_dump() | {"input_tokens": -1}, usage("b", tenant_id=FAR).model_dump()]
    log.append(write_stream(raw_batch(Kind.TOKEN_USAGE, rows)), BatchHeaders(str(Kind.TOKEN_USAGE), "x", 1, 1).encode())
    run = rate(log.records, partitions=3).all()
    assert run.outcomes() == {"rerouted": 2, "dead_letter": 1}
    assert run.dead_codes() == {"invalid_input_tokens": 1}
