from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from rating.catalog import Assignment, Catalog
from rating.meters import LEAF_INDEX, LEAF_NAMES
from rating.skus import is_unpriced, route, unpriced_leaves
from rating.usage import UsageKey
from tests.rating.builders import START, card, catalog, key, per_unit, sku

ONE = per_unit("1")
CARD = card(
    sku("any", "input", ONE),
    sku("glob", "input", ONE, model="llama-*"),
    sku("narrow", "input", ONE, model="llama-3-*"),
    sku("narrow-leaf", "input_cache_read", ONE, model="llama-3-*"),
    sku("exact", "input", ONE, model="llama-3-8b"),
    sku("exact-eu", "input", ONE, model="llama-3-8b", region="eu"),
    sku("{model}/{region}/out", "output", ONE),
    sku("{model}/r", "requests", ONE, model="*", service_tier="priority"),
    sku("long", "units.pages", ONE, context_bracket={"above": 200_000}),
    not_charged=["gpu_seconds", "units.pages"],
)


def routed(leaf: str, **fields: object) -> str:
    return route(CARD, key(**fields), leaf).sku  # type: ignore[arg-type]


def test_the_most_specific_sku_wins() -> None:
    assert routed("input_uncached", model="gpt") == "any"
    assert routed("input_uncached", model="llama-2") == "glob"
    assert routed("input_uncached", model="llama-3-70b") == "narrow"
    assert routed("input_cache_read", model="llama-3-70b") == "narrow-leaf"
    assert routed("input_uncached", model="llama-3-8b") == "exact"
    assert routed("input_cache_read", model="llama-3-8b") == "exact"
    assert routed("input_uncached", model="llama-3-8b", region="eu") == "exact-eu"


def test_context_ranges_match_by_bracket() -> None:
    assert routed("units.pages", context_bracket=4) == "long"
    assert routed("units.pages", context_bracket=3) == "uncharged/not_charged/units.pages"


def test_a_line_has_the_dimensions_that_are_the_same_for_all_its_usage() -> None:
    line = route(CARD, key(model="llama-3-8b", region="eu", endpoint="x"), "input_uncached")
    assert line.dimensions == {"model": "llama-3-8b", "region": "eu"}
    assert route(CARD, key(model="llama-2"), "input_uncached").dimensions == {}
    assert route(CARD, key(model="a", service_tier="priority"), "requests").dimensions == {
        "model": "a",
        "service_tier": "priority",
    }
    assert route(CARD, key(context_bracket=7), "units.pages").dimensions == {"context_above": "200000"}


@given(
    st.tuples(st.text("ab/%", max_size=4), st.text("ab/%", max_size=4)),
    st.tuples(st.text("ab/%", max_size=4), st.text("ab/%", max_size=4)),
)
def test_two_placeholders_never_make_one_id_of_two_pairs(first: tuple[str, str], second: tuple[str, str]) -> None:
    ids = [routed("output_text", model=model, region=region) for model, region in (first, second)]
    assert (ids[0] == ids[1]) == (first == second)


def test_a_single_placeholder_keeps_its_value_readable() -> None:
    assert routed("requests", model="meta-llama/Llama-3", service_tier="priority") == "meta-llama/Llama-3/r"


def test_usage_that_is_not_charged_says_why_and_is_free() -> None:
    for line, reason in (
        (route(CARD, key(status="error"), "input_uncached"), "uncharged/status_error/input_uncached"),
        (route(CARD, key(), "gpu_seconds"), "uncharged/not_charged/gpu_seconds"),
        (route(CARD, key(tenant="_pool"), "gpu_seconds"), "uncharged/capacity/gpu_seconds"),
        (route(None, key(tenant="_idle"), "gpu_seconds"), "uncharged/capacity/gpu_seconds"),
    ):
        assert (line.sku, line.kind, line.outcome, line.pricer) == (reason, "usage", "uncharged", None)


def test_usage_without_status_is_no_request_and_is_charged() -> None:
    assert route(CARD, key(status=""), "input_uncached").outcome == "priced"


def test_usage_without_a_price_is_unrated_and_has_no_card() -> None:
    for line in (route(CARD, key(), "training_tokens"), route(None, key(), "training_tokens")):
        assert (line.sku, line.kind, line.currency, line.card_id) == ("unrated/training_tokens", "unrated", None, None)


def test_status_and_capacity_do_not_need_a_price_but_an_account() -> None:
    assert route(None, key(status="error"), "requests").outcome == "unrated"


def test_lines_are_the_same_object_for_the_same_key() -> None:
    assert route(CARD, key(), "input_uncached") is route(CARD, key(tenant="other"), "input_uncached")


def test_the_unpriced_mask_has_a_bit_for_every_leaf_that_would_end_unrated() -> None:
    known = catalog(CARD)
    mask = unpriced_leaves(known, key(model="gpt"), START)
    names = {name for name, index in LEAF_INDEX.items() if mask >> index & 1}
    assert names == set(LEAF_NAMES) - {
        *("input_uncached", "input_cache_read", "input_cache_write"),
        *("output_text", "output_reasoning"),
        "gpu_seconds",
    }
    assert unpriced_leaves(known, key(status="error"), START) == 0
    assert unpriced_leaves(known, key(tenant="_pool"), START) == 0
    assert unpriced_leaves(Catalog(), key(), START) == 2 ** len(LEAF_NAMES) - 1
    assert is_unpriced(known, key(), START, "units.other")
    assert not is_unpriced(known, key(), START, "units.pages")


def test_prices_go_by_the_time_of_the_usage() -> None:
    later = Catalog().with_card(CARD).with_assignment(Assignment("acme", "card", START + 5))
    assert unpriced_leaves(later, key(), START + 4) == 2 ** len(LEAF_NAMES) - 1
    assert not unpriced_leaves(later, key(), START + 5) & 1


def test_the_sku_behind_a_line_is_found_again() -> None:
    for usage, leaf in ((key(model="llama-3-8b", region="eu"), "input_uncached"), (key(model="x/y"), "output_text")):
        line = route(CARD, usage, leaf)
        found = CARD.router.sku_of(line.sku, line.meter, line.dimensions)
        assert found is not None
        assert found.charge is line.model
    assert CARD.router.sku_of("nothing", "input", {}) is None
    assert isinstance(key(), UsageKey)
