from __future__ import annotations

from itertools import pairwise, permutations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rating.cards import RateCard
from rating.catalog import EVERYONE, Assignment, Catalog
from rating.errors import CardConflict, PeriodError
from rating.windows import hour_start
from tests.rating.builders import START, card, per_unit, sku


def version(number: int, hour: int = START, price: str = "1", name: str = "card", until: int | None = None) -> RateCard:
    end = {} if until is None else {"effective_to": hour_start(until)}
    return card(sku("r", "requests", per_unit(price)), id=name, version=number, effective_from=hour_start(hour), **end)


def version_at(catalog: Catalog, hour: int, tenant: str = "acme") -> int | None:
    found = catalog.card_at(tenant, hour)
    return found.version if found else None


def test_the_version_with_the_latest_start_at_the_time_of_the_usage_prices_it() -> None:
    versions = [version(1), version(2, START + 10), version(3, START + 5)]
    for order in permutations(versions):
        catalog = Catalog().with_assignment(Assignment("acme", "card", START - 100))
        for each in order:
            catalog = catalog.with_card(each)
        expected = {-1: None, 0: 1, 4: 1, 5: 3, 9: 3, 10: 2, 1000: 2}
        assert {hour: version_at(catalog, START + hour) for hour in expected} == expected


def test_after_a_version_that_ends_the_one_before_it_holds_again() -> None:
    versions = [version(1), version(2, START + 5, until=START + 8), version(3, START + 6, until=START + 7)]
    for order in permutations(versions):
        catalog = Catalog().with_assignment(Assignment("acme", "card", START - 100))
        for each in order:
            catalog = catalog.with_card(each)
        expected = {-1: None, 4: 1, 5: 2, 6: 3, 7: 2, 8: 1, 1000: 1}
        assert {hour: version_at(catalog, START + hour) for hour in expected} == expected
    alone = Catalog().with_assignment(Assignment("acme", "card", START)).with_card(version(1, until=START + 2))
    assert [version_at(alone, START + hour) for hour in (1, 2)] == [1, None]


def test_a_version_that_ends_before_the_open_periods_never_prices() -> None:
    catalog = Catalog().with_card(version(1)).with_assignment(Assignment(EVERYONE, "card", 0))
    catalog = catalog.with_card(version(2, START + 1, until=START + 5), not_before_hour=START + 10)
    assert {version_at(catalog, START + hour) for hour in range(20)} == {1}


def test_the_same_version_again_changes_nothing_and_other_content_is_a_conflict() -> None:
    catalog = Catalog().with_card(version(1))
    assert catalog.with_card(version(1)) is catalog
    assert catalog.with_card(version(1), START + 50) is catalog
    with pytest.raises(CardConflict) as caught:
        catalog.with_card(version(1, price="2"))
    assert caught.value.code == "card_conflict"
    assert catalog.generation == 1


def test_a_version_that_reaches_back_into_a_closed_period_begins_later() -> None:
    catalog = Catalog().with_card(version(1)).with_assignment(Assignment(EVERYONE, "card", 0))
    catalog = catalog.with_card(version(2, START + 1), not_before_hour=START + 10)
    assert [version_at(catalog, START + hour) for hour in (0, 9, 10)] == [1, 1, 2]
    # Of two that had to wait for the same hour, the one that was to begin later is the newer price.
    catalog = catalog.with_card(version(3, START), not_before_hour=START + 10)
    assert version_at(catalog, START + 10) == 2


def test_a_tenants_own_assignment_goes_before_the_default_card() -> None:
    catalog = Catalog().with_card(version(1)).with_card(version(7, name="own"))
    catalog = catalog.with_assignment(Assignment(EVERYONE, "card", START))
    catalog = catalog.with_assignment(Assignment("acme", "own", START + 5, START + 8))
    assert [version_at(catalog, START + hour) for hour in (-1, 0, 5, 7, 8)] == [None, 1, 7, 7, 1]
    assert version_at(catalog, START + 6, "other") == 1
    assert catalog.assignment_at("acme", START - 1) is None


