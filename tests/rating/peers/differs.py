"""Models whose meaning contradicts ours, each with the reason. What is listed here is still rated, and must still differ."""

from __future__ import annotations

from collections.abc import Callable

from rating.money import exact_sum
from tests.rating.peers.charges import Definition, decimal


def _falls_below_zero(definition: Definition) -> bool:
    return exact_sum(decimal(each) for each in definition.get("events_prorated", ["0"])) < 0


_REASONS: dict[str, tuple[Callable[[Definition], bool], str]] = {
    "graduated_prorated": (
        _falls_below_zero,
        "Lago charges nothing when corrections exceed the usage; ours is a credit, or the correction would be lost",
    ),
    "prepaid_burn_down": (
        lambda definition: any("recurrence" in each for each in definition["grants"]),
        "OpenMeter takes what was used beyond the credits from the next refill; ours stands on the invoice already",
    ),
    "capacity_max_tier": (
        lambda _: True,
        "Kill Bill sells one tier for the peaks of several meters together; a SKU of ours has one meter",
    ),
}


def reason_to_differ(model: str, definition: Definition) -> str | None:
    """Why our result is another one; None where it has to be the peer's."""
    applies, reason = _REASONS.get(model, (lambda _: False, ""))
    return reason if applies(definition) else None
