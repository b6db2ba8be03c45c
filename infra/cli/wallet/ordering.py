"""What the commands that order something about prepaid credits have in common."""

from __future__ import annotations

import getpass
from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any, TypeVar

import click
from pydantic import BaseModel, ValidationError

from infra.cli.output import working
from infra.cli.reach import require_topics
from infra.config import Settings
from rating.errors import MoneyError
from rating.money import exact_decimal

if TYPE_CHECKING:
    from producers.wallets import WalletRecord

Record = TypeVar("Record", bound=BaseModel)
Command = TypeVar("Command", bound=Callable[..., Any])


class Amount(click.ParamType):
    """An exact amount: digits, and a point where there is one."""

    name = "amount"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> Decimal:
        """The decimal of a text."""
        try:
            return exact_decimal(value)
        except MoneyError as error:
            self.fail(str(error), param, ctx)


def who_and_why(command: Command) -> Command:
    """The options `--reason`, `--author` and `--json`."""
    for option in (
        click.option("--json", "as_json", is_flag=True, help="print JSON"),
        click.option("--author", default=None, help="who orders; default: the user of this shell"),
        click.option("--reason", default=None, help="why, for people: a contract, an invoice"),
    ):
        command = option(command)
    return command


def made(model: type[Record], author: str | None, **fields: object) -> Record:
    """The order as a record, of now. click.UsageError says what is wrong with it."""
    who = {"ordered_at": now(), "ordered_by": author or getpass.getuser()}
    given = {name: value for name, value in {**fields, **who}.items() if value is not None}
    try:
        return model.model_validate(given)
    except ValidationError as error:
        problems = [(".".join(map(str, each["loc"])), each["msg"]) for each in error.errors(include_url=False)]
        raise click.UsageError("; ".join(_words(place, message) for place, message in problems)) from None


_RULES = {
    "grant_id": "letters, digits and . _ : / - only, at most 128",
    "transfer_id": "letters, digits and . _ : / - only, at most 128",
    "unit": "a currency such as USD, or a name in small letters",
}


def _words(place: str, message: str) -> str:
    reason = _RULES[place] if "pattern" in message and place in _RULES else message.removeprefix("Value error, ")
    return f"{place}: {reason}" if place else reason


def send(settings: Settings, record: WalletRecord) -> bool:
    """Write an order; False when exactly this was ordered before."""
    from producers.wallets import WalletWriter

    require_topics(settings, settings.topics.rating_catalog, settings.topics.usage_events)
    with working("ordering"), WalletWriter(settings, record.ordered_by) as writer:
        return writer.order(record)


def now() -> datetime:
    """This instant."""
    return datetime.now(UTC)


def new_id(prefix: str) -> str:
    """An id for an order that was given none."""
    return f"{prefix}-{now():%Y%m%dT%H%M%S.%f}"
