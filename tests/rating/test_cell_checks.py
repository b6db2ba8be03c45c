"""What is refused of charges that choose among charges, each with its place and what to write."""

from __future__ import annotations

import pytest

from rating.cards import parse_card
from rating.errors import CardError
from tests.rating.builders import Document, document, per_unit, sku

ONE, TWO = per_unit("1"), per_unit("2")


def cell(**fields: object) -> Document:
    return {"charge": ONE, **fields}


def matrix(by: list[str], *cells: Document, **fields: object) -> Document:
    return {"model": "matrix", "by": by, "cells": list(cells), **fields}


def context(*edges: int | None) -> Document:
    brackets = [{"charge": ONE} if edge is None else {"up_to": edge, "charge": ONE} for edge in edges]
    return {"model": "context", "brackets": brackets}


def hours(*buckets: Document, **fields: object) -> Document:
    return {"model": "time_of_day", "time_zone": "UTC", "buckets": list(buckets), **fields}


def problems(*skus: Document, **fields: object) -> list[str]:
    try:
        parse_card(document(*skus, **fields))
    except CardError as error:
        return [str(problem) for problem in error.problems]
    return []


REFUSED: list[tuple[Document, list[str]]] = [
    (matrix([], cell()), ["by: name at least one dimension, e.g. by: [model, region]"]),
    (matrix(["modl"], cell(model="a")), ["by[0]: there is no dimension 'modl', did you mean model?"]),
    (matrix(["model", "model"], cell(model="a")), ["by: a dimension stands twice: leave one out"]),
    (matrix(["model"]), ["cells: there is no cell: give at least one"]),
    (
        matrix(["model", "region"], cell(model="a"), cell(model="a", region="eu", gpu_type="x")),
        [
            'cells[0]: region is missing: write the value that this cell is for, or region: "*" for any',
            "cells[1].gpu_type: gpu_type is not among by: add it there, or leave it out here",
        ],
    ),
    (
        matrix(["model"], cell(model="llama-*")),
        ["cells[0]: a pattern cannot stand in the id of a line (in/llama-*): add name: ..."],
    ),
    (
        matrix(["model"], cell(model="llama-*", name="a"), cell(model="*-chat", name="b")),
        ["cells[1]: some usage is here and in cells[0] alike: narrow one"],
    ),
    (
        matrix(["model"], cell(model="a"), cell(model="a", name="b")),
        ["cells[1]: some usage is here and in cells[0] alike: narrow one"],
    ),
    (
        matrix(["model"], cell(model="a"), cell(model="b", name="a")),
        ["cells[1]: duplicate: in/a is the line of cells[0] too, give one of them another name"],
    ),
    (
        matrix(["model"], cell(model="other"), default=TWO),
        ["default: duplicate: in/other is the line of cells[0] too, give one of them another name"],
    ),
    (
        matrix(["model"], cell(model="a", charge=per_unit("1", 0)), default={"model": "per_unit"}),
        [
            "cells[0].charge.per: 0 is not more than 0",
            'default.price: is missing: write price: "0.15"',
        ],
    ),
    (
        matrix(["model"], cell(model="a", charge={"model": "per_unt", "price": "1"})),
        ["cells[0].charge.model: there is no price model 'per_unt', did you mean per_unit?: use per_unit"],
    ),
    (
        matrix(["model"], cell(model="a", charge=per_unit("9000000000000"))),
        ["cells[0].charge.price: 9000000000000 per 1 is more than 1000000000000 a unit"],
    ),
    (context(128_000, 64_000, None), [
        "brackets[1].up_to: 64000 is not above the bracket before it, which ends at 128000: raise it",
    ]),
    (context(64_000, 128_000), ["brackets[1].up_to: the last bracket must be open: leave its up_to out"]),
    (context(None, 128_000), [
        "brackets[0]: only the last bracket may be open: give it an up_to",
        "brackets[1].up_to: the last bracket must be open: leave its up_to out",
    ]),
    (context(), ["brackets: there is no bracket: give at least one, the last without up_to"]),
    (context(100_000, None), ["brackets[0].up_to: 100000 is not an edge of the context brackets: use one of 32000"]),
    (
        hours({"name": "x", "to": "06:00", "charge": ONE}, {"name": "x", "from": "06:00", "charge": ONE}),
        ["buckets[1]: duplicate: in/x is the line of buckets[0] too, give one of them another name"],
    ),
    (
        matrix(["region"], cell(region="eu", charge=hours({"to": "06:30", "charge": context(5, None)}))),
        ["cells[0].charge.buckets[0].charge.brackets[0].up_to: 5 is not an edge of the context brackets"],
    ),
    (
        matrix(["region"], cell(region="eu", charge=hours({"to": "06:30", "charge": ONE}))),
        ["cells[0].charge.buckets[0].to: 06:30 in UTC cuts a window: it is not the start of a window of 60 minutes"],
    ),
    (
        context(128_000, None) | {"brackets": [
            {"up_to": 128_000, "charge": context(64_000, None)}, {"charge": context(64_000, None)},
        ]},
        ["brackets[1].charge.brackets[0]: no usage of in is here: its match asks for something else, leave this out"],
    ),
]  # fmt: skip


