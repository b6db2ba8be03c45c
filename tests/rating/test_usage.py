from __future__ import annotations

from decimal import Decimal

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rating.errors import MeterError
from rating.meters import GROUP_METERS, LEAF_METERS, LEAF_NAMES, derive_leaves, leaves_of, meter
from rating.usage import DEFAULT_CONTEXT_EDGES, TOTAL_NAMES, UsageTotals, context_bracket

TOTALS = st.builds(
    UsageTotals,
    **{name: st.integers(0, 10**15) for name in TOTAL_NAMES},
    units=st.dictionaries(st.sampled_from(["a", "b"]), st.integers(1, 10**21), max_size=2),
)


def test_leaves_take_the_totals_apart_without_rest() -> None:
    totals = UsageTotals(
        requests=3,
        input_tokens=1000,
        cache_read_input_tokens=600,
        cache_write_input_tokens=100,
        output_tokens=50,
        reasoning_output_tokens=20,
        gpu_microseconds=1_500_000,
        units={"pages": 2_500_000_000},
    )
    assert totals.leaves() == {
        "input_uncached": Decimal(300),
        "input_cache_read": Decimal(600),
        "input_cache_write": Decimal(100),
        "output_text": Decimal(30),
        "output_reasoning": Decimal(20),
        "requests": Decimal(3),
        "gpu_seconds": Decimal("1.5"),
        "units.pages": Decimal("2.5"),
    }


@given(TOTALS)
def test_the_leaves_of_a_group_sum_to_the_total(totals: UsageTotals) -> None:
    leaves = totals.scaled_leaves()
    assert sum(leaves.get(name, 0) for name in GROUP_METERS["input"]) == totals.input_tokens
    assert sum(leaves.get(name, 0) for name in GROUP_METERS["output"]) == totals.output_tokens


@given(TOTALS, TOTALS, TOTALS)
def test_totals_merge_in_any_order_and_grouping(a: UsageTotals, b: UsageTotals, c: UsageTotals) -> None:
    assert (a + b) + c == a + (b + c) == c + (b + a)
    assert (a + b) - b == a
    assert a + UsageTotals() == a


@given(TOTALS, TOTALS)
def test_leaves_of_a_sum_are_the_sum_of_leaves(a: UsageTotals, b: UsageTotals) -> None:
    left, right, both = a.scaled_leaves(), b.scaled_leaves(), (a + b).scaled_leaves()
    assert {name: left.get(name, 0) + right.get(name, 0) for name in {*left, *right}} == {
        name: both.get(name, 0) for name in {*left, *right}
    }


def test_leaves_can_be_derived_from_columns() -> None:
    columns = {name: np.arange(4, dtype=np.int64) * (position + 1) for position, name in enumerate(TOTAL_NAMES)}
    derived = derive_leaves(**columns)
    for row in range(4):
        one = derive_leaves(**{name: int(column[row]) for name, column in columns.items()})
        assert tuple(int(column[row]) for column in derived) == one
    assert len(derived) == len(LEAF_METERS)


def test_the_context_bracket_counts_the_edges_that_the_input_is_above() -> None:
    assert [context_bracket(tokens) for tokens in (0, 32_000, 32_001, 200_000, 200_001, 2_000_000)] == [
        0,
        0,
        1,
        3,
        4,
        7,
    ]
    assert context_bracket(5, (5, 6)) == 0
    assert len(DEFAULT_CONTEXT_EDGES) == 7


def test_meters_are_found_by_name_and_unknown_ones_raise() -> None:
    assert [meter(name) for name in LEAF_NAMES] == list(LEAF_METERS)
    assert meter("units.pages").decimals == 9
    assert leaves_of("input") == GROUP_METERS["input"]
    assert leaves_of("units.pages") == ("units.pages",)
    for name in ("tokens", "", "units.", "units.a\nb"):
        with pytest.raises(MeterError):
            meter(name)
