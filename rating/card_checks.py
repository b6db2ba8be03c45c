"""What a card must hold beyond the types of its fields.

`check_card` asks a whole card. `check_readable` asks the parts of a document that can be read although others cannot,
so that a pricing manager sees all that is wrong at once.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import combinations
from typing import Any, TypeVar

from pydantic import TypeAdapter, ValidationError

from rating import patterns
from rating.card_fields import Instant, instant_text
from rating.cards import RateCard, Sku
from rating.errors import CardProblem
from rating.marketplace import RevenueShare, share_problems
from rating.matching import can_share_id, is_ambiguous, rank
from rating.modifier_checks import modifier_problems
from rating.money import CURRENCY_EXPONENTS
from rating.selectors import AnyCharge, Selector
from rating.selectors.checks import cell_problems, time_charges, unaligned_times
from rating.sla import SlaTerm, sla_problems
from rating.terms.checks import TermParts, term_parts, term_problems
from rating.terms.fields import CardCommitment, Discount, FlatFee, Maximum, Minimum, Tax
from rating.windows import HOUR, WindowSize

T = TypeVar("T")
_INSTANT: TypeAdapter[datetime] = TypeAdapter(Instant)
_CHARGE: TypeAdapter[AnyCharge] = TypeAdapter(AnyCharge)
_GPU_METERS = frozenset({"gpu_seconds", "gpu_busy_seconds", "gpu_energy_joules"})
_NOT_OF_GPUS = ("model", "endpoint", "service_tier")
"""What GPU time does not have: it belongs to no request."""


@dataclass(frozen=True, slots=True)
class _Parts:
    """The parts of a card that can be read, each list item with its position in the document."""

    window: WindowSize
    currency: str | None
    effective_from: datetime | None
    effective_to: datetime | None
    charges: Sequence[tuple[int, AnyCharge]]
    skus: Sequence[tuple[int, Sku]]
    terms: TermParts
    revenue_shares: Sequence[tuple[int, RevenueShare]]
    sla: Sequence[tuple[int, SlaTerm]]


def check_card(card: RateCard, window: WindowSize = HOUR) -> list[CardProblem]:
    """Everything that is wrong with a card in a deployment with such windows, in document order."""
    return _check(
        _Parts(
            window,
            card.currency,
            card.effective_from,
            card.effective_to,
            [(index, sku.charge) for index, sku in enumerate(card.skus)],
            list(enumerate(card.skus)),
            term_parts(card),
            list(enumerate(card.revenue_shares)),
            list(enumerate(card.sla)),
        )
    )


def check_readable(data: Mapping[Any, Any], context: dict[str, Any]) -> list[CardProblem]:
    """The same of a document that is no card: what is wrong with those of its parts that can be read."""
    currency = data.get("currency")
    skus = _items(data.get("skus"))
    return _check(
        _Parts(
            context.get("window", HOUR),
            currency if isinstance(currency, str) and currency in CURRENCY_EXPONENTS else None,
            _read(_INSTANT, data.get("effective_from"), context),
            _read(_INSTANT, data.get("effective_to"), context),
            _read_all(_CHARGE, ((index, _field(sku, "charge")) for index, sku in skus), context),
            _read_all(TypeAdapter(Sku), skus, context),
            _readable_terms(data, context),
            _read_all(TypeAdapter(RevenueShare), _items(data.get("revenue_shares")), context),
            _read_all(TypeAdapter(SlaTerm), _items(data.get("sla")), context),
        )
    )


def _readable_terms(data: Mapping[Any, Any], context: dict[str, Any]) -> TermParts:
    return TermParts(
        _read_all(TypeAdapter(FlatFee), _items(data.get("flat_fees")), context),
        _read_all(TypeAdapter(Discount), _items(data.get("discounts")), context),
        _read(TypeAdapter(CardCommitment), data.get("commitment"), context),
        _read(TypeAdapter(Maximum), data.get("maximum"), context),
        _read(TypeAdapter(Minimum), data.get("minimum"), context),
        _read_all(TypeAdapter(Tax), _items(data.get("tax")), context),
    )


def _items(value: object) -> list[tuple[int, object]]:
    return list(enumerate(value)) if isinstance(value, list | tuple) else []


def _field(value: object, name: str) -> object:
    return value.get(name) if isinstance(value, Mapping) else None


def _read(kind: TypeAdapter[T], value: object, context: dict[str, Any]) -> T | None:
    try:
        return kind.validate_python(value, context=context)
    except ValidationError:
        return None


def _read_all(
    kind: TypeAdapter[T], items: Iterable[tuple[int, object]], context: dict[str, Any]
) -> list[tuple[int, T]]:
    found = ((index, _read(kind, value, context)) for index, value in items)
    return [(index, value) for index, value in found if value is not None]


def _check(parts: _Parts) -> list[CardProblem]:
    problems = [
        *_times(parts),
        *_charges(parts),
        *_reach(parts),
        *_cells(parts),
        *_claims(parts.skus),
        *term_problems(parts.terms, parts.skus, parts.currency),
        *modifier_problems(parts.skus, parts.currency),
        *share_problems(parts.revenue_shares, [sku.seller_id for _, sku in parts.skus]),
        *sla_problems(parts.sla),
    ]
    return sorted(problems, key=_position)


def _position(problem: CardProblem) -> list[tuple[bool, int, str]]:
    """What sorts problems by their place: list items by number, fields by name."""
    return [(isinstance(step, str), 0 if isinstance(step, str) else step, str(step)) for step in problem.path]


def _times(parts: _Parts) -> Iterator[CardProblem]:
    start, end = parts.effective_from, parts.effective_to
    if start is not None and end is not None and end <= start:
        yield CardProblem(
            ("effective_to",),
            f"{instant_text(end)} is not after effective_from {instant_text(start)}: the card would price nothing",
        )


def _charges(parts: _Parts) -> Iterator[CardProblem]:
    for index, charge in parts.charges:
        for place, message in charge.problems():
            yield CardProblem(("skus", index, "charge", *place), message)


def _cells(parts: _Parts) -> Iterator[CardProblem]:
    """What only the charges that choose among charges can have wrong."""
    for index, charge in parts.charges:
        for place, timed in time_charges(charge):
            if parts.effective_from is not None:
                for inner, message in unaligned_times(timed, parts.window, parts.effective_from, parts.effective_to):
                    yield CardProblem(("skus", index, "charge", *place, *inner), message)
    for index, sku in parts.skus:
        for place, message in cell_problems(sku):
            yield CardProblem(("skus", index, "charge", *place), message)


def _reach(parts: _Parts) -> Iterator[CardProblem]:
    """GPU time has no model: a SKU that asks for one would never price anything."""
    for index, sku in parts.skus:
        if not _GPU_METERS.issuperset(sku.leaves):
            continue
        wrong = dict(_not_of_gpus(sku))
        for name, message in wrong.items():
            yield CardProblem(
                ("skus", index, "match", name), f"{message}, leave {name} out (GPU time has gpu_type and region)"
            )
        for cell in sku.cells:
            for name, message in _not_of_gpus(cell):
                if cell.cell is not None and name not in wrong:
                    yield CardProblem(("skus", index, "charge", *cell.cell.cell_place), message)


def _not_of_gpus(sku: Sku) -> Iterator[tuple[str, str]]:
    """The fields of a match that GPU time never meets, and why."""
    for name in _NOT_OF_GPUS:
        if not patterns.matches(sku.match.constraints().get(name, "*"), ""):
            yield name, f"{sku.meter} has no {name}: this would price nothing"
    context = sku.match.context_bracket
    if context is not None and context.above is not None:
        yield "context_bracket", f"{sku.meter} belongs to no request: this would price nothing"


def _claims(skus: Sequence[tuple[int, Sku]]) -> Iterator[CardProblem]:
    """No usage may be claimed by two SKUs of which neither is the more specific."""
    numbers = [index for index, _ in skus]
    made = [sku for _, sku in skus]
    sharing = set(_may_share_id(made))
    for first, second in sorted(sharing | set(_may_claim_alike(made))):
        left, right = made[first], made[second]
        shared = _shared_id(left, right) if (first, second) in sharing else None
        if shared is not None:
            yield CardProblem(
                ("skus", numbers[second], "sku"),
                f"duplicate: {shared[1].sku} can be the id of a line of skus[{numbers[first]}] ({shared[0].sku}) too: "
                "name them apart",
            )
        elif is_ambiguous(left, right):
            yield CardProblem(
                ("skus", numbers[second], "match"),
                f"some usage of {right.meter} matches this SKU and skus[{numbers[first]}] ({left.sku}) alike: narrow one",
            )


def _shared_id(left: Sku, right: Sku) -> tuple[Sku, Sku] | None:
    """The first cells of two SKUs that could give their lines one id."""
    return next(((one, two) for one in left.cells for two in right.cells if can_share_id(one, two)), None)


def _may_share_id(skus: Sequence[Sku]) -> Iterator[tuple[int, int]]:
    """The pairs that can have an id in common. Cards have thousands of SKUs: ids without wildcards are looked up."""
    ids = [sku.id_pattern() + ("*" if isinstance(sku.charge, Selector) else "") for sku in skus]
    exact: dict[str, list[int]] = {}
    wild: list[int] = []
    for position, identity in enumerate(ids):
        if patterns.is_pattern(identity):
            wild.append(position)
        else:
            exact.setdefault(identity, []).append(position)
    for same in exact.values():
        yield from combinations(same, 2)
    for position in wild:
        for other, identity in enumerate(ids):
            if other != position and patterns.intersect(ids[position], identity):
                yield min(position, other), max(position, other)


def _may_claim_alike(skus: Sequence[Sku]) -> Iterator[tuple[int, int]]:
    """The pairs of one leaf meter and one rank, without those that name two different models."""
    groups: dict[tuple[str, tuple[int, int]], dict[str | None, list[int]]] = {}
    for position, sku in enumerate(skus):
        model = sku.match.model
        named = None if model is None or patterns.is_pattern(model) else model
        for leaf in sku.leaves:
            groups.setdefault((leaf, rank(sku)[:2]), {}).setdefault(named, []).append(position)
    for by_model in groups.values():
        unnamed = by_model.get(None, [])
        for same in by_model.values():
            yield from combinations(same, 2)
            if same is not unnamed:
                yield from ((min(one, two), max(one, two)) for one in unnamed for two in same)
