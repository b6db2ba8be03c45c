"""Publishing, assigning and looking at cards, as a pricing manager does it."""

from __future__ import annotations

from pathlib import Path

import orjson
import pytest

from infra.card_files import PLANS
from infra.cli.ratecard.impact import affected_by, changes, no_version_from, version_before
from infra.config import environment
from infra.topics import apply
from rating.cards import RateCard, parse_card
from rating.catalog import EVERYONE, Assignment, Catalog
from rating.models import Flat, Graduated, PerUnit
from rating.windows import hour_of, hour_start
from tests.cli.conftest import Run
from tests.cli.test_broken_cards import GOOD
from tests.conftest import MakeSettings
from tests.rating.builders import card, graduated, per_unit, sku
from tests.support import Broker

NEXT = GOOD.replace("version: 1", "version: 2").replace("2026-01-01T", "2026-03-01T").replace('"0.15"', '"0.14"')


@pytest.fixture
def catalogue(tansu: Broker, make_settings: MakeSettings, monkeypatch: pytest.MonkeyPatch) -> None:
    """Topics of this test's own, and two versions of a card as files."""
    made = make_settings(tansu)
    apply(made)
    for name, value in environment(made).items():
        monkeypatch.setenv(name, value)
    Path("one.yaml").write_text(GOOD)
    Path("two.yaml").write_text(NEXT)


@pytest.mark.kafka
@pytest.mark.usefixtures("catalogue")
def test_a_price_change_from_the_first_card_to_the_listing(tokenmill: Run) -> None:
    assert tokenmill("ratecard", "list").out.startswith("no card is published")
    assert tokenmill("account", "list").out.startswith("nobody is assigned")
    dry = tokenmill("ratecard", "publish", "--dry-run", "one.yaml")
    assert (dry.code, dry.err) == (0, "")
    assert dry.out.splitlines() == [
        "standard version 1: USD, from 2026-01-01T00:00:00Z",
        "  affects nobody yet: tokenmill account assign TENANT standard --from ...",
        "standard version 1 would be published",
    ]
    assert orjson.loads(tokenmill("ratecard", "list", "--json").out) == {"cards": [], "unusable": []}
    assert tokenmill("ratecard", "publish", "one.yaml").out.endswith("standard version 1 published\n")
    assert tokenmill("ratecard", "publish", "one.yaml").out == "standard version 1 is published already\n"

    assert tokenmill("account", "assign", "*", "standard", "--from", "2026-01-01").code == 0
    own = ("account", "assign", "acme", "standard", "--from", "2026-02-01", "--override", "{model}/input=0.1", "--json")
    assigned = orjson.loads(tokenmill(*own).out)
    assert assigned["overrides"] == {"{model}/input": {"model": "per_unit", "price": "0.1", "per": "1000000"}}
    assert (assigned["assigned"], orjson.loads(tokenmill(*own).out)["assigned"]) == (True, False)

    shown = tokenmill("ratecard", "publish", "--dry-run", "two.yaml").out
    assert (
        "prices that change from version 1: 1\n    {model}/input (model model-*): 0.15 per 1,000,000 tokens -> 0.14"
        in shown
    )
    assert "affects every tenant without an assignment of its own, from 2026-03-01T00:00:00Z" in shown
    assert "    acme from 2026-03-01T00:00:00Z, with prices of its own" in shown
    (told,) = orjson.loads(tokenmill("ratecard", "publish", "two.yaml", "--json").out)["cards"]
    assert [(each["tenant"], each["from"], each["to"]) for each in told["affects"]] == [
        ("*", "2026-03-01T00:00:00Z", None),
        ("acme", "2026-03-01T00:00:00Z", None),
    ]

    Path("two.yaml").write_text(NEXT.replace('"0.14"', '"0.13"'))
    conflict = tokenmill("ratecard", "publish", "two.yaml")
    assert conflict.code == 1
    assert "card standard version 2 is published with other content" in conflict.err
    listed = orjson.loads(tokenmill("ratecard", "list", "--json").out)["cards"]
    assert [(each["version"], each["default"], each["tenants"]) for each in listed] == [(1, True, 1), (2, True, 1)]
    card_again = orjson.loads(tokenmill("ratecard", "show", "standard", "--version", "1", "--json").out)
    assert parse_card(card_again).skus[0].charge == PerUnit(model="per_unit", price="0.15", per=1_000_000)
    table = tokenmill("ratecard", "show", "standard").out
    assert "standard version 2: USD, from 2026-03-01T00:00:00Z" in table
    assert "0.14" in table
    assert "above 500,000" in table
    (mine,) = orjson.loads(tokenmill("account", "list", "--tenant", "acme", "--json").out)["assignments"]
    assert (mine["card"], mine["from"], mine["overrides"]) == (
        "standard",
        "2026-02-01T00:00:00Z",
        assigned["overrides"],
    )


