"""Values as plain data for JSON: data classes with their properties, decimals as texts, instants in RFC 3339."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import fields, is_dataclass
from datetime import datetime
from decimal import Decimal

from schemas.decimals import format_decimal
from schemas.instants import format_instant


def plain(value: object, hidden: Collection[str] = ()) -> object:
    """The value as plain data; fields and properties named in `hidden` are left out, at any depth."""
    if is_dataclass(value) and not isinstance(value, type):
        names = [field.name for field in fields(value)]
        names += [name for name, part in vars(type(value)).items() if isinstance(part, property)]
        return {name: plain(getattr(value, name), hidden) for name in names if name not in hidden}
    if isinstance(value, Decimal):
        return format_decimal(value)
    if isinstance(value, datetime):
        return format_instant(value)
    if isinstance(value, Mapping):
        return {str(name): plain(part, hidden) for name, part in value.items()}
    if isinstance(value, list | tuple):
        return [plain(part, hidden) for part in value]
    return value
