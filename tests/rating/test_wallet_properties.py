"""Wallets under any order, cuts, corrections and forgetting, against a reference that walks hour by hour from scratch."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from decimal import Decimal, localcontext
from fractions import Fraction
from typing import Any, NamedTuple

from hypothesis import given, settings
from hypothesis import strategies as st

from rating.errors import WalletError
from rating.money import amount_of, to_scaled
from rating.rated import RatedLine
from rating.wallets import CREDIT_DECIMALS, Coverage, Grant, Wallet, reports
from rating.windows import HOUR
from tests.rating.test_wallets import FEBRUARY, JANUARY, USD, usage, whole

Key = tuple[object, ...]
HOURS = [0, 1, 2, 23, 24, 25, 700, 743, 744, 745, 800, 1415]
"""From January into February, on both sides of days and of the months' edge."""
STARTS = [JANUARY, JANUARY + 1, JANUARY + 24, JANUARY + 700, FEBRUARY, FEBRUARY + 5]
MARCH = HOUR.first("2026-03")
EVENTFUL = sorted(
    {*(JANUARY + hour for hour in HOURS), *STARTS, JANUARY + 2, FEBRUARY - 1, FEBRUARY + 100, MARCH - 1}
    | set(range(JANUARY, MARCH + 1, 24))
)
"""Every window in which something can happen: the reference goes through these."""
ENDS = [None, None, JANUARY + 2, JANUARY + 24, FEBRUARY, FEBRUARY + 100]


class Told(NamedTuple):
    """What debits came to: amount and credits by grant."""

    amount: Decimal
    grants: dict[str, str]


@st.composite
def grant_lists(draw: st.DrawFn) -> list[Grant]:
    made = []
    for number in range(draw(st.integers(1, 5))):
        unit = draw(st.sampled_from(["USD", "USD", "USD", "EUR", "tokens", "points"]))
        first = draw(st.sampled_from(STARTS))
        every: Any = draw(st.sampled_from([None, None, None, "month", "day"]))
        end = draw(st.sampled_from([each for each in ENDS if each is None or each > first]))
        made.append(
            Grant(
                tenant_id="acme",
                id=f"g{number}",
                unit=unit,
                amount=draw(st.integers(1, 12)) * 10 ** (11 if unit in ("USD", "EUR") else 9),
                first=first,
                created_us=draw(st.integers(0, 2)),
                end=end,
                priority=draw(st.integers(0, 1)),
                every=every,
                rollover=draw(st.sampled_from([0, 3 * 10**9])) if every else 0,
                covers=(Coverage("*/output", Decimal(1), Decimal(3)),) if unit == "points" else (),
                overage=draw(st.sampled_from([True, True, False])),
            )
        )
    return made


@st.composite
def records(draw: st.DrawFn) -> list[RatedLine]:
    """Records of hours and of whole periods, some below 0."""
    made: dict[Key, RatedLine] = {}
    for _ in range(draw(st.integers(1, 14))):
        amount = str(draw(st.sampled_from(["0.1", "0.333333333333", "1", "2.5", "0.000000000001"])))
        if draw(st.integers(0, 4)):
            sku = draw(st.sampled_from(["a/output", "a/input"]))
            currency = draw(st.sampled_from(["USD", "USD", "EUR"]))
            line = usage(draw(st.sampled_from(HOURS)), amount, sku, str(draw(st.integers(0, 5))), currency=currency)
        else:
            sign = draw(st.sampled_from(["", "-"]))
            line = whole(draw(st.sampled_from(["2026-01", "2026-02"])), sign + amount, draw(st.sampled_from("xy")))
            line = replace(line, kind="credit" if sign else "minimum")
        made[line.key] = line
    return list(made.values())


# --- reference --------------------------------------------------------------------------------------------------------


