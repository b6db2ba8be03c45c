"""Service levels: what a rate card promises, whether a month kept it, and what is credited where it did not."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from decimal import Decimal
from typing import Annotated, Literal

from pydantic import Field

from rating.card_fields import Integer, PlainSku
from rating.errors import CardProblem
from rating.match import Document, Match
from rating.models.base import Quantity
from rating.money import plain
from rating.percent import Percent
from rating.terms.fields import LineId

Metric = Literal["ttft", "end_to_end", "tokens_per_second", "availability"]
"""What is measured: seconds to the first token, seconds of the whole request, output tokens per second of a request,
percent of requests that did not fail."""
LATENCIES: frozenset[str] = frozenset({"ttft", "end_to_end"})
"""The metrics that are good when they are small."""
WHOLE = Decimal(100)


class SlaCredit(Document):
    """How much is credited from which shortfall on."""

    percent: Percent
    """What is credited of the amounts of the lines, in percent: "10"."""
    worse_than: Quantity | None = None
    """It is credited when the measured value is worse than this; left out: than the target."""


class SlaTerm(Document):
    """A service level of a billing period, and what is credited when it is missed. Of several credits the last that
    applies counts."""

    sku: PlainSku
    """Id of the credit's line."""
    metric: Metric
    """What is measured: ttft and end_to_end in seconds, tokens_per_second of a request, availability in percent."""
    target: Quantity
    """What is promised, as text: "0.5". A value that equals it keeps it."""
    percentile: Percent | None = None
    """The share of requests that must keep the target, in percent: "95". Not for availability, which is a share itself."""
    match: Match = Match()
    """Which requests are measured; left out: all of the tenant."""
    skus: Annotated[tuple[LineId, ...], Field(min_length=1)] = ("*",)
    """The lines that are credited, by id or pattern (`*`, `?`); left out: all usage."""
    minimum_requests: Integer = 1
    """With fewer measured requests in the period nothing is judged."""
    credits: Annotated[tuple[SlaCredit, ...], Field(min_length=1)]
    """What is credited, from the smallest shortfall to the greatest."""
    description: str | None = None
    """For people."""

    def limit(self, credit: SlaCredit) -> Decimal:
        """The value that the measured one must be worse than for a credit."""
        return self.target if credit.worse_than is None else credit.worse_than

    def is_worse(self, measured: Decimal, limit: Decimal) -> bool:
        """Whether a measured value is worse than a limit."""
        return measured > limit if self.metric in LATENCIES else measured < limit


def sla_problems(terms: Sequence[tuple[int, SlaTerm]]) -> Iterator[CardProblem]:
    """What is wrong with a card's service levels, each given with its position."""
    names: dict[str, int] = {}
    for index, term in terms:
        if term.sku in names:
            yield CardProblem(
                ("sla", index, "sku"), f"duplicate: {term.sku} is an id of sla[{names[term.sku]}] too: name them apart"
            )
        names.setdefault(term.sku, index)
        yield from (CardProblem(("sla", index, *place), message) for place, message in _problems(term))


def _problems(term: SlaTerm) -> Iterator[tuple[tuple[str | int, ...], str]]:
    if term.metric == "availability":
        if term.percentile is not None:
            yield ("percentile",), "availability is a share of requests itself: leave percentile out"
        if term.target > WHOLE:
            yield ("target",), f"{plain(term.target)} is more than 100 percent: use 0 to 100"
    elif term.percentile is None or term.percentile == 0:
        yield ("percentile",), 'say how many percent of the requests must keep the target: percentile: "95"'
    if term.match.context_bracket is not None:
        yield ("match", "context_bracket"), "requests are not measured by their length: leave context_bracket out"
    if term.minimum_requests < 1:
        yield ("minimum_requests",), f"{term.minimum_requests} is less than 1: nothing can be said of no request"
    before = term.credits[0]
    for index, credit in enumerate(term.credits):
        place = ("credits", index)
        if index == 0 and term.is_worse(term.target, term.limit(credit)):
            yield (
                (*place, "worse_than"),
                f"{plain(term.limit(credit))} keeps the target {plain(term.target)}: nothing is missed",
            )
        if index and not term.is_worse(term.limit(credit), term.limit(before)):
            yield (
                (*place, "worse_than"),
                f"{plain(term.limit(credit))} is not worse than {plain(term.limit(before))} of the credit before: order "
                "them from the smallest shortfall to the greatest",
            )
        if index and credit.percent <= before.percent:
            yield (
                (*place, "percent"),
                f"{plain(credit.percent)} is not more than {plain(before.percent)} for less: a greater shortfall gives more",
            )
        before = credit
