"""The JSON Schemas of rate card files and plan files, for editors and for checks in other languages.

They are generated from the models, with what the types alone do not say: text that must not be a number, known meters and
currencies, how a placeholder is written. What only a whole card shows (gaps in tiers, two SKUs that claim the same usage)
`parse_card` alone can say.
"""

from __future__ import annotations

from typing import Any

from pydantic import TypeAdapter

from rating.card_fields import DIMENSIONS
from rating.cards import RateCard
from rating.models import Charge

_DRAFT = "https://json-schema.org/draft/2020-12/schema"
_PLACEHOLDERS = "|".join(DIMENSIONS)


def card_schema() -> dict[str, Any]:
    """The JSON Schema (draft 2020-12) of a rate card file."""
    schema = RateCard.model_json_schema()
    definitions: dict[str, Any] = schema.pop("$defs")
    for definition in (schema, *definitions.values()):
        _tidy(definition)
    sku = definitions["Sku"]
    del sku["properties"]["match"]["default"]
    sku["properties"]["sku"] |= {
        "pattern": rf"^([^\u0000- \u007f*?{{}}]|\{{({_PLACEHOLDERS})\}}){{1,256}}$",
        "not": {"pattern": "^(unrated|uncharged|wallet)/"},
        "maxLength": 256,
        "examples": ["{model}/input", "{gpu_type}/gpu-hours"],
    }
    # A unit is named for custom meters only; the others have theirs.
    sku["if"] = {"required": ["unit"]}
    sku["then"] = {"properties": {"meter": {"pattern": r"^units\."}}}
    definitions["ContextRange"]["minProperties"] = 1
    # A conversion that changes nothing is a mistake, and so are decimals that nothing is rounded to.
    definitions["Conversion"] |= {
        "anyOf": [{"required": [name]} for name in ("divide_by", "multiply_by", "round")],
        "dependentRequired": {"decimals": ["round"]},
    }
    for definition in definitions.values():
        for name in ("tiers", "brackets"):
            steps = definition.get("properties", {}).get(name)
            if steps is not None:  # exactly one of them is open
                steps["contains"] = {"not": {"required": ["up_to"]}}
                steps |= {"minContains": 1, "maxContains": 1}
    return {
        "$schema": _DRAFT,
        "$id": "urn:tokenmill:ratecard:v1",
        **schema,
        "title": "Tokenmill rate card",
        "description": "One version of a rate card: what a unit of usage costs. Money is text, never a binary fraction.",
        "$defs": definitions,
    }


def plan_schema() -> dict[str, Any]:
    """The JSON Schema (draft 2020-12) of a plan file: a card, and prices that replace some of its own."""
    charge = TypeAdapter(Charge).json_schema()
    definitions: dict[str, Any] = charge.pop("$defs")
    card = card_schema()
    price = {
        "description": "A price alone: what the card's block of units costs.",
        "type": ["string", "integer"],
        "pattern": r"^[0-9]{1,31}(\.[0-9]{1,38})?$",
        "minimum": 0,
    }
    return {
        "$schema": _DRAFT,
        "$id": "urn:tokenmill:plan:v1",
        "title": "Tokenmill plan",
        "description": "A rate card and prices that replace some of its own, to be assigned to tenants under one name.",
        "type": "object",
        "additionalProperties": False,
        "required": ["plan", "card"],
        "properties": {
            "plan": {**card["properties"]["id"], "description": "Name of the plan."},
            "card": {**card["properties"]["id"], "description": "Id of the published rate card that it builds on."},
            "description": {"type": "string", "description": "For people."},
            "overrides": {
                "description": "SKU id (of a line, or a template as the card has it) to a price or a whole charge.",
                "type": "object",
                "additionalProperties": {"oneOf": [price, charge]},
            },
        },
        "$defs": {name: card["$defs"][name] for name in definitions},
    }


def _tidy(definition: dict[str, Any]) -> None:
    """Takes out what editors do not need: titles that repeat names, and null for what may be left out."""
    definition.pop("title", None)
    if "description" in definition:
        definition["description"] = " ".join(definition["description"].split())
    for field in definition.get("properties", {}).values():
        field.pop("title", None)
        field.pop("default", None) if field.get("default", "") is None else None
        options = [option for option in field.get("anyOf", []) if option != {"type": "null"}]
        if len(options) > 1:
            field["anyOf"] = options
        elif options and len(field["anyOf"]) > 1:
            del field["anyOf"]
            description = field.get("description")
            field |= options[0]
            if description:
                field["description"] = description
        if "description" in field:
            field["description"] = " ".join(field["description"].split())
