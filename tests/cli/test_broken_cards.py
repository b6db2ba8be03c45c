"""Cards that cannot work: each error names the place and the fix, and none is a traceback."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import orjson
import pytest

from tests.cli.conftest import Run

GOOD = """\
id: standard
version: 1
currency: USD
effective_from: "2026-01-01T00:00:00Z"
charge_status: [success]
skus:
  - sku: "{model}/input"
    meter: input_uncached
    match: {model: "model-*"}
    charge: {model: per_unit, price: "0.15", per: 1000000}
  - sku: "{model}/output"
    meter: output
    match: {model: "model-*"}
    charge:
      model: graduated
      per: 1000000
      tiers:
        - {up_to: 500000, price: "0.80"}
        - {above: 500000, price: "0.60"}
  - sku: scans
    meter: units.scans
    unit: scan
    charge: {model: flat, amount: "5.00"}
not_charged: [gpu_busy_seconds]
flat_fees:
  - {sku: fee, amount: "20.00"}
minimum: {sku: least, amount: "250.00"}
"""


class Broken(NamedTuple):
    """What is changed in the good card, where the error points to, what it says and what it advises."""

    name: str
    before: str
    after: str
    place: str
    what: str
    fix: str


INPUT = 'charge: {model: per_unit, price: "0.15", per: 1000000}'
BROKEN = [
    Broken("a float", 'price: "0.15"', "price: 0.15", "10:31", "skus[0].charge.price: a float", "a string such as '0.15'"),
    Broken("a float as fee", 'amount: "20.00"', "amount: 20.0", "26:16", "flat_fees[0].amount: a float", "'20.0'"),
    Broken("a float as block", "per: 1000000}", "per: 1e6}", "10:46", "skus[0].charge.per: '1e6'", "plain decimal"),
    Broken("a negative price", 'price: "0.15"', 'price: "-1"', "10:31", "price: -1 is negative", "reductions are credits"),
    Broken("a comma", 'price: "0.15"', 'price: "0,15"', "10:31", "'0,15' is not a number", "such as '0.15'"),
    Broken("too dear", 'price: "0.15", per: 1000000', 'price: "1e13"', "10:31", "is not a number", "plain decimal"),
    Broken(
        "overflow", 'price: "0.15", per: 1000000', "price: 1000000000001", "10:31", "more than 1000000000000", "correct"
    ),
    Broken("a fee overflows", '"250.00"', '"9000000000000000"', "27:23", "minimum.amount: 9000000", "at most 10^15"),
    Broken("a block of nothing", "per: 1000000}", "per: 0}", "10:46", "0 is not more than 0", "more than 0"),
    Broken("a gap", "{above: 500000", "{above: 600000", "19:12", "a gap: nothing is priced between", "write above: 500000"),
    Broken("an overlap", "{above: 500000", "{above: 400000", "19:12", "an overlap", "write above: 500000"),
    Broken("falling tiers", "{above: 500000, price", "{up_to: 400000, price", "19:12", "not above the tier before", "raise"),
    Broken("a closed end", "{above: 500000", "{up_to: 600000", "19:12", "the last tier must be open", "leave its up_to out"),
    Broken("two open tiers", "{up_to: 500000, price", "{price", "18:11", "only the last tier may be open", "give it an up_to"),
    Broken("no tier", "tiers:\n        - {up_to: 500000, price: \"0.80\"}\n        - {above: 500000, price: \"0.60\"}",
           "tiers: []", "17:7", "there is no tier", "give at least one"),
    Broken("tiers missing", "model: graduated\n      per: 1000000\n      tiers:\n        - {up_to: 500000, price: \"0.80\"}"
           "\n        - {above: 500000, price: \"0.60\"}", "model: graduated", "14:5",
           "charge.tiers: is missing", "write tiers:"),
    Broken("a wrong model", "model: flat", "model: flatt", "23:14", "no price model 'flatt', did you mean flat?",
           "use per_unit"),
    Broken("no model", "charge: {model: flat, ", "charge: {", "23:5", "name the price model",
           "use per_unit, graduated, volume"),
    Broken("equal rank", "meter: units.scans\n    unit: scan", "meter: input\n    match: {model: \"*-00\"}", "22:5",
           "matches this SKU and skus[0]", "narrow one"),
    Broken("one id twice", "- sku: scans", "- sku: model-7/input", "20:5", "duplicate: model-7/input", "name them apart"),
    Broken("a fee's id twice", "sku: fee", "sku: scans", "26:6", "duplicate: scans is an id of skus[2]", "name them apart"),
    Broken("GPU time by model", "meter: input_uncached", "meter: gpu_seconds", "9:13", "gpu_seconds has no model",
           "leave model out"),
    Broken("half an hour", "01-01T00:00:00Z", "01-01T00:30:00Z", "4:1", "effective_from: 2026-01-01T00:30:00Z cuts a window",
           "use '2026-01-01T00:00:00Z' or '2026-01-01T01:00:00Z'"),
    Broken("no zone", "00:00:00Z", "00:00:00", "4:1", "has no time zone", "write '2026-01-01T00:00:00Z'"),
    Broken("no such day", "2026-01-01T", "2026-02-30T", "4:1", "is in no calendar", "correct it"),
    Broken("the past", "2026-01-01T", "1969-01-01T", "4:1", "outside the years 1970 to 2199", "correct the year"),
    Broken("the future", "2026-01-01T", "2200-01-01T", "4:1", "outside the years 1970 to 2199", "correct the year"),
    Broken("the end of the calendar", "2026-01-01T00:00:00Z", "9999-12-31T23:00:00-01:00", "4:1", "outside the years",
           "correct the year"),
    Broken("no instant", '"2026-01-01T00:00:00Z"', "yesterday", "4:1", "'yesterday' is not an instant", "write one such as"),
    Broken("ends first", "charge_status", 'effective_to: "2025-01-01T00:00:00Z"\ncharge_status', "5:1",
           "effective_to: 2025-01-01T00:00:00Z is not after effective_from", "would price nothing"),
    Broken("a currency", "USD", "XXY", "3:1", "currency: 'XXY' is not a currency", "use a code such as"),
    Broken("a small currency", "USD", "eur", "3:1", "'eur' is not a currency", "did you mean EUR?"),
    Broken("an unknown field", "currency: USD", "currency: USD\ncurency: EUR", "4:1", "unknown field",
           "did you mean currency?"),
    Broken("a field's place", "match: {model: \"model-*\"}\n    charge: {", "model: model-00\n    charge: {", "9:5",
           "skus[0].model: unknown field", "match: {model: ...}"),
    Broken("a field missing", "currency: USD\n", "", "1:1", "currency: is missing", "write currency: USD"),
    Broken("a meter", "input_uncached", "input_tokens", "8:5", "no meter 'input_tokens'", "did you mean input?"),
    Broken("a meter not charged", "gpu_busy_seconds", "gpu_busy", "24:15", "no meter 'gpu_busy'",
           "did you mean gpu_busy_seconds?"),
    Broken("a dimension", '"{model}/input"', '"{modle}/input"', "7:5", "there is no {modle}", "did you mean model?"),
    Broken("a dimension of match", "match: {model: \"model-*\"}\n    charge: {", "match: {colour: red}\n    charge: {", "9:13",
           "match.colour: unknown field", "use model, endpoint"),
    Broken("a brace", '"{model}/input"', '"{model/input"', "7:5", "an opening or closing brace is missing", "brace"),
    Broken("a context edge", "match: {model: \"model-*\"}\n    charge: {",
           "match: {context_bracket: {above: 100}}\n    charge: {", "9:13",
           "100 is not an edge of the context brackets", "use one of 32000"),
    Broken("a status", "[success]", "[sucess]", "5:17", "no request ends as 'sucess'", "did you mean success?"),
    Broken("a long unit", "units.scans", f"units.{'x' * 251}", "21:5", "251 characters", "use at most 250"),
    Broken("a unit's name", "meter: units.scans", "meter: images", "20:5", "the unit of images is images", "leave `unit` out"),
    Broken("a version", "version: 1", 'version: "1"', "2:1", "version: '1' is not a whole number", "without quotes"),
    Broken("version 0", "version: 1", "version: 0", "2:1", "0 is not a version", "count from 1"),
    Broken("a number as id", "id: standard", "id: 2026", "1:1", "id: 2026 is not text", "put it in quotes"),
    Broken("an id", "id: standard", "id: Stan dard", "1:1", "id: 'Stan dard'", "use letters"),
    Broken("a list", "[success]", "success", "5:1", "charge_status: 'success' is not a list", "begin each item with '- '"),
    Broken("a mapping", 'match: {model: "model-*"}\n    charge: {', "match: model-*\n    charge: {", "9:5",
           "match: 'model-*' is not a mapping", "field names"),
    Broken("cents of cents", '"250.00"', '"250.001"', "27:23", "more than the 2 decimals of USD", "round it"),
    Broken("a key twice", "currency: USD", "currency: USD\nid: other", "4:1", "id: stands here a second time", "keep one"),
    Broken("a tab", "version: 1", "\tversion: 1", "2:1", "cannot start any token", "indent with spaces"),
    Broken("a tag", "currency: USD", "currency: !!python/name:os.system USD", "3:11", "not YAML", "remove the tag"),
    Broken("two documents", "skus:", "---\nskus:", "6:1", "single document", "remove the '---'"),
    Broken("a colon", "id: standard", "id: a: b", "1:6", "not YAML: mapping values", "in quotes"),
    Broken("a control character", "standard", "stan\x01dard", "1:9", "unacceptable character #x0001", "remove it"),
    Broken("not UTF-8", "standard", "stan\udcffdard", "1:9", "not UTF-8 text (byte 0xff)", "save the file as UTF-8"),
    Broken("the bomb", "id: standard", "\n".join(
        ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
        + [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 9)]), "1:1", "more than 200,000 keys",
        "without so many aliases"),
]  # fmt: skip


def test_the_card_that_they_are_made_of_is_right(tokenmill: Run) -> None:
    Path("card.yaml").write_text(GOOD)
    ended = tokenmill("ratecard", "validate", "card.yaml")
    assert (ended.code, ended.err) == (0, "")
    assert ended.out == "card.yaml: standard version 1 is right: 3 SKUs, USD, from 2026-01-01T00:00:00Z\n"


@pytest.mark.parametrize("broken", BROKEN, ids=lambda broken: broken.name)
def test_the_error_names_the_place_and_the_fix(broken: Broken, tokenmill: Run) -> None:
    assert broken.before in GOOD
    text = GOOD.replace(broken.before, broken.after, 1)
    Path("card.yaml").write_bytes(text.encode("utf-8", "surrogateescape"))
    ended = tokenmill("ratecard", "validate", "card.yaml")
    assert (ended.code, ended.out) == (2, "")
    assert "Traceback" not in ended.err
    assert ended.err.startswith(f"Error: card.yaml:{broken.place}: ")
    assert ended.err.count("\n") == 1, "one problem, one line"
    assert broken.what in ended.err
    assert broken.fix in ended.err


def test_there_are_at_least_forty() -> None:
    assert len({broken.name for broken in BROKEN}) == len(BROKEN) >= 40


def test_problems_of_fields_and_of_the_whole_card_are_shown_together(tokenmill: Run) -> None:
    text = GOOD
    for name in ("a float as fee", "a gap", "an unknown field", "half an hour", "one id twice"):
        broken = next(each for each in BROKEN if each.name == name)
        text = text.replace(broken.before, broken.after, 1)
    Path("card.yaml").write_text(text)
    ended = tokenmill("ratecard", "validate", "card.yaml")
    assert ended.err.startswith("Error: 5 problems\n")
    places = [line.split(":")[1] for line in ended.err.splitlines()[1:]]
    assert places == ["4", "5", "20", "21", "27"]


def test_valid_and_broken_cards_side_by_side_as_json(tokenmill: Run) -> None:
    Path("good.yaml").write_text(GOOD)
    Path("bad.yaml").write_text("id: x\n")
    ended = tokenmill("ratecard", "validate", "--json", "good.yaml", "bad.yaml")
    assert ended.code == 2
    good, bad = orjson.loads(ended.out)["cards"]
    assert (good["valid"], good["problems"], good["skus"]) == (True, [], 3)
    assert not bad["valid"]
    assert [problem.split(": ")[1] for problem in bad["problems"]] == ["version", "currency", "effective_from"]
