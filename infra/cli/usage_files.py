"""Usage from a file, for trying prices: JSON lines or one JSON array, every problem with its line."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Any, NamedTuple

from infra.config import Settings
from infra.errors import ConfigurationError
from rating.aggregations.events import event_usage
from rating.batch import Usage
from rating.card_fields import DIMENSIONS, STATUSES, meant_meter, parse_instant
from rating.errors import RatingError, did_you_mean
from rating.meters import GROUP_METERS, LEAF_INDEX, LEAF_NAMES, is_custom, meter
from rating.money import exact_decimal, to_scaled
from rating.usage import UsageKey, context_bracket
from rating.windows import EPOCH, WindowSize

STDIN = Path("-")
DEFAULT_TENANT = "tenant"
_IDS = ("api_key_id", "workflow_id")
_FIELDS = ("tenant_id", "time", *DIMENSIONS, "status", *_IDS, "context_tokens", "meters")
_MOST_PROBLEMS = 50
_LARGEST_QUANTITY = Decimal(10**18)


class _Item(NamedTuple):
    """A usage document and where it stands."""

    place: str
    document: object


class _Bad(ValueError):
    """What is wrong with one value: field and words."""

    def __init__(self, field: str, message: str) -> None:
        super().__init__(f"{field}: {message}" if field else message)


def read_usage(path: Path, settings: Settings) -> list[Usage]:
    """The usage in a file, or in standard input for "-". Raises ConfigurationError with all problems, each with its line."""
    name = "standard input" if path == STDIN else str(path)
    usage: list[Usage] = []
    problems: list[str] = []
    more = 0
    window = WindowSize(settings.window_minutes)
    for number, item in enumerate(_items(_text(path), name)):
        for found in _checked(item, number, window, settings.context_edges):
            if isinstance(found, str) and len(problems) < _MOST_PROBLEMS:
                problems.append(found)
            elif isinstance(found, str):
                more += 1
            else:
                usage.append(found)
    if more:
        problems.append(f"and {more} more")
    if problems:
        raise ConfigurationError("; ".join(problems), code="invalid_usage", problems=tuple(problems))
    if not usage:
        raise ConfigurationError(
            f"{name} holds no usage: write one JSON document a line, see `tokenmill price --help`", code="invalid_usage"
        )
    return usage


def _text(path: Path) -> str:
    try:
        raw = sys.stdin.buffer.read() if path == STDIN else path.read_bytes()
        return raw.decode("utf-8-sig")
    except OSError as error:
        raise ConfigurationError(f"cannot read the usage {path}: {error.strerror}", code="usage_file") from None
    except UnicodeDecodeError as error:
        line = raw[: error.start].count(b"\n") + 1
        raise ConfigurationError(f"{path}:{line}: not UTF-8 text: save the file as UTF-8", code="usage_file") from None


def _items(text: str, name: str) -> Iterator[_Item]:
    """The documents of an array, of the lines, or the only one; a line that is no JSON is a document that says why."""
    if text.lstrip().startswith("["):
        document = _json(text, lambda line: f"{name}:{line}")
        if isinstance(document, _Bad):
            yield _Item(name, document)
        else:
            yield from (_Item(f"{name}: item {number}", each) for number, each in enumerate(document, 1))
        return
    lines = [(number, line) for number, line in enumerate(text.splitlines(), 1) if line.strip()]
    if lines and isinstance(_json(lines[0][1], None), _Bad) and isinstance(whole := _json(text, None), dict):
        lines = []  # one document that is spread over several lines
        yield _Item(f"{name}:1", whole)
    for number, line in lines:
        yield _Item(f"{name}:{number}", _json(line, None))


def _json(text: str, place: Any) -> Any:
    try:
        return json.loads(text, object_pairs_hook=_unique, parse_constant=_no_constant)
    except json.JSONDecodeError as error:
        where = f"line {error.lineno}, " if place else ""
        return _Bad("", f"not JSON: {error.msg} ({where}column {error.colno})")
    except RecursionError:
        return _Bad("", "not JSON: nested too deeply")
    except ValueError as error:
        return _Bad("", str(error))


def _unique(pairs: Sequence[tuple[str, object]]) -> dict[str, object]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"{twice} stands twice: keep one")
    return found


def _no_constant(text: str) -> object:
    raise ValueError(f"{text} is not a number: write quantities as whole numbers or as text such as '1.5'")


def _checked(item: _Item, number: int, window: WindowSize, edges: Sequence[int]) -> Iterator[Usage | str]:
    """The usage of one document, or its problems with their place. Of documents of one instant the first is the earlier."""
    document = item.document
    if isinstance(document, _Bad):
        yield f"{item.place}: {document}"
        return
    if not isinstance(document, dict):
        yield f'{item.place}: a usage is a mapping such as {{"time": ..., "model": ..., "meters": {{...}}}}'
        return
    problems: list[str] = []
    for name in document:
        if name not in _FIELDS:
            hint = did_you_mean(name, _FIELDS) or f": use {', '.join(_FIELDS)}"
            problems.append(f"{name}: unknown field{hint}")
    when = _attempt(problems, lambda: _time(document), EPOCH)
    api_key, workflow = (_attempt(problems, lambda name=name: _id(document, name), None) for name in _IDS)
    key = _attempt(problems, lambda: _key(document, edges), UsageKey(DEFAULT_TENANT))
    meters = document.get("meters")
    quantities: dict[str, Decimal] = {}
    if not isinstance(meters, dict) or not meters:
        problems.append('meters: write what was used, e.g. {"input_uncached": 1200, "requests": 1}')
    else:
        for name, value in meters.items():
            quantities[name] = _attempt(problems, lambda name=name, value=value: _quantity(name, value), Decimal(0))
    if problems:
        yield from (f"{item.place}: {problem}" for problem in problems)
        return
    event = event_usage(when, quantities, identity=number, api_key=api_key, workflow=workflow, window=window)
    yield key, when, event


def _attempt(problems: list[str], make: Any, otherwise: Any) -> Any:
    try:
        return make()
    except _Bad as bad:
        problems.append(str(bad))
        return otherwise


def _id(document: Mapping[str, object], name: str) -> str | None:
    value = document.get(name)
    if value is None or (isinstance(value, str) and 0 < len(value) <= 256):
        return value
    raise _Bad(name, f"{value!r:.60} is not text of 1 to 256 characters: put it in quotes")


def _time(document: Mapping[str, object]) -> datetime:
    if "time" not in document:
        raise _Bad("time", 'is missing: write when it was used, e.g. "2026-01-05T10:00:00Z"')
    try:
        return parse_instant(document["time"])
    except ValueError as error:
        raise _Bad("time", str(error)) from None


def _key(document: Mapping[str, object], edges: Sequence[int]) -> UsageKey:
    texts: dict[str, str] = {}
    for name in ("tenant_id", *DIMENSIONS, "status"):
        value = document.get(name, "")
        if not isinstance(value, str) or len(value) > 256:
            raise _Bad(name, f"{value!r:.60} is not text of at most 256 characters: put it in quotes")
        texts[name] = value
    status = texts.pop("status") or ("" if _is_gpu_time(document) else "success")
    if status not in ("", *STATUSES):
        raise _Bad("status", f"{status!r} is none of {', '.join(STATUSES)}")
    tokens = document.get("context_tokens", 0)
    if isinstance(tokens, bool) or not isinstance(tokens, int) or tokens < 0:
        raise _Bad("context_tokens", f"{tokens!r:.60} is not a whole number: write the request's total input tokens")
    tenant = texts.pop("tenant_id") or DEFAULT_TENANT
    return UsageKey(tenant, **texts, context_bracket=context_bracket(tokens, edges), status=status)


def _is_gpu_time(document: Mapping[str, object]) -> bool:
    meters = document.get("meters")
    return isinstance(meters, dict) and bool(meters) and all(str(name).startswith("gpu_") for name in meters)


def _quantity(name: str, value: object) -> Decimal:
    field = f"meters.{name}"
    if name in GROUP_METERS:
        raise _Bad(field, f"is a sum: write its parts {', '.join(GROUP_METERS[name])}")
    if name not in LEAF_INDEX and not is_custom(name):
        hint = meant_meter(name, LEAF_NAMES) or f": use {', '.join(LEAF_NAMES)} or units.<name>"
        raise _Bad(field, f"there is no meter {name}{hint}")
    try:
        number = exact_decimal(value)
        to_scaled(number, meter(name).decimals)
    except RatingError as error:
        raise _Bad(field, str(error)) from None
    least = -_LARGEST_QUANTITY if is_custom(name) else 0  # a change of a level may go down
    if not least <= number <= _LARGEST_QUANTITY:
        raise _Bad(field, f"{number} is not between {'-10^18' if least else 0} and 10^18")
    return number
