"""From an example of a peer to a trial of ours: by model and definition alone, in this one place."""

from __future__ import annotations

import re
from collections.abc import Callable
from decimal import Decimal
from fractions import Fraction

from rating.money import difference, q12, round_to_currency
from tests.rating.peers.charges import (
    Definition,
    Document,
    UnknownModel,
    blocks,
    charge_of,
    decimal,
    modifiers,
    numbers,
    opened,
    single_range,
    text,
)
from tests.rating.peers.engine import Trial, Use, one, sku
from tests.rating.peers.timed import increments, rate_groups, time_of_day, windowed, windowed_by_time

_BASES = (
    "per_unit",
    "graduated_percentage",
    "percentage",
    "graduated",
    "volume",
    "package",
    "dynamic_multiplier",
    "flat",
)
_LIMITS = ("min", "max", "minimum", "maximum", "discount", "allowance", "included")
_MODIFIERS = frozenset((*_LIMITS, "progressive", "rounded", "count", "blocks", "prepaid", "credit"))


def trial_of(model: str, definition: Definition, usage: str) -> Trial:
    """The trial that an example means. UnknownModel where there is no mapping."""
    special = _SPECIAL.get(model)
    if special is not None:
        return special(definition, usage)
    for prefix, mapped in _PREFIXES.items():
        if model.startswith(prefix):
            return mapped(_known(model.removeprefix(prefix)), definition, usage)
    known = _known(model)
    if "percentage" in known and "graduated" not in known:
        return _percentage(definition, usage)
    return _plain(known, definition, usage)


def _known(model: str) -> str:
    """The model, if it is a base (none: one price) with modifiers, in any order, that are all known."""
    base = next((each for each in _BASES if each in model), "")
    rest = model.replace(base, "", 1).split("_")
    if not _MODIFIERS.issuperset(filter(None, rest)):
        raise UnknownModel(model)
    return model


def _plain(model: str, definition: Definition, usage: str) -> Trial:
    if "units" in definition:
        return _several_units(model, definition, usage)
    charge, fields = charge_of(model, definition), modifiers(definition)
    if definition.get("round") == "down" and charge["model"] == "package":
        # Whole packages only: divided, rounded down, and each one at its price.
        fields["quantity"] = {"divide_by": charge["size"], "round": "down", "decimals": 0}
        charge = {"model": "per_unit", "price": charge["price"]}
    steps = _steps(definition, usage, charge, fields)
    currency = definition.get("currency", "USD")
    # OpenMeter rounds each line to the currency before it compares with a cap.
    invoiced = "currency" in definition or charge["model"] == "dynamic" or model.startswith("rerate")
    billed = definition.get("already_billed")
    return one(
        charge,
        fields,
        *steps,
        currency=currency,
        invoiced=invoiced,
        billed=None if billed is None else decimal(billed),
        credits=[decimal(each) for each in definition.get("credits", [])],
    )


def _steps(definition: Definition, usage: str, charge: Document, fields: Document) -> list[Decimal]:
    """The quantities that a usage text tells, one per step of billing."""
    if usage.startswith("cumulative"):
        reached = Decimal(0)
        steps = []
        for total in numbers(usage):
            steps.append(total - reached)
            reached = total
        return steps
    told = numbers(usage)
    if "+" in usage:
        return [sum(told, Decimal(0))]
    quantity = told[0]
    if "pre_line_usage" in definition:
        return [decimal(definition["pre_line_usage"]), quantity]
    if "total" in usage:
        return [told[1] - quantity, quantity]
    if "already_billed_in_period" in definition:
        return [_usage_that_cost(decimal(definition["already_billed_in_period"]), charge, fields), quantity]
    return [quantity]


def _usage_that_cost(billed: Decimal, charge: Document, fields: Document) -> Decimal:
    """The earlier usage of a linear price, where an example states only what it came to."""
    name = {"per_unit": "price", "dynamic": "multiplier"}.get(charge["model"])
    if name is None:
        raise UnknownModel(f"what was used before {billed} was billed under {charge['model']}")
    kept = 1 - Fraction(decimal(fields.get("discount_percent", "0"))) / 100
    used = q12(Fraction(billed) / (Fraction(decimal(charge[name])) * kept))
    return used.quantize(Decimal("1e-9"))


def _several_units(model: str, definition: Definition, usage: str) -> Trial:
    """Kill Bill: several meters on one card, e.g. "FOO 5, BAR 101" or "FOO 50->70, BAR 80->200"."""
    volume = definition["policy"] == "TOP_TIER"
    size = definition.get("block_size", 1)
    skus = []
    for name, tiers in definition["units"].items():
        charge = blocks([(size, each["max"], each["price"]) for each in tiers], volume=volume)
        skus.append(sku(charge, name=name, meter=f"units.{name}"))
    steps: list[list[Use]] = []
    for part in usage.split(","):
        name, *reached = part.replace("->", " ").split()
        before = Decimal(0)
        for number, total in enumerate(map(Decimal, reached)):
            steps += [[] for _ in range(number + 1 - len(steps))]
            steps[number].append(Use(total - before, number, f"units.{name}"))
            before = total
    return Trial(skus, steps)


