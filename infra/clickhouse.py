"""The one way to ClickHouse: a client with explicit settings, inserts that can be repeated, clear errors.

The same code for a ClickHouse server and for the embedded one (`infra.embedded.clickhouse`): both speak HTTP.
"""

from __future__ import annotations

import io
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

import clickhouse_connect
import pyarrow as pa
from clickhouse_connect.driver.exceptions import ClickHouseError, DatabaseError, OperationalError

from infra.config import ClickHouseSettings
from infra.errors import StoreError

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client

CONNECT_TIMEOUT_S: Final = 5
QUERY_TIMEOUT_S: Final = 300
LARGEST_INSERT_ROWS: Final = 1_000_000
"""A larger insert would be cut into several blocks, and its token would not stand for all of them."""

QUERY_SETTINGS: Final[Mapping[str, str]] = {
    # Text and instants mean the same whatever the server's defaults and the client's time zone are.
    "session_timezone": "UTC",
    "date_time_input_format": "best_effort",
    # A failing query fails before its first byte, with a status and a code.
    "wait_end_of_query": "1",
}

INSERT_SETTINGS: Final[Mapping[str, str]] = {
    # Since ClickHouse 26 inserts are asynchronous by default: acknowledged before they are stored.
    "async_insert": "0",
    "wait_end_of_query": "1",
    "insert_deduplicate": "1",
    "deduplicate_blocks_in_dependent_materialized_views": "1",
    # One block, one writer: the token stands for exactly these rows.
    "max_insert_threads": "1",
    "min_insert_block_size_rows": str(2 * LARGEST_INSERT_ROWS),
    "min_insert_block_size_bytes": "0",
    "max_insert_block_size": str(2 * LARGEST_INSERT_ROWS),
    # A column that the table does not have is a mistake, not something to leave out.
    "input_format_skip_unknown_fields": "0",
    "input_format_arrow_skip_columns_with_unsupported_types_in_schema_inference": "0",
    "input_format_null_as_default": "0",
    "input_format_arrow_case_insensitive_column_matching": "0",
}
# Settings that only newer servers know; there `insert_deduplicate` alone no longer decides.
_NEWER_INSERT_SETTINGS: Final[Mapping[str, str]] = {"deduplicate_insert": "enable"}


_TLS_TROUBLE: Final[Mapping[str, str]] = {
    "CERTIFICATE_VERIFY_FAILED": "its certificate is refused ({why}): set TOKENMILL_CLICKHOUSE_CA_FILE to its CA, and name "
    "its host as the certificate does",
    "WRONG_VERSION_NUMBER": "it does not speak TLS there: begin the address with http://, or name the port of https",
    "RemoteDisconnected": "it closed the connection without an answer: if it wants TLS, begin the address with https://",
}
"""What to say of a connection that fails between TLS and none, by what Python says of it."""


def connect(settings: ClickHouseSettings, *, database: str | None = None) -> Client:
    """A client for the store of these settings, safe to use from several threads.

    `database` replaces the settings' database; "" means none, for statements that create it. Raises StoreError with
    code `store_unreachable`, `store_denied` or `store` (the database is missing, for instance).
    """
    chosen = settings.database if database is None else database
    where = f"{settings.host}:{settings.port}"
    if not settings.verify:
        # Somebody has said so; a warning at every request, on a terminal in the middle of a table, says nothing new.
        warnings.filterwarnings("ignore", message="Unverified HTTPS request")
    try:
        client: Client = clickhouse_connect.get_client(
            host=settings.host,
            port=settings.port,
            username=settings.user,
            password=settings.password,
            database=chosen or "__default__",
            secure=settings.secure,
            interface="https" if settings.secure else "http",
            ca_cert=None if settings.ca_file is None else str(settings.ca_file),
            verify=settings.verify,
            settings=dict(QUERY_SETTINGS),
            connect_timeout=CONNECT_TIMEOUT_S,
            send_receive_timeout=QUERY_TIMEOUT_S,
            client_name="tokenmill",
            # Sessions would forbid queries side by side; nothing here needs one.
            autogenerate_session_id=False,
            query_retries=2,
            tz_source="server",
            show_clickhouse_errors=True,
        )
    except ClickHouseError as error:
        raise _connect_error(error, where, settings.user, chosen) from error
    return client


def _connect_error(error: ClickHouseError, where: str, user: str, database: str) -> StoreError:
    code = getattr(error, "code", None)
    if code == 516:
        return StoreError(
            f"ClickHouse at {where} refused user {user!r}: check user and password, `tokenmill config` shows where they "
            "come from",
            code="store_denied",
            where=where,
        )
    if code == 81:
        return StoreError(
            f"ClickHouse at {where} has no database {database!r}: run `tokenmill migrate`, or name another one in "
            "TOKENMILL_CLICKHOUSE",
            code="store_no_database",
            where=where,
        )
    tls = next((said for sign, said in _TLS_TROUBLE.items() if sign in str(error)), None)
    if code is None and tls is not None:
        why = str(error).partition("certificate verify failed: ")[2].partition(" (_ssl")[0].rstrip(".")
        return StoreError(f"ClickHouse at {where}: {tls.format(why=why)}", code="store_unreachable", where=where)
    if code is None:
        return StoreError(
            f"no ClickHouse answers at {where} ({_first_line(error)}): start it, or set TOKENMILL_CLICKHOUSE",
            code="store_unreachable",
            where=where,
        )
    return StoreError(f"ClickHouse at {where}: {_first_line(error)}", clickhouse_code=code, where=where)


