"""The cost keys of LiteLLM's price map: what each names, and which meter here counts the same.

Grammar: `<base>[_above_<n>k_tokens][_<tier>]`, all amounts in USD for one unit. A price above an edge is that of the whole
request. Source: `model_prices_and_context_window_backup.json` and `litellm_core_utils/llm_cost_calc` of LiteLLM 1.109.1.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final, NamedTuple

MILLION: Final = 1_000_000

TIERS: Final[Mapping[str, str]] = {
    "batches": "batch",
    "priority": "priority",
    "flex": "flex",
    "balanced": "balanced",
    "ultrafast": "ultrafast",
    "decisions": "decisions",
}
"""Suffix of a key to the `service_tier` of usage that it prices."""

TOKENS: Final[Mapping[str, str]] = {
    "input_cost_per_token": "input",
    "output_cost_per_token": "output",
    "cache_read_input_token_cost": "input_cache_read",
    "input_cost_per_token_cache_hit": "input_cache_read",
    "cache_creation_input_token_cost": "input_cache_write",
    "output_cost_per_reasoning_token": "output_reasoning",
}
"""Bases in tokens that have a meter in every event. Of two names of one meter the first one that is there holds."""

CUSTOM: Final[Mapping[str, str]] = {
    "input_cost_per_audio_token": "input_audio_tokens",
    "output_cost_per_audio_token": "output_audio_tokens",
    "cache_read_input_audio_token_cost": "cache_read_audio_tokens",
    "cache_creation_input_audio_token_cost": "cache_write_audio_tokens",
    "input_cost_per_image_token": "input_image_tokens",
    "output_cost_per_image_token": "output_image_tokens",
    "cache_read_input_image_token_cost": "cache_read_image_tokens",
    "input_cost_per_video_token": "input_video_tokens",
    "output_cost_per_video_token": "output_video_tokens",
    "cache_creation_input_token_cost_above_1hr": "cache_write_1h_tokens",
    "cache_creation_input_token_cost_above_12hr": "cache_write_12h_tokens",
    "explicit_cache_read_input_token_cost": "explicit_cache_read_tokens",
    "citation_cost_per_token": "citation_tokens",
    "input_cost_per_character": "input_characters",
    "output_cost_per_character": "output_characters",
    "input_cost_per_pixel": "input_pixels",
    "output_cost_per_pixel": "output_pixels",
    "ocr_cost_per_page": "ocr_pages",
    "annotation_cost_per_page": "annotated_pages",
    "input_cost_per_text_message": "text_messages",
    "google_maps_grounding_cost_per_query": "maps_queries",
    "code_interpreter_cost_per_session": "code_interpreter_sessions",
    "cost_per_second": "provisioned_seconds",
}
"""Bases that no meter of an event counts, to the unit that a producer may count them in (`units.<name>`)."""

UNUSABLE: Final[Mapping[str, str]] = {
    "input_dbu_cost_per_token": "in Databricks units, not in USD",
    "output_dbu_cost_per_token": "in Databricks units, not in USD",
    "ocr_cost_per_credit": "in credits of the provider, not in USD",
    "search_context_cost_per_query": "web searches, by size of the context: write a SKU of units.<name> by hand",
    "off_peak_pricing": "prices by time of day: write a time_of_day charge by hand",
    "guardrail_cost_per_unit": "guardrails: write a SKU of units.<name> by hand",
    "provider_specific_entry": "multipliers of the provider: use --markup, or tiers of your own",
    "regional_endpoint_uplift_multiplier": "a regional surcharge: write SKUs that match the region, or use --markup",
    "regional_processing_uplift_multiplier_eu": "a regional surcharge: write SKUs that match the region, or use --markup",
    "regional_processing_uplift_multiplier_us": "a regional surcharge: write SKUs that match the region, or use --markup",
    "computer_use_input_cost_per_1k_tokens": "tokens of a tool: write a SKU of units.<name> by hand",
    "computer_use_output_cost_per_1k_tokens": "tokens of a tool: write a SKU of units.<name> by hand",
    "file_search_cost_per_1k_calls": "calls of a tool: write a SKU of units.<name> by hand",
    "file_search_cost_per_gb_per_day": "storage of a tool: write a SKU of units.<name> by hand",
    "vector_store_cost_per_gb_per_day": "storage of a tool: write a SKU of units.<name> by hand",
}
"""Keys whose price cannot stand in a card as it is, and why."""

NOT_A_PRICE: Final = frozenset({"web_search_billing_unit", "tiered_pricing"})
"""Keys that look like prices: words, and the list that `litellm_prices` reads on its own."""

_EDGE: Final = re.compile(r"(?P<base>.+?)_above_(?P<edge>[0-9]+)(?P<thousands>k?)_tokens(?P<rest>.*)", re.ASCII)
_SIZED: Final = re.compile(r"output_cost_per_(?P<what>second|image)_(?P<size>[0-9]+p|[0-9.]+[kK]|[0-9]+)", re.ASCII)
_INTERVAL: Final = re.compile(r"input_cost_per_video_per_second_above_(?P<seconds>[0-9]+)s_interval", re.ASCII)
_LOOKS_LIKE_MONEY: Final = re.compile(r"cost|pric|uplift|multiplier|(^|_)fee(_|$)|_usd(_|$)|charge")


class CostKey(NamedTuple):
    """A cost key taken apart: what is priced, above how many tokens of input (0: any), for which service tier ("" any)."""

    base: str
    above: int
    tier: str


class Measure(NamedTuple):
    """The meter of a price, and how many units the price in a card is for."""

    meter: str
    per: int


def take_apart(key: str) -> CostKey:
    """The parts of a key; a key outside the grammar is its own base."""
    base, above, tier = key, 0, ""
    suffix = next((each for each in TIERS if key.endswith(f"_{each}")), None)
    if suffix is not None:
        base, tier = key.removesuffix(f"_{suffix}"), TIERS[suffix]
    found = _EDGE.fullmatch(base)
    if found is not None and not found["rest"]:
        base, above = found["base"], int(found["edge"]) * (1000 if found["thousands"] else 1)
        inner = next((each for each in TIERS if base.endswith(f"_{each}")), None)
        if inner is not None and not tier:  # `input_cost_per_token_priority_above_200k_tokens`
            base, tier = base.removesuffix(f"_{inner}"), TIERS[inner]
    return CostKey(base, above, tier)


def looks_like_a_price(key: str, value: object) -> bool:
    """Whether a key of an entry is about money, known or not."""
    return key in UNUSABLE or (
        key not in NOT_A_PRICE and not isinstance(value, bool) and _LOOKS_LIKE_MONEY.search(key) is not None
    )


def measure_of(base: str, mode: str) -> Measure | None:
    """The meter that counts what a base prices, for a model of this mode (chat, image_generation, ...); None: not known.

    A meter `units.<name>` is counted only by producers that send this unit.
    """
    if base in TOKENS:
        return Measure(TOKENS[base], MILLION)
    media = _media(base, mode)
    if media is not None:
        return Measure(media, 1)
    if base in CUSTOM:
        return Measure(f"units.{CUSTOM[base]}", MILLION if CUSTOM[base].endswith(("tokens", "characters")) else 1)
    sized = _SIZED.fullmatch(base)
    if sized is not None:
        return Measure(f"units.{'video_seconds' if sized['what'] == 'second' else 'images'}_{sized['size'].lower()}", 1)
    interval = _INTERVAL.fullmatch(base)
    return Measure(f"units.input_video_seconds_above_{interval['seconds']}s", 1) if interval else None


def _media(base: str, mode: str) -> str | None:
    """The meter of what is made, heard or called rather than written."""
    makes_images, hears = mode in ("image_generation", "image_edit"), mode in ("audio_transcription", "audio_speech")
    makes_video = mode == "video_generation"
    return {
        "output_cost_per_image": "images",
        "input_cost_per_image": "images" if makes_images else "units.input_images",
        "output_cost_per_second": "video_seconds" if makes_video else "audio_seconds" if hears else "units.seconds",
        "input_cost_per_second": "video_seconds" if makes_video else "audio_seconds" if hears else "units.seconds",
        "input_cost_per_audio_per_second": "audio_seconds" if hears else "units.input_audio_seconds",
        "output_cost_per_video_per_second": "video_seconds",
        "input_cost_per_video_per_second": "units.input_video_seconds",
        "input_cost_per_query": "requests",
        "input_cost_per_request": "requests",
    }.get(base)
