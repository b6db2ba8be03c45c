"""What usage a SKU of a card is for: values and patterns of dimensions, and how long requests are."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from typing import Self

from pydantic import BaseModel, ConfigDict, PrivateAttr, ValidationInfo, model_validator

from rating.card_fields import DIMENSIONS, Integer, Text
from rating.usage import DEFAULT_CONTEXT_EDGES


class Document(BaseModel):
    """A part of a card: no unknown fields, immutable, described by its docstrings."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)


def known_edges(info: ValidationInfo) -> Sequence[int]:
    """The edges of the deployment's context brackets, which `parse_card` gives to validators."""
    edges: Sequence[int] = (info.context or {}).get("context_edges", DEFAULT_CONTEXT_EDGES)
    return edges


def check_edge(tokens: int, edges: Sequence[int]) -> None:
    """Raises ValueError for a number of tokens that is not one of these edges."""
    if tokens not in edges:
        raise ValueError(f"{tokens} is not an edge of the context brackets: use one of {', '.join(map(str, edges))}")


class ContextRange(Document):
    """Requests whose total input, cached included, is above `above` and at most `up_to` tokens.

    Both must be edges of the deployment's context brackets. `brackets` is the range of bracket indexes they mean.
    """

    above: Integer | None = None
    """Total input tokens that a request must exceed."""
    up_to: Integer | None = None
    """Total input tokens that a request may have at most."""
    _brackets: tuple[int, int] = PrivateAttr(default=(0, 0))

    @model_validator(mode="after")
    def _resolve(self, info: ValidationInfo) -> Self:
        edges = known_edges(info)
        for value in (self.above, self.up_to):
            if value is not None:
                check_edge(value, edges)
        if self.above is None and self.up_to is None:
            raise ValueError("give above, up_to or both")
        low = 0 if self.above is None else bisect_left(edges, self.above) + 1
        high = len(edges) if self.up_to is None else bisect_left(edges, self.up_to)
        if low > high:
            raise ValueError(f"no request is above {self.above} and at most {self.up_to} tokens")
        self._brackets = (low, high)
        return self

    @property
    def brackets(self) -> tuple[int, int]:
        """First and last bracket index, both included."""
        return self._brackets

    def within(self, other: ContextRange) -> ContextRange | None:
        """The requests that are in both; None if there are none."""
        low, high = max(self.brackets[0], other.brackets[0]), min(self.brackets[1], other.brackets[1])
        if low > high:
            return None
        lowest = [each.above for each in (self, other) if each.above is not None]
        highest = [each.up_to for each in (self, other) if each.up_to is not None]
        found = ContextRange.model_construct(above=max(lowest, default=None), up_to=min(highest, default=None))
        found._brackets = (low, high)
        return found


class Match(Document):
    """What usage a SKU is for: an exact value or a pattern (`*`, `?`) per dimension; what is left out matches all."""

    model: Text | None = None
    """Model that answered, e.g. `llama-70b` or `llama-*`."""
    endpoint: Text | None = None
    """Endpoint that was called, e.g. `/v1/chat/completions`."""
    region: Text | None = None
    """Region that served the request."""
    service_tier: Text | None = None
    """Service tier, e.g. `default`, `priority` or `batch`."""
    gpu_type: Text | None = None
    """GPU type, e.g. `H100`."""
    operation: Text | None = None
    """Operation, e.g. `chat`, `embedding`, `fine_tune` or `batch`."""
    context_bracket: ContextRange | None = None
    """Length of the request."""

    def constraints(self) -> dict[str, str]:
        """The dimensions that are matched with text, in their fixed order."""
        found = ((name, getattr(self, name)) for name in DIMENSIONS)
        return {name: value for name, value in found if value is not None}