def reference(
    grants: Sequence[Grant], voids: Mapping[str, int], lines: Iterable[RatedLine]
) -> tuple[dict[Key, dict[str, tuple[int, int]]], dict[str, int]]:
    """Credits and amount by record and grant, and what is left in the end: hour by hour, from scratch, with fractions."""
    charges = sorted(
        (line for line in lines if line.amount and line.amount > 0),
        key=lambda line: (*_time(line), line.kind, line.sku),
    )
    left: dict[str, int] = {}
    drawn: dict[Key, dict[str, tuple[int, int]]] = {}
    limits = _limits(lines)
    spent: dict[tuple[str, str | None], int] = {}
    owed: list[tuple[RatedLine, int]] = []

    def pay(line: RatedLine, rest: int, order: Sequence[Grant]) -> int:
        for grant in order:
            credits, amount = _payment(grant, line, rest, left[grant.id])
            if amount:
                left[grant.id] -= credits
                known = drawn.setdefault(line.key, {}).get(grant.id, (0, 0))
                drawn[line.key][grant.id] = known[0] + credits, known[1] + amount
                rest -= amount
        return rest

    for hour in EVENTFUL:
        if hour == HOUR.first(HOUR.period(hour)):
            owed = []
        for grant in grants:
            if hour == _end(grant, voids):
                left.pop(grant.id, None)
            elif grant.id in left and _again(grant, hour):
                left[grant.id] = min(left[grant.id], grant.rollover) + grant.amount
        begun = [each for each in grants if each.first == hour and hour < _end(each, voids)]
        left.update({each.id: each.amount for each in begun})
        order = sorted((each for each in grants if each.id in left), key=lambda each: each.burns(HOUR, hour))
        for late in [each for each in order if each in begun and not each.overage]:
            owed = [(line, rest) for line, before in owed if (rest := pay(line, before, [late]))]
        for line in [line for line in charges if _time(line)[0] == hour]:
            place, amount = (line.billing_period, line.currency), to_scaled(line.amount or 0, 12)
            before = spent.get(place, 0)
            spent[place] = before + amount
            rest = pay(line, max(0, min(amount, limits.get(place, before + amount) - before)), order)
            owed += [(line, rest)] if rest else []
    return drawn, left


def _time(line: RatedLine) -> tuple[int, int]:
    if line.window_kind == "period":
        return HOUR.last(line.billing_period), 1
    return HOUR.index_of(line.window_start), 0


def _limits(lines: Iterable[RatedLine]) -> dict[tuple[str, str | None], int]:
    sums: dict[tuple[str, str | None], list[int]] = {}
    for line in lines:
        place = sums.setdefault((line.billing_period, line.currency), [0, 0])
        place[0] += to_scaled(line.amount or 0, 12)
        place[1] |= bool(line.amount and line.amount < 0)
    return {place: max(0, total) for place, (total, negative) in sums.items() if negative}


def _end(grant: Grant, voids: Mapping[str, int]) -> int:
    return min(grant.end or 10**9, voids.get(grant.id, 10**9))


def _again(grant: Grant, hour: int) -> bool:
    if hour == grant.first or grant.every is None:
        return False
    return hour % 24 == 0 if grant.every == "day" else hour == HOUR.first(HOUR.period(hour))


