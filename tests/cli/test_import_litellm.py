"""`ratecard import-litellm`: exact prices, tiers and lengths as LiteLLM has them, and nothing that vanishes unsaid."""

from __future__ import annotations

import json
from collections.abc import Mapping
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from rating.batch import rate
from rating.cards import parse_card
from rating.usage import UsageKey, context_bracket
from rating.windows import hour_of, period_start
from tests.cli.conftest import Ended, Run

GPT = """{"litellm_provider": "openai", "mode": "chat", "input_cost_per_token": 2.5e-06,
 "cache_read_input_token_cost": 1.25e-06, "output_cost_per_token": 1e-05, "input_cost_per_token_batches": 1.25e-06,
 "output_cost_per_token_batches": 5e-06, "input_cost_per_token_priority": 4.25e-06}"""
GEMINI = """{"litellm_provider": "gemini", "mode": "chat", "input_cost_per_token": 1.25e-06, "output_cost_per_token": 1e-05,
 "input_cost_per_token_above_200k_tokens": 2.5e-06, "output_cost_per_token_above_200k_tokens": 1.5e-05,
 "input_cost_per_token_flex": 6.25e-07, "input_cost_per_token_priority_above_200k_tokens": 4.5e-06}"""
HOUR = hour_of(period_start("2026-03"))


def write(place: Path, **models: str) -> str:
    file = place / "map.json"
    file.write_text("{" + ", ".join(f"{json.dumps(name)}: {entry}" for name, entry in models.items()) + "}")
    return str(file)


@pytest.fixture
def imported(tokenmill: Run, tmp_path: Path) -> Any:
    def run(*arguments: str, **models: str) -> tuple[Ended, dict[str, Any]]:
        file = write(tmp_path, **models)
        ended = tokenmill("ratecard", "import-litellm", file, "--from", "2026-03-01", "--json", *arguments)
        return ended, json.loads(ended.out) if ended.out else {}

    return run


def costs(card: Mapping[str, Any], model: str, tier: str = "default", length: int = 1000, **meters: int) -> Decimal:
    """What a request costs under the card, per million units."""
    key = UsageKey("acme", "chat", model, "", "", tier, "", context_bracket(length), "success")
    usage = {name: Decimal(quantity * 1_000_000) for name, quantity in meters.items()}
    lines = rate(parse_card(dict(card)), [(key, HOUR, usage)])
    assert all(line.amount is not None for line in lines), [line.sku for line in lines if line.amount is None]
    return sum((line.amount for line in lines if line.amount is not None), Decimal(0)).normalize()


def test_prices_are_those_of_the_text_and_never_a_float(imported: Any) -> None:
    entry = '{"mode": "chat", "input_cost_per_token": 0.0002833333333333333, "output_cost_per_token": 1.5e-07}'
    ended, made = imported(odd=entry)
    assert ended.code == 0
    prices = {sku["meter"]: sku["charge"] for sku in made["card"]["skus"]}
    assert prices["input"] == {"model": "per_unit", "price": "283.3333333333333", "per": 1_000_000}
    assert prices["output"] == {"model": "per_unit", "price": "0.15", "per": 1_000_000}


def test_tokens_cache_and_service_tiers_cost_what_litellm_says(imported: Any) -> None:
    ended, made = imported(**{"gpt-4o": GPT})
    assert ended.code == 0
    card = made["card"]
    assert costs(card, "gpt-4o", input_uncached=1) == Decimal("2.5")
    assert costs(card, "gpt-4o", input_cache_read=1) == Decimal("1.25")
    assert costs(card, "gpt-4o", input_cache_write=1) == Decimal("2.5"), "no price of its own: that of input"
    assert costs(card, "gpt-4o", output_text=1) == costs(card, "gpt-4o", output_reasoning=1) == 10
    assert costs(card, "gpt-4o", "batch", input_uncached=1) == Decimal("1.25")
    assert costs(card, "gpt-4o", "batch", input_cache_read=1) == Decimal("1.25"), "the standard price of cached tokens"
    assert costs(card, "gpt-4o", "batch", output_text=1) == 5
    assert costs(card, "gpt-4o", "priority", input_uncached=1) == Decimal("4.25")
    assert costs(card, "gpt-4o", "priority", input_cache_read=1) == Decimal("1.25")
    assert costs(card, "gpt-4o", "priority", output_text=1) == 10, "no price of the tier: the standard one"
    assert costs(card, "gpt-4o", "scale", input_uncached=1) == Decimal("2.5"), "a tier that the map does not know"


def test_above_an_edge_all_tokens_of_a_request_have_the_other_price(imported: Any) -> None:
    _, made = imported(**{"gemini-2.5-pro": GEMINI})
    card = made["card"]
    assert costs(card, "gemini-2.5-pro", length=200_000, input_uncached=1, output_text=1) == Decimal("11.25")
    assert costs(card, "gemini-2.5-pro", length=200_001, input_uncached=1, output_text=1) == Decimal("17.5")
    assert costs(card, "gemini-2.5-pro", "flex", 200_001, input_uncached=1) == Decimal("2.5"), (
        "no long price of the tier"
    )
    assert costs(card, "gemini-2.5-pro", "flex", 1000, input_uncached=1) == Decimal("0.625")
    assert costs(card, "gemini-2.5-pro", "priority", 200_001, input_uncached=1) == Decimal("4.5")
    assert costs(card, "gemini-2.5-pro", "priority", 1000, input_uncached=1) == Decimal("1.25")


