"""Batches are judged as their rows would be, one by one, by the models."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from schemas.batch import decode_batch, encode_batch
from schemas.errors import SchemaError
from schemas.events import EVENT_TYPES, rules
from schemas.fields import (
    ChoiceRule,
    CountRule,
    FlagRule,
    InstantRule,
    MeasureRule,
    QuantityRule,
    Rule,
    TextRule,
    UnitsRule,
)
from schemas.instants import END_OF_TIME_US
from schemas.kinds import Kind
from schemas.reasons import reason_of
from schemas.validation import validate
from tests.schemas.samples import GOOD, raw_batch

KINDS = list(EVENT_TYPES)
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

ODD_TEXTS = [
    "",
    " ",
    "a",
    "_",
    "_pool",
    "_idle",
    "_pool2",
    "a_b",
    "\x00",
    "a\nb",
    "a\x1f",
    "\x7f",
    "a\x80",
    "\x9f",
    "\xa0",
]
ODD_TEXTS += ["é" * 256, "é" * 257, "a" * 256, "a" * 257, "a" * 512, "a" * 513, "é" * 512, "\U0001f600" * 513, "\u2028"]
QUANTITIES = ["0", "1", "1.5", "-1", "1e3", "+1", "", ".5", "5.", "1.123456789", "1.1234567890", "1000000000000"]
QUANTITIES += [
    "1000000000000.000000001",
    "999999999999.999999999",
    "0000000000001",
    "00000000000001",
    "NaN",
    "٣",
    "1\n",
]


def values_for(rule: Rule) -> st.SearchStrategy[Any]:
    """Values that a column of the rule can hold, most of them at the edges of the rule."""
    match rule:
        case TextRule() | ChoiceRule():
            choices = rule.choices if isinstance(rule, ChoiceRule) else ()
            plain = st.text(st.characters(codec="utf-8"), max_size=4)
            return st.one_of(st.none(), st.sampled_from([*ODD_TEXTS, *choices]), plain)
        case CountRule(minimum=low, maximum=high):
            counts = [low - 1, low, low + 1, high - 1, high, high + 1, 0, -1, 2**63 - 1, -(2**63)]
            return st.one_of(st.none(), st.sampled_from(counts), st.integers(-10, 3_000))
        case MeasureRule(minimum=low, maximum=high):
            measures = [
                low,
                high,
                np.nextafter(low, -1),
                np.nextafter(high, 2 * high),
                -0.0,
                float("nan"),
                float("inf"),
                1e300,
            ]
            return st.one_of(st.none(), st.sampled_from([float(measure) for measure in measures]), st.floats(-1, 2))
        case InstantRule():
            base = (datetime(2026, 1, 1, 9, 30, tzinfo=UTC) - EPOCH) // timedelta(microseconds=1)
            instants = [0, -1, END_OF_TIME_US - 1, END_OF_TIME_US, 2**63 - 1, -(2**63), base - 1]
            return st.one_of(st.none(), st.sampled_from(instants), st.integers(base - 3, base + 3))
        case QuantityRule():
            texts = ["0", "0.000001", "-0.000001", "1000000000000", "1000000000000.000001", "-1", "1e25", "-1e25"]
            return st.one_of(st.none(), st.sampled_from([Decimal(text) for text in texts]))
        case FlagRule():
            return st.sampled_from([None, True, False])
        case UnitsRule():
            entry = st.tuples(st.sampled_from(["images", "a", *ODD_TEXTS]), st.sampled_from([None, *QUANTITIES]))
            good = st.tuples(st.sampled_from("abcdefghijklmnopqrstuvwxyz"), st.just("1.5"))
            return st.one_of(
                st.none(), st.lists(entry, max_size=3), st.lists(good, min_size=14, max_size=18, unique=True)
            )
    raise TypeError(rule)


def rows_of(kind: str) -> st.SearchStrategy[list[dict[str, Any]]]:
    fields = rules(EVENT_TYPES[kind])

    @st.composite
    def row(draw: st.DrawFn) -> dict[str, Any]:
        changed = draw(st.lists(st.sampled_from(list(fields)), max_size=3, unique=True))
        return {**GOOD[kind], **{name: draw(values_for(fields[name])) for name in changed}}

    return st.lists(row(), min_size=1, max_size=8)


def model_code(kind: str, row: dict[str, Any]) -> str:
    """What the model says of one row: the code of what is wrong, or "" if nothing is."""
    model = EVENT_TYPES[kind]
    fields = dict(row)
    for name, rule in rules(model).items():
        if isinstance(rule, InstantRule) and isinstance(fields.get(name), int):
            try:
                fields[name] = EPOCH + timedelta(microseconds=fields[name])
            except OverflowError:  # no datetime can hold it: the nearest one breaks the rule too
                fields[name] = datetime.max.replace(tzinfo=UTC)
    try:
        model.model_validate(fields)
    except ValidationError as error:
        return reason_of(model, error).code
    return ""


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=50, deadline=None)
@given(data=st.data())
def test_a_batch_is_judged_as_the_model_judges_its_rows(kind: str, data: st.DataObject) -> None:
    rows = data.draw(rows_of(kind))
    expected = [model_code(kind, row) for row in rows]
    batch = raw_batch(kind, rows)
    padded = raw_batch(kind, [GOOD[kind], *rows, GOOD[kind]])
    for shape in (batch, padded.slice(1, len(rows)), decode_batch(kind, encode_batch(batch))):
        verdict = validate(kind, shape)
        assert [verdict.names[code] for code in verdict.codes] == expected
        for row in verdict.bad_rows():
            code, reason = verdict.reason(int(row))
            assert code == expected[row]
            assert reason
            assert "\n" not in reason


EDGES: dict[type, list[Any]] = {
    TextRule: [None, *ODD_TEXTS],
    ChoiceRule: [None, *ODD_TEXTS],
    CountRule: [
        None,
        -1,
        0,
        1,
        99,
        100,
        999,
        1000,
        10**6,
        10**6 + 1,
        10**12,
        10**12 + 1,
        10**15,
        10**15 + 1,
        2**63 - 1,
    ],
    MeasureRule: [None, -0.1, 0.0, 0.001, 1.0, 1.0001, 86_400.0, 86_401.0, 1e6, 1e7, float("nan"), float("-inf")],
    InstantRule: [None, -1, 0, END_OF_TIME_US - 1, END_OF_TIME_US, 2**63 - 1, -(2**63)],
    QuantityRule: [None, *map(Decimal, ("-0.000001", "0", "1e12", "1000000000000.000001", "1e30"))],
    FlagRule: [None, True, False],
    UnitsRule: [
        None,
        [],
        [("a", "1"), ("a", "1")],
        [("a", None)],
        *([("n" * length, "1")] for length in (0, 250, 251, 256)),
        *([("a", quantity)] for quantity in QUANTITIES),
        *([(f"u{index}", "1") for index in range(count)] for count in (16, 17)),
    ],
}


def edge_rows(kind: str) -> list[dict[str, Any]]:
    return [
        {**GOOD[kind], name: value} for name, rule in rules(EVENT_TYPES[kind]).items() for value in EDGES[type(rule)]
    ]


@pytest.mark.parametrize("kind", KINDS)
def test_every_value_at_the_edge_of_every_rule_is_judged_as_by_the_model(kind: str) -> None:
    rows = edge_rows(kind)
    verdict = validate(kind, raw_batch(kind, rows))
    assert [verdict.names[code] for code in verdict.codes] == [model_code(kind, row) for row in rows]


@pytest.mark.parametrize("kind", KINDS)
def test_one_bad_value_is_found_without_another_beside_it(kind: str) -> None:
    rows = edge_rows(kind)
    batch = raw_batch(kind, rows)
    for index, row in enumerate(rows):
        verdict = validate(kind, batch.slice(index, 1))
        assert verdict.names[verdict.codes[0]] == model_code(kind, row), row


def test_one_bad_row_of_a_thousand_leaves_the_others_good() -> None:
    rows = [{**GOOD[Kind.TOKEN_USAGE], "id": f"req-{index}"} for index in range(1_000)]
    rows[417]["output_tokens"] = -5
    verdict = validate(Kind.TOKEN_USAGE, raw_batch(Kind.TOKEN_USAGE, rows))
    assert verdict.bad_rows().tolist() == [417]
    assert verdict.reason(417) == (
        "invalid_output_tokens",
        "output_tokens is -5: it must be a whole number from 0 to 1000000000000",
    )
    with pytest.raises(ValueError, match="row 0 is good"):
        verdict.reason(0)


def test_many_distinct_names_are_checked_like_few() -> None:
    rows = [{**GOOD[Kind.TOKEN_USAGE], "api_key_id": f"key-{index}", "tenant_id": f"t{index}"} for index in range(300)]
    rows[7]["api_key_id"] = "key\x07"
    rows[8]["api_key_id"] = "schlüssel"
    rows[9]["api_key_id"] = ""
    rows[10]["api_key_id"] = "k" * 257
    rows[11]["tenant_id"] = "_pool"
    verdict = validate(Kind.TOKEN_USAGE, raw_batch(Kind.TOKEN_USAGE, rows))
    assert verdict.bad_rows().tolist() == [7, 9, 10, 11]


@pytest.mark.parametrize(
    ("changes", "code", "reason"),
    [
        ({"tenant_id": None}, "invalid_tenant_id", "tenant_id is missing"),
        (
            {"cache_read_input_tokens": 1_000, "cache_write_input_tokens": 201},
            "invalid_cache_tokens",
            "cache_read_input_tokens 1000 + cache_write_input_tokens 201 must not exceed input_tokens 1200",
        ),
        (
            {"reasoning_output_tokens": 351},
            "invalid_reasoning_tokens",
            "reasoning_output_tokens 351 must not exceed output_tokens 350",
        ),
        (
            {"status": "ok"},
            "invalid_status",
            "status is 'ok': it must be one of success, error, aborted",
        ),
        (
            {"ended_at": 2**62},
            "invalid_ended_at",
            "ended_at is '4611686018427387904 us after 1970': it must be an instant with a time zone from 1970 to 2199, "
            "such as 2026-01-01T00:00:00Z",
        ),
    ],
)
def test_a_reason_says_what_is_wrong_and_what_would_be_right(changes: dict[str, Any], code: str, reason: str) -> None:
    verdict = validate(Kind.TOKEN_USAGE, raw_batch(Kind.TOKEN_USAGE, [{**GOOD[Kind.TOKEN_USAGE], **changes}]))
    assert verdict.reason(0) == (code, reason)


def test_an_empty_batch_and_unused_dictionary_entries_are_good() -> None:
    assert validate(Kind.TOKEN_USAGE, raw_batch(Kind.TOKEN_USAGE, [])).all_good
    rows = [GOOD[Kind.TOKEN_USAGE], {**GOOD[Kind.TOKEN_USAGE], "tenant_id": "_bad", "provider": ""}]
    assert validate(Kind.TOKEN_USAGE, raw_batch(Kind.TOKEN_USAGE, rows).slice(0, 1)).all_good


def test_a_batch_of_another_kind_is_refused() -> None:
    batch = raw_batch(Kind.GPU_USAGE, [GOOD[Kind.GPU_USAGE]])
    with pytest.raises(SchemaError, match="not in the canonical schema"):
        validate(Kind.TOKEN_USAGE, batch)
    with pytest.raises(SchemaError, match="is not one of"):
        validate("io.example.other", batch)
