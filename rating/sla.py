"""Service levels: what a rate card promises, whether a month kept it, and what is credited where it did not."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from math import ceil
from typing import Annotated, Any, Literal, Protocol

from pydantic import Field

from rating import patterns
from rating.card_fields import Integer, PlainSku
from rating.errors import CardProblem
from rating.match import Document, Match
from rating.models.base import Quantity
from rating.money import fraction_to_currency, plain, q12
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

    def is_worse(self, measured: Decimal | Fraction, limit: Decimal) -> bool:
        """Whether a measured value is worse than a limit."""
        value, bound = Fraction(measured), Fraction(limit)
        return value > bound if self.metric in LATENCIES else value < bound


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


@dataclass(frozen=True, slots=True)
class Measured:
    """What was measured of one service level in a period: the exact value, None where nothing was, and of how many
    requests."""

    value: Fraction | None
    requests: int


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether a service level was kept. `credit` is what is given for it: None when it was kept, or cannot be judged."""

    term: SlaTerm
    measured: Measured
    credit: SlaCredit | None

    @property
    def judged(self) -> bool:
        """Whether enough requests were measured."""
        return self.measured.value is not None and self.measured.requests >= self.term.minimum_requests

    def evidence(self) -> dict[str, Any]:
        """What a credit rests on, as plain data: the promise, what was measured, and what is given for it."""
        term, value = self.term, self.measured.value
        return {
            "sku": term.sku,
            "metric": term.metric,
            "percentile": None if term.percentile is None else plain(term.percentile),
            "target": plain(term.target),
            "measured": None if value is None else plain(q12(value)),
            "requests": self.measured.requests,
            "match": term.match.constraints(),
            "credit_percent": None if self.credit is None else plain(self.credit.percent),
        }


def judge(term: SlaTerm, measured: Measured) -> Verdict:
    """Whether a service level was kept in a period, by what was measured of it."""
    verdict = Verdict(term, measured, None)
    if not verdict.judged or measured.value is None:
        return verdict
    missed = [credit for credit in term.credits if term.is_worse(measured.value, term.limit(credit))]
    return Verdict(term, measured, missed[-1]) if missed else verdict


def rank(term: SlaTerm, requests: int) -> int:
    """Which of the requests, from the best to the worst and counted from 1, tells the measured value: the smallest number
    of them that is at least the term's percentile of all (nearest rank). 0 without requests."""
    share = Fraction(term.percentile or 0) / 100
    return ceil(share * requests)


def credits_of(
    verdict: Verdict, lines: Sequence[ChargedLine], left: Sequence[Decimal], currency: str
) -> dict[int, Decimal]:
    """What is credited of each line of an invoice for a missed service level, by the number of the line, from 1.

    Of each line of usage that the term credits its percentage, rounded once to the currency, and never more than `left`,
    what credit notes have left of the line so far.
    """
    if verdict.credit is None:
        return {}
    found = {}
    for number, (line, rest) in enumerate(zip(lines, left, strict=True), 1):
        if line.kind != "usage" or not any(patterns.matches(pattern, line.sku) for pattern in verdict.term.skus):
            continue
        exact = Fraction(line.amount) * Fraction(verdict.credit.percent) / 100
        amount = min(fraction_to_currency(exact, currency), rest)
        if amount > 0:
            found[number] = amount
    return found


class ChargedLine(Protocol):
    """A line of an invoice, or of the document of one."""

    @property
    def sku(self) -> str:
        """The line's id."""
        ...

    @property
    def kind(self) -> str:
        """What sort of line it is."""
        ...

    @property
    def amount(self) -> Decimal:
        """What it costs, rounded to the currency."""
        ...
