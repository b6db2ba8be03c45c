"""The price models: one file each, registered here.

A price model turns the quantity of a billing period into an amount. To add one: write `rating/models/<name>.py` with a
frozen subclass of `PriceModel` whose `model` field is its name, and add the class to `Charge`. Cards, the stream and
invoices need nothing else.
"""

from __future__ import annotations

from typing import Annotated, get_args

from pydantic import Field

from rating.models.base import PriceModel, Pricer
from rating.models.compiled import Basis
from rating.models.dynamic import Dynamic
from rating.models.flat import Flat
from rating.models.graduated import Graduated
from rating.models.graduated_percentage import GraduatedPercentage
from rating.models.package import Package
from rating.models.per_unit import PerUnit
from rating.models.percentage import Percentage
from rating.models.volume import Volume

Charge = Annotated[
    PerUnit | Graduated | Volume | Package | Percentage | GraduatedPercentage | Dynamic | Flat,
    Field(discriminator="model"),
]
"""What the `charge` of a SKU may be: the model named by its field `model`."""

MODELS: dict[str, type[PriceModel]] = {
    get_args(each.model_fields["model"].annotation)[0]: each for each in get_args(get_args(Charge)[0])
}
"""The models by name."""

__all__ = [
    "MODELS",
    "Basis",
    "Charge",
    "Dynamic",
    "Flat",
    "Graduated",
    "GraduatedPercentage",
    "Package",
    "PerUnit",
    "Percentage",
    "PriceModel",
    "Pricer",
    "Volume",
]
