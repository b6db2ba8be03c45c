"""A line finds the SKU that made it, although several SKUs share an id template."""

from decimal import Decimal

from rating import rate
from rating.cards import parse_card
from rating.invoices import build_invoice
from rating.usage import UsageKey
from tests.rating.builders import card, key, per_unit, sku


def test_the_tiers_of_a_line_are_those_of_the_sku_that_priced_it() -> None:
    made = parse_card(
        {
            "id": "card",
            "version": 1,
            "currency": "USD",
            "effective_from": "2020-01-01T00:00:00Z",
            "not_charged": ["requests"],
            "skus": [
                {
                    "sku": "{model}/output",
                    "meter": "output",
                    "match": {"model": "model-*"},
                    "charge": {"model": "per_unit", "price": "0.60", "per": 1},
                },
                {
                    "sku": "{model}/output",
                    "meter": "output",
                    "match": {"model": "model-00"},
                    "charge": {
                        "model": "graduated",
                        "per": 1,
                        "tiers": [{"up_to": 5, "price": "0.80"}, {"price": "0.45"}],
                    },
                },
            ],
        }
    )
    hour = 490_896  # 2026-01-01T00:00:00Z
    usage = [
        (UsageKey("t", model=model, status="success"), hour, {"output_text": Decimal(10)})
        for model in ("model-00", "model-01")
    ]
    lines = [line for line in rate(made, usage) if line.meter == "output"]
    invoice = build_invoice("t", "2026-01", "USD", lines, [made])

    tiers = {line.sku: [(tier.quantity, tier.unit_price) for tier in line.tiers] for line in invoice.lines}

    assert tiers["model-00/output"] == [(Decimal(5), Decimal("0.80")), (Decimal(5), Decimal("0.45"))]
    assert tiers["model-01/output"] == [(Decimal(10), Decimal("0.60"))]
    for line in invoice.lines:
        assert sum(tier.amount for tier in line.tiers) == line.exact_amount


def test_an_id_that_no_record_could_hold_is_cut_and_stays_distinct() -> None:
    made = card(sku("{model}/{region}/input", "input", per_unit("1")))
    router = made.router
    long = [key(model="m" * 256, region="/" * length) for length in (85, 86, 256)]
    ids = [router.line(each, "input_uncached").sku for each in long]
    assert max(len(each) for each in ids) == 512
    assert len(set(ids)) == 3
    line = router.line(long[2], "input_uncached")
    assert router.sku_of(line.sku, line.meter, line.dimensions) == made.skus[0]
