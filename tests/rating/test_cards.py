from __future__ import annotations

import copy
import json
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest

from rating.cards import parse_card
from rating.errors import CardError, Path
from rating.windows import WindowSize
from tests.rating.builders import Document, document, graduated, per_unit, sku

GOOD = document(
    sku("{model}/input", "input_uncached", per_unit("0.15", 1_000_000), model="model-*"),
    sku("model-0/out", "output", graduated((10, "2", "0"), (None, "1", "5")), model="model-0"),
    sku("pages", "units.pages", per_unit(1), region="eu"),  # type: ignore[arg-type]
    flat_fees=[{"sku": "fee", "amount": "5"}],
    minimum={"sku": "minimum", "amount": 100},
    not_charged=["gpu_busy_seconds"],
)


def problems(data: object, **options: Any) -> dict[Path, str]:
    with pytest.raises(CardError) as caught:
        parse_card(data, **options)
    return {problem.path: problem.message for problem in caught.value.problems}


def changed(path: Path, value: object) -> Document:
    """The good card with one place changed (or added)."""
    data = copy.deepcopy(GOOD)
    here: Any = data
    for step in path[:-1]:
        here = here[step]
    here[path[-1]] = value
    return data


def test_a_card_comes_back_from_its_document_also_through_json() -> None:
    card = parse_card(GOOD)
    assert parse_card(card.document()) == card
    assert parse_card(json.loads(json.dumps(card.document()))) == card
    assert card.document()["skus"][0]["charge"]["price"] == "0.15"


def test_remembering_routes_does_not_change_what_a_card_equals() -> None:
    card, other = parse_card(GOOD), parse_card(GOOD)
    assert card.router is card.router
    assert card == other
    assert card.document() == other.document()


def test_small_prices_are_written_without_exponent() -> None:
    card = parse_card(changed(("skus", 0, "charge", "price"), "0.00000000012"))
    assert card.document()["skus"][0]["charge"]["price"] == "0.00000000012"
    assert parse_card(card.document()) == card


@pytest.mark.parametrize(
    ("path", "value", "words"),
    [
        (("skus", 0, "charge", "price"), 0.15, "float"),
        (("skus", 0, "charge", "price"), 1.0, "float"),
        (("skus", 0, "charge", "price"), True, "bool"),
        (("skus", 0, "charge", "price"), "0,15", "plain decimal"),
        (("skus", 0, "charge", "price"), "1e3", "plain decimal"),
        (("skus", 0, "charge", "price"), "-1", "negative"),
        (("skus", 0, "charge", "price"), "1" * 50, "out of range"),
        (("skus", 0, "charge", "per"), 0, "not more than 0"),
        (("skus", 0, "charge", "per"), 1e6, "float"),
        (("skus", 0, "charge", "prise"), "1", "did you mean price"),
        (("skus", 0, "charge", "model"), "per_unti", "use per_unit, graduated, "),
        (("skus", 0, "meter"), "input_uncachd", "did you mean input_uncached"),
        (("skus", 0, "mach"), {}, "did you mean match"),
        (("skus", 0, "match", "modell"), "x", "did you mean model"),
        (("skus", 0, "sku"), "{modell}/input", "did you mean model"),
        (("skus", 0, "sku"), "{model/input", "brace"),
        (("skus", 0, "sku"), "{model}{region}", "'/'"),
        (("skus", 0, "sku"), "{model}/{model}", "twice"),
        (("skus", 0, "sku"), "a b", "no spaces"),
        (("skus", 0, "sku"), "unrated/input", "reserved"),
        (("skus", 0, "sku"), "uncharged/x", "reserved"),
        (("skus", 0, "unit"), "pages", "leave `unit` out"),
        (("skus", 1, "charge", "tiers", 1, "up_to"), 20, "must be open"),
        (("skus", 1, "charge", "tiers", 0, "up_to"), None, "only the last tier"),
        (("skus", 1, "charge", "tiers", 0, "up_to"), 0, "not more than 0"),
        (("skus", 1, "charge", "tiers", 1, "above"), 11, "a gap"),
        (("skus", 1, "charge", "tiers", 1, "above"), 9, "an overlap"),
        (("skus", 1, "charge", "tiers", 0, "above"), 1, "a gap"),
        (("skus", 1, "charge", "tiers", 0, "pric"), "1", "did you mean price"),
        (("skus", 1, "charge", "tiers"), [], "no tier"),
        (("skus", 1, "sku"), "model-7/input", "duplicate"),
        (("flat_fees", 0, "amount"), 5.0, "float"),
        (("flat_fees", 0, "amont"), 5, "did you mean amount"),
        (("flat_fees", 0, "sku"), "pages", "duplicate"),
        (("minimum", "sku"), "fee", "duplicate"),
        (("minimum", "sku"), "model-7/input", "duplicate"),
        (("minimum", "amount"), "99.999", "more than the 2 decimals of USD"),
        (("currency",), "usd", "did you mean USD"),
        (("currency",), "XXX", "not a currency"),
        (("version",), 0, "count from 1"),
        (("version",), "1", "whole number"),
        (("version",), True, "whole number"),
        (("id",), "a/b", "letters"),
        (("effective_from",), "2026-01-01T00:30:00Z", "not the start of a window"),
        (("effective_from",), 1767225600, "write one such as"),
        (("not_charged", 0), "gpu_bussy_seconds", "did you mean gpu_busy_seconds"),
        (("effektive_from",), "x", "did you mean effective_from"),
        (("skus", 0, "match", "context_bracket"), {"above": 150_000}, "not an edge"),
        (("skus", 0, "match", "context_bracket"), {"above": 200_000, "up_to": 128_000}, "no request"),
        (("skus", 0, "match", "context_bracket"), {}, "give above, up_to or both"),
    ],
)
def test_what_is_wrong_is_said_with_its_place(path: Path, value: object, words: str) -> None:
    found = problems(changed(path, value))
    place = next((each for each in (path, path[:-1]) if each in found), None)
    assert place is not None, found
    assert words in found[place]


