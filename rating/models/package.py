"""package: started packages of units are charged whole. 21 units in packages of 10 are three packages."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from decimal import Decimal
from typing import Literal

from rating.errors import Path
from rating.models.base import Fee, PriceModel, Quantity, Segment
from rating.models.tiers import package_problems


class Package(PriceModel):
    """`price` for every started package of `size` units, counted over the period.

    An hour costs the packages that it starts: hours of 4 and 5 units in packages of 10 start one package together.
    """

    model: Literal["package"]
    """Started packages of units are charged whole."""
    price: Fee
    """What a package costs, as text: "15.00"."""
    size: Quantity
    """Units of a package."""

    def segments(self) -> Sequence[Segment]:
        """One open segment of packages."""
        return (Segment(Decimal(0), None, self.price, self.size, Decimal(0), basis="packages"),)

    def charges_nothing_used(self) -> bool:
        """Never: there is no fee."""
        return False

    def problems(self) -> Iterator[tuple[Path, str]]:
        """A price that no amount could hold."""
        return package_problems(self.price, self.size, ("price",))
