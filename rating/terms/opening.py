"""What a period takes over from the one before it: allowances that were left, and fees that were paid in advance."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction

from rating.money import from_scaled, plain
from rating.terms.entries import FeeId

AllowanceId = tuple[str, str]
"""Line id and meter."""
CARRIED_IN = "allowance_carried_in"
"""The dimension of a rated record that says how much allowance its line took over from the period before."""
_DECIMALS = 12


@dataclass(frozen=True, slots=True)
class Opening:
    """What the period before hands over.

    `allowances`: units that a line includes beyond its own, in the units it is priced in. `fees`: amounts in 10^-12 that
    were charged in advance for this period.
    """

    allowances: Mapping[AllowanceId, Fraction] = field(default_factory=dict)
    fees: Mapping[FeeId, int] = field(default_factory=dict)

    def __bool__(self) -> bool:
        return bool(self.allowances or self.fees)

    def document(self) -> list[list[list[str]]]:
        """Plain JSON data, from which `opening_from` makes an equal one."""
        allowances = [[*name, str(units)] for name, units in sorted(self.allowances.items())]
        fees = [[*name, str(amount)] for name, amount in sorted(self.fees.items())]
        return [allowances, fees]


NOTHING_OPEN = Opening()
"""What a first period takes over."""


def opening_from(document: Sequence[Sequence[Sequence[str]]]) -> Opening:
    """The opening that `Opening.document` wrote."""
    allowances, fees = document
    return Opening(
        {(sku, meter): Fraction(units) for sku, meter, units in allowances},
        {(sku, currency): int(amount) for sku, currency, amount in fees},
    )


def units_text(units: Fraction) -> str:
    """Units as text: a plain decimal number where there is one, else a fraction such as 1/3. `Fraction` reads both."""
    scaled = units * 10**_DECIMALS
    return plain(from_scaled(int(scaled), _DECIMALS)) if scaled.denominator == 1 else str(units)
