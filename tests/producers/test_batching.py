"""Packing: no row lost, none moved, none in a foreign partition, whatever comes in whatever pieces."""

from __future__ import annotations

from collections import defaultdict
from itertools import pairwise

import pyarrow as pa
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from producers.batching import Packed, Packer
from producers.workload import Workload
from schemas.batch import batch_to_models, decode_batch
from schemas.kinds import Kind
from schemas.partitioning import partition_for

SOURCE = pa.Table.from_batches(list(Workload(seed=9, requests=250, hours=1, nodes=1).batches())).combine_chunks()
ROWS = SOURCE.to_batches()[0].slice(0, 90)


def unpacked(packed: list[Packed]) -> dict[int, list[dict[str, object]]]:
    found: dict[int, list[dict[str, object]]] = defaultdict(list)
    for each in packed:
        rows = decode_batch(Kind.TOKEN_USAGE, each.data)
        assert rows.num_rows == each.rows
        found[each.partition] += rows.to_pylist()
    return found


# Without shrinking: a failure would take minutes to make small, and says enough as it is.
@settings(max_examples=20, deadline=None, phases=(Phase.explicit, Phase.generate))
@given(
    cuts=st.lists(st.integers(0, ROWS.num_rows), max_size=8),
    max_rows=st.integers(1, 50),
    partitions=st.sampled_from([1, 3, 12]),
    singly=st.sets(st.integers(0, 8)),
)
def test_rows_keep_their_order_and_content_in_their_partition(
    cuts: list[int], max_rows: int, partitions: int, singly: set[int]
) -> None:
    packer = Packer(Kind.TOKEN_USAGE, partitions, max_rows, 512 * 1024)
    edges = [0, *sorted(cuts), ROWS.num_rows]
    packed: list[Packed] = []
    for number, (begin, end) in enumerate(pairwise(edges)):
        piece = ROWS.slice(begin, end - begin)
        if number in singly:  # one by one, as models
            for event in batch_to_models(Kind.TOKEN_USAGE, piece.slice(0, 10)):
                packed += packer.add_event(event, 0.0)
            piece = piece.slice(10)
        packed += packer.add_batch(piece, 0.0)
    packed += packer.drain()
    assert packer.rows == 0
    assert all(each.rows <= max_rows for each in packed)
    expected = defaultdict(list)
    for row in ROWS.to_pylist():
        expected[partition_for(row["tenant_id"], partitions)].append(row)
    assert unpacked(packed) == expected


def test_only_what_has_lingered_long_enough_is_due() -> None:
    packer = Packer(Kind.TOKEN_USAGE, 12, 1_000, 512 * 1024)
    packer.add_batch(ROWS.slice(0, 1), now=1.0)
    packer.add_batch(ROWS.slice(0, 1), now=5.0)
    assert packer.due(0.9) == []
    (packed,) = packer.due(1.0)
    assert packed.rows == 2  # the younger row goes along: it is in the same batch
    assert packer.size == packer.rows == 0


def test_rows_left_over_from_a_full_batch_do_not_count_as_old() -> None:
    packer = Packer(Kind.TOKEN_USAGE, 1, 10, 512 * 1024)
    packer.add_batch(ROWS.slice(0, 5), now=1.0)
    (full,) = packer.add_batch(ROWS.slice(5, 7), now=9.0)
    assert full.rows == 10
    assert packer.due(8.9) == []
    (rest,) = packer.due(9.0)
    assert rest.rows == 2


def test_rows_without_a_tenant_go_to_partition_zero_for_the_worker_to_reject() -> None:
    packer = Packer(Kind.TOKEN_USAGE, 12, 10, 512 * 1024)
    missing = ROWS.slice(0, 2).select(["id", "input_tokens"])
    packer.add_batch(missing, 0.0)
    nothing = pa.DictionaryArray.from_arrays(pa.array([None, 0], pa.int32()), pa.array([""]))
    packer.add_batch(pa.RecordBatch.from_arrays([missing["id"], nothing], ["id", "tenant_id"]), 0.0)
    assert [(each.partition, each.rows) for each in packer.drain()] == [(0, 4)]


def test_a_rest_does_not_carry_columns_on_that_say_nothing() -> None:
    packer = Packer(Kind.TOKEN_USAGE, 1, 100, 512 * 1024)
    plain, training = (
        next(Workload(seed=9, requests=60, hours=1, nodes=1, profile=name).batches())
        for name in ("chat", "fine-tuning")
    )
    packer.add_batch(plain, 0.0)
    assert packer.add_batch(training, 0.0)  # a column has come: what waits is filled up, and 20 rows go on waiting
    (rest,) = packer._pending[0].pieces
    assert "training_tokens" in rest.schema.names
    assert "images" not in rest.schema.names
