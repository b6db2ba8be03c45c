"""Queries sent as an HTML form (`multipart/form-data` or urlencoded): their fields count like the URL's parameters."""

from __future__ import annotations

import re
from collections.abc import Iterator
from email.parser import BytesParser
from email.policy import HTTP
from urllib.parse import parse_qsl

from infra.embedded.clickhouse.compression import CHUNK_BYTES, Readable
from infra.embedded.clickhouse.errors import ClickHouseError

_NAMES_A_QUERY = re.compile(rb"(?:^|&)query=")
_LARGEST_FORM = 64 << 20


def form_values(
    values: dict[str, str], content_type: str, content_encoding: str, body: Readable
) -> tuple[dict[str, str], Iterator[bytes] | None]:
    """The URL's values with the form's beside them, and what is left of the body; None as body when there is no form.

    Raises ClickHouseError NOT_IMPLEMENTED for a file field (external tables), QUERY_IS_TOO_LARGE above 64 MiB, and
    UnicodeDecodeError.
    """
    kind = content_type.partition(";")[0].strip().lower()
    if content_encoding.strip().lower() not in ("", "identity"):
        return values, None
    if kind == "application/x-www-form-urlencoded" and "query" not in values:
        # curl sends this type with --data, whatever the data are: only a form that names a query is one.
        text = _all(body)
        if not _NAMES_A_QUERY.search(text):
            return values, iter([text])
        return {**dict(parse_qsl(text.decode(), keep_blank_values=True, errors="strict")), **values}, iter(())
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
        fields[str(name)] = content.decode() if isinstance(content, bytes) else ""
    return {**values, **fields}, iter(())


def _all(body: Readable) -> bytes:
    parts = []
    size = 0
    while chunk := body.read(CHUNK_BYTES):
        parts.append(chunk)
        size += len(chunk)
        if size > _LARGEST_FORM:
            raise ClickHouseError(
                "QUERY_IS_TOO_LARGE",
                f"A form may have at most {_LARGEST_FORM} bytes: send data with Content-Type application/octet-stream",
            )
    return b"".join(parts)
