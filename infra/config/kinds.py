"""Kinds of values that settings have: each reads a text, says what it allows, and writes itself again.

A kind knows the text of an environment variable or flag, which TOML types stand for such a text, and its JSON Schema.
`parse` raises ValueError with a reason that names what is allowed and, where the kind hides values, never the value.
"""

from __future__ import annotations

import difflib
import json
import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar

T = TypeVar("T")
MASK = "********"
"""What stands for a secret wherever settings are shown."""

_SECRET_OPTION = re.compile(
    r"password|secret|jaas|token|credential|\.pem$|oauthbearer\.config|sasl\.oauthbearer\.assertion"
)
OWNED_OPTIONS = ("bootstrap.servers", "group.id", "transactional.id", "isolation.level", "enable.auto.commit")
"""librdkafka properties that decide what Tokenmill promises: it sets them itself."""


def _identity(value: object) -> str:
    return str(value)


@dataclass(frozen=True, slots=True)
class Kind(Generic[T]):
    """How values of one kind are read, described and written."""

    parse: Callable[[str], T]
    """The value of a text. Raises ValueError with the reason."""
    allowed: str
    """What it may be, as a phrase: `a whole number from 1 to 1024`."""
    schema: Mapping[str, object]
    """JSON Schema of the value in a TOML file."""
    toml: tuple[type, ...] = (str,)
    """The TOML types it is written as; text is read everywhere."""
    format: Callable[[T], str] = _identity
    """The text that `parse` turns into this value."""
    hidden: Callable[[T], object] | None = None
    """What may be shown of a value that holds a secret; None for values without secrets."""
    empty_is_unset: bool = False
    """Whether an empty text means that nothing was given, as compose files write it."""
    is_path: bool = False
    """Whether a relative value in a file counts from the file's directory."""


def whole(low: int, high: int) -> Kind[int]:
    """A whole number within bounds, both included."""
    allowed = f"a whole number from {low} to {high}"

    def parse(text: str) -> int:
        if not re.fullmatch(r"\s*[+-]?[0-9](_?[0-9])*\s*", text) or not low <= int(text) <= high:
            raise ValueError(f"must be {allowed}")
        return int(text)

    return Kind(parse, allowed, {"type": "integer", "minimum": low, "maximum": high}, (int,))


def seconds(low: float, high: float) -> Kind[float]:
    """A number of seconds within bounds, fractions allowed."""
    allowed = f"a number of seconds from {low:g} to {high:g}"

    def parse(text: str) -> float:
        try:
            number = float(text)
        except ValueError:
            raise ValueError(f"must be {allowed}") from None
        if not math.isfinite(number) or not low <= number <= high:
            raise ValueError(f"must be {allowed}")
        return number

    return Kind(parse, allowed, {"type": "number", "minimum": low, "maximum": high}, (int, float), format=repr)


def text_like(pattern: str, allowed: str) -> Kind[str]:
    """A text that matches a regular expression as a whole."""

    def parse(text: str) -> str:
        if not re.fullmatch(pattern, text):
            raise ValueError(f"must be {allowed}")
        return text

    return Kind(parse, allowed, {"type": "string", "pattern": f"^{pattern}$"})


def one_of(*choices: str, empty_is_unset: bool = False) -> Kind[str]:
    """One of some words, whatever their case."""
    allowed = f"one of {', '.join(choices)}"
    spelled = {choice.lower(): choice for choice in choices}

    def parse(text: str) -> str:
        if text.lower() not in spelled:
            close = difflib.get_close_matches(text.lower(), spelled, n=1)
            raise ValueError(f"must be {allowed}" + (f"; did you mean {spelled[close[0]]}?" if close else ""))
        return spelled[text.lower()]

    # Editors offer these; the program takes them in any case.
    schema = {"enum": [*choices, ""] if empty_is_unset else list(choices)}
    return Kind(parse, allowed, schema, empty_is_unset=empty_is_unset)


def minutes_of(*choices: int) -> Kind[int]:
    """One of some numbers of minutes."""
    allowed = f"{', '.join(str(choice) for choice in choices[:-1])} or {choices[-1]} (minutes)"

    def parse(text: str) -> int:
        if text not in {str(choice) for choice in choices}:
            raise ValueError(f"must be {allowed}")
        return int(text)

    return Kind(parse, allowed, {"enum": list(choices)}, (int,))


def boolean() -> Kind[bool]:
    """True or false."""
    words = {"true": True, "yes": True, "on": True, "1": True, "false": False, "no": False, "off": False, "0": False}

    def parse(text: str) -> bool:
        if text.lower() not in words:
            raise ValueError("must be true or false")
        return words[text.lower()]

    return Kind(parse, "true or false", {"type": "boolean"}, (bool,), format=lambda value: str(value).lower())


def edges(most: int) -> Kind[tuple[int, ...]]:
    """Rising whole numbers above 0: as a text separated by commas, in TOML an array."""
    allowed = f"at most {most} rising whole numbers above 0"

    def parse(text: str) -> tuple[int, ...]:
        try:
            numbers = tuple(int(part) for part in text.split(",")) if text.strip() else ()
        except ValueError:
            raise ValueError(f"must be {allowed}, separated by commas") from None
        if any(number <= 0 for number in numbers) or list(numbers) != sorted(set(numbers)) or len(numbers) > most:
            raise ValueError(f"must be {allowed}")
        return numbers

    numbers = {"type": "integer", "exclusiveMinimum": 0}
    schema = {"type": "array", "items": numbers, "maxItems": most, "uniqueItems": True}
    return Kind(parse, allowed, schema, (list,), format=lambda value: ",".join(str(number) for number in value))