def test_tiers_must_rise() -> None:
    charge = graduated((10, "2", "0"), (10, "1", "0"), (None, "1", "0"))
    found = problems(changed(("skus", 1, "charge"), charge))
    assert "not above the tier before it" in found["skus", 1, "charge", "tiers", 1, "up_to"]


def test_everything_that_is_wrong_is_said_at_once() -> None:
    data = changed(("skus", 0, "charge", "price"), 0.1)
    data["currency"] = "zzz"
    del data["id"]
    assert set(problems(data)) == {("id",), ("currency",), ("skus", 0, "charge", "price")}


@pytest.mark.parametrize("data", [None, [], "card", 5, {1: 2}])
def test_anything_but_a_card_is_refused(data: object) -> None:
    assert problems(data)


def test_instants_may_come_from_yaml_or_text_in_any_zone() -> None:
    expected = datetime(2026, 1, 1, tzinfo=UTC)
    for value in (
        expected,
        "2026-01-01T00:00:00Z",
        "2026-01-01T05:00:00+05:00",
        datetime(2026, 1, 1, 1, tzinfo=timezone(timedelta(hours=1))),
    ):
        card = parse_card(changed(("effective_from",), value))
        assert card.effective_from == expected
        assert card.document()["effective_from"] == "2026-01-01T00:00:00Z"
    assert problems(changed(("effective_from",), "2026-01-01T00:00:00"))


def test_the_start_is_aligned_to_the_deployments_windows() -> None:
    half_past = changed(("effective_from",), "2026-01-01T00:30:00Z")
    assert parse_card(half_past, window=WindowSize(30)).effective_from.minute == 30


def test_context_brackets_use_the_deployments_edges() -> None:
    data = changed(("skus", 0, "match", "context_bracket"), {"above": 10, "up_to": 30})
    assert problems(data)
    context = parse_card(data, context_edges=(10, 20, 30)).skus[0].match.context_bracket
    assert context is not None
    assert context.brackets == (1, 2)
    above = changed(("skus", 0, "match", "context_bracket"), {"above": 200_000})
    context = parse_card(above).skus[0].match.context_bracket
    assert context is not None
    assert context.brackets == (4, 7)


def claims(*skus: Document) -> set[Path]:
    """Where a card of these SKUs is refused."""
    try:
        parse_card(document(*skus))
    except CardError as error:
        return {problem.path for problem in error.problems}
    return set()


ONE = per_unit("1")


