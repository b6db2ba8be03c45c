"""The burn-down: one walk over event time in which grants begin, are filled up, end, and pay charges."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from rating.wallets.charges import Charge, RecordKey
from rating.wallets.grants import Grant
from rating.windows import WindowSize

_BEFORE_ALL = -1
_END, _REFILL, _START = range(3)
"""What happens to grants at one window, in this order."""


class Draw(NamedTuple):
    """Credits of a grant (in its smallest unit) that pay an amount (10^-12 of the currency) of a charge."""

    charge: RecordKey
    grant_id: str
    credits: int
    paid: int


class _Event(NamedTuple):
    slot: int
    what: int
    grant_id: str


@dataclass(slots=True)
class Standing:
    """Where a tenant's grants stand after everything up to and including `slot`. Sums are in each grant's smallest unit."""

    slot: int = _BEFORE_ALL
    remaining: dict[str, int] = field(default_factory=dict)
    """What is left, of the grants in force."""
    granted: dict[str, int] = field(default_factory=dict)
    """What was given so far, of every grant that has begun."""
    lapsed: dict[str, int] = field(default_factory=dict)
    """What expired unused."""
    voided: dict[str, int] = field(default_factory=dict)
    """What was taken back unused."""
    billed: dict[str, int] = field(default_factory=dict)
    """Charges of the billing period so far, by currency."""
    owed: list[tuple[Charge, int]] = field(default_factory=list)
    """What the billing period's charges still owe, for grants that pay what is owed already."""
    burn: list[Grant] = field(default_factory=list)
    """The grants in force, in the order in which they pay."""
    period_ends: int = _BEFORE_ALL
    """The last slot of the billing period that `billed` and `owed` are about."""

    def copy(self) -> Standing:
        """Another one that can go on by itself."""
        return Standing(
            self.slot,
            dict(self.remaining),
            dict(self.granted),
            dict(self.lapsed),
            dict(self.voided),
            dict(self.billed),
            list(self.owed),
            self.burn,
            self.period_ends,
        )