def directory() -> Kind[Path]:
    """A directory, which need not be there yet."""

    def parse(text: str) -> Path:
        return _path(text)

    return Kind(parse, "a path", {"type": "string", "minLength": 1}, is_path=True)


def optional_file() -> Kind[Path | None]:
    """A file, or none. Relative paths are made absolute, so that they mean the same in a child process."""

    def parse(text: str) -> Path | None:
        return _path(text).absolute() if text else None

    return Kind(
        parse,
        "the path of a file",
        {"type": "string"},
        format=lambda value: "" if value is None else str(value),
        empty_is_unset=True,
        is_path=True,
    )


def _path(text: str) -> Path:
    if not text.strip() or "\0" in text:
        raise ValueError("must be a path")
    try:
        return Path(text).expanduser()
    except RuntimeError as error:
        raise ValueError(f"must be a path: {error}") from None


def optional_text(allowed: str) -> Kind[str]:
    """Any text; empty means none."""
    return Kind(_printable, allowed, {"type": "string"}, empty_is_unset=True)


def secret() -> Kind[str]:
    """A text that is never shown."""
    return Kind(
        _printable,
        "a text, never shown",
        {"type": "string"},
        hidden=lambda value: MASK if value else "",
        empty_is_unset=True,
    )


def _printable(text: str) -> str:
    if any(sign in text for sign in "\0\r\n"):
        raise ValueError("must be one line")
    return _text(text)


def _text(text: str) -> str:
    """The text, when it can be written: bytes that are no UTF-8 come as half characters. Raises ValueError."""
    try:
        text.encode()
    except UnicodeEncodeError:
        raise ValueError("must be UTF-8 text") from None
    return text


def port(text: str, low: int = 1) -> int:
    """A TCP port. Raises ValueError."""
    if not re.fullmatch(r"[0-9]{1,5}", text) or not low <= int(text) <= 65535:
        raise ValueError(f"port {text!r} is not a number from {low} to 65535")
    return int(text)


def servers() -> Kind[str]:
    """Kafka bootstrap servers: host:port, separated by commas; in TOML also an array."""

    def parse(text: str) -> str:
        found = [server.strip() for server in text.split(",")]
        for server in found:
            _printable(server)
            if "@" in server:
                raise ValueError("takes no user or password: set kafka_user and kafka_password_file")
            host, colon, number = server.rpartition(":")
            if not colon or not host or "/" in host:
                raise ValueError(f"{server!r} is not host:port (several are separated by commas)")
            port(number)
        return ",".join(found)

    server = {"type": "string", "pattern": r"^[^/@]+:[0-9]{1,5}(\s*,\s*[^/@]+:[0-9]{1,5})*$"}
    schema = {"anyOf": [server, {"type": "array", "items": server, "minItems": 1}]}
    return Kind(parse, "host:port[,host:port...]", schema, (list,))


def listen_address() -> Kind[str]:
    """host:port to listen on; port 0 lets the system choose; empty is off."""
    allowed = "host:port, such as 127.0.0.1:9464 (port 0: the system chooses), or empty for off"

    def parse(text: str) -> str:
        host, colon, number = text.rpartition(":")
        if text and (not colon or not host or "/" in host or " " in host):
            raise ValueError(f"must be {allowed}")
        if text:
            port(number, low=0)
        return text

    return Kind(parse, allowed, {"type": "string", "pattern": r"^([^/ ]+:[0-9]{1,5})?$"})


def addresses(most: int) -> Kind[tuple[str, ...]]:
    """host:port of several processes: as a text separated by commas, in TOML an array."""
    allowed = f"at most {most} of host:port"

    def parse(text: str) -> tuple[str, ...]:
        found = tuple(part.strip() for part in text.split(",")) if text.strip() else ()
        for each in found:
            host, colon, number = each.rpartition(":")
            if not colon or not host or "/" in host or " " in host:
                raise ValueError(f"must be {allowed}, separated by commas: {each!r} is none")
            port(number)
        if len(found) > most:
            raise ValueError(f"must be {allowed}")
        return found

    items = {"type": "string", "pattern": r"^[^/ ,]+:[0-9]{1,5}$"}
    return Kind(parse, allowed, {"type": "array", "items": items, "maxItems": most}, (list,), ",".join)


def kafka_options() -> Kind[Mapping[str, str]]:
    """librdkafka client properties: a JSON object of texts; in TOML a table, whose numbers and booleans become texts."""

    def parse(text: str) -> Mapping[str, str]:
        try:
            options = json.loads(text) if text.strip() else {}
        except ValueError as error:
            where = f" ({error.msg}, column {error.colno})" if isinstance(error, json.JSONDecodeError) else ""
            raise ValueError(f"must be a JSON object{where}") from None
        if not isinstance(options, dict) or not all(isinstance(value, str) for value in options.values()):
            raise ValueError('must be a JSON object of strings, such as {"client.rack": "a"}')
        for name, value in options.items():
            _printable(name + _text(value).replace("\n", ""))  # a PEM has many lines
        for owned in OWNED_OPTIONS:
            if owned in options:
                raise ValueError(f"may not hold {owned}: tokenmill sets it; leave it out")
        return options

    return Kind(
        parse,
        "librdkafka's client properties, a JSON object of strings (in TOML a table)",
        {"type": "object", "additionalProperties": {"type": ["string", "number", "boolean", "object"]}},
        (dict,),
        format=lambda value: json.dumps(dict(value)),
        hidden=mask_options,
    )


def mask_options(options: Mapping[str, str]) -> dict[str, str]:
    """The options, with the values of passwords, tokens and keys masked."""
    return {name: MASK if _SECRET_OPTION.search(name) else value for name, value in options.items()}
