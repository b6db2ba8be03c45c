"""The example cards that the demonstration publishes."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from rating.cards import RateCard, parse_card
from rating.meters import LEAF_NAMES
from rating.models.graduated import Graduated
from rating.money import currency_exponent
from rating.skus import route, slot_at
from rating.windows import HOUR
from tests.rating.builders import START, key

CARDS = sorted((Path(__file__).parents[2] / "infra" / "examples" / "ratecards").glob("*.yaml"))
MEDIA = {"images", "audio_seconds", "video_seconds"}


def read(path: Path) -> RateCard:
    return parse_card(yaml.safe_load(path.read_text()))


def test_there_is_a_card_for_each_number_of_decimals() -> None:
    cards = {path.stem: read(path) for path in CARDS}
    assert {name: card.id for name, card in cards.items()} == {name: name for name in cards}
    decimals = {currency_exponent(card.currency) for card in cards.values()}
    assert decimals == {0, 2, 3}


@pytest.mark.parametrize("path", CARDS, ids=lambda path: path.stem)
@pytest.mark.parametrize("gpu_type", ["H100", "H200", "B200", "MI300X"])
@pytest.mark.parametrize("status", ["success", "error", "aborted"])
def test_a_card_leaves_no_usage_of_the_demonstration_unrated(path: Path, gpu_type: str, status: str) -> None:
    card = read(path)
    for hour in range(START, START + 24 * 7, 3):
        slot = slot_at(card, hour, HOUR)
        for model in ("model-00", "model-17"):
            usage = key(model=model, gpu_type=gpu_type, status=status, region="eu-central", context_bracket=hour % 8)
            for leaf in set(LEAF_NAMES) - MEDIA:
                assert route(card, usage, leaf, slot).outcome != "unrated"


@pytest.mark.parametrize("path", CARDS, ids=lambda path: path.stem)
def test_a_model_that_a_card_does_not_know_is_unrated_or_free(path: Path) -> None:
    card = read(path)
    outcome = route(card, key(model="unknown"), "input_uncached", slot_at(card, START, HOUR)).outcome
    assert outcome == ("uncharged" if "input" in card.not_charged else "unrated")


def test_one_model_of_the_standard_card_has_graduated_output() -> None:
    card = read(next(path for path in CARDS if path.stem == "standard"))
    special, usual = (route(card, key(model=model), "output_text") for model in ("model-00", "model-01"))
    assert isinstance(special.model, Graduated)
    assert not isinstance(usual.model, Graduated)
    assert (special.sku, usual.sku) == ("model-00/output", "model-01/output")
