"""`tokenmill price`: card and usage in, exact invoices out; every problem of the usage with its line."""

from __future__ import annotations

import io
from pathlib import Path

import orjson
import pytest

from infra.card_files import EXAMPLES, PLANS
from tests.cli.conftest import Run
from tests.cli.test_broken_cards import BROKEN, GOOD

STANDARD = str(EXAMPLES / "standard.yaml")
USAGE = """\
{"tenant_id": "acme", "time": "2026-01-05T10:00:00Z", "model": "model-00", "meters": {"output_text": 800000, "requests": 1}}

{"tenant_id": "acme", "time": "2026-01-06T10:30:00Z", "model": "model-00", "meters": {"output_text": "1700001"}}
{"tenant_id": "acme", "time": "2026-01-06T11:00:00+02:00", "gpu_type": "H100", "meters": {"gpu_seconds": "7200.5"}}
"""


def test_usage_becomes_an_invoice_with_its_tiers(tokenmill: Run) -> None:
    Path("usage.jsonl").write_text(USAGE)
    ended = tokenmill("price", "--card", STANDARD, "--usage", "usage.jsonl", "--json")
    assert (ended.code, ended.err) == (0, "")
    document = orjson.loads(ended.out)
    (invoice,) = document["invoices"]
    assert document["card"] == {"id": "standard", "version": 1, "currency": "USD"}
    lines = {line["sku"]: (line["quantity"], line["amount"], line["exact_amount"]) for line in invoice["lines"]}
    assert lines == {
        "platform-fee": ("1", "20.00", "20"),
        "H100/gpu-hours": ("7200.5", "5.00", "5.000347222222"),
        "model-00/output": ("2500001", "1.53", "1.52500045"),
        "model-00/requests": ("1", "0.00", "0.00002"),
    }
    assert invoice["total"] == "26.53"
    tiers = next(line["tiers"] for line in invoice["lines"] if line["sku"] == "model-00/output")
    assert [(tier["quantity"], tier["price"], tier["amount"]) for tier in tiers] == [
        ("500000", "0.8", "0.4"),
        ("1500000", "0.6", "0.9"),
        ("500001", "0.45", "0.22500045"),
    ]


def test_an_array_and_standard_input_give_the_same(tokenmill: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    Path("usage.jsonl").write_text(USAGE)
    Path("usage.json").write_text(f"[{','.join(USAGE.split(chr(10)))}]".replace(",,", ",").replace(",]", "]"))
    expected = tokenmill("price", "--card", STANDARD, "--usage", "usage.jsonl", "--json").out
    assert tokenmill("price", "--card", STANDARD, "--usage", "usage.json", "--json").out == expected
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(USAGE.encode())))
    assert tokenmill("price", "--card", STANDARD, "--usage", "-", "--json").out == expected


COUNTED = """\
{"time": "2026-01-05T10:15:00Z", "api_key_id": "k1", "meters": {"requests": 1, "units.nodes": "2", "units.paid": "100"}}
{"time": "2026-01-05T10:45:00Z", "api_key_id": "k2", "meters": {"requests": 1, "units.nodes": "-2", "units.paid": "50"}}
{"time": "2026-01-05T11:00:00Z", "api_key_id": "k1", "meters": {"requests": 1}}
"""
COUNTING_CARD = """\
id: counted
version: 1
currency: USD
effective_from: "2026-01-01T00:00:00Z"
skus:
  - {sku: seats, meter: requests, aggregation: unique_api_keys, charge: {model: per_unit, price: "10"}}
  - {sku: nodes, meter: units.nodes, aggregation: time_weighted, charge: {model: per_unit, price: "3"}}
  - {sku: fees, meter: units.paid, charge: {model: percentage, rate: 10, fixed_fee: 1, free_events: 1}}
"""


def test_a_document_is_an_event_for_what_counts_events(tokenmill: Run) -> None:
    Path("usage.jsonl").write_text(COUNTED)
    Path("card.yaml").write_text(COUNTING_CARD)
    ended = tokenmill("price", "--card", "card.yaml", "--usage", "usage.jsonl", "--json")
    (invoice,) = orjson.loads(ended.out)["invoices"]
    lines = {line["sku"]: (line["quantity"], line["amount"]) for line in invoice["lines"]}
    assert (lines["seats"], lines["nodes"], lines["fees"]) == (("2", "20.00"), ("1", "3.00"), ("150", "6.00"))
    assert ended.code == 0, "nothing is without a price"