@pytest.mark.parametrize(("charge", "said"), REFUSED)
def test_what_is_wrong_is_said_at_its_place(charge: Document, said: list[str]) -> None:
    found = [problem.removeprefix("skus[0].charge.") for problem in problems(sku("in", "input", charge))]
    assert len(found) == len(said)
    assert all(problem.startswith(start) for problem, start in zip(found, said, strict=True)), found


def test_everything_that_is_wrong_is_said_at_once() -> None:
    late = hours({"to": "06:30", "charge": ONE})
    broken = matrix(["region"], cell(region="eu"), cell(region="eu*"), cell(region="us", charge=late))
    found = problems(sku("in", "input", broken), sku("b", "bananas", ONE))
    assert {problem.split(": ")[0] for problem in found} == {
        "skus[0].charge.cells[1]",
        "skus[0].charge.cells[2].charge.buckets[0].to",
        "skus[1].meter",
    }


def test_a_cell_outside_of_the_match_is_refused_and_one_inside_narrows_it() -> None:
    regions = matrix(["region"], cell(region="us"), cell(region="eu-1"), default=TWO)
    assert problems(sku("in", "input", regions, region="eu-*")) == [
        "skus[0].charge.cells[0]: no usage of in is here: its match asks for something else, leave this out"
    ]
    assert not problems(sku("in", "input", matrix(["region"], cell(region="eu-1"), default=TWO), region="eu-*"))


def test_an_id_of_a_cell_may_not_be_that_of_another_sku_or_fee() -> None:
    regions = sku("in", "input", matrix(["region"], cell(region="eu"), cell(region="us")))
    assert problems(regions, sku("in/eu", "requests", ONE)) == [
        "skus[1].sku: duplicate: in/eu can be the id of a line of skus[0] (in/eu) too: name them apart"
    ]
    assert problems(sku("{model}", "requests", ONE), regions) == [
        "skus[1].sku: duplicate: in/eu can be the id of a line of skus[0] ({model}) too: name them apart"
    ]
    assert problems(regions, flat_fees=[{"sku": "in/us", "amount": "1"}]) == [
        "flat_fees[0].sku: duplicate: in/us is an id of skus[0] too: name them apart"
    ]
    assert not problems(regions, sku("in", "requests", ONE), sku("in/ap", "output", ONE))


def test_cells_of_a_narrower_sku_with_the_same_template_take_its_lines() -> None:
    wide = sku("{model}/out", "output", matrix(["region"], cell(region="eu"), default=ONE), model="m-*")
    narrow = sku("{model}/out", "output", matrix(["region"], cell(region="eu"), default=TWO), model="m-1")
    assert not problems(wide, narrow)
    # One that does not take all of its usage would leave two prices under one id.
    eu_only = sku(
        "{model}/out", "output", matrix(["operation"], cell(operation="chat", name="eu")), model="m-1", region="x"
    )
    assert problems(wide, eu_only) == [
        "skus[1].sku: duplicate: {model}/out/eu can be the id of a line of skus[0] ({model}/out/eu) too: name them apart"
    ]


def test_gpu_time_belongs_to_no_request() -> None:
    by_model = matrix(["model"], cell(model="a"), default=TWO)
    assert problems(sku("gpu", "gpu_seconds", by_model)) == [
        "skus[0].charge.cells[0]: gpu_seconds has no model: this would price nothing"
    ]
    assert problems(sku("gpu", "gpu_seconds", context(128_000, None))) == [
        "skus[0].charge.brackets[1]: gpu_seconds belongs to no request: this would price nothing"
    ]
    assert not problems(sku("gpu", "gpu_seconds", matrix(["gpu_type", "region"], cell(gpu_type="H100", region="*"))))


def test_a_large_matrix_is_checked_in_little_more_than_linear_work(monkeypatch: pytest.MonkeyPatch) -> None:
    from rating.selectors import checks

    asked = 0

    def counted(left: object, right: object) -> bool:
        nonlocal asked
        asked += 1
        return False

    monkeypatch.setattr(checks, "can_share_id", counted)
    monkeypatch.setattr(checks, "is_ambiguous", counted)
    cells = [cell(model=f"m{model}", region=f"r{region}") for model in range(20) for region in range(20)]
    assert not problems(sku("in", "input", matrix(["model", "region"], *cells, default=TWO)))
    assert asked == 0, "cells with other values are not compared with each other"