def _payment(grant: Grant, line: RatedLine, rest: int, left: int) -> tuple[int, int]:
    """Credits and amount."""
    if grant.unit in ("USD", "EUR"):
        both = min(left, rest) if grant.unit == line.currency else 0
        return both, both
    if line.kind != "usage" or (grant.unit == "points" and not line.sku.endswith("/output")):
        return 0, 0
    whole_price = Fraction(line.quantity) / (3 if grant.unit == "points" else 1) * 10**CREDIT_DECIMALS
    need = whole_price * rest / to_scaled(line.amount or 0, 12)
    rounded = -(-need.numerator // need.denominator)
    if not rounded or not left:
        return 0, 0
    if left >= rounded:
        return rounded, rest
    amount = rest * left // rounded
    return (left, amount) if amount else (0, 0)


# --- properties -------------------------------------------------------------------------------------------------------


def told(made: Wallet, known: dict[Key, Told]) -> dict[Key, Told]:
    """Take in the changed debits; those that fell to nothing go."""
    for line in made.lines("2026-01"):
        assert line.amount is not None
        grants = {name[6:]: each for name, each in line.dimensions.items() if name.startswith("grant/")}
        known[line.key] = Told(line.amount, grants)
        if not line.amount:
            del known[line.key]
    return known


def of_reference(drawn: Mapping[Key, Mapping[str, tuple[int, int]]], grants: Sequence[Grant]) -> dict[str, Decimal]:
    """Paid by record and unit."""
    units = {each.id: each.unit for each in grants}
    found: dict[str, Decimal] = {}
    for key, by_grant in drawn.items():
        for grant_id, (_, amount) in by_grant.items():
            name = f"{units[grant_id]} {key[2]} {key[1]} {key[3]} {key[4]}"
            found[name] = found.get(name, Decimal(0)) + amount_of(amount)
    return found


def of_debits(known: Mapping[Key, Told]) -> dict[str, Decimal]:
    found = {}
    for key, each in known.items():
        _, unit, kind, sku = str(key[1]).split("/", 3)
        found[f"{unit} {kind} {sku} {key[3]} {key[4]}"] = -each.amount
    return found


@settings(max_examples=60, deadline=None)
@given(st.data(), grant_lists(), records())
def test_any_order_and_any_cut_give_what_the_reference_gives(
    data: st.DataObject, grants: list[Grant], lines: list[RatedLine]
) -> None:
    voids = {each.id: data.draw(st.sampled_from(STARTS)) for each in grants if not data.draw(st.integers(0, 5))}
    steps: list[Grant | RatedLine | str] = [*grants, *lines]
    wrong = [replace(line, amount=Decimal(data.draw(st.sampled_from([0, 1, 7])))) for line in lines[::3]]
    steps = list(data.draw(st.permutations(steps)))
    made = Wallet("acme")
    known: dict[Key, Told] = {}
    for line in wrong:
        made.note(line)
    for step in steps:
        if isinstance(step, Grant):
            made.grant(step)
        elif isinstance(step, RatedLine):
            made.note(step)
        if data.draw(st.booleans()):
            known = told(made, known)
    for grant_id, hour in voids.items():
        made.void(grant_id, hour)
    known = told(made, known)
    drawn, left = reference(grants, voids, lines)
    assert of_debits(known) == of_reference(drawn, grants)
    standing = made.standing(MARCH)
    assert standing.remaining == left
    at_once = Wallet("acme")
    for line in lines:
        at_once.note(line)
    for each in grants:
        at_once.grant(each)
    for grant_id, hour in voids.items():
        at_once.void(grant_id, hour)
    assert told(at_once, {}) == known, "also how much came from which grant"


@settings(max_examples=40, deadline=None)
@given(grant_lists(), records())
def test_never_below_zero_never_twice_and_money_in_is_money_out(grants: list[Grant], lines: list[RatedLine]) -> None:
    made = Wallet("acme")
    for each in grants:
        made.grant(each)
    for line in lines:
        made.note(line)
    debits = told(made, {})
    for hour in HOURS:
        standing = made.standing(JANUARY + hour)
        assert all(left >= 0 for left in standing.remaining.values())
        for report in reports(made, JANUARY + hour):
            parts = report.balance + report.drawn + report.lapsed + report.voided + report.moved
            assert parts == report.granted
            assert min(report.balance, report.drawn, report.lapsed, report.granted) >= 0
    paid: dict[tuple[object, ...], Decimal] = {}
    owed: dict[tuple[str, str | None], Decimal] = {}
    for line in lines:
        owed[line.billing_period, line.currency] = owed.get((line.billing_period, line.currency), Decimal(0)) + (
            line.amount or 0
        )
    by_name = {(line.kind, line.sku, line.window_kind, line.window_start): line for line in lines}
    for key, debit in debits.items():
        _, _, kind, sku = str(key[1]).split("/", 3)
        name = (kind, sku, key[3], key[4])
        paid[name] = paid.get(name, Decimal(0)) - debit.amount
    for place, amount in paid.items():
        line = by_name[place]  # type: ignore[index]
        assert 0 < amount <= (line.amount or 0)
        owed[line.billing_period, line.currency] -= amount
    negative = {(line.billing_period, line.currency) for line in lines if (line.amount or 0) < 0}
    assert all(rest >= 0 or account in negative for account, rest in owed.items())
    total = -sum((debit.amount for debit in debits.values()), Decimal(0))
    money = [report for report in reports(made, MARCH) if report.unit in ("USD", "EUR")]
    if all(each.unit in ("USD", "EUR") for each in grants):
        assert total == amount_of(sum(report.drawn for report in money))


@settings(max_examples=40, deadline=None)
@given(grant_lists(), records())
def test_doing_it_again_changes_nothing(grants: list[Grant], lines: list[RatedLine]) -> None:
    made = Wallet("acme")
    for each in grants:
        made.grant(each)
    for line in lines:
        made.note(line)
    made.lines("2026-01")
    for each in grants:
        made.grant(each)
    for line in reversed(lines):
        made.note(line)
    assert made.lines("2026-01") == []
    for line in lines:
        made.note(replace(line, amount=Decimal(0)))
        made.note(line)
    assert made.lines("2026-01") == []


@settings(max_examples=40, deadline=None)
@given(st.data(), grant_lists(), records())
def test_forgetting_a_period_and_starting_anew_change_nothing(
    data: st.DataObject, grants: list[Grant], lines: list[RatedLine]
) -> None:
    remembering, forgetful = Wallet("acme"), Wallet("acme")
    later = [line for line in lines if line.billing_period == "2026-02"]
    known = []
    for made in (remembering, forgetful):
        for each in grants:
            made.grant(each)
        for line in lines:
            if line not in later or data.draw(st.booleans()):
                made.note(line)
        known.append(told(made, {}))
    sums = forgetful.forget("2026-01")
    if data.draw(st.booleans()):
        forgetful = Wallet("acme")
        for each in grants:
            forgetful.grant(each)
        forgetful.reopen("2026-01", sums)
        known[1] = {key: each for key, each in known[1].items() if key[5] == "2026-01"}
    for line in lines:  # also the forgotten ones, which change nothing
        forgetful.note(line)
        remembering.note(line)
    assert told(forgetful, known[1]) == told(remembering, known[0])
    for hour in (FEBRUARY, MARCH):
        assert reports(forgetful, hour) == reports(remembering, hour)
        assert forgetful.standing(hour).remaining == remembering.standing(hour).remaining


@settings(max_examples=40, deadline=None)
@given(st.data(), grant_lists(), records())
def test_a_transfer_leaves_every_debit_as_it_is_and_moves_no_more_than_there_is(
    data: st.DataObject, grants: list[Grant], lines: list[RatedLine]
) -> None:
    now = JANUARY + max((HOUR.index_of(line.window_start) - JANUARY for line in lines), default=0)
    made = Wallet("acme")
    for each in grants:
        made.grant(each)
    hours = [line for line in lines if line.window_kind == "hour"]
    for line in hours:
        made.note(line)
    made.lines("2026-01")
    unit = data.draw(st.sampled_from(sorted({each.unit for each in grants})))
    amount = data.draw(st.integers(1, 20)) * 10 ** (11 if unit in ("USD", "EUR") else 9)
    before = made.standing(now)
    has = sum(before.remaining[each.id] for each in before.burn if each.unit == unit and each.every is None)
    try:
        pieces = made.transfer(unit, amount, now)
    except WalletError:
        assert has < amount
        assert made.lines("2026-01") == []
        return
    assert sum(piece.amount for piece in pieces) == amount <= has
    assert made.lines("2026-01") == []
    after = made.standing(now)
    for piece in pieces:
        assert after.remaining[piece.grant.id] == before.remaining[piece.grant.id] - piece.amount >= 0


@settings(max_examples=20, deadline=None)
@given(grant_lists(), records(), st.sampled_from([3, 28, 60]))
def test_the_decimal_context_never_matters(grants: list[Grant], lines: list[RatedLine], digits: int) -> None:
    found = []
    for precision in (50, digits):
        with localcontext() as context:
            context.prec = precision
            made = Wallet("acme")
            for each in grants:
                made.grant(each)
            for line in lines:
                made.note(line)
            found.append(told(made, {}))
    assert found[0] == found[1]


def test_a_long_month_costs_by_what_changed() -> None:
    """A new hour walks its own day, not the days before it."""
    made = Wallet("acme")
    made.grant(Grant("acme", "a", "USD", 10**6 * USD, JANUARY, created_us=0))
    for hour in range(600):
        made.note(usage(hour, "1"))
    made.lines()
    before = {number: day.after for number, day in made._days.items()}
    made.note(usage(600, "1"))
    made.lines()
    walked = [number for number, day in made._days.items() if before.get(number) is not day.after]
    assert len(walked) == 1
