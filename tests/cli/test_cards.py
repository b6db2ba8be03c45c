"""Wrong rate cards: every problem at its place, nothing published."""

from __future__ import annotations

from pathlib import Path

import pytest

from infra.card_files import EXAMPLES, read_card_file
from infra.cli.cards import load_cards
from infra.config import Settings
from infra.errors import ConfigurationError
from tests.cli.conftest import Run

WRONG = """\
id: Bad Card!
version: 0
currency: XXY
effective_from: yesterday
charge_status: [success]
skus:
  - sku: "{modle}/input"
    meter: input_tokenz
    match: {model: "model-*", colour: red}
    charge: {model: per_unit, price: 0.15, per: 1000000}
  - sku: "{model}/output"
    meter: output
    charge:
      model: graduated
      per: 1000000
      tiers:
        - {up_to: 500000, price: "0.80"}
        - {up_to: 400000, price: "-0.60"}
  - sku: "x"
    meter: input
not_charged: [gpu_busy]
nonsense: 1
"""
PLACES = ["1:1", "2:1", "3:1", "4:1", "7:5", "8:5", "9:31", "10:31", "18:27", "19:5", "21:15", "22:1"]


def test_every_problem_has_its_line_and_column_from_top_to_bottom(tokenmill: Run) -> None:
    Path("bad.yaml").write_text(WRONG)
    ended = tokenmill("ratecard", "publish", "bad.yaml")
    first, *problems = ended.err.splitlines()
    assert ended.code == 2
    assert first == f"Error: {len(PLACES)} problems"
    assert [problem.split(": ")[0] for problem in problems] == [f"  - bad.yaml:{place}" for place in PLACES]
    assert "there is no {modle}, did you mean model?" in ended.err
    assert "a float is not an exact number: write it as a string such as '0.15'" in ended.err


def test_the_problems_of_all_files_are_shown_together(tokenmill: Run) -> None:
    Path("bad.yaml").write_text(WRONG)
    Path("text.yaml").write_bytes(b"\xff\xfe")
    ended = tokenmill("ratecard", "publish", "text.yaml", str(EXAMPLES / "standard.yaml"), "bad.yaml")
    assert ended.code == 2
    assert ended.err.startswith(
        f"Error: {len(PLACES) + 1} problems\n  - text.yaml:1:1: not UTF-8 text (byte 0xff): save the file as UTF-8"
    )


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("", "card.yaml:1:1: a rate card is a mapping with id, version, currency, ..."),
        ("- 1\n", "card.yaml:1:1: a rate card is a mapping"),
        ("id: a\nskus: [\n", "card.yaml:3:1: not YAML: while parsing a flow node, expected the node content"),
        ("id: a\n---\nid: b\n", "card.yaml:2:1: not YAML: expected a single document in the stream"),
        ("id: !!python/object:os.system x\n", "card.yaml:1:5: not YAML: could not determine a constructor"),
        ("id: x\0y\n", "card.yaml:1:6: not YAML: unacceptable character #x0000: remove it"),
        ("a: &x [*x]\n", "card.yaml:1:1: not YAML: nested without end"),
        ("? [a, b]\n: 1\n", "card.yaml:1:3: not YAML: "),
        ("a: " + "[" * 5000, "card.yaml:1:1: not YAML: "),
    ],
    ids=["empty", "list", "broken", "two", "tag", "nul", "itself", "key", "deep"],
)
def test_a_file_that_holds_no_card_says_why(content: str, said: str, tokenmill: Run) -> None:
    Path("card.yaml").write_text(content)
    ended = tokenmill("ratecard", "publish", "card.yaml")
    assert ended.code == 2
    assert ended.err.startswith(f"Error: {said}")


def test_aliases_cannot_make_a_small_file_huge() -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 12)]
    Path("card.yaml").write_text("\n".join(lines))
    with pytest.raises(ConfigurationError, match="more than 200,000 keys and items"):
        read_card_file(Path("card.yaml"))


def test_an_instant_stays_the_text_that_was_written() -> None:
    Path("card.yaml").write_text("effective_from: 2020-01-01T00:00:00Z\nend: 2020-01-01\n")
    document = read_card_file(Path("card.yaml")).document
    assert document == {"effective_from": "2020-01-01T00:00:00Z", "end": "2020-01-01"}


def test_the_place_of_a_part_is_that_of_the_nearest_part_around_it() -> None:
    Path("card.yaml").write_text("id: a\nskus:\n  - sku: x\n    charge: {model: flat}\n")
    file = read_card_file(Path("card.yaml"))
    assert file.place(("skus", 0, "charge", "model")) == "card.yaml:4:14"
    assert file.place(("skus", 0, "charge", "price")) == "card.yaml:4:5"
    assert file.place(("skus", 7)) == "card.yaml:2:1"
    assert file.place(("nothing",)) == "card.yaml:1:1"


def test_the_example_cards_are_right() -> None:
    cards = load_cards(sorted(EXAMPLES.glob("*.yaml")), Settings())
    assert all(file.path.stem == card.id for file, card in cards)
    currencies = {card.id: card.currency for _, card in cards}
    assert {name: currencies[name] for name in ("standard", "enterprise", "yen", "dinar")} == {
        "standard": "USD",
        "enterprise": "EUR",
        "yen": "JPY",
        "dinar": "KWD",
    }