def test_one_document_may_be_spread_over_several_lines(tokenmill: Run) -> None:
    Path("u").write_text('\n{"time": "2026-01-05T10:00:00Z", "model": "model-00",\n "meters": {"output_text": 9000}}\n')
    ended = tokenmill("price", "--card", STANDARD, "--usage", "u", "--json")
    (invoice,) = orjson.loads(ended.out)["invoices"]
    assert (ended.code, invoice["total"]) == (0, "20.01")
    assert tokenmill("price", "--help").out.count("2026-01-05T10:00:00Z") == 2


def test_prices_of_a_plan_and_of_flags_are_tried_on_the_same_usage(tokenmill: Run) -> None:
    Path("usage.jsonl").write_text(USAGE)
    plan = str(PLANS / "committed.yaml")
    ended = tokenmill(
        "price",
        "--card",
        STANDARD,
        "--usage",
        "usage.jsonl",
        "--plan",
        plan,
        "--override",
        "H100/gpu-hours=1",
        "--json",
    )
    document = orjson.loads(ended.out)
    lines = {line["sku"]: line for line in document["invoices"][0]["lines"]}
    assert (lines["model-00/output"]["exact_amount"], lines["H100/gpu-hours"]["amount"]) == ("1.4000004", "2.00")
    assert lines["platform-fee"]["amount"] == "0.00"
    assert all(tier["own_price"] for tier in lines["model-00/output"]["tiers"])
    assert "H100/gpu-hours" in document["overrides"]


def test_usage_without_a_price_is_shown_and_is_a_finding(tokenmill: Run) -> None:
    Path("usage.jsonl").write_text('{"time": "2026-01-05T10:00:00Z", "model": "other", "meters": {"output_text": 5}}')
    ended = tokenmill("price", "--card", STANDARD, "--usage", "usage.jsonl")
    assert ended.code == 1
    assert "not yet priced: 5 tokens of output_text" in ended.out


def test_long_requests_and_failed_ones_are_told_apart(tokenmill: Run) -> None:
    Path("card.yaml").write_text(
        GOOD.replace(
            'match: {model: "model-*"}\n    charge: {', "match: {context_bracket: {above: 128000}}\n    charge: {"
        )
    )
    Path("usage.jsonl").write_text(
        '{"time": "2026-01-05T10:00:00Z", "context_tokens": 128001, "meters": {"input_uncached": 1000000}}\n'
        '{"time": "2026-01-05T10:00:00Z", "context_tokens": 128000, "meters": {"input_uncached": 5}}\n'
        '{"time": "2026-01-05T10:00:00Z", "status": "error", "meters": {"input_uncached": 7}}\n'
    )
    ended = tokenmill("price", "--card", "card.yaml", "--usage", "usage.jsonl", "--json")
    (invoice,) = orjson.loads(ended.out)["invoices"]
    assert [each["quantity"] for each in invoice["unrated"]] == ["5"]
    found = {line["sku"]: line["amount"] for line in invoice["lines"] if line["kind"] == "usage"}
    assert found == {"/input": "0.15", "uncharged/status_error/input_uncached": "0.00"}


