"""LiteLLM's public price map: what providers charge for models, read exactly from its text.

The map is a JSON object of model name to entry; amounts are USD for one token, second or image, written as JSON numbers
such as 1.5e-07, which are read as decimals and never pass through a float. A price of 0 is no price: the map says 0 for
what it does not know and for what is free of charge alike.
"""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final, NamedTuple

from infra.errors import ConfigurationError
from infra.litellm_keys import TOKENS, UNUSABLE, CostKey, Measure, looks_like_a_price, measure_of, take_apart

PACKAGED: Final = "model_prices_and_context_window_backup.json"
"""The price map inside the installed package."""
_NOT_MODELS: Final = frozenset({"sample_spec", "fallback_generalizations"})
_MOST_BYTES: Final = 64 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class PriceMap:
    """A price map as read: entries by the model's key, and what pins it. `origin` is for people."""

    origin: str
    sha256: str
    entries: Mapping[str, Mapping[str, Any]]


class Price(NamedTuple):
    """A price in USD for one unit of a meter: for a service tier ("" any), above so many input tokens (0: any length)."""

    measure: Measure
    tier: str
    above: int
    amount: Decimal


@dataclass(frozen=True, slots=True)
class ModelPrices:
    """What one entry of the map charges."""

    key: str
    provider: str
    mode: str
    prices: tuple[Price, ...]


@dataclass(slots=True)
class Findings:
    """What was not imported: the cost key or the reason to the models concerned, in the order of the map."""

    unknown: dict[str, list[str]] = field(default_factory=dict)
    """Cost keys outside the known grammar: another release may have brought a new kind of price."""
    left_out: dict[str, list[str]] = field(default_factory=dict)
    """`key: reason` of known prices that the card cannot state."""
    zero: dict[str, list[str]] = field(default_factory=dict)
    """Cost keys whose price is 0."""
    unpriced: list[str] = field(default_factory=list)
    """Models without any price that the card can state."""

    def note(self, kind: dict[str, list[str]], name: str, model: str) -> None:
        """One more model concerned."""
        models = kind.setdefault(name, [])
        if model not in models:
            models.append(model)


def read_price_map(path: Path | None) -> PriceMap:
    """The price map of a file ("-": standard input), or of the installed package `litellm`, which is not imported (it
    would go online).

    Raises ConfigurationError when there is none, or it is none.
    """
    piped = path is not None and str(path) == "-"
    source, origin = _packaged() if path is None else (path, "standard input" if piped else str(path))
    try:
        raw = sys.stdin.buffer.read(_MOST_BYTES + 1) if piped else source.read_bytes()
    except OSError as error:
        raise ConfigurationError(f"cannot read the price map {origin}: {error.strerror}", code="price_map") from None
    if len(raw) > _MOST_BYTES:
        raise ConfigurationError(
            f"{origin}: more than {_MOST_BYTES // 2**20} MiB: this is no price map", code="price_map"
        )
    try:
        document = json.loads(raw.decode("utf-8-sig"), parse_float=Decimal, parse_int=Decimal, parse_constant=str)
    except UnicodeDecodeError as error:
        raise ConfigurationError(f"{origin}: not UTF-8 text (byte {error.start})", code="price_map") from None
    except (ValueError, RecursionError) as error:
        place = f":{error.lineno}:{error.colno}" if isinstance(error, json.JSONDecodeError) else ""
        raise ConfigurationError(
            f"{origin}{place}: not JSON: {str(error).partition(':')[0]}", code="price_map"
        ) from None
    entries = _entries(document)
    if not entries:
        raise ConfigurationError(
            f"{origin}: no price map: it is a JSON object of models, each with keys such as input_cost_per_token",
            code="price_map",
        )
    return PriceMap(origin, hashlib.sha256(raw).hexdigest(), entries)


def _packaged() -> tuple[Path, str]:
    spec = find_spec("litellm")
    place = Path(spec.origin).parent / PACKAGED if spec is not None and spec.origin else None
    if place is None or not place.exists():
        raise ConfigurationError(
            "the package litellm is not installed here: name a price map, the file model_prices_and_context_window.json "
            "of LiteLLM's repository",
            code="price_map",
        )
    try:
        return place, f"litellm {version('litellm')}"
    except PackageNotFoundError:
        return place, str(place)