def test_an_assignment_to_a_card_without_a_version_has_no_price() -> None:
    catalog = Catalog().with_card(version(1)).with_assignment(Assignment(EVERYONE, "card", START))
    catalog = catalog.with_assignment(Assignment("acme", "missing", START))
    assert catalog.card_at("acme", START) is None
    assert catalog.assignment_at("acme", START) is not None


def test_of_overlapping_assignments_the_one_that_began_last_holds_and_the_same_start_replaces() -> None:
    catalog = Catalog().with_card(version(1)).with_card(version(2, name="b")).with_card(version(3, name="c"))
    catalog = catalog.with_assignment(Assignment("acme", "b", START + 5)).with_assignment(
        Assignment("acme", "card", START)
    )
    assert [version_at(catalog, START + hour) for hour in (4, 5)] == [1, 2]
    catalog = catalog.with_assignment(Assignment("acme", "c", START + 5))
    assert version_at(catalog, START + 5) == 3
    generation = catalog.generation
    assert catalog.with_assignment(Assignment("acme", "c", START + 5)).generation == generation


def test_an_assignment_into_closed_periods_begins_when_they_are_over() -> None:
    catalog = Catalog().with_card(version(1))
    moved = catalog.with_assignment(Assignment("acme", "card", START), not_before_hour=START + 3)
    assert [version_at(moved, START + hour) for hour in (2, 3)] == [None, 1]
    over = catalog.with_assignment(Assignment("acme", "card", START, START + 3), not_before_hour=START + 3)
    assert over is catalog


def test_an_assignment_that_ends_before_it_begins_is_refused() -> None:
    with pytest.raises(PeriodError):
        Assignment("acme", "card", 5, 5)


def test_a_catalog_is_never_changed_and_counts_its_generations() -> None:
    empty = Catalog()
    one = empty.with_card(version(1))
    two = one.with_assignment(Assignment("acme", "card", START))
    assert [each.generation for each in (empty, one, two)] == [0, 1, 2]
    assert empty.card("card", 1) is None
    assert one.assignment_at("acme", START) is None


def test_a_catalog_is_restored_from_its_versions_and_assignments() -> None:
    catalog = Catalog().with_card(version(1)).with_card(version(2, START + 1), START + 10)
    catalog = catalog.with_assignment(Assignment("acme", "card", START, START + 12))
    restored = Catalog()
    for in_force, each in catalog.versions():
        restored = restored.with_card(each, in_force)
    for assignment in catalog.assignments():
        restored = restored.with_assignment(assignment)
    hours = range(START - 1, START + 15)
    assert [version_at(restored, hour) for hour in hours] == [version_at(catalog, hour) for hour in hours]


@given(
    st.lists(st.tuples(st.sampled_from(["a", "b"]), st.integers(0, 20), st.integers(0, 6)), max_size=5),
    st.lists(
        st.tuples(
            st.sampled_from([EVERYONE, "acme"]), st.sampled_from(["a", "b"]), st.integers(0, 20), st.integers(1, 9)
        ),
        max_size=5,
    ),
)
def test_spans_are_the_card_of_every_hour(
    versions: list[tuple[str, int, int]], assigned: list[tuple[str, str, int, int]]
) -> None:
    catalog = Catalog()
    for number, (name, hour, length) in enumerate(versions):
        until = START + hour + length if length else None
        catalog = catalog.with_card(version(number + 1, START + hour, name=name, until=until))
    for tenant, name, hour, length in assigned:
        catalog = catalog.with_assignment(Assignment(tenant, name, START + hour, START + hour + length))
    first, last = START + 2, START + 18
    spans = catalog.spans("acme", first, last)
    assert spans[0].first == first
    assert spans[-1].last == last
    by_hour = {hour: span.card for span in spans for hour in range(span.first, span.last + 1)}
    assert by_hour == {hour: catalog.card_at("acme", hour) for hour in range(first, last + 1)}
    assert all(left.card is not right.card for left, right in pairwise(spans))
