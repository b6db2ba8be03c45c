"""What one record unpacks to may be megabytes: what a flush writes of it still fits the records that Kafka takes."""

from __future__ import annotations

from infra.kafka import MAX_MESSAGE_BYTES
from schemas.batch import encode_batch
from schemas.headers import BatchHeaders
from schemas.partitioning import partition_for
from tests.schemas.samples import raw_batch, write_stream
from tests.streams.support import (
    TOKEN_USAGE,
    Log,
    batch_of,
    log_with_card,
    rate,
    usage,
    written_fits,
)


def bomb(rows: int, bad: bool, column: str = "error_type", length: int = 4_000) -> bytes:
    """Few bytes on the wire, many when unpacked."""
    texts = [f"{row:05d}" + "x" * length for row in range(rows)]
    fields = [usage(f"event-{row}").model_dump() | {"units": None, column: texts[row]} for row in range(rows)]
    if not bad:
        fields = [field | {column: text[:250]} for field, text in zip(fields, texts, strict=True)]
    return write_stream(raw_batch(TOKEN_USAGE, fields), compression="zstd")


def test_rejected_rows_that_unpack_to_megabytes_become_dead_letters_that_fit() -> None:
    value = bomb(5_000, bad=True)
    assert len(value) < 1 << 20
    log = log_with_card()
    log.append(value, BatchHeaders(TOKEN_USAGE, "bomb", 1, 1).encode())
    run = rate(log.records).all()
    written_fits(run)
    letters = run.dead_letters()
    assert len(letters) > 1
    assert sorted(row for letter in letters if letter.batch for row in letter.batch.column("_row").to_pylist()) == list(
        range(5_000)
    )
    assert {letter.source.offset for letter in letters} == {2}
    assert run.dead_codes() == {"invalid_error_type": 5_000}


def test_one_row_of_megabytes_is_clipped_in_its_dead_letter() -> None:
    fields = [usage(f"event-{row}").model_dump() | {"units": [("u" * 9_000, "1" * 9_000)] * 90} for row in range(3)]
    fields[2]["units"] = None
    fields[1] |= {"error_type": "x" * 3_000_000, "request_id": "é" * 2_000_000}
    log = log_with_card()
    log.append(
        write_stream(raw_batch(TOKEN_USAGE, fields), compression="zstd"),
        BatchHeaders(TOKEN_USAGE, "bomb", 1, 1).encode(),
    )
    run = rate(log.records).all()
    written_fits(run)
    assert run.outcomes() == {"rated": 1, "dead_letter": 2}
    rows = {row["_row"]: row for letter in run.dead_letters() for row in letter.batch.to_pylist()}  # type: ignore[union-attr]
    assert set(rows) == {0, 1}
    assert rows[1]["tenant_id"] == "acme"
    assert rows[1]["_code"].startswith("invalid_")
    assert 0 < len(rows[1]["error_type"]) < 2_000


def test_repeated_batches_of_megabytes_are_excluded_in_records_that_fit() -> None:
    log = log_with_card()
    good, bad = (
        bomb(2_500, bad=False, column="response_model"),
        bomb(100, bad=True, column="response_model", length=150_000),
    )
    for value, source in ((good, "good"), (good, "good"), (bad, "bad"), (bad, "bad")):
        log.append(value, BatchHeaders(TOKEN_USAGE, source, 1, 1).encode())
    run = rate(log.records).all()
    written_fits(run)
    excluded = run.excluded()
    assert sorted((row["offset"], row["row"]) for row in excluded) == [(3, row) for row in range(2_500)] + [
        (5, row) for row in range(100)
    ]
    assert run.outcomes() == {"rated": 2_500, "duplicate": 2_600, "dead_letter": 100}


def test_exclusions_of_many_batches_stay_within_the_rows_of_a_record() -> None:
    log = log_with_card()
    log.batch([usage("a")])
    log.single(usage("a"))
    rows = [usage(f"event-{row}") for row in range(10_000)]
    log.batch(rows, number=5)
    log.batch(rows, number=5)
    run = rate(log.records).all()
    assert len(run.excluded()) == 10_001
    written_fits(run)


def test_rerouted_rows_beyond_one_record_all_arrive_once() -> None:
    wrong = next(f"t-{number}" for number in range(99) if partition_for(f"t-{number}", 3) == 1)
    rows = [
        usage(
            f"event-{row}",
            tenant_id=wrong,
            units={f"{'n' * 240}{unit}": "1" for unit in range(16)},
            error_type="e" * 250,
        )
        for row in range(1_000)
    ]
    log = Log()
    log.append(encode_batch(batch_of(rows), "zstd"), BatchHeaders(TOKEN_USAGE, "far", 1, 1).encode())
    here = rate(log.records, 0, partitions=3).all()
    written_fits(here)
    assert here.outcomes() == {"rerouted": 1_000}
    moved = here.to(here.made.topics.usage_events)
    assert len(moved) > 1
    assert {record.partition for record in moved} == {1}
    there = Log()
    for record in [*moved, *moved]:
        there.append(record.value or b"", record.headers)
    arrived = rate(there.records, 1, partitions=3).all(1)
    assert arrived.outcomes() == {"unrated": 1_000, "duplicate": 1_000}


def test_a_repeated_batch_whose_row_unpacks_to_megabytes_is_excluded_in_a_record_that_fits() -> None:
    log = log_with_card()
    headers = BatchHeaders(TOKEN_USAGE, "far", 1, 1).encode()
    log.append(encode_batch(batch_of([usage("a")])), headers)
    log.append(
        write_stream(raw_batch(TOKEN_USAGE, [usage("a").model_dump() | {"id": "x" * 8_000_000}]), compression="zstd"),
        headers,
    )
    run = rate(log.records).all()
    assert run.outcomes() == {"rated": 1, "duplicate": 1}
    written_fits(run)


def test_records_that_can_not_be_decoded_keep_what_fits() -> None:
    log = log_with_card()
    log.append(b"x" * 3_900_000, [("content-type", b"text/plain")])
    log.append(b"", [], key=b"k" * (MAX_MESSAGE_BYTES - 100))
    log.append(b"", [(f"header-{number}", b"v") for number in range(140_000)])
    log.append(b"", [("big", b"v" * (MAX_MESSAGE_BYTES - 100))])
    log.append(b"\x00", [("content-type", b"\xff\xff")])
    run = rate(log.records).all()
    written_fits(run)
    assert run.dead_codes() == {"undecodable": 5}
    assert [letter.length for letter in run.dead_letters()] == [3_900_000, 0, 0, 0, 1]