def _bucketed(model: str, definition: Definition, _: str) -> Trial:
    """Flexprice: each bucket is priced alone, so tiers begin anew in each window."""
    fields = modifiers(definition) | {"tier_scope": "hour"}
    if str(definition.get("bucket_aggregation", "")).startswith("max"):
        fields["aggregation"] = "max"
    uses = [Use(decimal(each), window) for window, each in enumerate(definition["buckets"])]
    return Trial([sku(charge_of(model, definition), **fields)], [uses])


def _grouped(model: str, definition: Definition, _: str) -> Trial:
    """Flexprice: tiers per group, which is a line per value of a dimension."""
    uses = [Use(decimal(quantity), model=name) for name, quantity in definition["groups"].items()]
    return Trial([sku(charge_of(model, definition), name="{model}/x", **modifiers(definition))], [uses])


def _converted(model: str, definition: Definition, usage: str) -> Trial:
    """OpenMeter prices each line by its own rounded quantity, so what was used before is another line to it."""
    alone = {name: value for name, value in definition.items() if name != "pre_line_usage"}
    return _plain(model if "tiers" in definition else "per_unit", alone, usage)


def _rerated(model: str, definition: Definition, usage: str) -> Trial:
    return _plain(f"rerate_{model}", {name: value for name, value in definition.items() if name != "booked"}, usage)


def _snapshots(model: str, definition: Definition, usage: str) -> Trial:
    """OpenMeter: quantities counted from the start, read again at each run; the last run books the differences."""
    runs = [_ends(run.split("(")[0]) for run in usage.partition(":")[2].split(";")]
    if len(runs) == 1:
        # The last run alone: the one before it ended a part earlier and had not seen the late units, which stand in brackets.
        late = numbers(usage.partition("(")[2])[0]
        runs.insert(0, [total - late for total in runs[0][:-1]])
    used: dict[int, Decimal] = {}
    steps: list[list[Use]] = []
    for run in runs:
        reached, step = Decimal(0), []
        for window, end in enumerate(run):
            quantity = end - reached
            step.append(Use(quantity - used.get(window, Decimal(0)), window))
            used[window], reached = quantity, end
        steps.append(step)
    return Trial([sku(charge_of(model, definition), **modifiers(definition))], steps)


def _ends(run: str) -> list[Decimal]:
    return [Decimal(each) for each in re.findall(r"=\s*(-?\d+(?:\.\d+)?)", run)]


def _money(definition: Definition, usage: str) -> Trial:
    """A line that is an amount of money already, under a cap or a minimum."""
    charge: Document = {"model": "dynamic", "multiplier": "1"}
    fields = modifiers(definition)
    currency = definition.get("currency", "USD")
    if "maximum" in fields:  # OpenMeter rounds a cap to the currency; a card of ours has to say it so
        fields["maximum"] = text(round_to_currency(decimal(fields["maximum"]), currency))
    steps = _steps(definition, usage, charge, fields)
    return one(charge, fields, *steps, invoiced=True, currency=currency)


def _true_up(definition: Definition, _: str) -> Trial:
    """The rest to a minimum: the step before is the usage, the last one brings nothing but the end of the period."""
    rate = str(definition.get("conversion_rate", "1"))
    used = decimal(definition.get("used", definition.get("used_credits", "0")))
    least = Fraction(decimal(definition.get("minimum", definition.get("minimum_credits")))) * Fraction(decimal(rate))
    charge: Document = {"model": "per_unit", "price": rate}
    return one(charge, {"minimum": text(least)}, used, Decimal(0))


def _true_up_rounded(definition: Definition, usage: str) -> Trial:
    charge: Document = {"model": "per_unit", "price": "1"}
    fields = {"minimum": str(definition["minimum"])}
    currency = definition["currency"]
    return one(charge, fields, numbers(usage)[0], Decimal(0), currency=currency, invoiced=True)


def _lines(definition: Definition, usage: str) -> Trial:
    """Lines that are rounded one by one, then added."""
    lines = definition.get("lines") or usage.split(",")
    skus: list[Document] = []
    uses = []
    for number, line in enumerate(lines):
        quantity, _, price = line.partition("x")
        meter = f"units.{number}"
        skus.append(sku({"model": "per_unit", "price": price.strip() or "1"}, name=f"line-{number}", meter=meter))
        uses.append(Use(decimal(quantity.strip()), meter=meter))
    return Trial(skus, [uses], currency=definition["currency"], invoiced=True)