WRONG = {
    "not json": ("{", "not JSON: "),
    "a number": ("5", "a usage is a mapping such as"),
    "unknown field": (
        '{"modle": "x", "time": "2026-01-01T00:00:00Z", "meters": {"requests": 1}}',
        "modle: unknown field, did",
    ),
    "no time": ('{"meters": {"requests": 1}}', "time: is missing"),
    "a bad time": (
        '{"time": "2026-02-30T00:00:00Z", "meters": {"requests": 1}}',
        "time: '2026-02-30T00:00:00Z' is in no",
    ),
    "a time as number": ('{"time": 1767225600, "meters": {"requests": 1}}', "time: 1767225600 is not an instant"),
    "no meters": ('{"time": "2026-01-01T00:00:00Z"}', "meters: write what was used"),
    "a float": ('{"time": "2026-01-01T00:00:00Z", "meters": {"gpu_seconds": 1.5}}', "meters.gpu_seconds: a float"),
    "a sum": ('{"time": "2026-01-01T00:00:00Z", "meters": {"input": 1}}', "write its parts input_uncached"),
    "no such meter": (
        '{"time": "2026-01-01T00:00:00Z", "meters": {"request": 1}}',
        "no meter request, did you mean requests?",
    ),
    "half a token": ('{"time": "2026-01-01T00:00:00Z", "meters": {"requests": "1.5"}}', "1.5 has more than 0 decimals"),
    "id": ('{"time": "2026-01-01T00:00:00Z", "api_key_id": 7, "meters": {"requests": 1}}', "api_key_id: 7 is not text"),
    "negative": ('{"time": "2026-01-01T00:00:00Z", "meters": {"requests": -1}}', "-1 is not between 0 and"),
    "nothing": ('{"time": "2026-01-01T00:00:00Z", "meters": {"requests": NaN}}', "NaN is not a number"),
    "twice": ('{"time": "2026-01-01T00:00:00Z", "time": "x", "meters": {"requests": 1}}', "time stands twice"),
    "a status": ('{"time": "2026-01-01T00:00:00Z", "status": "ok", "meters": {"requests": 1}}', "'ok' is none of"),
    "a model": ('{"time": "2026-01-01T00:00:00Z", "model": 7, "meters": {"requests": 1}}', "model: 7 is not text"),
    "a context": (
        '{"time": "2026-01-01T00:00:00Z", "context_tokens": "9", "meters": {"requests": 1}}',
        "context_tokens: '9'",
    ),
}


def test_every_problem_of_the_usage_is_shown_with_its_line(tokenmill: Run) -> None:
    good = '{"time": "2026-01-01T00:00:00Z", "meters": {"requests": 1}}'
    Path("usage.jsonl").write_text("\n".join([good, *(text for text, _ in WRONG.values())]))
    ended = tokenmill("price", "--card", STANDARD, "--usage", "usage.jsonl")
    assert (ended.code, ended.out) == (2, "")
    first, *problems = ended.err.splitlines()
    assert first == f"Error: {len(WRONG)} problems"
    for line, problem, (_, words) in zip(range(2, 100), problems, WRONG.values(), strict=False):
        assert problem.startswith(f"  - usage.jsonl:{line}: ")
        assert words in problem


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--card", "nothing.yaml", "--usage", "u"], "cannot read the rate card nothing.yaml"),
        (["--card", STANDARD, "--usage", "nothing.jsonl"], "cannot read the usage nothing.jsonl"),
        (["--card", STANDARD, "--usage", "empty"], "empty holds no usage"),
        (["--card", STANDARD, "--usage", "bytes"], "bytes:2: not UTF-8"),
        (["--card", "yen.yaml", "--usage", "u", "--plan", str(PLANS / "committed.yaml")], "it is for card standard"),
        (
            ["--card", STANDARD, "--usage", "u", "--override", "x=1"],
            "--override x=1: card standard version 1 has no SKU x",
        ),
        (
            ["--card", STANDARD, "--usage", "u", "--plan", "plan.yaml"],
            "plan.yaml:3:13: overrides.{model}/input: a float",
        ),
    ],
    ids=["card", "usage", "empty", "bytes", "other card", "override", "plan"],
)
def test_what_cannot_be_read_or_does_not_fit_is_said(arguments: list[str], words: str, tokenmill: Run) -> None:
    Path("u").write_text('{"time": "2026-01-01T00:00:00Z", "meters": {"requests": 1}}')
    Path("empty").write_text("\n")
    Path("bytes").write_bytes(b"\n\xff")
    Path("yen.yaml").write_text((EXAMPLES / "yen.yaml").read_text())
    Path("plan.yaml").write_text('plan: p\ncard: standard\noverrides: {"{model}/input": 0.12}\n')
    ended = tokenmill("price", *arguments)
    assert (ended.code, ended.out) == (2, "")
    assert words in ended.err
    assert "Traceback" not in ended.err


def test_a_broken_card_prices_nothing(tokenmill: Run) -> None:
    Path("card.yaml").write_text(GOOD.replace(BROKEN[0].before, BROKEN[0].after))
    Path("u").write_text('{"time": "2026-01-01T00:00:00Z", "meters": {"requests": 1}}')
    ended = tokenmill("price", "--card", "card.yaml", "--usage", "u")
    assert ended.code == 2
    assert ended.err.startswith("Error: card.yaml:10:31: ")