def _entries(document: object) -> dict[str, Mapping[str, Any]]:
    """The models of a price map; none for a document that is something else."""
    if not isinstance(document, dict):
        return {}
    found: dict[str, Mapping[str, Any]] = {
        key: entry for key, entry in document.items() if key not in _NOT_MODELS and isinstance(entry, dict)
    }
    keys = ((key, value) for entry in found.values() for key, value in entry.items())
    some_price = any(key == "tiered_pricing" or looks_like_a_price(key, value) for key, value in keys)
    return found if some_price else {}


def prices_of(key: str, entry: Mapping[str, Any], edges: Iterable[int], findings: Findings) -> ModelPrices:
    """What an entry charges. What a card cannot state is noted in `findings`.

    `edges`: the input lengths at which a price may change, in tokens (the context edges of the deployment).
    """
    provider, mode = str(entry.get("litellm_provider") or ""), str(entry.get("mode") or "")
    known = frozenset(edges)
    found: dict[tuple[str, str, int], Price] = {}
    for name, part, value in sorted(_cost_keys(entry), key=_precedence):
        amount = _amount(name, value, key, findings)
        if amount is None:
            continue
        if part.above and part.above not in known:
            why = "that is no context edge of this deployment (context_edges), so the price of shorter requests holds"
            findings.note(findings.left_out, f"prices above {part.above:,} input tokens: {why}", key)
            continue
        measure = measure_of(part.base, mode)
        if measure is None:
            findings.note(findings.unknown, name, key)
            continue
        place = (measure.meter, part.tier, part.above)
        first = found.setdefault(place, Price(measure, part.tier, part.above, amount))
        if first.amount != amount:
            findings.note(findings.left_out, f"{name}: another price of {measure.meter} is there already", key)
    return ModelPrices(key, provider, mode, tuple(found.values()))


def _cost_keys(entry: Mapping[str, Any]) -> Iterator[tuple[str, CostKey, object]]:
    """Every price of an entry, also those of `tiered_pricing`, which are prices above an edge written in another way."""
    for name, value in entry.items():
        if looks_like_a_price(name, value):
            yield name, take_apart(name), value
    tiers = entry.get("tiered_pricing")
    for tier in tiers if isinstance(tiers, list) else ():
        reach = tier.get("range") if isinstance(tier, dict) else None
        if not (isinstance(reach, list) and reach and isinstance(reach[0], Decimal) and reach[0] == int(reach[0])):
            yield "tiered_pricing", CostKey("tiered_pricing", 0, ""), "unreadable"
            continue
        for name, value in tier.items():
            if looks_like_a_price(name, value):
                part = take_apart(name)
                yield f"tiered_pricing {name}", part._replace(above=int(reach[0])), value


def _precedence(found: tuple[str, CostKey, object]) -> tuple[int, bool, int]:
    """Standard names before their aliases, prices of output before those of input: of two for one meter the first holds."""
    _, part, _ = found
    position = list(TOKENS).index(part.base) if part.base in TOKENS else len(TOKENS)
    return position, not part.base.startswith("output"), part.above


def _amount(name: str, value: object, model: str, findings: Findings) -> Decimal | None:
    """A price as a positive decimal; None, with a note, for anything that is none."""
    base = take_apart(name.removeprefix("tiered_pricing ")).base
    if base in UNUSABLE:
        if value not in (None, {}, [], Decimal(0)):
            findings.note(findings.left_out, f"{base}: {UNUSABLE[base]}", model)
        return None
    if value is None:
        return None
    if not isinstance(value, Decimal) or not value.is_finite() or value < 0:
        findings.note(findings.unknown if measure_of(base, "") is None else findings.left_out, _odd(name, base), model)
        return None
    if not value:
        findings.note(findings.zero, name, model)
        return None
    return value


def _odd(name: str, base: str) -> str:
    return name if measure_of(base, "") is None else f"{name}: its price is no positive number"
