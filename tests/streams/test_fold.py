"""Folding rows into sums per usage key and hour, against counters."""

from __future__ import annotations

from collections import Counter, defaultdict

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st

from rating.aggregations.gathered import Gathered, MeteredEvent
from rating.meters import LEAF_NAMES
from rating.usage import UsageKey
from streams.fold import MAX_ROWS, Additions, Profile
from streams.kernels import find_slots, unrated_rows
from streams.quantities import added, named, state_number

METERS = 3


def profile(number: int) -> Profile:
    return ("chat", f"model-{number}", "/v1", "", "default", "", number % 4, "success")


def fill(table: Additions, rows: list[tuple[int, int, int, bool, list[int]]]) -> np.ndarray:
    tenants = np.array([table.tenant_code(f"tenant-{row[0]}") if row[3] else 10**6 for row in rows], dtype=np.int64)
    profiles = np.array([table.profile_code(profile(row[1])) if row[3] else 10**6 for row in rows], dtype=np.int64)
    hours = np.array([row[2] for row in rows], dtype=np.int64)
    wanted = np.array([row[3] for row in rows], dtype=np.uint8)
    slots = table.slots(tenants, profiles, hours, wanted, lambda key, hour: hour % 3)
    table.add(slots, np.array([row[4] for row in rows], dtype=np.int64).T.reshape(METERS, len(rows)))
    return slots


def sums(table: Additions) -> dict[tuple[UsageKey, int], list[int]]:
    found = {(each.key, each.hour): each.meters for each in table}
    assert len(found) == len(table)
    return found


row = st.tuples(
    st.integers(0, 5),
    st.integers(0, 30),
    st.integers(490_000, 490_020),
    st.booleans() | st.just(True),
    st.lists(st.integers(0, 10**12), min_size=METERS, max_size=METERS),
)


@examples(max_examples=60, deadline=None)
@given(st.lists(st.lists(row, min_size=1, max_size=40), max_size=4))
def test_sums_are_those_of_a_counter(batches: list[list[tuple[int, int, int, bool, list[int]]]]) -> None:
    table = Additions(METERS)
    expected: dict[tuple[UsageKey, int], list[int]] = defaultdict(lambda: [0] * METERS)
    for batch in batches:
        slots = fill(table, batch)
        for (tenant, number, hour, wanted, quantities), slot in zip(batch, slots.tolist(), strict=True):
            if not wanted:
                assert slot == -1
                continue
            key = UsageKey(f"tenant-{tenant}", *profile(number))
            assert table.key(slot) == (key, hour)
            assert table.unpriced[slot] == hour % 3
            expected[key, hour] = [old + new for old, new in zip(expected[key, hour], quantities, strict=True)]
    assert sums(table) == dict(expected)
    assert table.rows == sum(wanted for batch in batches for *_, wanted, _ in batch)


def test_a_table_grows_without_losing_a_slot() -> None:
    table = Additions(METERS)
    rows = [(number % 7, number % 900, 490_000 + number % 11, True, [number, 1, 0]) for number in range(30_000)]
    for first in range(0, len(rows), 1_000):
        fill(table, rows[first : first + 1_000])
    counted: Counter[tuple[int, int, int]] = Counter()
    for tenant, number, hour, _, quantities in rows:
        counted[tenant, number, hour] += quantities[0]
    found = sums(table)
    assert len(found) == len(counted)
    assert {
        (int(key.tenant_id[7:]), int(key.model[6:]), hour): meters[0] for (key, hour), meters in found.items()
    } == counted
    assert sum(meters[1] for meters in found.values()) == len(rows)


@pytest.mark.parametrize("quantity", [1 << 41, (1 << 42) - 1, 1 << 42, 10**18])
def test_sums_go_beyond_64_bits(quantity: int) -> None:
    table = Additions(METERS)
    rows = [(0, 0, 490_000, True, [quantity, 5, quantity])] * 50 + [
        (1, 0, 490_000, False, [quantity, 5, quantity])
    ] * 50
    fill(table, rows)
    fill(table, [(0, 0, 490_000, True, [1, 1, 1])])
    assert list(sums(table).values()) == [[50 * quantity + 1, 251, 50 * quantity + 1]]
    assert MAX_ROWS * ((1 << 42) - 1) < 1 << 63


