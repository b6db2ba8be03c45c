"""Content types of ClickHouse's output formats."""

from __future__ import annotations

_TYPES = {
    "TabSeparated": "text/tab-separated-values; charset=UTF-8",
    "TSV": "text/tab-separated-values; charset=UTF-8",
    "CSV": "text/csv; charset=UTF-8; header=absent",
    "CSVWithNames": "text/csv; charset=UTF-8; header=present",
    "JSON": "application/json; charset=UTF-8",
    "XML": "application/xml; charset=UTF-8",
    "Markdown": "text/markdown; charset=UTF-8",
    "Arrow": "application/vnd.apache.arrow.file",
    "ArrowStream": "application/vnd.apache.arrow.stream",
    "Parquet": "application/vnd.apache.parquet",
}
_PREFIXES = (
    ("TabSeparated", _TYPES["TSV"]),
    ("TSV", _TYPES["TSV"]),
    ("CSV", _TYPES["CSVWithNames"]),
    ("JSONEachRow", "application/x-ndjson; charset=UTF-8"),
    ("JSONCompactEachRow", "application/x-ndjson; charset=UTF-8"),
    ("JSONStringsEachRow", "application/x-ndjson; charset=UTF-8"),
    ("JSON", _TYPES["JSON"]),
    ("Native", "application/octet-stream"),
    ("RowBinary", "application/octet-stream"),
    ("Protobuf", "application/octet-stream"),
    ("MsgPack", "application/octet-stream"),
    ("Avro", "application/octet-stream"),
    ("ORC", "application/octet-stream"),
)


def content_type(output_format: str) -> str:
    """The Content-Type of a result in this format; plain text for what has no type of its own."""
    found = _TYPES.get(output_format)
    if found is not None:
        return found
    return next((kind for prefix, kind in _PREFIXES if output_format.startswith(prefix)), "text/plain; charset=UTF-8")
