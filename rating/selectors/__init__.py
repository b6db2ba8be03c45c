"""Charges that choose among charges: by dimension, by the length of a request, by the time of day. One file each.

A selector prices nothing itself: every charge inside it is a *cell*, a line of its own with tiers of its own
(`rating.selectors.cells`). To add one: write `rating/selectors/<name>.py` with a frozen subclass of `Selector` whose
`model` field is its name, add the class to `AnyCharge` and to the list that is rebuilt.
"""

from __future__ import annotations

from typing import Annotated, get_args

from pydantic import BaseModel, Field

from rating.models import MODELS, Charge
from rating.selectors.base import Choice, Label, Selector
from rating.selectors.context import Context, ContextPrice
from rating.selectors.matrix import Matrix, MatrixCell
from rating.selectors.time_of_day import TimeBucket, TimeOfDay

AnyCharge = Annotated[Charge | Matrix | Context | TimeOfDay, Field(discriminator="model")]
"""What the `charge` of a SKU may be: a price model, or a choice of them, named by its field `model`."""

for _each in (MatrixCell, Matrix, ContextPrice, Context, TimeBucket, TimeOfDay):
    _each.model_rebuild(_types_namespace={"AnyCharge": AnyCharge})

SELECTORS: dict[str, type[Selector]] = {
    get_args(each.model_fields["model"].annotation)[0]: each for each in (Matrix, Context, TimeOfDay)
}
"""The selectors by name."""
CHARGES: dict[str, type[BaseModel]] = {**MODELS, **SELECTORS}
"""Everything that a `charge` may be, by name."""

__all__ = [
    "CHARGES",
    "SELECTORS",
    "AnyCharge",
    "Choice",
    "Context",
    "ContextPrice",
    "Label",
    "Matrix",
    "MatrixCell",
    "Selector",
    "TimeBucket",
    "TimeOfDay",
]