@pytest.mark.parametrize(
    ("first", "second", "refused"),
    [
        # Equal rank and shared usage.
        (sku("a", "requests", ONE, model="x"), sku("b", "requests", ONE, model="x"), "match"),
        (sku("a", "requests", ONE, model="x"), sku("b", "requests", ONE, region="eu"), "match"),
        (sku("a", "requests", ONE, model="a-*"), sku("b", "requests", ONE, model="*-z"), "match"),
        (sku("a", "requests", ONE, model="longer-*"), sku("b", "requests", ONE, model="*-z"), "match"),
        (sku("a", "requests", ONE), sku("b", "requests", ONE), "match"),
        (sku("a", "input", ONE, model="x"), sku("b", "input_uncached", ONE, region="eu"), "match"),
        (
            sku("a", "requests", ONE, context_bracket={"above": 200_000}),
            sku("b", "requests", ONE, context_bracket={"above": 128_000}),
            "match",
        ),
        # One is the more specific.
        (sku("a", "requests", ONE, model="x"), sku("b", "requests", ONE, model="x*"), None),
        (sku("a", "requests", ONE, model="x-*"), sku("b", "requests", ONE, model="*"), None),
        (sku("a", "requests", ONE, model="x"), sku("b", "requests", ONE, model="x", region="eu"), None),
        (sku("a", "requests", ONE, model="x"), sku("b", "requests", ONE, region="e*"), None),
        (sku("a", "input", ONE, model="x"), sku("b", "input_uncached", ONE, model="x"), None),
        (sku("a", "requests", ONE), sku("b", "requests", ONE, model="*"), None),
        # No shared usage.
        (sku("a", "requests", ONE, model="x"), sku("b", "requests", ONE, model="y"), None),
        (sku("a", "requests", ONE, model="a-*"), sku("b", "requests", ONE, model="b-*"), None),
        (sku("a", "input_uncached", ONE), sku("b", "output", ONE), None),
        (
            sku("a", "requests", ONE, context_bracket={"above": 200_000}),
            sku("b", "requests", ONE, context_bracket={"up_to": 200_000}),
            None,
        ),
        # Ids: a price of its own for one model under the template of the others is fine, ...
        (sku("{model}/r", "requests", ONE, model="x"), sku("{model}/r", "requests", ONE, model="*"), None),
        (sku("x/r", "requests", ONE, model="x"), sku("{model}/r", "requests", ONE, model="*"), None),
        (sku("{model}/r", "requests", ONE, model="a*"), sku("{model}/r", "requests", ONE, model="b*"), None),
        (sku("{model}/{region}/r", "requests", ONE), sku("x/eu/r", "requests", ONE, model="x", region="eu"), None),
        (sku("{model}/{region}/r", "requests", ONE), sku("x/eu/r", "requests", ONE, model="x"), None),
        (sku("{model}/in", "input", ONE), sku("{model}/out", "output", ONE), None),
        # ... but two prices under one id are not.
        (sku("a", "requests", ONE, model="x"), sku("a", "requests", ONE, model="y"), "sku"),
        (sku("x/r", "requests", ONE, model="x", region="eu"), sku("{model}/r", "requests", ONE, model="*"), "sku"),
        (sku("x/r", "requests", ONE, model="y"), sku("{model}/r", "requests", ONE, model="*"), "sku"),
        (sku("{model}/t", "input", ONE), sku("{model}/t", "output", ONE), "sku"),
        (sku("{model}/{region}/r", "requests", ONE), sku("x/eu/r", "requests", ONE, model="y"), "sku"),
        (
            sku("{model}/r", "requests", ONE, model="*"),
            sku("{model}/r", "requests", ONE, model="*", context_bracket={"above": 200_000}),
            "sku",
        ),
    ],
)
def test_two_claims_to_the_same_usage_or_id_are_refused(first: Document, second: Document, refused: str | None) -> None:
    expected = {("skus", 1, refused)} if refused else set()
    assert claims(first, second) == expected
    assert claims(second, first) == expected


def test_a_large_card_is_checked_quickly_enough_to_publish() -> None:
    skus = [
        sku(f"{{model}}/{meter}", meter, ONE, model=f"family-{n}-*")
        for n in range(100)
        for meter in ("input", "output")
    ]
    assert len(parse_card(document(*skus)).skus) == 200


def test_a_card_of_the_first_release_has_the_same_document_still() -> None:
    # What was published then: publishing the same file again must find the same content, or it would be refused.
    published = {
        "id": "old",
        "version": 1,
        "currency": "USD",
        "effective_from": "2026-01-01T00:00:00Z",
        "charge_status": ["success", "aborted"],
        "not_charged": [],
        "skus": [
            {
                "sku": "in",
                "meter": "input",
                "match": {},
                "charge": {
                    "model": "graduated",
                    "tiers": [{"up_to": "5", "price": "2", "flat_fee": "0"}, {"price": "1", "flat_fee": "0"}],
                    "per": "1",
                    "flat_on_zero": True,
                },
            },
            {"sku": "out", "meter": "output", "match": {}, "charge": {"model": "per_unit", "price": "1", "per": "1"}},
            {
                "sku": "once",
                "meter": "images",
                "match": {},
                "charge": {"model": "flat", "amount": "5", "flat_on_zero": False},
            },
        ],
        "flat_fees": [{"sku": "fee", "amount": "20"}],
        "minimum": {"sku": "least", "amount": "50"},
    }
    assert parse_card(published).document() == published
