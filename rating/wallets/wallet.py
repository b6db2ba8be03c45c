"""The prepaid credits of one tenant, burnt down incrementally: grants and rated records go in, changed debits come out."""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from rating.errors import WalletError
from rating.money import from_scaled
from rating.rated import RatedLine
from rating.wallets.charges import Charge, RecordKey, charge_of
from rating.wallets.debits import debits_of, nothing_left, settled
from rating.wallets.grants import Grant
from rating.wallets.sweep import Draw, Rules, Standing, Walk
from rating.windows import HOUR, WindowSize


class GrantSums(NamedTuple):
    """What happened to a grant up to some time, in its smallest unit. What transfers took is not among it."""

    granted: int
    drawn: int
    lapsed: int
    voided: int


class Moved(NamedTuple):
    """What a transfer took from a grant, in its smallest unit."""

    grant: Grant
    amount: int


@dataclass(slots=True)
class _Day:
    """The charges of a day that has any, or that begins a grant; what was drawn on it, and how grants stood after it."""

    charges: dict[RecordKey, Charge] = field(default_factory=dict)
    ordered: list[Charge] | None = None
    draws: list[Draw] = field(default_factory=list)
    after: Standing | None = None


class Wallet:
    """All prepaid credits of one tenant.

    Pure, as `TenantPeriod`: the debits depend only on the grants, the voids, the transfers and the records that were given,
    never on their order (of transfers: on what was there when each was decided) or on how often `lines` was called. What a
    call costs goes by the days from the first changed one on. Not safe for threads.
    """

    def __init__(self, tenant_id: str, window: WindowSize = HOUR) -> None:
        self.tenant_id = tenant_id
        self._window = window
        self._slots_a_day = 2 * 24 * 60 // window.minutes
        self._grants: dict[str, Grant] = {}
        self._voids: dict[str, int] = {}
        self._moved: dict[str, int] = {}
        self._opening = Standing()
        self.forgotten = ""
        """The last billing period whose records are forgotten, or nothing."""
        self._days: dict[int, _Day] = {}
        self._order: list[int] = []
        self._records: dict[RecordKey, Charge] = {}
        """Every record with an amount other than 0."""
        self._dues: dict[tuple[str, str], list[int]] = {}
        """By billing period and currency: the sums of the records above and below 0."""
        self._limits: dict[tuple[str, str], int] = {}
        self._dirty_from: int | None = None
        self._changed: set[RecordKey] = set()
        """The records whose draws changed since the last call of `lines`."""
        self._draws: dict[RecordKey, dict[int, list[Draw]]] = {}
        """The draws for a record, by the day on which they were made."""
        self._yielded: dict[RecordKey, dict[str, RatedLine]] = {}
        """The debits that `lines` gave last, by the record they pay and the unit."""
        self._open_from = ""

    # --- what goes in ---------------------------------------------------------------------------------------------

    @property
    def grants(self) -> Mapping[str, Grant]:
        """Every grant by id."""
        return self._grants

    @property
    def moved(self) -> Mapping[str, int]:
        """What transfers took, by grant."""
        return self._moved

    def grant(self, grant: Grant) -> None:
        """One more grant. The same again changes nothing; WalletError for another one with a known id, or another tenant."""
        if grant.tenant_id != self.tenant_id:
            raise WalletError(f"grant {grant.id} is of {grant.tenant_id}, not of {self.tenant_id}")
        known = self._grants.get(grant.id)
        if known is not None:
            if known != grant:
                raise WalletError(f"{self.tenant_id} has another grant {grant.id}: give this one an id of its own")
            return
        self._grants[grant.id] = grant
        begins = self._day(2 * grant.first)
        if not grant.overage:
            # What its billing period owes is noted only once a grant is there that pays it: walk the period anew.
            self._change(min(begins, self._day(2 * self._window.first(self._window.period(grant.first)))))
        self._change(begins)

    def void(self, grant_id: str, hour: int) -> None:
        """From a window on a grant pays no more; of several voids the earliest holds. WalletError: there is no such grant."""
        self._known(grant_id)
        last = self._voids.get(grant_id)
        if last is None or hour < last:
            self._voids[grant_id] = hour
            self._change(self._day(2 * hour))

    def transfer(self, unit: str, amount: int, hour: int, grant_id: str | None = None) -> list[Moved]:
        """Takes credits away for another tenant: from grants in force at `hour` in burn order, or from one; all or nothing.

        `amount` is in the unit's smallest part, `hour` the latest time that is known. Nothing that was paid changes: a
        grant gives only what it has left. WalletError when that is not enough. Grants that come again stay where they are.
        """
        if grant_id is not None:
            self._known(grant_id)
        standing = self.standing(hour)
        pieces: list[Moved] = []
        missing = amount
        for grant in standing.burn:
            if grant.unit == unit and grant.every is None and grant_id in (None, grant.id):
                taken = min(missing, standing.remaining[grant.id])
                missing -= taken
                pieces += [Moved(grant, taken)] if taken else []
        if missing or amount <= 0:
            decimals = pieces[0].grant.decimals if pieces else 0
            left = f"{from_scaled(amount - missing, decimals):f}" if pieces else "nothing"
            where = f"grant {grant_id}" if grant_id else "the wallet"
            raise WalletError(f"{where} of {self.tenant_id} has {left} in {unit} to transfer: that is not enough")
        for piece in pieces:
            self.move(piece.grant.id, piece.amount)
        return pieces

    def move(self, grant_id: str, amount: int) -> None:
        """What a transfer took from a grant, as decided before."""
        grant = self._known(grant_id)
        self._moved[grant_id] = self._moved.get(grant_id, 0) + amount
        if grant_id in self._opening.remaining:
            self._opening.remaining[grant_id] -= amount
        self._change(max(self._day(2 * grant.first), self._day(self._opening.slot + 1)))

    def note(self, line: RatedLine) -> None:
        """A rated record as it stands now: of records with one key the last one holds."""
        charge = charge_of(line, self._window)
        key = line.key
        old = self._records.get(key)
        if charge is None or line.billing_period <= self.forgotten:
            charge = None
        if old is not None:
            self._drop(key, old)
            if key in self._draws:
                self._changed.add(key)  # also a record that only has another card now
        if charge is not None and charge.amount:
            self._records[key] = charge
            self._due(charge, charge.amount)
            if charge.amount > 0:
                day = self._place(self._day(charge.slot))
                day.charges[key], day.ordered = charge, None
                self._change(self._day(charge.slot))

    def _drop(self, key: RecordKey, charge: Charge) -> None:
        del self._records[key]
        self._due(charge, -charge.amount, charge.amount > 0)
        if charge.amount > 0:
            number = self._day(charge.slot)
            day = self._days[number]
            del day.charges[key]
            day.ordered = None
            self._change(number)

    def _due(self, charge: Charge, amount: int, positive: bool | None = None) -> None:
        dues = self._dues.setdefault((charge.line.billing_period, charge.line.currency or ""), [0, 0])
        dues[0 if (amount > 0 if positive is None else positive) else 1] += amount

    def _known(self, grant_id: str) -> Grant:
        grant = self._grants.get(grant_id)
        if grant is None:
            known = ", ".join(sorted(self._grants)) or "none"
            raise WalletError(f"{self.tenant_id} has no grant {grant_id} (there are: {known})")
        return grant

    def _day(self, slot: int) -> int:
        return slot // self._slots_a_day

    def _place(self, number: int) -> _Day:
        day = self._days.get(number)
        if day is None:
            day = self._days[number] = _Day()
            insort(self._order, number)
        return day

    def _change(self, number: int) -> None:
        self._place(number)
        if self._dirty_from is None or number < self._dirty_from:
            self._dirty_from = number

    # --- what comes out -------------------------------------------------------------------------------------------

    def lines(self, open_from: str = "") -> list[RatedLine]:
        """The debits that changed since the last call, as rated records of kind `credit`, in the order of what they pay.

        `open_from`: the oldest billing period that is not closed; debits of those before are not provisional. A debit that
        fell to nothing comes once more with amount 0.
        """
        self._settle()
        changed, self._changed = self._changed, set()
        if open_from != self._open_from:
            closing = {key for key, debits in self._yielded.items() for line in debits.values() if line.provisional}
            changed |= {key for key in closing if self._billing_period(key) < open_from}
            self._open_from = open_from
        found: list[RatedLine] = []
        for key in sorted(changed):
            found.extend(self._debits(key))
        return found

    def _billing_period(self, key: RecordKey) -> str:
        return next(iter(self._yielded[key].values())).billing_period

    def _debits(self, key: RecordKey) -> Iterator[RatedLine]:
        charge = self._records.get(key)
        draws = [draw for day in sorted(self._draws.get(key, {})) for draw in self._draws[key][day]]
        now = {} if charge is None else debits_of(charge, draws, self._grants)
        before = self._yielded.pop(key, {})
        for unit in sorted(now.keys() | before.keys()):
            if unit not in now:
                yield settled(nothing_left(before[unit]), self._open_from)
                continue
            now[unit] = settled(now[unit], self._open_from)
            if before.get(unit) != now[unit]:
                yield now[unit]
        if now:
            self._yielded[key] = now

    def _settle(self) -> None:
        """Walk again from the first changed day on, if there is one."""
        self._limit()
        if self._dirty_from is None:
            return
        position = bisect_left(self._order, self._dirty_from)
        self._dirty_from = None
        standing = self._after(position)
        rules = self._rules()
        for number in list(self._order[position:]):
            day = self._days[number]
            standing = standing.copy()
            walk = Walk(rules, standing)
            walk.on(_ordered(day), (number + 1) * self._slots_a_day - 1)
            day.after = standing
            if walk.draws != day.draws:
                self._redraw(number, day, walk.draws)

    def _redraw(self, number: int, day: _Day, draws: list[Draw]) -> None:
        touched = {draw.charge for draw in day.draws} | {draw.charge for draw in draws}
        for key in touched:
            self._draws.get(key, {}).pop(number, None)
        for draw in draws:
            self._draws.setdefault(draw.charge, {}).setdefault(number, []).append(draw)
        for key in touched:
            if not self._draws.get(key):
                self._draws.pop(key, None)
        day.draws = draws
        self._changed |= touched

    def _limit(self) -> None:
        """How much credits may pay of each billing period; a changed limit makes the days dirty that it reaches."""
        limits = {place: max(0, above + below) for place, (above, below) in self._dues.items() if below}
        for place in limits.keys() | self._limits.keys():
            old, new = self._limits.get(place), limits.get(place)
            if old != new:
                self._reach(*place, min(limit for limit in (old, new) if limit is not None))
        self._limits = limits

    def _reach(self, period: str, currency: str, limit: int) -> None:
        """Make the first day dirty whose charges in a period go beyond a limit."""
        first, last = (self._day(2 * each) for each in (self._window.first(period), self._window.last(period)))
        for number in self._order[bisect_left(self._order, first) :]:
            after = self._days[number].after
            if number > last:
                return
            if after is None or after.billed.get(currency, 0) > limit:
                self._change(number)
                return

    def _after(self, position: int) -> Standing:
        """How grants stood before the day at a position of the order."""
        before = self._days[self._order[position - 1]].after if position else None
        return before or self._opening

    def _rules(self) -> Rules:
        return Rules(self._window, self._grants, self._voids, self._moved, self._limits)

    def standing(self, hour: int) -> Standing:
        """How the grants stand after a window."""
        self._settle()
        slot = 2 * hour
        position = bisect_left(self._order, self._day(slot))
        standing = self._after(position).copy()
        if standing.slot < slot:
            day = self._days.get(self._day(slot))
            charges = [charge for charge in _ordered(day) if charge.slot <= slot] if day else []
            Walk(self._rules(), standing).on(charges, slot)
        return standing

    def next_event(self, hour: int) -> int | None:
        """The first window after this one at which a grant begins, is filled up or ends."""
        slot = self._rules().next_event(2 * hour)
        return None if slot is None else slot // 2

    def sums(self, standing: Standing) -> dict[str, GrantSums]:
        """By grant that has begun: what happened to it until then. What is left is granted less all others and `moved`."""
        found = {}
        for grant_id, granted in standing.granted.items():
            lapsed, voided = standing.lapsed.get(grant_id, 0), standing.voided.get(grant_id, 0)
            left = standing.remaining.get(grant_id, 0) + self._moved.get(grant_id, 0)
            found[grant_id] = GrantSums(granted, granted - left - lapsed - voided, lapsed, voided)
        return found

    # --- forgetting -----------------------------------------------------------------------------------------------

    def forget(self, period: str) -> dict[str, GrantSums]:
        """Forget the records of a billing period that is settled for good, and those before; what its grants had come to.

        Call `lines` before: what has changed of these records would never come out. `reopen` takes the sums.
        """
        self._settle()
        end = 2 * self._window.last(period) + 1
        opening = self._after(bisect_left(self._order, self._day(end) + 1)).copy()
        Walk(self._rules(), opening).on([], end)
        self._open(opening, period)
        gone = [key for key, charge in self._records.items() if charge.line.billing_period <= period]
        for key in gone:
            del self._records[key]
            self._draws.pop(key, None)
            self._yielded.pop(key, None)
        for place in [place for place in self._dues if place[0] <= period]:
            del self._dues[place]
            self._limits.pop(place, None)
        return self.sums(self._opening)

    def reopen(self, period: str, sums: Mapping[str, GrantSums]) -> None:
        """Go on after a forgotten billing period, with the sums that `forget` gave. The grants must be known."""
        slot = 2 * self._window.last(period) + 1
        rules = self._rules()
        opening = Standing(slot)
        for grant_id, (granted, drawn, lapsed, voided) in sums.items():
            grant = self._grants[grant_id]
            opening.granted[grant_id] = granted
            opening.lapsed[grant_id] = lapsed
            opening.voided[grant_id] = voided
            end = rules.end(grant)
            if end is None or 2 * end > slot:
                left = granted - drawn - lapsed - voided - self._moved.get(grant_id, 0)
                opening.remaining[grant_id] = left
        opening.burn = sorted(
            (self._grants[grant_id] for grant_id in opening.remaining),
            key=lambda grant: grant.burns(self._window, slot // 2),
        )
        self._open(opening, period)
        self._dirty_from = min(self._order, default=None)

    def _open(self, opening: Standing, period: str) -> None:
        """Begin the walk after a forgotten period."""
        self._opening, self.forgotten = opening, period
        days = bisect_left(self._order, self._day(opening.slot) + 1)
        for number in self._order[:days]:
            del self._days[number]
        del self._order[:days]


def _ordered(day: _Day) -> list[Charge]:
    if day.ordered is None:
        day.ordered = sorted(day.charges.values(), key=lambda charge: charge.order)
    return day.ordered