@pytest.mark.kafka
@pytest.mark.usefixtures("catalogue")
def test_what_cannot_be_assigned_or_shown_is_said(tokenmill: Run) -> None:
    tokenmill("ratecard", "publish", "one.yaml")
    assign = ("account", "assign", "acme")
    plan = str(PLANS / "committed.yaml")
    for arguments, code, words in [
        ((*assign, "standrd", "--from", "2026-01-01"), 1, "no card 'standrd' is published, did you mean standard?"),
        ((*assign, "--from", "2026-01-01"), 2, "name the CARD"),
        ((*assign, "gold", "--plan", plan, "--from", "2026-01-01"), 2, "the plan is for card standard, not gold"),
        ((*assign, "--plan", plan, "--from", "2026-01-01"), 2, "committed.yaml:"),
        ((*assign, "standard", "--from", "2026-01-01T00:10:00Z"), 2, "cuts a window"),
        ((*assign, "standard", "--from", "2026-01-02", "--to", "2026-01-01"), 2, "must be after --from"),
        ((*assign, "standard", "--from", "2026-01-01", "--override", "fee"), 2, "write SKU=PRICE"),
        (
            (*assign, "standard", "--from", "2026-01-01", "--override", "fee=free"),
            2,
            "--override fee=free: 'free' is not",
        ),
        (("account", "assign", "_idle", "standard", "--from", "2026-01-01"), 2, "never charged"),
        (("ratecard", "show", "gold"), 1, "no card 'gold' is published (there are: standard)"),
        (("ratecard", "show", "standard", "--version", "7"), 1, "no version 7 (there are: 1)"),
    ]:
        ended = tokenmill(*arguments)
        assert (ended.code, ended.out) == (code, ""), arguments
        assert words in ended.err
        assert "Traceback" not in ended.err
    assert orjson.loads(tokenmill("account", "list", "--json").out) == {"assignments": []}
    early = tokenmill(*assign, "standard", "--from", "2025-01-01")
    assert (early.code, "has no version before 2026-01-01T00:00:00Z" in early.err) == (0, True)


def version(number: int, start: str, price: str, end: str | None = None) -> RateCard:
    ends = {"effective_to": end} if end else {}
    return card(sku("r", "requests", per_unit(price)), version=number, effective_from=start, **ends)


def test_affected_are_those_whom_the_version_prices_and_when() -> None:
    old = version(1, "2026-01-01T00:00:00Z", "1")
    new = version(2, "2026-02-01T00:00:00Z", "2", "2026-04-01T00:00:00Z")
    other = card(id="other")
    march, april = (hour_of(version(1, f"2026-0{month}-01T00:00:00Z", "1").effective_from) for month in (3, 4))
    catalog = Catalog().with_card(old).with_card(new).with_card(other)
    for assignment in (
        Assignment(EVERYONE, "card", 0),
        Assignment("acme", "card", 0, march),
        Assignment("globex", "other", 0),
        Assignment("late", "card", april),
    ):
        catalog = catalog.with_assignment(assignment)
    found = [(each.tenant_id, each.start, each.end) for each in affected_by(catalog, new)]
    # acme has the same card as the default one after its own assignment has ended.
    assert found == [("*", new.effective_from, new.effective_to), ("acme", new.effective_from, new.effective_to)]
    moved = catalog.with_assignment(Assignment("acme", "other", march))
    assert [(each.tenant_id, each.end) for each in affected_by(moved, new)][1:] == [("acme", hour_start(march))]
    assert version_before(catalog, new) == old
    assert version_before(catalog, old) is None


def test_a_version_that_ends_with_none_to_follow_is_told() -> None:
    first = version(1, "2026-01-01T00:00:00Z", "1", "2026-03-01T00:00:00Z")
    promotion = version(2, "2026-02-01T00:00:00Z", "2", "2026-02-10T00:00:00Z")
    catalog = Catalog().with_card(first).with_card(promotion)
    assert no_version_from(catalog, first) == first.effective_to
    assert no_version_from(catalog, promotion) is None
    assert no_version_from(catalog.with_card(version(3, "2026-03-01T00:00:00Z", "3")), first) is None


def test_changes_name_what_differs_new_and_gone() -> None:
    old = card(
        sku("a", "requests", per_unit("1.0")), sku("b", "images", per_unit("2")), flat_fees=[{"sku": "f", "amount": 1}]
    )
    new = card(
        sku("a", "requests", per_unit("1")), sku("c", "images", per_unit("2")), minimum={"sku": "m", "amount": 5}
    )
    found = [(each.sku, each.before, each.after) for each in changes(old, new)]
    assert found == [
        ("c", None, "2 per 1 images"),
        ("m", None, "5 a month at least"),
        ("b", "2 per 1 images", None),
        ("f", "1 a month", None),
    ]


@pytest.mark.parametrize(
    ("charge", "text"),
    [
        (PerUnit.model_validate(per_unit("0.150", 1_000_000)), "0.15 per 1,000,000 tokens"),
        (Flat(model="flat", amount="5.00"), "5 flat"),
        (
            Graduated.model_validate(graduated((10, "2", "0"), ("20.5", "1", "3"), (None, "0", "4"), per=10)),
            "2 up to 10, 3 flat + 1 up to 20.5, 4 flat above, per 10 tokens",
        ),
    ],
    ids=["per unit", "flat", "graduated"],
)
def test_a_charge_in_one_line(charge: PerUnit | Flat | Graduated, text: str) -> None:
    assert charge.text("tokens") == text