def _several_meters(definition: Definition, usage: str) -> Trial:
    quantities = numbers(usage)
    skus = [sku(charge_of("", each), name=name, meter=f"units.{name}") for name, each in definition.items()]
    uses = [Use(number, meter=f"units.{name}") for name, number in zip(definition, quantities, strict=True)]
    return Trial(skus, [uses])


def _range(definition: Definition, usage: str) -> Trial:
    return one(single_range(definition), {}, decimal(usage))


def _prorated(definition: Definition, usage: str) -> Trial:
    """Lago: quantities are the shares of the period that the units were there."""
    quantities = definition.get("events_prorated", [usage])
    charge = charge_of("graduated", definition)
    return Trial([sku(charge)], [[Use(decimal(each)) for each in quantities]])


def _percentage(definition: Definition, usage: str) -> Trial:
    """Lago: a share of each event's amount; the events come one after the other."""
    values = [decimal(each) for each in definition.get("event_values", [])]
    if not values:
        totals = [decimal(each) for each in definition.get("events_running_total", [])]
        if decimal(usage) not in totals:
            totals.append(decimal(usage))
        values = [difference(total, before) for before, total in zip([Decimal(0), *totals], totals, strict=False)]
    names = {
        "rate": "rate",
        "fixed_per_event": "fixed_fee",
        "free_events": "free_events",
        "free_amount": "free_amount",
        "per_tx_min": "minimum_per_event",
        "per_tx_max": "maximum_per_event",
    }
    given = {ours: definition[name] for name, ours in names.items() if definition.get(name) is not None}
    charge: Document = {"model": "percentage"} | {
        name: value if name == "free_events" else str(value) for name, value in given.items()
    }
    uses = [Use(value, window) for window, value in enumerate(values)]
    return Trial(
        [sku(charge, **modifiers({name: definition[name] for name in definition if name not in names}))], [uses]
    )


def _weighted(definition: Definition, _: str) -> Trial:
    """Lago: a level that changes, weighted with the share of the period that it stood, to 5 decimals."""
    fields = {"divide_by": str(definition["period_hours"]), "round": "nearest", "decimals": 5}
    uses = [Use(decimal(change), int(hour)) for hour, change in definition["level_changes_at_hours"]]
    charge: Document = {"model": "per_unit", "price": "1"}
    return Trial([sku(charge, aggregation="time_weighted", quantity=fields)], [uses])


def _capacity(definition: Definition, usage: str) -> Trial:
    """Kill Bill's tiers of several meters; ours can only sell a tier of each meter."""
    peaks = {name.replace("u", "unit"): quantity for name, quantity in re.findall(r"(u\d+)=(\d+)", usage)}
    skus = []
    for name in peaks:
        tiers = [(each["limits"][name], each["price"]) for each in definition["tiers"]]
        steps = [
            {"up_to": None if limit < 0 else str(limit), "price": "0", "flat_fee": str(price)} for limit, price in tiers
        ]
        charge: Document = {"model": "volume", "tiers": opened(steps), "flat_on_zero": False}
        skus.append(sku(charge, name=name, meter=f"units.{name}", aggregation="max"))
    return Trial(skus, [[Use(Decimal(peak), meter=f"units.{name}") for name, peak in peaks.items()]])


def _dynamic(_: Definition, usage: str) -> Trial:
    """Lago: the price that the events carry, in cents; without units there is none."""
    told = numbers(usage)
    cents = told[1] if len(told) > 1 and told[0] else Decimal(0)
    return one({"model": "dynamic", "multiplier": "1"}, {}, cents / 100)


_PREFIXES: dict[str, Callable[[str, Definition, str], Trial]] = {
    "bucketed_": _bucketed,
    "grouped_": _grouped,
    "unit_conversion_usage_": _converted,
    "unit_conversion_": _converted,
    "rerate_period_preserving": _snapshots,
    "rerate_delta_": _rerated,
    "rerate_delta": _rerated,
}
_SPECIAL: dict[str, Callable[[Definition, str], Trial]] = {
    "currency_rounding": _lines,
    "round_per_line_then_sum": _lines,
    "max_spend_cap": _money,
    "minimum_true_up": _true_up,
    "minimum_true_up_custom_unit": _true_up,
    "minimum_true_up_rounded": _true_up_rounded,
    "multi_meter_blocks": _several_meters,
    "graduated_single_range": _range,
    "graduated_percentage_single_range": _range,
    "graduated_prorated": _prorated,
    "rate_groups": rate_groups,
    "increment_rounding": increments,
    "time_of_day_rate": time_of_day,
    "windowed_commitment": windowed,
    "dynamic": _dynamic,
    "aggregation_weighted_sum": _weighted,
    "time_of_day_windowed_commitment": windowed_by_time,
    "capacity_max_tier": _capacity,
    "quantity_conversion": lambda definition, usage: _plain("per_unit", definition, usage),
    "quantity_rounding": lambda definition, usage: _plain("per_unit", definition, usage),
}
