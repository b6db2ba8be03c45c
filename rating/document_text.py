"""The text of invoice documents: values as plain JSON data, and back. Money and quantities are text."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import fields, is_dataclass
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from rating.errors import DocumentError
from rating.money import plain
from rating.terms.taxes import LineTax

if TYPE_CHECKING:
    from rating.documents import DocumentLine

_DECIMALS = ("quantity", "exact_amount", "amount")


def plain_data(value: object) -> Any:
    """A value as JSON data: decimals as text, dataclasses and mappings without what is None, tuples as lists.

    Raises DocumentError for a float and for anything else that has no exact text.
    """
    if value is None or isinstance(value, str | bool | int):
        return value
    if isinstance(value, Decimal):
        return plain(value)
    if is_dataclass(value) and not isinstance(value, type):
        return plain_data({each.name: getattr(value, each.name) for each in fields(value)})
    if isinstance(value, Mapping):
        return {str(name): plain_data(each) for name, each in value.items() if each is not None}
    if isinstance(value, list | tuple):
        return [plain_data(each) for each in value]
    raise DocumentError(f"a {type(value).__name__} cannot stand on a document", value=repr(value))


def line_data(line: DocumentLine) -> dict[str, Any]:
    """A document line as JSON data; its details stand beside its other fields."""
    data: dict[str, Any] = plain_data(line)
    # With the digits of its currency: 20.00.
    return {**data.pop("details", {}), **data, "amount": f"{line.amount:f}", "taxes": taxes_data(line.taxes)}


def taxes_data(taxes: Iterable[LineTax]) -> list[dict[str, str]]:
    """Taxes as JSON data."""
    return [{"name": tax.name, "rate_percent": plain(tax.rate_percent), "amount": f"{tax.amount:f}"} for tax in taxes]


def parse_line(data: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of a document line of JSON data; what is no field of its own is among the details."""
    known = ("sku", "meter", "kind", "service_period", "unit", "seller_id", "corrects", "corrects_line")
    found = {name: data[name] for name in known if name in data}
    found |= {name: Decimal(data[name]) for name in _DECIMALS}
    found["taxes"] = tuple(
        LineTax(tax["name"], Decimal(tax["rate_percent"]), Decimal(tax["amount"])) for tax in data.get("taxes", ())
    )
    found["details"] = {name: value for name, value in data.items() if name not in (*known, *_DECIMALS, "taxes")}
    return found
