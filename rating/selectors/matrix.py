"""matrix: the charge goes by the values of one or more dimensions."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import BeforeValidator, Field, WithJsonSchema

from rating.card_fields import DIMENSIONS, Name, Text
from rating.errors import Path, did_you_mean
from rating.match import Document
from rating.selectors.base import OTHER, Choice, Label, Selector
from rating.terms.fields import LineCommitment

if TYPE_CHECKING:
    from rating.selectors import AnyCharge


def _dimension(value: object) -> str:
    if value not in DIMENSIONS:
        hint = did_you_mean(str(value), DIMENSIONS) or f": use {', '.join(DIMENSIONS)}"
        raise ValueError(f"there is no dimension {value!r}{hint}")
    return str(value)


Dimension = Annotated[str, BeforeValidator(_dimension), WithJsonSchema({"type": "string", "enum": list(DIMENSIONS)})]


class MatrixCell(Document):
    """A cell: a value or a pattern (`*`, `?`) for each dimension of `by`, and what usage with these values costs."""

    model: Text | None = None
    """Model that answered."""
    endpoint: Text | None = None
    """Endpoint that was called."""
    region: Text | None = None
    """Region that served the request."""
    service_tier: Text | None = None
    """Service tier."""
    gpu_type: Text | None = None
    """GPU type."""
    operation: Text | None = None
    """Operation."""
    name: Name | None = None
    """What its line is called after the SKU; left out: the values. A cell with a pattern needs one."""
    charge: AnyCharge
    """What this usage costs."""
    commitment: LineCommitment | None = None
    """What the tenant commits to use of it; left out: what the SKU says."""

    def values(self) -> dict[str, str]:
        """Value or pattern by dimension."""
        found = ((name, getattr(self, name)) for name in DIMENSIONS)
        return {name: value for name, value in found if value is not None}


class Matrix(Selector):
    """Cells by the values of dimensions. Of several cells that match, the most specific one; else `default`.

    Usage that is in no cell has no price when there is no `default`: it becomes unrated.
    """

    model: Literal["matrix"]
    """The charge goes by dimensions."""
    by: Annotated[tuple[Dimension, ...], Field(json_schema_extra={"minItems": 1, "uniqueItems": True})]
    """The dimensions, in the order in which ids of lines name them."""
    cells: Annotated[tuple[MatrixCell, ...], Field(json_schema_extra={"minItems": 1})]
    """The cells, in any order."""
    default: AnyCharge | None = None
    """What usage in no cell costs; left out: it is unrated."""

    def choices(self) -> Iterator[Choice]:
        """The cells, then the default."""
        for index, cell in enumerate(self.cells):
            values = cell.values()
            labels = tuple(Label(values[name], (name,)) for name in self.by if name in values)
            yield Choice(
                cell.charge,
                ("cells", index, "charge"),
                (Label(cell.name),) if cell.name else labels,
                {name: values[name] for name in self.by if name in values},
                commitment=cell.commitment,
            )
        if self.default is not None:
            yield Choice(self.default, ("default",), (Label(OTHER, self.by),))

    def own_problems(self) -> Iterator[tuple[Path, str]]:
        """Dimensions that are missing or too many."""
        if not self.by:
            yield ("by",), "name at least one dimension, e.g. by: [model, region]"
        if len(set(self.by)) != len(self.by):
            yield ("by",), "a dimension stands twice: leave one out"
        if not self.cells:
            yield ("cells",), "there is no cell: give at least one"
        for index, cell in enumerate(self.cells):
            values = cell.values()
            for name in values:
                if name not in self.by:
                    yield ("cells", index, name), f"{name} is not among by: add it there, or leave it out here"
            for name in self.by:
                if name not in values:
                    yield (
                        ("cells", index),
                        f'{name} is missing: write the value that this cell is for, or {name}: "*" for any',
                    )
