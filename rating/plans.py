"""Plans: a rate card and prices that replace some of its own, under a name, to be assigned to tenants.

A plan is a template: an assignment carries a copy of its prices, so changing a plan changes nothing for those who have it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from rating.card_fields import Name
from rating.card_problems import explain
from rating.errors import CardError, CardProblem


class Plan(BaseModel):
    """A plan as its file says it. What `overrides` mean takes the card: see `rating.overrides.overrides_for`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    plan: Name
    card: Name
    description: str | None = None
    overrides: dict[str, Any] = Field(default_factory=dict)


def parse_plan(data: object) -> Plan:
    """The plan that plain data (a mapping as YAML or JSON gives it) describes. Raises CardError with every problem."""
    if not isinstance(data, Mapping):
        raise CardError([CardProblem((), "a plan is a mapping with plan, card and overrides")])
    try:
        return Plan.model_validate(data)
    except ValidationError as error:
        raise CardError([explain(detail, data, Plan) for detail in error.errors(include_url=False)]) from None