def test_lists_of_ranges_are_prices_above_an_edge(imported: Any) -> None:
    entry = """{"mode": "chat", "tiered_pricing": [
        {"range": [0, 32000.0], "input_cost_per_token": 1.2e-06, "output_cost_per_token": 6e-06},
        {"range": [32000.0, 128000.0], "input_cost_per_token": 2.4e-06, "output_cost_per_token": 6e-06}]}"""
    _, made = imported(qwen=entry)
    assert costs(made["card"], "qwen", length=32_000, input_uncached=1) == Decimal("1.2")
    assert costs(made["card"], "qwen", length=32_001, input_uncached=1) == Decimal("2.4")
    (output,) = [sku for sku in made["card"]["skus"] if sku["meter"] == "output"]
    assert output["charge"]["model"] == "per_unit", "one price for all lengths needs no brackets"


@pytest.mark.parametrize(
    ("mode", "key", "meter"),
    [
        ("image_generation", "output_cost_per_image", "images"),
        ("image_generation", "input_cost_per_image", "images"),
        ("audio_transcription", "input_cost_per_second", "audio_seconds"),
        ("audio_speech", "output_cost_per_second", "audio_seconds"),
        ("video_generation", "output_cost_per_second", "video_seconds"),
        ("video_generation", "output_cost_per_video_per_second", "video_seconds"),
        ("rerank", "input_cost_per_query", "requests"),
        ("chat", "output_cost_per_reasoning_token", "output_reasoning"),
        ("chat", "input_cost_per_token_cache_hit", "input_cache_read"),
    ],
)
def test_what_is_made_heard_or_asked_has_its_meter(imported: Any, mode: str, key: str, meter: str) -> None:
    ended, made = imported(model=f'{{"mode": "{mode}", "{key}": 0.02}}')
    assert ended.code == 0
    assert [sku["meter"] for sku in made["card"]["skus"]] == [meter]


def test_zero_and_missing_are_no_price(imported: Any) -> None:
    free = '{"mode": "chat", "input_cost_per_token": 0.0, "output_cost_per_token": 0}'
    cached = '{"mode": "chat", "input_cost_per_token": 1e-06, "cache_read_input_token_cost": 0.0}'
    ended, made = imported(free=free, bare='{"mode": "chat"}', cached=cached)
    assert ended.code == 0
    assert made["without_price"] == ["free", "bare"]
    assert made["zero_prices"]["cache_read_input_token_cost"] == ["cached"]
    assert costs(made["card"], "cached", input_cache_read=1) == 1
    assert "prices of 0, which are no prices:" in ended.err
    unrated = rate(
        parse_card(made["card"]),
        [(UsageKey("acme", model="free", status="success"), HOUR, {"output_text": Decimal(5)})],
    )
    assert [(line.sku, line.amount) for line in unrated] == [("unrated/output_text", None)]


def test_unknown_keys_are_reported_and_told_by_the_exit_code(imported: Any) -> None:
    entry = (
        '{"mode": "chat", "input_cost_per_token": 1e-06, "input_cost_per_token_turbo": 1e-05, "supports_cost": true}'
    )
    ended, made = imported(new=entry)
    assert ended.code == 1
    assert made["unknown_keys"] == {"input_cost_per_token_turbo": ["new"]}
    assert "  input_cost_per_token_turbo: new" in ended.err
    assert costs(made["card"], "new", input_uncached=1) == 1, "what is known is imported all the same"


def test_what_a_card_cannot_state_is_said_with_what_to_do(imported: Any) -> None:
    entry = """{"mode": "chat", "input_cost_per_token": 1e-06, "input_cost_per_token_above_272k_tokens": 2e-06,
        "input_dbu_cost_per_token": 1e-05, "input_cost_per_audio_token": 4e-05, "output_cost_per_token": "free"}"""
    ended, made = imported(**{"m": entry, "bedrock/*/x": '{"mode": "chat", "input_cost_per_token": 1e-06}'})
    assert ended.code == 0
    said = "\n".join(made["left_out"])
    assert "prices above 272,000 input tokens: that is no context edge" in said
    assert "input_dbu_cost_per_token: in Databricks units" in said
    assert "units.input_audio_tokens: no event counts it, producers may: import with --units" in said
    assert "output_cost_per_token: its price is no positive number" in said
    assert "--model KEY=NAME" in said
    ended, made = imported("--units", m=entry)
    (audio,) = [sku for sku in made["card"]["skus"] if sku["meter"] == "units.input_audio_tokens"]
    assert (audio["charge"]["price"], audio["unit"]) == ("40", "tokens")


