"""Issued invoice documents in ClickHouse: appended one behind the other, read, and checked.

ClickHouse has no transactions and no unique keys. What makes numbers gapless and documents unique when several
finalizers work at once is the position: each one decides by what it has read up to position n, and appends at n + 1 with
an insert whose deduplication token is that position. ClickHouse stores the rows of one such insert only; whoever lost
reads again and decides again.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

import pyarrow as pa

from infra.clickhouse import insert_arrow, require_deduplication, store_errors
from infra.errors import StoreError
from rating.documents import NO_DOCUMENT, Document, Draft, SeriesEnd, issue, parse_document, text_hash
from rating.errors import DocumentError
from rating.money import q12
from sinks.columns import MICROSECONDS
from sinks.findings import Findings

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client

TABLE: Final = "invoice_documents"
_ATTEMPTS: Final = 1000
"""Losing against others this often means that something is wrong: each time somebody else has made progress."""
_BURNT: Final = 5
"""Tokens that are tried for one position."""
_UNKNOWN_TABLE: Final = 60
_SETTINGS: Final[Mapping[str, Any]] = {
    # On a replicated table: read what another replica has already confirmed.
    "select_sequential_consistency": 1,
}


@dataclass(frozen=True, slots=True)
class Head:
    """Where the documents end: the last position and, by issuer, the last document."""

    position: int = 0
    ends: Mapping[str, SeriesEnd] = field(default_factory=dict)

    def end_of(self, issuer: str) -> SeriesEnd:
        """The last document of an issuer; number 0 when it has none."""
        return self.ends.get(issuer, NO_DOCUMENT)


@dataclass(frozen=True, slots=True)
class Stored:
    """A document as it lies in the store."""

    position: int
    content_hash: str
    document: Document


def read_head(client: Client) -> Head:
    """Where the documents end, in one look."""
    rows = _query(
        client,
        f"SELECT issuer, max(position), max(number), argMax(content_hash, number), max(issued_at) FROM {TABLE} "
        "GROUP BY issuer",
    )
    ends = {str(row[0]): SeriesEnd(int(row[2]), str(row[3]), _utc(row[4])) for row in rows}
    return Head(max((int(row[1]) for row in rows), default=0), ends)


def read_documents(
    client: Client,
    *,
    tenants: Iterable[str] | None = None,
    period: str | None = None,
    document_id: str | None = None,
    identities: Iterable[str] | None = None,
    about: str | None = None,
) -> list[Stored]:
    """The documents that fit all that is given, in the order in which they were issued; `about`: of an invoice, its
    credit notes. Raises DocumentError for a text that is none."""
    conditions = ["1"]
    values: dict[str, Any] = {}
    for name, value in (("period", period), ("document_id", document_id), ("corrects", about)):
        if value is not None:
            conditions.append(f"{name} = {{{name}:String}}")
            values[name] = value
    for name, several in (("tenant_id", tenants), ("identity", identities)):
        if several is not None:
            conditions.append(f"{name} IN {{{name}:Array(String)}}")
            values[name] = list(several)
    rows = _query(
        client,
        f"SELECT position, content_hash, content FROM {TABLE} WHERE {' AND '.join(conditions)} ORDER BY position",
        values,
    )
    return [Stored(int(row[0]), str(row[1]), parse_document(str(row[2]))) for row in rows]


Plan = Callable[[], Sequence[Draft]]
"""What is to be issued by what is in the store now; asked again when somebody else has issued something meanwhile."""


def issue_documents(
    client: Client, issuer: str, plan: Plan, *, by: str, now: Callable[[], datetime] = lambda: datetime.now(UTC)
) -> list[Document]:
    """Issue what `plan` says, all of it at once and each identity only once, also when several do so at the same time.

    `plan` must read what was issued itself, and leave out what is there. Raises DocumentError, StoreError.
    """
    require_deduplication(client, TABLE)
    head = read_head(client)
    for _ in range(_ATTEMPTS):
        drafts = plan()
        if not drafts:
            return []
        documents = issue(drafts, issuer, head.end_of(issuer), now(), by)
        if _append(client, head.position, documents):
            return documents
        head = read_head(client)
    raise StoreError(f"{TABLE}: others issue documents all the time: try again", code="store_busy")


def _append(client: Client, position: int, documents: Sequence[Document]) -> bool:
    """Store the documents behind a position; False when somebody else has done so."""
    attempt = uuid.uuid4().hex
    rows = _rows(position, documents, attempt)
    for trial in range(_BURNT):
        insert_arrow(client, TABLE, rows, token=f"{TABLE}/{position + 1}" + (f"/{trial}" if trial else ""))
        found = _query(
            client,
            f"SELECT attempt FROM {TABLE} WHERE position > {{position:UInt64}} ORDER BY position LIMIT 1",
            {"position": position},
        )
        if found:
            return str(found[0][0]) == attempt
        # The token was taken and nothing is there: a server ended between noting it and storing the rows. Nobody can use
        # it again, so all go on to the next one, in the same order.
    raise StoreError(
        f"{TABLE}: nothing can be stored at position {position + 1}", code="store_append", position=position
    )


def _rows(position: int, documents: Sequence[Document], attempt: str) -> pa.Table:
    drafts = [each.draft for each in documents]
    names = pa.dictionary(pa.int32(), pa.string())
    texts = [each.text() for each in documents]
    return pa.table(
        {
            "position": pa.array(range(position + 1, position + 1 + len(documents)), pa.uint64()),
            "document_id": pa.array([each.document_id for each in documents], pa.string()),
            "issuer": pa.array([each.issuer for each in documents], names),
            "number": pa.array([each.number for each in documents], pa.uint64()),
            "kind": pa.array([draft.kind for draft in drafts], names),
            "identity": pa.array([draft.identity for draft in drafts], pa.string()),
            "tenant_id": pa.array([draft.tenant_id for draft in drafts], names),
            "period": pa.array([draft.period for draft in drafts], names),
            "currency": pa.array([draft.currency for draft in drafts], names),
            "total": pa.array([q12(draft.total) for draft in drafts], pa.decimal128(38, 12)),
            "corrects": pa.array([draft.corrects or "" for draft in drafts], pa.string()),
            "replaces": pa.array([draft.replaces or "" for draft in drafts], pa.string()),
            "issued_at": pa.array([each.issued_at for each in documents], MICROSECONDS),
            "content_hash": pa.array([text_hash(text) for text in texts], pa.string()),
            "content": pa.array(texts, pa.string()),
            "attempt": pa.array([attempt] * len(documents), pa.string()),
        }
    )


def verify(client: Client) -> list[str]:
    """What is wrong with the stored documents, one sentence each; nothing, as long as nobody has changed the table.

    Every document must be at its position, with the next number of its issuer, with the hash of its content, with the
    hash of the document before it, and its identity must not come twice.
    """
    problems: list[str] = []
    ends: dict[str, tuple[int, str | None]] = {}
    seen: dict[str, str] = {}
    expected = 1
    columns = "position, document_id, issuer, number, identity, content_hash, content"
    for row in _query(client, f"SELECT {columns} FROM {TABLE} ORDER BY position, attempt"):
        position, name, issuer, number, identity, content_hash, content = row
        if position != expected:
            problems.append(
                f"position {expected} is expected, {position} ({name}) follows: a document is missing or twice"
            )
        expected = int(position) + 1
        last, previous = ends.get(issuer, (0, None))
        if number != last + 1:
            problems.append(f"{name}: number {last + 1} of {issuer} is expected")
        if text_hash(content) != content_hash:
            problems.append(f"{name}: its content was changed, its hash is another one")
        problems += _content_problems(name, (issuer, int(number), identity, previous), content)
        if identity in seen:
            problems.append(f"{name}: it is the same document as {seen[identity]}")
        seen.setdefault(identity, name)
        ends[issuer] = int(number), content_hash
    return problems


def check_documents(client: Client, findings: Findings) -> None:
    """`verify` as a part of reconciliation."""
    findings.count("documents", read_head(client).position)
    for problem in verify(client):
        findings.problem("documents that are not as they were issued", problem)


def _content_problems(name: str, columns: tuple[str, int, str, str | None], content: str) -> list[str]:
    """Where a document's text does not say what its row and its issuer's document before it say."""
    try:
        found = parse_document(content)
    except DocumentError as error:
        return [f"{name}: {error}"]
    issuer, number, identity, previous = columns
    problems = []
    if (found.document_id, found.issuer, found.number, found.draft.identity) != (name, issuer, number, identity):
        problems.append(f"{name}: its content is that of {found.document_id}")
    if found.previous_hash != previous:
        problems.append(f"{name}: the document before it was changed, or is missing")
    return problems


def _query(client: Client, sql: str, values: Mapping[str, Any] | None = None) -> list[tuple[Any, ...]]:
    try:
        with store_errors("reading invoice documents"):
            found = client.query(sql, parameters=dict(values or {}) or None, settings=dict(_SETTINGS))
    except StoreError as error:
        if error.data.get("clickhouse_code") == _UNKNOWN_TABLE:
            raise StoreError(
                "the database has no invoice documents yet: run `tokenmill migrate`", code="store_no_table"
            ) from error
        raise
    return [tuple(row) for row in found.result_rows]


def _utc(instant: datetime) -> datetime:
    return instant.replace(tzinfo=UTC) if instant.tzinfo is None else instant.astimezone(UTC)
