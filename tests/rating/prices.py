"""Prices as documents drawn at random, and what they cost, written down a second time: walking the tiers in fractions."""

from __future__ import annotations

from decimal import Decimal
from fractions import Fraction
from math import ceil, floor

from hypothesis import strategies as st

from tests.rating.builders import Document, dynamic, graduated, package, per_unit, percentages, volume

AMOUNTS = st.integers(0, 10**6).map(lambda value: str(Decimal(value).scaleb(-4)))
BLOCKS = st.sampled_from([1, 3, 7, 1000, 3600, 1_000_000])
SIZES = st.sampled_from([None, "1", "7", "10", "0.5", "512", "2.25"])
EDGES = st.lists(st.integers(1, 10**4), min_size=1, max_size=4, unique=True).map(sorted)
TIERED = ("graduated", "volume", "graduated_percentage")


@st.composite
def charges(draw: st.DrawFn, fees: bool = True, packages: bool = True, whole: bool = True) -> Document:
    """Any price model but percentage, which prices events. `whole`: also models that price all by one tier."""
    names = ["per_unit", "graduated", "graduated", "graduated_percentage", "dynamic"]
    names += ["package"] * packages + ["volume"] * whole + ["flat"] * fees
    name = draw(st.sampled_from(names))
    if name == "per_unit":
        return per_unit(draw(AMOUNTS), draw(BLOCKS))
    if name == "package":
        return package(draw(AMOUNTS), draw(SIZES.filter(bool)) or "1")
    if name == "dynamic":
        return dynamic(draw(AMOUNTS))
    if name == "flat":
        return {"model": "flat", "amount": draw(AMOUNTS), "flat_on_zero": draw(st.booleans())}
    fee = AMOUNTS if fees else st.just("0")
    tiers = [(edge, draw(AMOUNTS), draw(fee)) for edge in [*draw(EDGES), None]]
    on_zero = draw(st.booleans())
    if name == "graduated_percentage":
        return percentages(*tiers, flat_on_zero=on_zero)
    made = (graduated if name == "graduated" else volume)(*tiers, per=draw(BLOCKS), flat_on_zero=on_zero)
    for tier in made["tiers"]:
        size = draw(SIZES) if packages else None
        if size is not None:
            tier["package"] = size
    if all("package" in tier for tier in made["tiers"]):
        made["per"] = 1
    return made


@st.composite
def modifiers(draw: st.DrawFn) -> Document:
    """The fields of a SKU around its charge: any of them, or none."""
    found: Document = {}
    if draw(st.booleans()):
        found["quantity"] = draw(conversions())
    if draw(st.booleans()):
        found["included"] = draw(st.sampled_from(["1", "100", "0.5", "1234.25"]))
    if draw(st.booleans()):
        found["discount_percent"] = draw(st.sampled_from(["0", "10", "33.3", "100", "0.0001"]))
    if draw(st.booleans()):
        found["maximum"] = draw(st.sampled_from(["0.01", "100", "12345.67"]))
    return found


@st.composite
def conversions(draw: st.DrawFn) -> Document:
    found: Document = {}
    if draw(st.booleans()):
        found["divide_by"] = draw(st.sampled_from(["1000", "3", "0.7"]))
    if draw(st.booleans()):
        found["multiply_by"] = draw(st.sampled_from(["1.2", "7", "0.001"]))
    if not found or draw(st.booleans()):
        found["round"] = draw(st.sampled_from(["up", "down", "nearest"]))
        if draw(st.booleans()):
            found["decimals"] = draw(st.integers(-2, 3))
    return found


def price(charge: Document, quantity: Fraction) -> Fraction:
    """What a charge costs, for quantities of 0 and more."""
    name = charge["model"]
    if name == "per_unit":
        return quantity * Fraction(charge["price"]) / Fraction(charge["per"])
    if name == "package":
        return ceil(quantity / Fraction(charge["size"])) * Fraction(charge["price"])
    if name == "dynamic":
        return quantity * Fraction(charge["multiplier"])
    if name == "flat":
        return Fraction(charge["amount"]) if quantity > 0 or charge["flat_on_zero"] else Fraction(0)
    total, lower = Fraction(0), Fraction(0)
    for position, tier in enumerate(charge["tiers"]):
        upper = Fraction(tier["up_to"]) if tier["up_to"] else max(quantity, lower)
        is_first_of_nothing = position == 0 and quantity == 0
        if name == "volume":
            if lower < quantity <= upper or is_first_of_nothing:
                total += _tier(charge, tier, quantity)
        elif quantity > lower or is_first_of_nothing:
            total += _tier(charge, tier, min(quantity, upper) - lower)
        lower = upper
    return total


def _tier(charge: Document, tier: Document, units: Fraction) -> Fraction:
    fee = Fraction(tier["flat_fee"]) if units > 0 or charge["flat_on_zero"] else Fraction(0)
    if charge["model"] == "graduated_percentage":
        return fee + units * Fraction(tier["rate"]) / 100
    if tier.get("package") is not None:
        return fee + ceil(units / Fraction(tier["package"])) * Fraction(tier["price"])
    return fee + units * Fraction(tier["price"]) / Fraction(charge["per"])


def priced_quantity(fields: Document, quantity: Fraction) -> Fraction:
    """The quantity that is priced: converted, rounded, less what is included."""
    rule = fields.get("quantity", {})
    quantity = quantity * Fraction(rule.get("multiply_by", 1)) / Fraction(rule.get("divide_by", 1))
    if "round" in rule:
        step = Fraction(10) ** -rule.get("decimals", 0)
        steps = quantity / step
        whole = {"up": ceil(steps), "down": floor(steps), "nearest": floor(steps + Fraction(1, 2))}[rule["round"]]
        quantity = whole * step
    return max(Fraction(0), quantity - Fraction(fields.get("included", 0)))


def price_with(fields: Document, charge: Document, quantity: Fraction) -> Fraction:
    """What a charge costs under the modifiers of a SKU, for quantities of 0 and more."""
    found = price(charge, priced_quantity(fields, quantity))
    found -= found * Fraction(fields.get("discount_percent", 0)) / 100
    return min(found, Fraction(fields["maximum"])) if "maximum" in fields else found