def test_the_deployments_own_edges_hold(tokenmill: Run, tmp_path: Path) -> None:
    entry = '{"mode": "chat", "input_cost_per_token": 1e-06, "input_cost_per_token_above_272k_tokens": 2e-06}'
    arguments = ("--from", "2026-03-01", "--json", "--set", "context_edges=128000,272000")
    ended = tokenmill("ratecard", "import-litellm", write(tmp_path, m=entry), *arguments)
    assert json.loads(ended.out)["left_out"] == {}
    (sku,) = json.loads(ended.out)["card"]["skus"]
    assert [bracket.get("up_to") for bracket in sku["charge"]["brackets"]] == [272_000, None]


def test_models_are_chosen_by_key_pattern_provider_and_mode_and_may_be_renamed(imported: Any) -> None:
    models = {"gpt-4o": GPT, "azure/eu/gpt-4o": GPT, "gemini-2.5-pro": GEMINI}

    def names(*arguments: str) -> list[str]:
        card = imported(*arguments, **models)[1]["card"]
        return list(dict.fromkeys(sku["match"]["model"] for sku in card["skus"]))

    assert names() == list(models)
    assert names("--model", "*gpt-*") == ["gpt-4o", "azure/eu/gpt-4o"]
    assert names("--model", "azure/eu/gpt-4o=chat-large") == ["chat-large"]
    assert names("--model", "*gpt-4o", "--model", "gpt-4o=chat") == ["chat", "azure/eu/gpt-4o"]
    assert names("--provider", "gemini") == ["gemini-2.5-pro"]
    for arguments, said in {
        ("--model", "gpt-4O"): "no model of the price map is called so, did you mean gpt-4o?",
        ("--model", "gpt-*=x"): "a pattern cannot have one name",
        ("--provider", "opena"): "the price map has none, did you mean openai?",
        ("--model", "gpt-4o", "--provider", "gemini"): "--provider and --mode leave it out",
        ("--model", "gpt-4o=a", "--model", "gemini-2.5-pro=a"): "would both be called a",
    }.items():
        ended, _ = imported(*arguments, **models)
        assert ended.code == 2
        assert said in ended.err


def test_a_markup_is_exact(imported: Any) -> None:
    _, made = imported("--markup", "33.3", **{"gpt-4o": GPT})
    assert costs(made["card"], "gpt-4o", input_uncached=1) == Decimal("3.3325")
    assert made["card"]["description"].endswith("+33.3 %")
    for wrong in ("-100", "NaN", "much", "1e9"):
        assert imported("--markup", wrong, **{"gpt-4o": GPT})[0].code == 2


def test_the_file_passes_validate_and_says_the_same_as_json(tokenmill: Run, tmp_path: Path) -> None:
    entry = '{"mode": "embedding", "input_cost_per_token": 2e-08, "input_cost_per_character": 1e-09}'
    source = write(tmp_path, **{"gpt-4o": GPT, "gemini-2.5-pro": GEMINI, "yes": entry, "meta/llama: 3": entry})
    arguments = ("ratecard", "import-litellm", source, "--from", "2026-03-01", "--units")
    ended = tokenmill(*arguments, "-o", "card.yaml")
    assert (ended.code, ended.out) == (0, "")
    assert "3 of 4 models" in ended.err
    checked = tokenmill("ratecard", "validate", "card.yaml")
    assert checked.out.startswith("card.yaml: litellm version 1 is right: ")
    refused = tokenmill(*arguments, "-o", "card.yaml")
    assert (refused.code, "--force replaces it" in refused.err) == (2, True)
    piped = tokenmill(*arguments)
    assert piped.out == Path("card.yaml").read_text()

    from infra.card_files import read_card_file

    expected = json.loads(tokenmill(*arguments, "--json").out)["card"]
    assert parse_card(read_card_file(Path("card.yaml")).document) == parse_card(expected)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"[1, 2]", "no price map"),
        (b'{"m": {"mode": "chat"}}', "no price map"),
        (b'{"m": {"input_cost_per_token": 1e-06', "not JSON"),
        (b"\xff\xfe", "not UTF-8 text"),
        (b'{"m": {"mode": "chat", "input_cost_per_token": 0}}', "none of these models has a price"),
        (b"[" * 100_000, "not JSON"),
    ],
)
def test_what_is_no_price_map_is_one_line(tokenmill: Run, tmp_path: Path, content: bytes, said: str) -> None:
    (tmp_path / "map.json").write_bytes(content)
    ended = tokenmill("ratecard", "import-litellm", "map.json", "--from", "2026-03-01")
    assert (ended.code, ended.out, ended.err.count("\n")) == (2, "", 1)
    assert said in ended.err


def test_without_the_package_and_without_a_file_it_says_so(tokenmill: Run) -> None:
    ended = tokenmill("ratecard", "import-litellm", "--from", "2026-03-01")
    assert (ended.code, "name a price map" in ended.err) == (2, True)
    ended = tokenmill("ratecard", "import-litellm", "absent.json", "--from", "2026-03-01")
    assert ended.err == "Error: cannot read the price map absent.json: No such file or directory\n"