@contextmanager
def store_errors(doing: str) -> Iterator[None]:
    """Turn clickhouse-connect's errors inside the block into StoreError: what was being done, and what ClickHouse said.

    `data["clickhouse_code"]` is ClickHouse's number (None when no answer came), `data["retryable"]` whether the same
    call may succeed later: no answer, too many parts, memory, timeouts.
    """
    try:
        yield
    except ClickHouseError as error:
        code = getattr(error, "code", None)
        retryable = (code is None and isinstance(error, OperationalError)) or code in _RETRYABLE_CODES
        hint = "" if retryable or isinstance(error, DatabaseError) else " (the data do not fit the client)"
        raise StoreError(
            f"{doing}: {_first_line(error)}{hint}",
            code="store_unavailable" if retryable else "store",
            clickhouse_code=code,
            retryable=retryable,
        ) from error


# MEMORY_LIMIT_EXCEEDED, NOT_ENOUGH_SPACE, TOO_MANY_PARTS, TIMEOUT_EXCEEDED, TOO_MANY_SIMULTANEOUS_QUERIES, SOCKET_TIMEOUT,
# NETWORK_ERROR, TABLE_IS_READ_ONLY, ALL_CONNECTION_TRIES_FAILED, KEEPER_EXCEPTION, UNKNOWN_STATUS_OF_INSERT: ErrorCodes.
_RETRYABLE_CODES: Final = frozenset({159, 202, 209, 210, 241, 242, 243, 252, 279, 319, 999})


def _first_line(error: BaseException) -> str:
    """The sentence of an error that tells a person something, without URL, version and client wording."""
    text = str(error).strip() or type(error).__name__
    _, found, rest = text.partition("DB::Exception: ")
    text = (rest if found else text).splitlines()[0]
    if "Connection refused" in text:
        return "connection refused"
    return text.partition(" (for url ")[0].partition(" (version ")[0].strip()


def insert_arrow(client: Client, table: str, rows: pa.Table, *, token: str) -> None:
    """Insert the rows with a deduplication token: repeating the call with the same token adds nothing.

    That holds for tables with a deduplication window (`require_deduplication`), across restarts of the store, and
    whatever rows come with the token, so a token must stand for one set of rows for ever. After an insert that broke
    off on the way, the same call completes it. Column names are the table's; all rows go as one block, because
    ClickHouse (26.9, measured) counts blocks into the token.

    Raises StoreError; ValueError for an empty token or more than LARGEST_INSERT_ROWS rows.
    """
    if not token:
        raise ValueError("an insert needs a token: without one ClickHouse compares contents")
    if rows.num_rows > LARGEST_INSERT_ROWS:
        raise ValueError(f"{rows.num_rows} rows in one insert: at most {LARGEST_INSERT_ROWS}")
    if rows.num_rows == 0:
        return
    settings = {**INSERT_SETTINGS, **_known(client, _NEWER_INSERT_SETTINGS), "insert_deduplication_token": token}
    with store_errors(f"insert of {rows.num_rows} rows into {table} (token {token})"):
        client.raw_insert(
            table, column_names=rows.column_names, insert_block=_arrow_bytes(rows), settings=settings, fmt="ArrowStream"
        )


def _known(client: Client, settings: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in settings.items() if name in client.server_settings}


def _with_distinct_dictionaries(rows: pa.Table) -> pa.Table:
    """The rows, with dictionaries that name each value once: Arrow allows repetitions, ClickHouse refuses them."""
    rows = rows.unify_dictionaries()
    for index, column in enumerate(rows.columns):
        if pa.types.is_dictionary(column.type) and column.num_chunks:
            values = column.chunk(0).dictionary
            if len(values.unique()) != len(values) or values.null_count:
                encoded = column.cast(column.type.value_type).dictionary_encode().cast(column.type)
                rows = rows.set_column(index, rows.schema.field(index), encoded)
    return rows


def _arrow_bytes(rows: pa.Table) -> bytes:
    """The rows as an Arrow IPC stream with exactly one record batch."""
    batch = _with_distinct_dictionaries(rows).combine_chunks().to_batches(max_chunksize=None)
    sink = io.BytesIO()
    with pa.ipc.new_stream(sink, rows.schema, options=pa.ipc.IpcWriteOptions(compression="lz4")) as writer:
        for part in batch:
            writer.write_batch(part)
    return sink.getvalue()


def require_deduplication(client: Client, table: str) -> None:
    """Raise StoreError unless the table forgets no token: a MergeTree with a deduplication window, or a replicated one.

    Without a window (the default of a plain MergeTree) ClickHouse ignores tokens silently.
    """
    with store_errors(f"looking at table {table}"):
        found = client.query(
            "SELECT engine, extract(engine_full, 'non_replicated_deduplication_window\\s*=\\s*(\\d+)') "
            "FROM system.tables WHERE database = currentDatabase() AND name = {table:String}",
            parameters={"table": table},
        ).result_rows
    if not found:
        raise StoreError(f"there is no table {table}: run `tokenmill migrate`", code="store_no_table", table=table)
    engine, window = found[0]
    if not engine.startswith(("Replicated", "Shared")) and not int(window or 0):
        raise StoreError(
            f"table {table} ({engine}) keeps no insert tokens, so a repeated insert would count twice: create it with "
            "SETTINGS non_replicated_deduplication_window = 10000",
            code="store_no_deduplication",
            table=table,
        )
