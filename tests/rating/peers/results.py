"""The result of an example by our engine, of whichever kind it asks for."""

from __future__ import annotations

from decimal import Decimal

from rating.usage import UsageTotals
from tests.rating.peers.charges import Definition, UnknownModel
from tests.rating.peers.engine import amount
from tests.rating.peers.trials import trial_of
from tests.rating.peers.wallets import wallet_result


def result(model: str, definition: Definition, usage: str, expects: str) -> Decimal:
    """What our engine comes to: an amount, or a balance, an overage, a quantity. UnknownModel where nothing is mapped."""
    if model == "token_normalisation" and expects == "quantity":
        return _text_tokens(definition)
    if model.startswith("prepaid_"):
        return wallet_result(model, definition, usage, expects)
    if expects != "amount":
        raise UnknownModel(f"{model} that expects {expects}")
    return amount(trial_of(model, definition, usage))


def _text_tokens(definition: Definition) -> Decimal:
    """Completion tokens contain the reasoning ones: what is left is text."""
    reported = definition["reported"]
    totals = UsageTotals(
        output_tokens=reported["completion_tokens"], reasoning_output_tokens=reported["reasoning_tokens"]
    )
    return totals.leaves()["output_text"]
