"""The JSON Schema of cards and plans: current, good for every example, and it refuses what a schema can refuse."""

from __future__ import annotations

from pathlib import Path

import jsonschema
import orjson
import pytest
import yaml

from infra.card_files import EXAMPLES, PLANS, _PlainLoader, read_card_file
from rating.card_schema import card_schema, plan_schema
from tests.cli.conftest import Run
from tests.cli.test_broken_cards import BROKEN, GOOD, Broken

CARDS = jsonschema.Draft202012Validator(card_schema(), format_checker=jsonschema.FormatChecker())
PLANS_SCHEMA = jsonschema.Draft202012Validator(plan_schema())
NOT_YAML = {"a tab", "a tag", "two documents", "a colon", "a control character", "not UTF-8", "the bomb"}
WHOLE = {
    "overflow", "a fee overflows", "a gap", "an overlap", "falling tiers", "equal rank", "one id twice", "a fee's id twice",
    "GPU time by model", "half an hour", "no such day", "ends first", "a context edge", "cents of cents", "a key twice",
    "a float as fee",  # to JSON Schema 20.0 is a whole number
}  # fmt: skip
"""What only the whole card, the deployment or the calendar shows."""


def test_the_published_schemas_are_current(tokenmill: Run) -> None:
    for folder, name, flags in ((EXAMPLES, "ratecard", ()), (PLANS, "plan", ("--plan",))):
        printed = tokenmill("ratecard", "schema", *flags).out
        path = folder / f"{name}.schema.json"
        assert path.read_text() == printed, f"tokenmill ratecard schema {' '.join(flags)} > {path}"
        jsonschema.Draft202012Validator.check_schema(orjson.loads(printed))


@pytest.mark.parametrize("path", [*EXAMPLES.glob("*.yaml"), *PLANS.glob("*.yaml")], ids=lambda path: path.stem)
def test_every_example_names_its_schema_and_passes_it(path: Path) -> None:
    first = path.read_text().splitlines()[0]
    assert first.startswith("# yaml-language-server: $schema=")
    schema = orjson.loads((path.parent / first.partition("=")[2]).read_bytes())
    jsonschema.validate(read_card_file(path).document, schema)


def test_the_schema_accepts_the_good_card() -> None:
    CARDS.validate(yaml.load(GOOD, _PlainLoader))  # noqa: S506  # a SafeLoader


@pytest.mark.parametrize(
    "broken", [each for each in BROKEN if each.name not in NOT_YAML | WHOLE], ids=lambda broken: broken.name
)
def test_the_schema_refuses_what_a_schema_can(broken: Broken) -> None:
    document = yaml.load(GOOD.replace(broken.before, broken.after, 1), _PlainLoader)  # noqa: S506  # a SafeLoader
    assert not CARDS.is_valid(document)


@pytest.mark.parametrize(
    "change",
    [
        {"plan": "a b"},
        {"card": None},
        {"prices": {}},
        {"overrides": {"x": 0.5}},
        {"overrides": {"x": {"model": "per_unit"}}},
        {"overrides": {"x": {"model": "per_unit", "price": 0.1}}},
    ],
    ids=str,
)
def test_the_schema_of_plans_refuses_what_a_schema_can(change: dict[str, object]) -> None:
    good: dict[str, object] = {"plan": "a", "card": "standard", "overrides": {"x": "0.5", "y": 1}}
    PLANS_SCHEMA.validate(good)
    assert not PLANS_SCHEMA.is_valid(good | change)
