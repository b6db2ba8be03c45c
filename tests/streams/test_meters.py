"""Leaf meters of columns are those that the rating engine derives from one event."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal

import numpy as np
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st

from rating.meters import LEAF_INDEX, LEAF_METERS
from rating.money import to_scaled
from rating.usage import UsageKey, UsageTotals, context_bracket
from schemas.events import GpuUsage, TokenUsage
from schemas.kinds import Kind
from streams.custom_units import custom_units
from streams.fold import Additions
from streams.meters import METERS, leaf_quantities
from streams.profiles import GPU_OPERATION, row_profiles
from tests.schemas.samples import gpu_usage
from tests.streams.support import batch_of, usage

EDGES = (32_000, 64_000)
count = st.integers(0, 10**12)
seconds = st.decimals(0, 10**12, places=6)


@st.composite
def token_events(draw: st.DrawFn) -> TokenUsage:
    read, write, rest, reasoning, text = (draw(st.integers(0, 10**11)) for _ in range(5))
    return usage(
        draw(st.text("ab", min_size=1)),
        input_tokens=read + write + rest,
        cache_read_input_tokens=read,
        cache_write_input_tokens=write,
        output_tokens=reasoning + text,
        reasoning_output_tokens=reasoning,
        training_tokens=draw(count),
        images=draw(count),
        audio_seconds=draw(seconds),
        video_seconds=draw(seconds),
        units=draw(
            st.dictionaries(st.sampled_from("xyz"), st.sampled_from(["0", "0.000000001", "7", "1000000000000"]))
        ),
    )


def totals_of(event: TokenUsage) -> UsageTotals:
    return UsageTotals(
        requests=1,
        input_tokens=event.input_tokens,
        cache_read_input_tokens=event.cache_read_input_tokens,
        cache_write_input_tokens=event.cache_write_input_tokens,
        output_tokens=event.output_tokens,
        reasoning_output_tokens=event.reasoning_output_tokens,
        training_tokens=event.training_tokens,
        images=event.images,
        audio_microseconds=to_scaled(event.audio_seconds, 6),
        video_microseconds=to_scaled(event.video_seconds, 6),
        units={name: to_scaled(Decimal(text), 9) for name, text in event.units.items()},
    )


@examples(max_examples=60, deadline=None)
@given(st.lists(token_events(), min_size=1, max_size=8), st.integers(0, 3))
def test_leaves_of_token_usage_are_those_of_single_rows(events: list[TokenUsage], skipped: int) -> None:
    batch = batch_of([usage("skipped", units={"q": "1"})] * skipped + events).slice(skipped)
    quantities = leaf_quantities(Kind.TOKEN_USAGE, batch)
    units = custom_units(Kind.TOKEN_USAGE, batch, np.ones(len(events), dtype=bool))
    for row, event in enumerate(events):
        found = {meter.name: int(quantities[at, row]) for meter, at in zip(LEAF_METERS, range(METERS), strict=True)}
        found = {name: quantity for name, quantity in found.items() if quantity}
        found.update({name: quantity for name, quantity in units.get(row, {}).items() if quantity})
        assert found == totals_of(event).scaled_leaves()


@examples(max_examples=40, deadline=None)
@given(st.lists(st.tuples(seconds, seconds, seconds), min_size=1, max_size=8))
def test_leaves_of_gpu_usage_are_its_three_meters(rows: list[tuple[Decimal, Decimal, Decimal]]) -> None:
    events: list[GpuUsage] = [
        gpu_usage(allocated_gpu_seconds=allocated, busy_gpu_seconds=busy, energy_joules=energy)
        for allocated, busy, energy in rows
    ]
    quantities = leaf_quantities(Kind.GPU_USAGE, batch_of(events))
    for row, (allocated, busy, energy) in enumerate(rows):
        expected = UsageTotals(
            gpu_microseconds=to_scaled(allocated, 6),
            gpu_busy_microseconds=to_scaled(busy, 6),
            gpu_energy_microjoules=to_scaled(energy, 6),
        ).scaled_leaves()
        found = {meter.name: int(quantities[LEAF_INDEX[meter.name], row]) for meter in LEAF_METERS}
        assert {name: quantity for name, quantity in found.items() if quantity} == expected


def test_units_of_rows_that_do_not_count_are_not_read() -> None:
    batch = batch_of([usage("a", units={"x": "1"}), usage("b"), usage("c", units={"x": "2", "y": "0.5"})])
    found = custom_units(Kind.TOKEN_USAGE, batch, np.array([False, True, True]))
    assert found == {2: {"units.x": 2 * 10**9, "units.y": 5 * 10**8}}
    assert custom_units(Kind.GPU_USAGE, batch_of([gpu_usage()]), np.array([True])) == {}


@examples(max_examples=40, deadline=None)
@given(
    st.lists(
        st.builds(
            usage,
            st.just("a"),
            region=st.sampled_from([None, "eu", "us"]),
            response_model=st.sampled_from(["m", "n"]),
            gpu_type=st.sampled_from([None, "H100"]),
            service_tier=st.sampled_from(["default", "flex"]),
            status=st.sampled_from(["success", "error", "aborted"]),
            input_tokens=st.sampled_from([0, 31_999, 32_000, 32_001, 64_000, 64_001, 10**12]),
        ),
        min_size=1,
        max_size=12,
    ),
    st.data(),
)
def test_profiles_are_the_usage_keys_of_the_rows(events: list[TokenUsage], data: st.DataObject) -> None:
    wanted = np.array(data.draw(st.lists(st.booleans(), min_size=len(events), max_size=len(events))), dtype=np.uint8)
    profiles = row_profiles(Kind.TOKEN_USAGE, batch_of(events), EDGES)
    table = Additions(METERS)
    codes = profiles.codes(table, wanted)
    hours = np.zeros(len(events), dtype=np.int64)
    tenant = np.full(len(events), table.tenant_code("acme"), dtype=np.int64)
    slots = table.slots(tenant, codes, hours, wanted, lambda key, hour: 0)
    used = set()
    for event, slot in zip(events, slots.tolist(), strict=True):
        if slot < 0:
            continue
        key = UsageKey(
            "acme",
            operation=event.operation,
            model=event.response_model,
            endpoint=event.endpoint,
            region=event.region or "",
            service_tier=event.service_tier,
            gpu_type=event.gpu_type or "",
            context_bracket=context_bracket(event.input_tokens, EDGES),
            status=event.status,
        )
        assert table.key(slot) == (key, 0)
        used.add(key)
    assert len(table._profile_list) == len(used), "profiles of rows that do not count take no number"


def test_gpu_usage_has_a_key_of_region_and_type_alone() -> None:
    events = [gpu_usage(region="eu"), gpu_usage(gpu_type="A100"), gpu_usage(node="other")]
    profiles = row_profiles(Kind.GPU_USAGE, batch_of(events), EDGES)
    assert [profiles.distinct[at] for at in profiles.index.tolist()] == [
        (GPU_OPERATION, "", "", region, "", gpu_type, 0, "")
        for region, gpu_type in (("eu", "H100"), ("", "A100"), ("", "H100"))
    ]


def test_event_time_does_not_make_a_profile() -> None:
    batch = batch_of([usage("a"), usage("b", timedelta(hours=5))])
    assert len(row_profiles(Kind.TOKEN_USAGE, batch, EDGES).distinct) == 1
