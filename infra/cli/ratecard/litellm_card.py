"""A rate card from the prices of LiteLLM's price map: as a document, and as YAML that people go on editing."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Context, Decimal
from typing import Any, Final

from infra.litellm_prices import Findings, ModelPrices, Price
from rating.meters import CUSTOM_PREFIX, GROUP_METERS
from rating.money import plain

Document = dict[str, Any]

_EXACT: Final = Context(prec=200)
_MOST_DIGITS: Final = 38
"""Digits that a price of a card may have."""
_UNFIT: Final = re.compile(r"[\x00-\x20\x7f-\x9f*?{}]")
_LONGEST: Final = 200
_LABELS: Final = {
    "input": "input",
    "input_cache_read": "cache-read",
    "input_cache_write": "cache-write",
    "output": "output",
    "output_reasoning": "reasoning",
}
_ORDER: Final = (*_LABELS, "images", "audio_seconds", "video_seconds", "requests")


@dataclass(frozen=True, slots=True)
class CardFields:
    """What the card says beside its prices. `markup_percent` is added to every price, exactly."""

    id: str
    version: int
    effective_from: str
    description: str
    markup_percent: Decimal = Decimal(0)
    with_units: bool = False
    """Whether prices of custom meters are written: only producers that send these units count them."""


@dataclass(frozen=True, slots=True)
class NamedPrices:
    """A model of the map under the name that usage events have for it."""

    name: str
    model: ModelPrices


def card_document(models: Sequence[NamedPrices], fields: CardFields, findings: Findings) -> Document:
    """The card with a SKU for each meter and service tier of each model. What it cannot state is noted in `findings`."""
    skus: list[Document] = []
    for each in models:
        made = list(_skus(each, fields, findings))
        skus += made
        if not made:
            findings.unpriced.append(each.model.key)
    return {
        "id": fields.id,
        "version": fields.version,
        "currency": "USD",
        "effective_from": fields.effective_from,
        "description": fields.description,
        "skus": skus,
        # Every request counts one of these; a price per request, where there is one, goes before this.
        "not_charged": ["requests"],
    }


def _skus(named: NamedPrices, fields: CardFields, findings: Findings) -> Iterator[Document]:
    key = named.model.key
    if _UNFIT.search(named.name) or len(named.name) > _LONGEST:
        if named.model.prices:
            reason = "names that cannot be matched exactly or be SKU ids: give another, --model KEY=NAME"
            findings.note(findings.left_out, reason, key)
        return
    by_meter: dict[str, list[Price]] = {}
    for price in named.model.prices:
        if price.measure.meter.startswith(CUSTOM_PREFIX) and not fields.with_units:
            unit = price.measure.meter
            findings.note(findings.left_out, f"{unit}: no event counts it, producers may: import with --units", key)
            continue
        by_meter.setdefault(price.measure.meter, []).append(price)
    tiers = sorted({price.tier for prices in by_meter.values() for price in prices if price.tier})
    for tier in ("", *tiers):
        for meter in sorted(_meters_of(by_meter, tier), key=_position):
            charge = _charge(by_meter[meter], tier, fields.markup_percent)
            if charge is None:
                findings.note(findings.left_out, f"{meter}: a price for long requests, none for short ones", key)
                continue
            label = _LABELS.get(meter) or meter.removeprefix(CUSTOM_PREFIX).replace("_", "-")
            yield {
                "sku": "/".join(filter(None, (named.name, tier, label))),
                "meter": meter,
                "match": {"model": named.name} | ({"service_tier": tier} if tier else {}),
                "charge": charge,
            } | ({"unit": _unit(meter)} if meter.startswith(CUSTOM_PREFIX) else {})


def _meters_of(by_meter: Mapping[str, Sequence[Price]], tier: str) -> set[str]:
    """The meters that need a SKU for a tier: those with a price of their own, and the parts of these.

    A SKU for a tier goes before one without: the tier's input price would take the cached tokens from their standard price.
    """
    own = {meter for meter, prices in by_meter.items() if any(price.tier == tier for price in prices)}
    parts = {part for group in own for part in GROUP_METERS.get(group, ())} if tier else set()
    return own | (parts & by_meter.keys())


def _charge(prices: Sequence[Price], tier: str, markup_percent: Decimal) -> Document | None:
    """A price per block, or brackets by the length of the request. Above an edge: the tier's price, else the standard one,
    else that of shorter requests, as LiteLLM has it. None where short requests have no price.
    """
    standard = {price.above: price for price in prices if not price.tier}
    own = {price.above: price for price in prices if price.tier == tier}
    at = {**standard, **own}
    if 0 not in at:
        return None
    edges = sorted(at)
    charges = [_per_unit(at[edge], markup_percent) for edge in edges]
    kept = [index for index in range(len(edges)) if not index or charges[index] != charges[index - 1]]
    if len(kept) == 1:
        return charges[0]
    ends = [edges[index] for index in kept[1:]]
    brackets: list[Document] = [
        {"up_to": end, "charge": charges[index]} for end, index in zip(ends, kept[:-1], strict=True)
    ]
    return {"model": "context", "brackets": [*brackets, {"charge": charges[kept[-1]]}]}


def _per_unit(price: Price, markup_percent: Decimal) -> Document:
    amount = _EXACT.multiply(price.amount, Decimal(price.measure.per))
    marked_up = _EXACT.divide(_EXACT.multiply(amount, _EXACT.add(Decimal(100), markup_percent)), Decimal(100))
    return {"model": "per_unit", "price": plain(_fitting(marked_up)), "per": price.measure.per}


def _fitting(price: Decimal) -> Decimal:
    """The price itself, as far as it has no more digits than a card may hold; no published price does."""
    return price if len(price.as_tuple().digits) <= _MOST_DIGITS else Context(prec=_MOST_DIGITS).plus(price)


def _position(meter: str) -> tuple[int, str]:
    return _ORDER.index(meter) if meter in _ORDER else len(_ORDER), meter


def _unit(meter: str) -> str:
    """The unit that a custom meter counts, for people."""
    name = meter.removeprefix(CUSTOM_PREFIX)
    return next(
        (unit for unit in ("tokens", "characters", "pixels", "pages", "seconds", "images") if unit in name), name
    )


def card_yaml(document: Document, models: Iterable[NamedPrices], remark: str) -> str:
    """The card as YAML with a SKU in four lines, under the name, provider and mode of its model."""
    names = {each.name: f"{each.model.key} ({each.model.provider or 'no provider'}, {each.model.mode or 'no mode'})"
             for each in models}  # fmt: skip
    lines = ["# yaml-language-server: $schema=ratecard.schema.json", *(f"# {line}" for line in remark.splitlines())]
    lines += [f"{name}: {_flow(value)}" for name, value in document.items() if name not in ("skus", "not_charged")]
    lines.append(f"not_charged: {_flow(document['not_charged'])}")
    lines.append("skus:" if document["skus"] else "skus: []")
    heading = ""
    for sku in document["skus"]:
        model = sku["match"]["model"]
        if model != heading:
            heading = model
            lines.append(f"  # {names.get(model, model)}")
        for number, (name, value) in enumerate(sku.items()):
            brackets = value.get("brackets") if name == "charge" else None
            start = f"  {' ' if number else '-'} {name}:"
            lines += (
                _context(start, brackets)
                if brackets
                else [f"{start} {_word(value) if name == 'meter' else _flow(value)}"]
            )
    return "\n".join(lines) + "\n"


def _context(start: str, brackets: Sequence[Document]) -> list[str]:
    return [start, "      model: context", "      brackets:", *(f"        - {_flow(bracket)}" for bracket in brackets)]


def _flow(value: object) -> str:
    """A value in one line: text in quotes, keys without, as the examples have it."""
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{name}: {_word(part)}" for name, part in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(_word, value)) + "]"
    return str(value) if isinstance(value, int) else json.dumps(value, ensure_ascii=False)


def _word(value: object) -> str:
    """A part of a value: our own words without quotes."""
    plain_word = isinstance(value, str) and re.fullmatch(r"[a-z]+(_[a-z]+)*", value) is not None
    return str(value) if plain_word and value not in ("true", "false", "null", "no", "yes") else _flow(value)
