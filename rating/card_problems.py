"""Turns what pydantic says about a card document into problems that a pricing manager understands."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from pydantic import BaseModel
from pydantic_core import ErrorDetails

from rating.cards import ContextRange, FlatFee, Match, Minimum, RateCard, Sku
from rating.errors import CardProblem, Path, did_you_mean
from rating.models import MODELS
from rating.models.graduated import GraduatedTier

_OWNERS: Mapping[str, type[BaseModel]] = {
    "skus": Sku,
    "match": Match,
    "context_bracket": ContextRange,
    "flat_fees": FlatFee,
    "minimum": Minimum,
    "tiers": GraduatedTier,
}
"""Which type the mapping under a field name has."""


def explain(detail: ErrorDetails, data: object) -> CardProblem:
    """One pydantic error as a problem: its path in the document, and what is wrong in plain words."""
    path = _document_path(detail["loc"], data)
    kind = detail["type"]
    message = detail["msg"].removeprefix("Value error, ")
    if kind == "extra_forbidden":
        message = f"unknown field{did_you_mean(str(path[-1]), _known_fields(path, data))}"
    elif kind == "missing":
        message = "is missing"
    elif kind in ("union_tag_invalid", "union_tag_not_found"):
        asked = detail["ctx"].get("tag") if "ctx" in detail else None
        known = f"use {', '.join(MODELS)}"
        path = (*path, "model")
        message = f"there is no price model {asked!r}: {known}" if asked else f"name the price model: {known}"
    return CardProblem(path, message)


def _document_path(location: tuple[str | int, ...], data: object) -> Path:
    """The location without the tags that pydantic adds for the price model: only steps that the document knows."""
    path: list[str | int] = []
    here = data
    for position, step in enumerate(location):
        is_tag = isinstance(here, Mapping) and step not in here and here.get("model") == step
        if is_tag and position < len(location) - 1:
            continue
        path.append(step)
        if isinstance(here, Mapping):
            here = here.get(step)
        elif isinstance(here, Sequence) and isinstance(step, int) and step < len(here):
            here = here[step]
    return tuple(path)


def _known_fields(path: Path, data: object) -> list[str]:
    """The fields that may stand where the path ends."""
    owner: type[BaseModel] = RateCard
    here = data
    for step in path[:-1]:
        here = here[step] if isinstance(here, Mapping | list | tuple) else None  # type: ignore[index]
        if step == "charge" and isinstance(here, Mapping):
            owner = MODELS[str(here["model"])]
        elif isinstance(step, str):
            owner = _OWNERS.get(step, owner)
    return list(owner.model_fields)