@dataclass(frozen=True, slots=True)
class Rules:
    """What a walk goes by. `grants` by id; `voids` by grant: from which window on it pays no more; `moved` by grant: what
    transfers took; `limits` by billing period and currency: the most that credits may pay, where records below 0 lower it.
    """

    window: WindowSize
    grants: Mapping[str, Grant]
    voids: Mapping[str, int]
    moved: Mapping[str, int]
    limits: Mapping[tuple[str, str], int]

    def end(self, grant: Grant) -> int | None:
        """The first window that a grant pays no more; None: it has no end."""
        ends = [end for end in (grant.end, self.voids.get(grant.id)) if end is not None]
        return min(ends, default=None)

    def next_event(self, slot: int) -> int | None:
        """The first slot after this one at which a grant begins, is filled up or ends."""
        found = [event for grant in self.grants.values() for event in self._next(grant, slot)]
        return min(found, default=None)

    def _next(self, grant: Grant, slot: int) -> Iterable[int]:
        end = self.end(grant)
        if end is not None and end <= grant.first:
            return
        candidates = [2 * grant.first] if end is None else [2 * grant.first, 2 * end]
        if grant.every is not None:
            candidates.append(2 * grant.refills_after(self.window, max(slot // 2, grant.first)))
        yield from (each for each in candidates if each > slot and (end is None or each <= 2 * end))


class Walk:
    """Moves a standing on through time and notes what is drawn."""

    def __init__(self, rules: Rules, standing: Standing) -> None:
        """`standing` is moved on in place."""
        self._rules = rules
        self._standing = standing
        self._catching_up = any(not grant.overage for grant in rules.grants.values())
        self.draws: list[Draw] = []

    def on(self, charges: Sequence[Charge], until: int) -> None:
        """Up to and including a slot; `charges` are those in between, in their order."""
        events = self._events(until)
        position = 0
        for charge in charges:
            while position < len(events) and events[position].slot <= charge.slot:
                position = self._happen(events, position)
            self._enter(charge.slot)
            self._pay(charge)
        while position < len(events):
            position = self._happen(events, position)
        self._standing.slot = until

    def _events(self, until: int) -> list[_Event]:
        """What happens to grants after the standing's slot, up to and including `until`, in order."""
        rules, after = self._rules, self._standing.slot
        found: list[_Event] = []
        for grant in rules.grants.values():
            end = rules.end(grant)
            if end is not None and (end <= grant.first or 2 * end <= after):
                continue
            if after < 2 * grant.first <= until:
                found.append(_Event(2 * grant.first, _START, grant.id))
            if end is not None and 2 * end <= until:
                found.append(_Event(2 * end, _END, grant.id))
            if grant.every is not None:
                at = grant.refills_after(rules.window, max(after // 2, grant.first))
                while 2 * at <= until and (end is None or at < end):
                    found.append(_Event(2 * at, _REFILL, grant.id))
                    at = grant.refills_after(rules.window, at)
        return sorted(found)

    def _happen(self, events: Sequence[_Event], position: int) -> int:
        """Everything of one slot; the position of the next one."""
        slot = events[position].slot
        self._enter(slot)
        begun: list[Grant] = []
        while position < len(events) and events[position].slot == slot:
            _, what, grant_id = events[position]
            grant = self._rules.grants[grant_id]
            if what == _END:
                self._close(grant, slot)
            elif what == _REFILL:
                self._refill(grant)
            else:
                self._begin(grant)
                begun.append(grant)
            position += 1
        self._order(slot // 2)
        self._catch_up([grant for grant in self._standing.burn if grant in begun and not grant.overage])
        return position

    def _begin(self, grant: Grant) -> None:
        standing = self._standing
        standing.granted[grant.id] = grant.amount
        standing.remaining[grant.id] = grant.amount - self._rules.moved.get(grant.id, 0)

    def _refill(self, grant: Grant) -> None:
        standing = self._standing
        left = standing.remaining[grant.id]
        kept = min(left, grant.rollover)
        standing.lapsed[grant.id] = standing.lapsed.get(grant.id, 0) + left - kept
        standing.granted[grant.id] += grant.amount
        standing.remaining[grant.id] = kept + grant.amount

    def _close(self, grant: Grant, slot: int) -> None:
        standing = self._standing
        left = standing.remaining.pop(grant.id)
        voided = self._rules.voids.get(grant.id)
        sums = standing.voided if voided is not None and 2 * voided == slot else standing.lapsed
        sums[grant.id] = sums.get(grant.id, 0) + left

    def _order(self, at: int) -> None:
        grants, window = self._rules.grants, self._rules.window
        in_force = [grants[grant_id] for grant_id in self._standing.remaining]
        self._standing.burn = sorted(in_force, key=lambda grant: grant.burns(window, at))

    def _enter(self, slot: int) -> None:
        """Forget what the last billing period owed when another one begins: its invoice has it."""
        standing = self._standing
        if slot > standing.period_ends:
            window = self._rules.window
            standing.period_ends = 2 * window.last(window.period(slot // 2)) + 1
            standing.billed, standing.owed = {}, []

    def _catch_up(self, grants: Sequence[Grant]) -> None:
        if not grants or not self._standing.owed:
            return
        owed = [(charge, self._draw(charge, rest, grants)) for charge, rest in self._standing.owed]
        self._standing.owed = [(charge, rest) for charge, rest in owed if rest]

    def _pay(self, charge: Charge) -> None:
        standing = self._standing
        currency = charge.line.currency or ""
        before = standing.billed.get(currency, 0)
        standing.billed[currency] = before + charge.amount
        limit = self._rules.limits.get((charge.line.billing_period, currency))
        payable = charge.amount if limit is None else min(charge.amount, max(0, limit - before))
        rest = self._draw(charge, payable, standing.burn)
        if rest and self._catching_up:
            standing.owed.append((charge, rest))

    def _draw(self, charge: Charge, rest: int, grants: Iterable[Grant]) -> int:
        """Let grants pay an amount of a charge; what is left of it."""
        remaining = self._standing.remaining
        for grant in grants:
            if not rest:
                break
            left = remaining[grant.id]
            needed = charge.credits_for(grant, rest) if left else 0
            if not needed:
                continue
            credits, paid = (needed, rest) if left >= needed else (left, rest * left // needed)
            if paid:
                remaining[grant.id] = left - credits
                rest -= paid
                self.draws.append(Draw(charge.line.key, grant.id, credits, paid))
        return rest
