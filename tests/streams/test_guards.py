"""What guards the stream against a card in the middle of a flush, documents that break their parser, and wide dictionaries."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pyarrow as pa
import pytest

from schemas.kinds import Kind
from streams import controls
from streams.decode import Rows, segments
from tests.streams.support import Log, Run, batch_of, card_document, key_of, per_unit, rate, usage


@pytest.mark.parametrize("step", [1, 2, 3])
def test_where_a_flush_falls_does_not_show_when_a_card_changes_the_lines(step: int) -> None:
    log = Log()
    log.card(card_document(per_unit("old/input", "input", "1")))
    log.assign()
    log.batch([usage("a")])
    log.card(card_document(per_unit("new/input", "input", "2"), version=2))
    log.batch([usage("b", timedelta(minutes=1))])

    def contents(run: Run) -> dict[tuple[str, ...], tuple[str, str | None]]:
        return {key_of(record): (record["quantity"], record.get("amount")) for record in run.rated()}

    at_once, cut = contents(rate(log.records).all()), contents(rate(log.records).all(step))
    assert at_once == cut, "also the record that fell to nothing"
    assert {key[1] for key in at_once} >= {"old/input", "new/input"}


@pytest.mark.parametrize("raised", [ArithmeticError, LookupError, RecursionError, TypeError])
def test_whatever_a_document_makes_the_parser_raise_is_the_documents_fault(
    raised: type[Exception], monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object, **__: object) -> None:
        raise raised("of the document")

    log = Log()
    log.card(card_document())
    log.batch([usage("a")])
    monkeypatch.setattr(controls, "parse_card", broken)
    run = rate(log.records).all()
    (letter,) = run.dead_letters()
    assert (letter.code, letter.source.offset) == ("invalid_control", 0)
    assert "of the document" in letter.reason
    assert run.outcomes() == {"unrated": 1}


def test_a_slice_of_a_batch_with_a_wide_dictionary_costs_by_its_own_values() -> None:
    """A sender may cut records out of a batch whose dictionaries hold far more values than the slice uses."""
    whole = batch_of([usage("a", tenant_id="acme")])
    place = whole.schema.get_field_index("tenant_id")
    column = whole.column(place)
    wide = pa.DictionaryArray.from_arrays(
        pa.array([4_999], column.type.index_type), pa.array([f"tenant-{number}" for number in range(5_000)])
    ).cast(column.type)
    log = Log()
    log.batch(whole.set_column(place, whole.schema.field(place), wide))
    (rows,) = [each for each in segments(log.records, frozenset({str(Kind.TOKEN_USAGE)})) if isinstance(each, Rows)]
    found: Any = rows.batch.column("tenant_id")
    assert found.to_pylist() == ["tenant-4999"]
    assert len(found.dictionary) == 1
