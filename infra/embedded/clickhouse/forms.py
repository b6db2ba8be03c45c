"""Queries sent as an HTML form (`multipart/form-data` or urlencoded): their fields count like the URL's parameters."""

from __future__ import annotations

from collections.abc import Iterator
from email.parser import BytesParser
from email.policy import HTTP
from urllib.parse import parse_qsl

from infra.embedded.clickhouse.compression import CHUNK_BYTES, Readable
from infra.embedded.clickhouse.errors import ClickHouseError


def form_values(
    values: dict[str, str], content_type: str, body: Readable
) -> tuple[dict[str, str], Iterator[bytes] | None]:
    """The URL's values with the form's beside them, and an empty body; None as body when there is no form.

    Raises ClickHouseError NOT_IMPLEMENTED for a file field (external tables).
    """
    kind = content_type.partition(";")[0].strip().lower()
    if kind == "application/x-www-form-urlencoded" and "query" not in values:
        text = _all(body)
        fields = dict(parse_qsl(text.decode("utf-8", "surrogateescape"), keep_blank_values=True))
        # curl sends this type with --data, whatever the data are: only a form that names a query is one.
        return ({**fields, **values}, iter(())) if "query" in fields else (values, iter([text]))
    if kind != "multipart/form-data":
        return values, None
    head = f"Content-Type: {content_type}\r\n\r\n".encode()
    message = BytesParser(policy=HTTP).parsebytes(head + _all(body))
    fields = {}
    for part in message.iter_parts():
        if part.get_filename() is not None:
            raise ClickHouseError("NOT_IMPLEMENTED", "External tables are not supported by the embedded ClickHouse")
        name = part.get_param("name", header="content-disposition")
        content = part.get_payload(decode=True)
        fields[str(name)] = content.decode("utf-8", "surrogateescape") if isinstance(content, bytes) else ""
    return {**values, **fields}, iter(())


def _all(body: Readable) -> bytes:
    parts = []
    while chunk := body.read(CHUNK_BYTES):
        parts.append(chunk)
    return b"".join(parts)
