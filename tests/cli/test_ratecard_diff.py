"""`ratecard diff`: what people read, what programs read, and the exit code."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.cli.conftest import Run

CARD = """\
id: standard
version: {version}
currency: USD
effective_from: "2026-01-01T00:00:00Z"
skus:
  - sku: "{{model}}/input"
    meter: input
    charge: {{model: per_unit, price: "{price}", per: 1000000}}
  - sku: "{{model}}/output"
    meter: output
    match: {{model: "[bold]*"}}
    charge: {{model: per_unit, price: "0.6", per: 1000000}}
"""


@pytest.fixture(autouse=True)
def _cards(tmp_path: Path) -> None:
    (tmp_path / "old.yaml").write_text(CARD.format(version=1, price="0.15"))
    (tmp_path / "same.yaml").write_text(CARD.format(version=2, price="0.15"))
    new = CARD.format(version=2, price="0.12").partition('  - sku: "{model}/output"')[0]
    (tmp_path / "new.yaml").write_text(new + '  - {sku: pictures, meter: images, charge: {model: flat, amount: "5"}}\n')


def test_differences_are_told_in_lines_and_by_the_exit_code(tokenmill: Run) -> None:
    ended = tokenmill("ratecard", "diff", "old.yaml", "new.yaml")
    assert ended.code == 1
    assert ended.out.splitlines()[1:] == [
        "~ {model}/input",
        "    charge.price  0.15 -> 0.12  -20.0 %",
        "+ pictures",
        "    5 flat",
        "- {model}/output (model [bold]*)",
        "    0.6 per 1,000,000 tokens",
        "    ! no SKU prices output_text, output_reasoning any more: such usage would wait, unrated",
        "1 changed, 1 added, 1 removed",
    ]


def test_another_price_model_is_told_as_a_whole(tokenmill: Run, tmp_path: Path) -> None:
    tiers = '{model: graduated, per: 1000000, tiers: [{up_to: 5, price: "1"}, {price: "2"}]}'
    flat = '{model: per_unit, price: "0.6", per: 1000000}'
    (tmp_path / "tiers.yaml").write_text(CARD.format(version=1, price="0.15").replace(flat, tiers))
    ended = tokenmill("ratecard", "diff", "old.yaml", "tiers.yaml")
    assert ended.out.splitlines()[2:] == [
        "    charge  0.6 per 1,000,000 tokens -> 1 up to 5, 2 above, per 1,000,000 tokens",
        "1 changed, 0 added, 0 removed",
    ]


def test_cards_that_say_the_same_end_with_0(tokenmill: Run) -> None:
    ended = tokenmill("ratecard", "diff", "old.yaml", "same.yaml")
    assert (ended.code, ended.out.splitlines()[-1]) == (0, "they say the same")
    answer = json.loads(tokenmill("ratecard", "diff", "old.yaml", "same.yaml", "--json").out)
    assert (answer["same"], answer["changes"]) == (True, [])


def test_json_has_the_whole_parts_that_came_and_went(tokenmill: Run) -> None:
    ended = tokenmill("ratecard", "diff", "old.yaml", "new.yaml", "--json")
    assert ended.code == 1
    changes = {each["name"]: each for each in json.loads(ended.out)["changes"]}
    assert changes["{model}/input"]["fields"] == [
        {"field": "charge.price", "before": "0.15", "after": "0.12", "percent": "-20.0"}
    ]
    assert changes["pictures"]["after"]["charge"]["amount"] == "5"
    assert changes["{model}/output (model [bold]*)"]["unpriced"] == ["output_text", "output_reasoning"]


def test_what_is_no_card_is_said(tokenmill: Run, tmp_path: Path) -> None:
    (tmp_path / "bad.yaml").write_text(CARD.format(version=0, price="x"))
    ended = tokenmill("ratecard", "diff", "old.yaml", "bad.yaml")
    assert (ended.code, ended.out) == (2, "")
    assert "bad.yaml:2:1: version" in ended.err
    assert tokenmill("ratecard", "diff", "old.yaml", "absent.yaml").code == 2
