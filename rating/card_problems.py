"""Turns what pydantic says about a card document into problems that a pricing manager understands."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import get_args

from pydantic import BaseModel
from pydantic_core import ErrorDetails

from rating.cards import RateCard
from rating.errors import CardProblem, Path, did_you_mean
from rating.match import Match
from rating.selectors import CHARGES

_EXAMPLES: Mapping[str, str] = {
    "id": "id: standard",
    "plan": "plan: committed",
    "card": "card: standard",
    "version": "version: 1",
    "currency": "currency: USD",
    "effective_from": 'effective_from: "2026-01-01T00:00:00Z"',
    "sku": 'sku: "{model}/input"',
    "meter": "meter: input_uncached",
    "charge": 'charge: {model: per_unit, price: "0.15", per: 1000000}',
    "price": 'price: "0.15"',
    "size": "size: 1000",
    "quantity": "quantity: 100",
    "amount": 'amount: "20.00"',
    "rate_percent": 'rate_percent: "19"',
    "time_zone": "time_zone: Europe/Berlin",
    "by": "by: [model, region]",
    "cells": 'cells: [{region: eu, charge: {model: per_unit, price: "0.15"}}]',
    "brackets": "brackets: [{up_to: 128000, charge: ...}, {charge: ...}]",
    "buckets": 'buckets: [{from: "22:00", to: "06:00", charge: ...}]',
    "tiers": 'tiers: [{up_to: 500000, price: "0.80"}, {price: "0.60"}]',
}
"""How a field is written."""
_KINDS: Mapping[str, str] = {
    "string_type": "text: put it in quotes",
    "tuple_type": "a list: begin each item with '- '",
    "dict_type": "a mapping of field names to values",
    "model_type": "a mapping of field names to values",
    "model_attributes_type": "a mapping of field names to values",
    "bool_type": "true or false",
    "bool_parsing": "true or false",
}
"""What pydantic wants, in plain words."""
_LONGEST_QUOTE = 60


def explain(detail: ErrorDetails, data: object, root: type[BaseModel] = RateCard) -> CardProblem:
    """One pydantic error as a problem: its path in the document, what is wrong and what to do, in plain words.

    `root` is the type of the whole document.
    """
    path = _document_path(detail["loc"], data)
    kind = detail["type"]
    message = detail["msg"].removeprefix("Value error, ")
    if kind == "extra_forbidden":
        message = f"unknown field{_hint(str(path[-1]), _known_fields(path, data, root))}"
    elif kind == "missing":
        example = _example(path)
        message = "is missing" + (f": write {example}" if example else "")
    elif kind in ("union_tag_invalid", "union_tag_not_found"):
        asked = detail["ctx"].get("tag") if "ctx" in detail else None
        known = re.findall(r"'([a-z_]+)'", str(detail.get("ctx", {}).get("expected_tags", ""))) or list(CHARGES)
        known_models = f"use {', '.join(known)}"
        path = (*path, "model")
        message = (
            f"there is no price model {asked!r}{did_you_mean(str(asked), known)}: {known_models}"
            if asked
            else f"name the price model: {known_models}"
        )
    elif kind == "literal_error":
        message = f"{_quoted(detail['input'])} is not known: use {detail['ctx']['expected']}"
    elif kind == "too_short":
        message = "there is no item: give at least one"
    elif kind in _KINDS:
        message = f"{_quoted(detail['input'])} is not {_KINDS[kind]}"
    return CardProblem(path, message)


def _example(path: Path) -> str | None:
    """How the field at the end of a path is written."""
    if path[-1] == "sku" and path[0] != "skus":
        return "sku: platform-fee"
    return _EXAMPLES.get(str(path[-1]))


def _hint(name: str, known: list[str]) -> str:
    """What to write instead of an unknown field."""
    if name in Match.model_fields and "match" in known:
        return f": write it as match: {{{name}: ...}}"
    return did_you_mean(name, known) or f": use {', '.join(known)}"


def _quoted(value: object) -> str:
    text = {True: "true", False: "false", None: "nothing"}.get(value) if isinstance(value, bool | None) else repr(value)
    text = str(text)
    return text if len(text) <= _LONGEST_QUOTE else f"{text[:_LONGEST_QUOTE]}..."


def _document_path(location: tuple[str | int, ...], data: object) -> Path:
    """The location without the tags that pydantic adds for the price model: only steps that the document knows."""
    path: list[str | int] = []
    here = data
    for position, step in enumerate(location):
        is_tag = isinstance(here, Mapping) and step not in here and here.get("model") == step
        if is_tag and position < len(location) - 1:
            continue
        if here is not None and not isinstance(here, Mapping | list | tuple):
            break  # a short form: what it stands for has fields that the document does not have
        path.append(step)
        if isinstance(here, Mapping):
            here = here.get(step)
        elif isinstance(here, Sequence) and isinstance(step, int) and step < len(here):
            here = here[step]
    return tuple(path)


def _known_fields(path: Path, data: object, owner: type[BaseModel]) -> list[str]:
    """The fields that may stand where the path ends."""
    here = data
    for step in path[:-1]:
        here = here[step] if isinstance(here, Mapping | list | tuple) else None  # type: ignore[index]
        if isinstance(step, str):
            owner = _type_of(owner, step, here) or owner
    return [field.alias or name for name, field in owner.model_fields.items()]


def _type_of(owner: type[BaseModel], field: str, value: object) -> type[BaseModel] | None:
    """The type that a mapping under a field has (an item of it, where the field is a list); None if there is none."""
    known = owner.model_fields.get(field)
    types = list(_models_in(known.annotation)) if known else []
    named = value.get("model") if isinstance(value, Mapping) else None
    for each in types:
        if each is CHARGES.get(str(named)):
            return each
    return types[0] if types else None


def _models_in(annotation: object) -> Iterator[type[BaseModel]]:
    """The models that a type names, also inside of unions and tuples."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for part in get_args(annotation):
        yield from _models_in(part)
