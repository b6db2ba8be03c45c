"""Control records applied in the order of the log: which card prices whose usage (DESIGN D2, D4)."""

from collections.abc import Callable
from typing import Any, TypeVar

import orjson

from infra.config import Settings
from rating.aggregations.demands import Demand
from rating.cards import RateCard, parse_card
from rating.catalog import EVERYONE, Assignment, Catalog
from rating.errors import CardError, CardProblem, PeriodError
from rating.overrides import Overrides, parse_overrides
from schemas.control import LARGEST_DOCUMENT_BYTES, AccountAssigned, RateCardActivated
from schemas.partitioning import partition_for
from streams.outcomes import NEVER_US, TimeRules
from streams.transactions import OutgoingRecord

T = TypeVar("T")
_CARD, _ASSIGNMENT, _GATHERED = "card", "assignment", "gathered"


def tick_source(settings: Settings) -> str:
    """The CloudEvents source of the ticks that workers write on their own."""
    return f"{settings.deployment}/worker"


class Controls:
    """The catalog of one partition as of its position, and what of it changed since the last flush.

    A card or an assignment that reaches back into a closed period takes effect where the open ones begin: what was
    invoiced stays, whatever is published afterwards.
    """

    KINDS = frozenset({_CARD, _ASSIGNMENT, _GATHERED})

    def __init__(self, settings: Settings, rules: TimeRules, partition: int) -> None:
        """`partition`: the one that assigned tenants must belong to."""
        self._partition = partition
        self._settings = settings
        self._rules = rules
        self.catalog = Catalog(window=rules.window)
        self._changed: dict[bytes, list[object]] = {}

    def activate(self, record: RateCardActivated, watermark_us: int) -> None:
        """A card version becomes known. Raises RatingError for a card that can't work or conflicts with a known one."""
        card = self._parse(record.card)
        not_before = self._first_open_hour(watermark_us)
        changed = self.catalog.with_card(card, not_before)
        if changed is not self.catalog:
            self.catalog = changed
            self._changed[orjson.dumps([_CARD, card.id, card.version])] = [record.card, not_before]
            self._gather(watermark_us)

    def assign(self, record: AccountAssigned, watermark_us: int) -> None:
        """A tenant gets a card for a time. Raises RatingError for times that can't work and on the wrong partition."""
        target = partition_for(record.tenant_id, self._settings.partitions)
        if record.tenant_id != EVERYONE and target != self._partition:
            raise PeriodError(
                f"the assignment of {record.tenant_id} came to partition {self._partition}, the tenant's is {target}: "
                "write it there, by `tokenmill account assign` or with the tenant as key and the murmur2 partitioner"
            )
        not_before = self._first_open_hour(watermark_us)
        first = self._rules.window.index_of(record.effective_from)
        last = None if record.effective_to is None else self._rules.window.index_of(record.effective_to)
        if not_before is not None and last is not None and last <= not_before:
            return
        first = first if not_before is None else max(first, not_before)
        overrides = self._overrides(record.overrides)
        changed = self.catalog.with_assignment(Assignment(record.tenant_id, record.card_id, first, last, overrides))
        if changed is not self.catalog:
            self.catalog = changed
            key = orjson.dumps([_ASSIGNMENT, record.tenant_id, first])
            payload: list[object] = [record.tenant_id, record.card_id, first, last]
            self._changed[key] = [*payload, overrides.document()] if overrides else payload
            self._gather(watermark_us)

    def _gather(self, watermark_us: int) -> None:
        """What no card asked for before is gathered from the window after the watermark on, of which nothing was read."""
        before = self.catalog.gathered_from
        first = 0 if watermark_us == NEVER_US else self._rules.window.index_of_us(watermark_us) + 1
        self.catalog = self.catalog.gathering(first)
        for demand, hour in self.catalog.gathered_from.items():
            if demand not in before:
                self._changed[orjson.dumps([_GATHERED, *demand])] = [*demand, hour]

    def restore(self, kind: str, payload: list[Any]) -> None:
        """Put back one card or assignment; they may come in any order."""
        if kind == _CARD:
            document, not_before = payload
            self.catalog = self.catalog.with_card(self._parse(document), not_before)
        elif kind == _GATHERED:
            what, meter, hour = payload
            self.catalog = self.catalog.with_gathered({Demand(what, meter): hour})
        else:
            tenant_id, card_id, first, last, *overrides = payload
            assignment = Assignment(
                tenant_id, card_id, first, last, self._overrides(overrides[0] if overrides else None)
            )
            self.catalog = self.catalog.with_assignment(assignment)

    def take_state(self, position: int, partition: int) -> list[OutgoingRecord]:
        """The state records of what changed since the last call."""
        topic = self._settings.topics.state
        records = [
            OutgoingRecord(topic, partition, key, orjson.dumps([position, *payload]))
            for key, payload in self._changed.items()
        ]
        self._changed = {}
        return records

    def _parse(self, document: object) -> RateCard:
        return _checked(
            "card",
            document,
            lambda: parse_card(document, window=self._rules.window, context_edges=self._settings.context_edges),
        )

    def _overrides(self, document: object) -> Overrides | None:
        return _checked("overrides", document, lambda: parse_overrides(document)) if document else None

    def _first_open_hour(self, watermark_us: int) -> int | None:
        if watermark_us == NEVER_US:
            return None
        return self._rules.first_open_hour(watermark_us)


def _checked(what: str, document: object, parse: Callable[[], T]) -> T:
    """What the parser makes of a document. CardError for any that it cannot read, and for one that is too large."""
    size = len(orjson.dumps(document))
    if size > LARGEST_DOCUMENT_BYTES:
        raise CardError([CardProblem((), f"the {what} has {size} bytes: at most {LARGEST_DOCUMENT_BYTES} are allowed")])
    try:
        return parse()
    except (ArithmeticError, LookupError, RecursionError, TypeError) as error:
        # Whatever a document makes the parser raise is the document's fault and must not end the worker.
        raise CardError([CardProblem((), f"the {what} can't be read: {type(error).__name__}: {error}")]) from error
