"""`tokenmill schema`: the contracts as the package carries them, and events as a worker would judge them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import schemas
from schemas.generate import DOCUMENTED, documents
from tests.cli.conftest import Run

EXAMPLES = Path(schemas.__file__).parent / "examples"


def lines(*events: object) -> str:
    return "".join(json.dumps(event) + "\n" for event in events)


def test_every_contract_is_listed_with_its_topic(tokenmill: Run) -> None:
    listed = json.loads(tokenmill("schema", "list", "--json").out)["contracts"]
    assert {each["name"] for each in listed} == set(DOCUMENTED)
    assert {each["name"]: each["topic"] for each in listed}["rated_usage"] == "usage.rated.v1"
    shown = tokenmill("schema", "list").out
    assert all(name in shown for name in DOCUMENTED)


@pytest.mark.parametrize("name", ["asyncapi", "token_usage"])
def test_a_document_is_shown_as_it_is_published(name: str, tokenmill: Run) -> None:
    assert json.loads(tokenmill("schema", "show", name).out) == json.loads(documents()[f"{name}.json"])


def test_the_examples_of_a_contract_are_shown(tokenmill: Run) -> None:
    shown = json.loads(tokenmill("schema", "show", "rated_usage", "--example").out)
    assert shown == json.loads((EXAMPLES / "rated_usage.json").read_bytes())
    assert tokenmill("schema", "show", "asyncapi", "--example").code == 2


def test_an_unknown_contract_is_a_usage_error_with_the_nearest_name(tokenmill: Run) -> None:
    ended = tokenmill("schema", "show", "rated-usage")
    assert (ended.code, ended.out) == (2, "")
    assert "did you mean rated_usage?" in ended.err
    assert "tokenmill schema list" in tokenmill("schema", "show", "x").err


def test_good_events_are_right(tokenmill: Run) -> None:
    good = [
        event
        for name in ("token_usage", "gpu_usage", "tick")
        for event in json.loads((EXAMPLES / f"{name}.json").read_bytes())
    ]
    Path("good.jsonl").write_text(lines(*good) + "\n")
    ended = tokenmill("schema", "check", "good.jsonl")
    assert (ended.code, ended.out) == (0, f"{len(good)} events: right\n")


def test_bad_events_get_the_code_and_reason_of_a_worker_with_their_line(tokenmill: Run) -> None:
    cases = json.loads((EXAMPLES / "invalid/events.json").read_bytes())
    Path("bad.jsonl").write_text(lines(*(case["event"] for case in cases)) + "no json\n")
    ended = tokenmill("schema", "check", "bad.jsonl", "--json")
    problems = json.loads(ended.out)["problems"]
    assert ended.code == 1
    assert [(each["line"], each["code"]) for each in problems] == [
        *((number, case["code"]) for number, case in enumerate(cases, 1)),
        (len(cases) + 1, "undecodable"),
    ]
    assert all(case["reason"] in each["reason"] for case, each in zip(cases, problems, strict=False))
    told = tokenmill("schema", "check", "bad.jsonl")
    assert told.code == 1
    assert told.out.splitlines()[0].startswith(f"bad.jsonl:1: {cases[0]['code']}: ")


@pytest.mark.parametrize("content", [None, "", "\n\n"])
def test_no_events_at_all_is_a_usage_error(content: str | None, tokenmill: Run) -> None:
    if content is not None:
        Path("events.jsonl").write_text(content)
    ended = tokenmill("schema", "check", "events.jsonl")
    assert ended.code == 2
    assert ended.err.startswith("Error: ")
