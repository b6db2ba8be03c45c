"""Batch numbers: which batches of a source were read, which are missing (DESIGN D7, guard 1)."""

from dataclasses import dataclass, field, replace

FRESH, REPEATED = "fresh", "repeated"

MAX_GAPS = 1_000
"""Gaps remembered of one source and epoch: a producer that numbers wrongly must not fill the state."""


@dataclass(slots=True)
class SourceNumbers:
    """The numbers read of one (source, epoch) in one partition: the highest, and the gaps below it as [first, last] ranges.

    `contiguous` numbers start at 1 and leave no hole, so a hole is a loss until it is filled; numbers derived from the
    offsets of another log start at 0 and only increase. Of more than MAX_GAPS gaps the lowest are given up: `given_up`
    batches were missing there, and of numbers up to `unknown_to` it can't be told any more whether they were read.
    """

    contiguous: bool
    highest: int = 0
    gaps: list[tuple[int, int]] = field(default_factory=list)
    unknown_to: int = 0
    given_up: int = 0

    def accept(self, number: int) -> str:
        """Take a batch's number: FRESH if its rows are to be read, REPEATED if they were.

        A number of which it can't be told is FRESH: the event-id window decides about its rows one by one.
        """
        if number > self.highest:
            if self.contiguous and number > self.highest + 1:
                self.gaps.append((self.highest + 1, number - 1))
                self._bound_gaps()
            self.highest = number
            return FRESH
        if self.contiguous and number <= self.unknown_to:
            return FRESH
        return FRESH if self._fill(number) else REPEATED

    def missing(self) -> int:
        """How many batches are known to exist and were not read."""
        return self.given_up + sum(last - first + 1 for first, last in self.gaps)

    def copy(self) -> "SourceNumbers":
        """The same, cut loose from this one."""
        return replace(self, gaps=list(self.gaps))

    def _fill(self, number: int) -> bool:
        for index, (first, last) in enumerate(self.gaps):
            if first <= number <= last:
                parts = [(first, number - 1), (number + 1, last)]
                self.gaps[index : index + 1] = [part for part in parts if part[0] <= part[1]]
                self._bound_gaps()
                return True
        return False

    def _bound_gaps(self) -> None:
        if len(self.gaps) > MAX_GAPS:
            first, last = self.gaps.pop(0)
            self.given_up += last - first + 1
            self.unknown_to = last


class BatchNumbers:
    """The numbers of all sources of one partition."""

    def __init__(self) -> None:
        self._sources: dict[tuple[str, int], SourceNumbers] = {}
        self._changed: set[tuple[str, int]] = set()

    def accept(self, source: str, epoch: int, number: int, *, contiguous: bool) -> str:
        """Take one batch's identity: FRESH or REPEATED."""
        key = (source, epoch)
        state = self._sources.get(key)
        if state is None:
            # A sequence begins at 1, the offsets of a log at 0.
            state = self._sources[key] = SourceNumbers(contiguous, highest=0 if contiguous else -1)
        self._changed.add(key)
        return state.accept(number)

    def take_changed(self) -> dict[tuple[str, int], SourceNumbers]:
        """A copy of what changed since the last call."""
        changed = {key: self._sources[key].copy() for key in sorted(self._changed)}
        self._changed = set()
        return changed

    def restore(self, source: str, epoch: int, state: SourceNumbers) -> None:
        """Put back what an earlier owner of the partition knew."""
        self._sources[source, epoch] = state
