"""Rules of single fields, one object each: the type in pydantic, the type in Arrow, and the words for what is wrong.

The models of `schemas.events` annotate their fields with these rules. Pydantic takes its core schema from the rule, the
Arrow schema its column type, and the vectorised validation its limits: one declaration, so they cannot drift apart.
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Annotated, Any, Final

import pyarrow as pa
from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic_core import CoreSchema, core_schema

from schemas.decimals import format_decimal, parse_decimal
from schemas.instants import format_instant, parse_instant

MAX_COUNT: Final = 10**12
MAX_COUNTER: Final = 10**15
DECIMAL_SCALE: Final = 6
UNITS_MAX: Final = 16
UNITS_SCALE: Final = 9
RESERVED_TENANTS: Final = ("_pool", "_idle")
"""Owners of GPUs that are no tenants: shared serving capacity, and a GPU without owner."""

DICTIONARY: Final = pa.dictionary(pa.int32(), pa.string())
_NO_CONTROL: Final = r"[^\x00-\x1f\x7f-\x9f]"
_RFC3339: Final = r"[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt ][0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]+)?([Zz]|[+-][0-9]{2}:[0-9]{2})"
_SAFE_TEXT: Final = re.compile(_NO_CONTROL + "*")
_UNIT_QUANTITY: Final = re.compile(r"-?[0-9]{1,13}(?:\.[0-9]{1,9})?")


class Rule(ABC):
    """What the values of one column may be."""

    @abstractmethod
    def arrow_type(self) -> Any:
        """The canonical Arrow type of the column."""

    @abstractmethod
    def expected(self) -> str:
        """What a value must be, to follow `<field> is <value>: must be`."""


@dataclass(frozen=True)
class TextRule(Rule):
    """Non-empty text without control characters (U+0000-1F, 7F-9F), at most `max_length` code points.

    `unique`: nearly every row has its own value (ids), so Arrow keeps it plain instead of dictionary-encoded.
    `tenant`: "allowed" lets the reserved tenants through, "forbidden" no name that starts with "_".
    """

    max_length: int = 256
    unique: bool = False
    tenant: str | None = None

    def arrow_type(self) -> Any:
        """Plain strings for ids, else a dictionary."""
        return pa.string() if self.unique else DICTIONARY

    def expected(self) -> str:
        """What a value must be."""
        text = f"text of 1 to {self.max_length} characters, none of them a control character"
        if self.tenant == "forbidden":
            return f'{text}, not starting with "_"'
        if self.tenant == "allowed":
            return f'{text}, not starting with "_" unless it is {" or ".join(RESERVED_TENANTS)}'
        return text

    def accepts(self, value: str) -> bool:
        """Whether one value is good: the same answer as pydantic's, for the distinct values of a column."""
        if not 1 <= len(value) <= self.max_length or not _SAFE_TEXT.fullmatch(value):
            return False
        reserved = self.tenant is not None and value.startswith("_")
        return not reserved or (self.tenant == "allowed" and value in RESERVED_TENANTS)

    def __get_pydantic_core_schema__(self, source: object, handler: GetCoreSchemaHandler) -> CoreSchema:
        start = r"[^_\x00-\x1f\x7f-\x9f]"
        pattern = {
            None: f"^{_NO_CONTROL}*$",
            "forbidden": f"^{start}{_NO_CONTROL}*$",
            "allowed": f"^(?:{'|'.join(RESERVED_TENANTS)}|{start}{_NO_CONTROL}*)$",
        }[self.tenant]
        return core_schema.str_schema(strict=True, min_length=1, max_length=self.max_length, pattern=pattern)