def test_the_last_tenant_profile_and_hour_that_fit_stay_apart() -> None:
    table = Additions(METERS)
    last_hour = (1 << 23) - 1
    codes = [0, 1, (1 << 20) - 2, (1 << 20) - 1]
    tenants, profiles, hours = (each.ravel() for each in np.meshgrid(codes, codes, [0, 1, last_hour]))
    table._tenant_names = [str(number) for number in range(1 << 20)]
    table._profile_list = [profile(number) for number in range(1 << 20)]
    slots = table.slots(tenants, profiles, hours, np.ones(len(hours), dtype=np.uint8), lambda key, hour: 0)
    assert sorted(slots.tolist()) == list(range(len(hours)))
    for slot, tenant, number, hour in zip(slots.tolist(), tenants, profiles, hours, strict=True):
        assert table.key(slot) == (UsageKey(str(tenant), *profile(int(number))), hour)


def test_find_slots_gives_one_slot_per_key_in_order_of_appearance() -> None:
    packed = np.array([5, 5, 9, 5, 7, 9, -3 & 0xFF], dtype=np.int64)
    wanted = np.array([1, 1, 1, 0, 1, 1, 1], dtype=np.uint8)
    keys, slots, known = np.zeros(16, np.int64), np.full(16, -1, np.int32), np.zeros(8, np.int64)
    out = np.empty(7, np.int32)
    assert find_slots(packed, wanted, keys, slots, known, 0, out) == 4
    assert out.tolist() == [0, 0, 1, -1, 2, 1, 3]
    assert known[:4].tolist() == [5, 9, 7, 253]


def test_custom_meters_are_kept_per_slot() -> None:
    table = Additions(METERS)
    first, second = fill(table, [(0, 0, 1, True, [0, 0, 0]), (0, 0, 2, True, [0, 0, 0])]).tolist()
    table.gathered(first, "units.x").take(7, 1, 10**21, 5)
    table.gathered(first, "units.x").take(3, 2, 1, 9)
    table.gathered(second, "units.y").take(4, 3, 3, 8)
    latest = [MeteredEvent(7, 1, 10**21), MeteredEvent(4, 3, 3)]
    assert [each.custom for each in table] == [
        {"units.x": Gathered(10**21 + 1, 2, 10**21, latest[0], 5 * 10**21 + 9)},
        {"units.y": Gathered(3, 1, 3, latest[1], 24)},
    ]


def test_new_prices_are_asked_for_every_slot() -> None:
    table = Additions(METERS)
    slots = fill(table, [(0, 0, hour, True, [1, 1, 1]) for hour in range(5)])
    table.refresh_prices(lambda key, hour: 100 + hour)
    assert table.unpriced[slots].tolist() == [100, 101, 102, 103, 104]


@examples(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(st.integers(-1, 2), st.lists(st.integers(0, 2), min_size=METERS, max_size=METERS)), min_size=1)
)
def test_rows_are_unrated_when_a_meter_in_use_has_no_price(rows: list[tuple[int, list[int]]]) -> None:
    masks = [0b000, 0b101, 0b010 | 1 << 62]
    slots = np.array([slot for slot, _ in rows], dtype=np.int32)
    quantities = np.array([quantities for _, quantities in rows], dtype=np.int64).T.copy()
    out = np.full(len(rows), 9, dtype=np.uint8)
    unrated_rows(slots, quantities, np.array(masks, dtype=np.int64), out)
    assert out.tolist() == [
        int(slot >= 0 and any(quantity and masks[slot] >> meter & 1 for meter, quantity in enumerate(used)))
        for slot, used in rows
    ]


def test_totals_add_up_and_have_names() -> None:
    meters = [0] * len(LEAF_NAMES)
    meters[1], meters[8] = 5, 10**20
    total = added(added(None, meters), meters)
    assert (total[1], total[8], meters[1]) == (10, 2 * 10**20, 5)
    seven, keys = Gathered(7, 1), Gathered(api_keys={5: None})
    assert named(total, {"units.x": seven, "units.y": Gathered(), "input_cache_read": keys}) == {
        "input_cache_read": Gathered(10, api_keys={5: None}),
        "audio_seconds": 2 * 10**20,
        "units.x": seven,
    }
    assert keys == Gathered(api_keys={5: None}), "what was gathered is not changed"


@pytest.mark.parametrize("quantity", [0, 5, -5, 2**63 - 1, 2**63, -(2**64), 10**30])
def test_state_numbers_come_back_whole(quantity: int) -> None:
    import orjson

    assert int(orjson.loads(orjson.dumps(state_number(quantity)))) == quantity
