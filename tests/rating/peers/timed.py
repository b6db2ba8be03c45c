"""Examples in which time matters: increments of sessions, prices by the time of day, commitments by the window."""

from __future__ import annotations

import re
from decimal import Decimal
from fractions import Fraction

from rating.windows import WindowSize
from tests.rating.peers.charges import Definition, Document, charge_of, decimal, numbers, text
from tests.rating.peers.engine import Trial, Use, one, sku


def rate_groups(definition: Definition, usage: str) -> Trial:
    """CGRateS: increments are packages; the first seconds have another size than the rest."""
    groups = definition.get("groups")
    if groups is None:
        per_second = Fraction(decimal(definition["per_minute"])) / 60
        sizes = [
            (0, definition["first_increment_s"]),
            (definition["first_increment_s"], definition["next_increment_s"]),
        ]
        parts = [(start, size, per_second) for start, size in sizes]
    else:
        parts = [(each["from_s"], each["increment_s"], Fraction(decimal(each["per_second"]))) for each in groups]
    tiers: list[Document] = []
    for (_, size, price), following in zip(parts, [*parts[1:], None], strict=True):
        step: Document = {"price": text(price * size), "package": str(size)}
        if following is not None:
            step["up_to"] = str(following[0])
        tiers.append(step)
    return one({"model": "graduated", "tiers": tiers, "flat_on_zero": False}, {}, numbers(usage)[0])


def increments(definition: Definition, usage: str) -> Trial:
    """CGRateS rounds the price of one increment: that rounded price is the price."""
    price = Fraction(decimal(definition["per_minute"])) * definition["increment_s"] / 60
    charge: Document = {"model": "per_unit", "price": str(definition["per_minute"]), "per": "60"}
    if "per_increment_decimals" in definition:
        step = 10 ** definition["per_increment_decimals"]
        rounded = Fraction(int(price * step * 2 + 1) // 2, step)
        charge = {"model": "per_unit", "price": text(rounded), "per": str(definition["increment_s"])}
    skus = [sku(charge)]
    if "connect_fee" in definition:
        skus.append(_connect_fee(definition))
    used = numbers(usage)[0]
    return Trial(skus, [[Use(used), Use(Decimal(1), meter="units.calls")]], invoiced="final" in definition)


def _connect_fee(definition: Definition) -> Document:
    price = str(definition["connect_fee"])
    return sku({"model": "per_unit", "price": price}, name="calls", meter="units.calls")


def time_of_day(definition: Definition, usage: str) -> Trial:
    """CGRateS: a session is cut where another rate begins; ours is cut at the windows anyway."""
    begin, end = (_seconds(each) for each in usage.split("-"))
    window = WindowSize(15)
    rates = definition["rates"]
    buckets = [
        {"from": each["from"], "to": following, "charge": {"model": "per_unit", "price": str(each["per_second"])}}
        for each, following in zip(rates, [*(rate["from"] for rate in rates[1:]), "24:00"], strict=True)
    ]
    skus = [sku({"model": "time_of_day", "time_zone": "UTC", "buckets": buckets})]
    length = window.minutes * 60
    uses = []
    for index in range(begin // length, -(-end // length)):
        seconds = min(end, (index + 1) * length) - max(begin, index * length)
        uses.append(Use(Decimal(seconds), index))
    if "connect_fee" in definition:
        skus.append(_connect_fee(definition))
        uses.append(Use(Decimal(1), begin // length, "units.calls"))
    return Trial(skus, [uses], window=window)


def _seconds(clock: str) -> int:
    parts = [int(each) for each in clock.strip().split(":")]
    return sum(value * 60 ** (2 - place) for place, value in enumerate(parts))


def windowed(definition: Definition, _: str) -> Trial:
    """Flexprice: a commitment for each window, what is missing is trued up, what is beyond costs a factor."""
    commitment = {
        "amount": str(definition["commit_per_window"]),
        "overage_factor": str(definition.get("overage_factor", "1")),
        "true_up": bool(definition.get("true_up", False)),
        "window": "hour",
    }
    uses = [Use(decimal(each), window) for window, each in enumerate(definition["windows"])]
    sold = sku(charge_of("per_unit", definition), commitment=commitment, tier_scope="hour")
    return Trial([sold], [uses], windows=len(uses))


def windowed_by_time(definition: Definition, _: str) -> Trial:
    """Flexprice: only the usage of one part of the day has a commitment: that of a bucket, a quantity for each window."""
    bucket = definition["bucket"]
    begin, end = re.findall(r"\d\d:\d\d", bucket["hours"])
    commitment = {
        "quantity": str(bucket["commit_units_per_window"]),
        "overage_factor": str(bucket["overage_factor"]),
        "window": "hour",
        "true_up": bool(definition.get("true_up", False)),
    }
    charge: Document = {
        "model": "time_of_day",
        "time_zone": "UTC",
        "buckets": [{"from": begin, "to": end, "charge": charge_of("per_unit", bucket), "commitment": commitment}],
        "default": charge_of("per_unit", definition["base"]),
    }
    uses = [Use(decimal(used), _seconds(f"{clock}:00") // 3600) for clock, used in definition["usage_at"].items()]
    return Trial([sku(charge, tier_scope="hour")], [uses])