@dataclass(frozen=True)
class ChoiceRule(Rule):
    """One of a closed set of words."""

    choices: tuple[str, ...]

    def arrow_type(self) -> Any:
        """A dictionary."""
        return DICTIONARY

    def expected(self) -> str:
        """What a value must be."""
        return "one of " + ", ".join(self.choices)

    def accepts(self, value: str) -> bool:
        """Whether one value is good."""
        return value in self.choices

    def __get_pydantic_core_schema__(self, source: object, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.literal_schema(list(self.choices))


@dataclass(frozen=True)
class CountRule(Rule):
    """A whole number in [`minimum`, `maximum`]; booleans and floats are none."""

    minimum: int = 0
    maximum: int = MAX_COUNT

    def arrow_type(self) -> Any:
        """Signed 64-bit."""
        return pa.int64()

    def expected(self) -> str:
        """What a value must be."""
        return f"a whole number from {self.minimum} to {self.maximum}"

    def __get_pydantic_core_schema__(self, source: object, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.int_schema(strict=True, ge=self.minimum, le=self.maximum)


@dataclass(frozen=True)
class FlagRule(Rule):
    """True or false."""

    def arrow_type(self) -> Any:
        """Bits."""
        return pa.bool_()

    def expected(self) -> str:
        """What a value must be."""
        return "true or false"

    def __get_pydantic_core_schema__(self, source: object, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.bool_schema(strict=True)


@dataclass(frozen=True)
class MeasureRule(Rule):
    """A finite physical measurement in [`minimum`, `maximum`]: the only floats on the wire, none of them money."""

    minimum: float = 0.0
    maximum: float = 1.0

    def arrow_type(self) -> Any:
        """IEEE double."""
        return pa.float64()

    def expected(self) -> str:
        """What a value must be."""
        return f"a number from {self.minimum:g} to {self.maximum:g}"

    def __get_pydantic_core_schema__(self, source: object, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.float_schema(strict=True, ge=self.minimum, le=self.maximum, allow_inf_nan=False)


@dataclass(frozen=True)
class InstantRule(Rule):
    """An instant in UTC with microseconds, 1970 to 2199."""

    def arrow_type(self) -> Any:
        """Microseconds in UTC."""
        return pa.timestamp("us", "UTC")

    def expected(self) -> str:
        """What a value must be."""
        return "an instant with a time zone from 1970 to 2199, such as 2026-01-01T00:00:00Z"

    def __get_pydantic_core_schema__(self, source: object, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_plain_validator_function(
            parse_instant,
            serialization=core_schema.plain_serializer_function_ser_schema(format_instant, when_used="json"),
        )

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        # With the pattern, because a validator need not check formats.
        return {"type": "string", "format": "date-time", "pattern": f"^{_RFC3339}$"}


@dataclass(frozen=True)
class QuantityRule(Rule):
    """A decimal from 0 to 10**12 with at most 6 decimals; text on the wire."""

    def arrow_type(self) -> Any:
        """Decimals with 38 digits, 6 of them behind the point."""
        return pa.decimal128(38, DECIMAL_SCALE)

    def expected(self) -> str:
        """What a value must be."""
        return f"a decimal from 0 to {MAX_COUNT} with at most {DECIMAL_SCALE} decimals, as text"

    def parse(self, value: object) -> Decimal:
        """The decimal; trailing zeros do not count as decimals. ValueError says what is wrong."""
        number = parse_decimal(value)
        if not 0 <= number <= MAX_COUNT or number != round(number, DECIMAL_SCALE):
            raise ValueError("is out of range")
        return abs(number)

    def __get_pydantic_core_schema__(self, source: object, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_plain_validator_function(
            self.parse, serialization=core_schema.plain_serializer_function_ser_schema(format_decimal, when_used="json")
        )

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        return {"type": ["string", "integer"], "pattern": r"^[0-9]{1,13}(\.[0-9]+)?$", "minimum": 0}


@dataclass(frozen=True)
class UnitsRule(Rule):
    """Custom meters of one event: name to quantity, at most 16; quantities are text, at most 9 decimals.

    At most 10**12 either way: below zero they are changes of a level, or corrections.
    """

    def arrow_type(self) -> Any:
        """A map of strings."""
        return pa.map_(pa.string(), pa.string())

    def expected(self) -> str:
        """What a value must be."""
        quantity = f"a decimal from -{MAX_COUNT} to {MAX_COUNT} with at most {UNITS_SCALE} decimals, as text"
        return f"at most {UNITS_MAX} different names, each with {quantity}"

    def accepts_name(self, name: str) -> bool:
        """Whether a name is good."""
        return UNIT_NAME.accepts(name)

    def accepts_quantity(self, quantity: str) -> bool:
        """Whether the text of a quantity is good."""
        return _UNIT_QUANTITY.fullmatch(quantity) is not None and abs(Decimal(quantity)) <= MAX_COUNT

    def parse(self, value: object) -> dict[str, str]:
        """The units from a mapping or from pairs (as Arrow gives them); whole numbers become text. ValueError if bad."""
        pairs = list(value.items()) if isinstance(value, Mapping) else value
        if not isinstance(pairs, list) or len(pairs) > UNITS_MAX or not all(_is_pair(each) for each in pairs):
            raise ValueError("is not a map of few names")
        units: dict[str, str] = {}
        for name, quantity in pairs:
            text = str(quantity) if isinstance(quantity, int) and not isinstance(quantity, bool) else quantity
            good = isinstance(name, str) and isinstance(text, str) and name not in units
            if not (good and self.accepts_name(name) and self.accepts_quantity(text)):
                raise ValueError(f"has a bad entry {str(name)[:64]!r}")
            units[name] = text
        return units

    def __get_pydantic_core_schema__(self, source: object, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_plain_validator_function(self.parse)

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        quantity: dict[str, Any] = {"type": ["string", "integer"], "pattern": f"^{_UNIT_QUANTITY.pattern}$"}
        quantity |= {"minimum": -MAX_COUNT, "maximum": MAX_COUNT}
        names = {"type": "string", "minLength": 1, "maxLength": UNIT_NAME.max_length, "pattern": f"^{_NO_CONTROL}*$"}
        return {
            "type": "object",
            "maxProperties": UNITS_MAX,
            "propertyNames": names,
            "additionalProperties": quantity,
        }


def _is_pair(value: object) -> bool:
    return isinstance(value, tuple) and len(value) == 2


UNIT_NAME: Final = TextRule(max_length=250)
"""Shorter than other names: the meter `units.<name>` of a rated record has to be a name as well."""

Name = Annotated[str, TextRule()]
"""A name that many rows share."""
Identifier = Annotated[str, TextRule(unique=True)]
"""An id that few rows share."""
EventId = Annotated[str, TextRule(max_length=512, unique=True)]
SourceName = Annotated[str, TextRule(max_length=512)]
Tenant = Annotated[str, TextRule(tenant="forbidden")]
Owner = Annotated[str, TextRule(tenant="allowed")]
"""A tenant, `_pool` or `_idle`."""
Count = Annotated[int, CountRule()]
Flag = Annotated[bool, FlagRule()]
Ratio = Annotated[float, MeasureRule()]
Instant = Annotated[datetime, InstantRule()]
Quantity = Annotated[Decimal, QuantityRule()]
Units = Annotated[Mapping[str, str], UnitsRule()]
