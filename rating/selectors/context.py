"""context: all tokens of a request at the charge of the bracket that its total input falls in."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Literal, Self

from pydantic import Field, PrivateAttr, ValidationInfo, field_validator, model_validator

from rating.card_fields import Integer, Name
from rating.errors import Path
from rating.match import ContextRange, Document, check_edge, known_edges
from rating.selectors.base import Choice, Label, Selector
from rating.terms.fields import LineCommitment

if TYPE_CHECKING:
    from rating.selectors import AnyCharge


class ContextPrice(Document):
    """A bracket (lower, up_to] of total input tokens; its lower edge is the `up_to` of the one before."""

    up_to: Integer | None = None
    """Upper edge in tokens, included; the last bracket leaves it out. An edge of the deployment's context brackets."""
    name: Name | None = None
    """What its line is called after the SKU; left out: the edges, such as `up-to-128k`."""
    charge: AnyCharge
    """What all tokens of these requests cost."""
    commitment: LineCommitment | None = None
    """What the tenant commits to use of it; left out: what the SKU says."""

    @field_validator("up_to")
    @classmethod
    def _check_up_to(cls, value: int | None, info: ValidationInfo) -> int | None:
        if value is not None:
            check_edge(value, known_edges(info))
        return value


class Context(Selector):
    """Brackets by the total input of a request, cached input included; "above 128000" means more than 128,000 tokens.

    Not tiers: a request of 130,000 input tokens is charged in its bracket from the first token to the last, output too.
    """

    model: Literal["context"]
    """All tokens of a request at the charge of its length."""
    brackets: Annotated[tuple[ContextPrice, ...], Field(json_schema_extra={"minItems": 1})]
    """The brackets, from short requests to long ones, the last one open."""
    _ranges: tuple[ContextRange | None, ...] = PrivateAttr(default=())

    @model_validator(mode="after")
    def _resolve(self, info: ValidationInfo) -> Self:
        found: list[ContextRange | None] = []
        above: int | None = None
        for bracket in self.brackets:
            # Brackets out of order and a single one for all lengths have no range: see own_problems and choices.
            is_range = bracket.up_to is not None or above is not None
            is_ordered = above is None or bracket.up_to is None or above < bracket.up_to
            fields = {"above": above, "up_to": bracket.up_to}
            usable = is_range and is_ordered
            found.append(ContextRange.model_validate(fields, context=info.context) if usable else None)
            above = bracket.up_to
        self._ranges = tuple(found)
        return self

    def choices(self) -> Iterator[Choice]:
        """The brackets in order."""
        for index, (bracket, reach) in enumerate(zip(self.brackets, self._ranges, strict=True)):
            label = Label(bracket.name or reach_text(reach))
            place: Path = ("brackets", index, "charge")
            yield Choice(bracket.charge, place, (label,), context=reach, commitment=bracket.commitment)

    def own_problems(self) -> Iterator[tuple[Path, str]]:
        """Brackets out of order and open ends."""
        if not self.brackets:
            yield ("brackets",), "there is no bracket: give at least one, the last without up_to"
        above = 0
        for index, bracket in enumerate(self.brackets):
            last = index == len(self.brackets) - 1
            if bracket.up_to is None:
                if not last:
                    yield ("brackets", index), "only the last bracket may be open: give it an up_to"
                continue
            if bracket.up_to <= above:
                yield (
                    ("brackets", index, "up_to"),
                    f"{bracket.up_to} is not above the bracket before it, which ends at {above}: raise it",
                )
            elif last:
                yield ("brackets", index, "up_to"), "the last bracket must be open: leave its up_to out"
            above = bracket.up_to


def reach_text(reach: ContextRange | None) -> str:
    """How a line names a range of lengths: up-to-128k, 128k-to-200k, above-200k."""
    if reach is None:
        return "any-length"
    if reach.above is None:
        return f"up-to-{_tokens(reach.up_to or 0)}"
    return (
        f"above-{_tokens(reach.above)}" if reach.up_to is None else f"{_tokens(reach.above)}-to-{_tokens(reach.up_to)}"
    )


def _tokens(count: int) -> str:
    for unit, sign in ((1_000_000, "m"), (1_000, "k")):
        if count and count % unit == 0:
            return f"{count // unit}{sign}"
    return str(count)
