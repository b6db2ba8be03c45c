"""The rating stage is a function of its log: order, batches, flushes, restarts and repetitions change nothing (D4, D5)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from typing import Any

import orjson
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st

from schemas.batch import decode_batch
from schemas.events import TokenUsage
from schemas.kinds import Kind
from streams.processor import SourceRecord
from streams.restore import POSITION_KEY
from tests.streams.oracle import expected_amounts, tiered_card
from tests.streams.support import Log, Run, batch_of, card_document, key_of, per_unit, rate, usage

HOURS = 24 * 21 + 30
"""From 10 January over the end of the month, but within its grace."""


@st.composite
def distinct_events(draw: st.DrawFn, most: int = 14) -> list[TokenUsage]:
    made = []
    for number in range(draw(st.integers(1, most))):
        cached, fresh, text, reasoning = (draw(st.sampled_from([0, 1, 3, 90, 1000])) for _ in range(4))
        made.append(
            usage(
                f"event-{number}",
                timedelta(hours=draw(st.sampled_from([0, 1, 2, 300, HOURS])), seconds=draw(st.integers(0, 3599))),
                tenant_id=draw(st.sampled_from(["acme", "globex"])),
                response_model=draw(st.sampled_from(["llama", "mixtral"])),
                status=draw(st.sampled_from(["success", "success", "success", "aborted", "error"])),
                input_tokens=cached + fresh,
                cache_read_input_tokens=cached,
                output_tokens=text + reasoning,
                reasoning_output_tokens=reasoning,
                images=draw(st.sampled_from([0, 0, 0, 2])),
            )
        )
    return made


@st.composite
def deliveries(draw: st.DrawFn, events: Sequence[TokenUsage], begin: Callable[[Log], None]) -> Log:
    """A log with the events in any order, some sent twice, as batches of any size, whole batches twice, or as JSON."""
    log = Log()
    begin(log)
    sent = list(draw(st.permutations([*events, *draw(st.lists(st.sampled_from(events), max_size=6))])))
    while sent:
        size = draw(st.integers(1, 6))
        part, sent = sent[:size], sent[size:]
        how = draw(st.sampled_from(["batch", "batch", "twice", "binary", "structured"]))
        if how in ("batch", "twice"):
            log.batch(part)
            if how == "twice":
                log.records.append(_again(log))
        else:
            for event in part:
                log.single(event, structured=how == "structured")
    return log


def _again(log: Log) -> SourceRecord:
    return replace(log.records[-1], offset=len(log.records))


@st.composite
def driven(draw: st.DrawFn, log: Log) -> Run:
    """A run over the log with flushes and restarts at any places."""
    run = rate(log.records)
    while run.read < len(log.records):
        run.feed(draw(st.integers(1, 8)))
        action = draw(st.sampled_from(["read", "flush", "flush", "restart"]))
        if action == "flush":
            run.flush()
        elif action == "restart" and run.position >= 0:
            run.restart()
    run.flush()
    return run


def with_tiers(log: Log) -> None:
    log.card(tiered_card())
    log.assign()


@examples(max_examples=40, deadline=None)
@given(st.data())
def test_the_last_records_are_the_oracles_whatever_the_way(data: st.DataObject) -> None:
    events = data.draw(distinct_events())
    log = data.draw(deliveries(events, with_tiers))
    run = data.draw(driven(log))
    found = {
        (record["tenant_id"], record["sku"], record["window_start"]): (record["quantity"], str(record.get("amount")))
        for record in run.last().values()
    }
    assert found == expected_amounts(events)
    outcomes = run.outcomes()
    assert outcomes["rated"] + outcomes["unrated"] == len(events)
    rows = sum(_rows(record) for record in log.records[2:])
    assert sum(outcomes.values()) == rows
    assert len(run.excluded()) == outcomes["duplicate"] == rows - len(events)


def _rows(record: SourceRecord) -> int:
    if b"vnd.apache.arrow" not in record.headers.get("content-type", b""):
        return 1
    return int(decode_batch(Kind.TOKEN_USAGE, record.value).num_rows)


def with_changes(log: Log) -> None:
    log.card(card_document(per_unit("{model}/input", "input", "2")))
    log.assign("acme")


@st.composite
def changing_logs(draw: st.DrawFn) -> Log:
    """Events between new cards, new assignments, ticks, bad records and conflicts, over several periods."""
    log = Log()
    with_changes(log)
    events = [
        usage(
            f"event-{number}",
            timedelta(
                days=draw(st.sampled_from([0, 0, 20, 21, 22, 23, 50, 51, 52, 59, 70, 90])),
                hours=draw(st.integers(0, 3)),
            ),
            tenant_id=draw(st.sampled_from(["acme", "globex"])),
            images=draw(st.sampled_from([0, 1])),
            units=draw(st.sampled_from([{}, {}, {"x": "1.5"}])),
        )
        for number in range(draw(st.integers(2, 12)))
    ]
    for event in events:
        step = draw(st.sampled_from(["batch", "batch", "json", "conflict", "card", "assign", "tick", "bad", "gap"]))
        if step == "card":
            version = len(log.records)
            skus = [per_unit("{model}/input", "input", str(version)), per_unit("pictures", "images", "1")]
            chosen = draw(st.sampled_from([skus, skus[:1], [*skus, per_unit("{model}/requests", "requests", "0.5")]]))
            fees = draw(st.sampled_from([{}, {"flat_fees": [{"sku": "fee", "amount": "10"}]}]))
            log.card(card_document(*chosen, version=version, **fees))
        elif step == "assign":
            log.assign(draw(st.sampled_from(["acme", "globex", "*", "initech"])))
        elif step == "tick":
            log.tick(event.ended_at)
        elif step == "bad":
            log.append(b"nonsense", [("content-type", b"application/json")])
        elif step == "conflict":
            log.single(event.model_copy(update={"input_tokens": 101}))
        if step == "json":
            log.single(event)
        else:
            log.batch([event], number=len(log.records) * (2 if step == "gap" else 1) + 1)
    return log


@examples(max_examples=30, deadline=None)
@given(st.data())
def test_a_revision_determines_the_content_and_the_end_is_the_same(data: st.DataObject) -> None:
    log = data.draw(changing_logs())
    runs = [rate(log.records).all(1), rate(log.records).all(), data.draw(driven(log)), data.draw(driven(log))]
    seen: dict[tuple[Any, ...], dict[str, Any]] = {}
    for run in runs:
        for record in run.rated():
            law = {name: value for name, value in record.items() if name != "previous"}
            assert seen.setdefault((*key_of(record), record["revision"]), law) == law
    first = runs[0]
    for run in runs[1:]:
        assert run.last() == first.last()
        assert run.balance() == first.balance()
        assert run.dead_codes() == first.dead_codes()
        assert kept_state(run) == kept_state(first)
        gaps = [
            {key: signal["data"] for key, signal in each.signals().items() if "missing" in key[1]}
            for each in (run, first)
        ]
        assert {key: value for key, value in gaps[0].items() if value["missing_batches"]} == {
            key: value for key, value in gaps[1].items() if value["missing_batches"]
        }


def kept_state(run: Run) -> dict[bytes, Any]:
    """The state without positions and without what it was published with."""
    found = {}
    for key, value in run.state.items():
        kind = orjson.loads(key)[0]
        if kind == "emitted":
            _, _, quantity, amount, *rest = orjson.loads(value)
            if quantity != "0" or amount not in ("0", None):
                found[key] = [quantity, amount, *rest]
        elif key == POSITION_KEY:
            position, log, watermark, _, oldest, evicted, begun = orjson.loads(value)
            found[key] = [position, log, watermark, oldest, evicted, begun]
        else:
            found[key] = orjson.loads(value)[1:]
    return found


@examples(max_examples=20, deadline=None)
@given(st.data())
def test_previous_is_the_record_before_so_a_ledger_is_a_running_sum(data: st.DataObject) -> None:
    run = data.draw(driven(data.draw(changing_logs())))
    last: dict[tuple[str, ...], dict[str, Any]] = {}
    ledger: dict[tuple[str, ...], Decimal] = {}
    for record in run.rated():
        key = key_of(record)
        before = last.get(key)
        previous = record.get("previous")
        if before is None:
            assert previous is None
        else:
            assert previous == {name: before.get(name) for name in ("revision", "quantity", "amount")}
            assert record["revision"] > before["revision"]
        step = Decimal(record.get("amount", 0)) - Decimal((previous or {}).get("amount") or 0)
        ledger[key] = ledger.get(key, Decimal(0)) + step
        last[key] = record
    assert all(ledger[key] == Decimal(record.get("amount", 0)) for key, record in last.items())


@examples(max_examples=8, deadline=None)
@given(st.data())
def test_restarts_with_a_window_that_forgets_change_nothing(data: st.DataObject) -> None:
    """The event-id window is bounded so tightly that it evicts; answers must still not depend on restarts or cuts."""
    log = data.draw(changing_logs())
    for _ in range(data.draw(st.integers(1, 3))):
        log.records.extend(_moved(log, data.draw(st.integers(1, len(log.records)))))

    def tight(run: Run) -> Run:
        make = run.make

        def made() -> Any:
            processor: Any = make()
            processor._judge.window.limit = 3
            return processor

        run.make = made
        run.__post_init__()
        return run

    first = tight(rate(log.records)).all(1)
    run = tight(rate(log.records))
    while run.read < len(log.records):
        run.feed(data.draw(st.integers(1, 5)))
        run.flush()
        if data.draw(st.booleans()):
            run.restart()
    assert run.last() == first.last()
    assert run.outcomes() == first.outcomes()
    assert kept_state(run) == kept_state(first)


def _moved(log: Log, count: int) -> list[SourceRecord]:
    """The first records once more, in batches of other numbers."""
    again = []
    for at, record in enumerate(log.records[:count]):
        headers = dict(record.headers)
        if "tokenmill-number" in headers:
            headers["tokenmill-number"] = b"%d" % (10_000 + len(log.records) + at)
        again.append(replace(record, offset=len(log.records) + at, headers=headers))
    return again


def test_a_conflict_stays_one_after_a_restart_that_forgot_what_it_conflicts_with() -> None:
    log = Log()
    with_changes(log)
    log.batch([usage("a", timedelta(days=0))])
    log.batch([usage("a", timedelta(days=40))])
    log.batch([usage("b", timedelta(days=60))])
    log.batch([usage("a", timedelta(days=40))])
    outcomes = []
    for restart in (False, True):
        run = rate(log.records)
        run.feed(5)
        run.flush()
        if restart:
            run.restart()
        outcomes.append(run.all().outcomes())
    assert outcomes[0] == outcomes[1] == {"unrated": 2, "dead_letter": 1, "duplicate": 1}


def test_an_empty_batch_is_a_batch() -> None:
    log = Log()
    with_changes(log)
    log.batch([usage("a")])
    empty = usage("b")
    log.batch(batch_of([empty]).slice(0, 0))
    log.batch([empty])
    run = rate(log.records)
    run.feed(4)
    run.flush()
    run.restart()
    run.all()
    assert run.outcomes() == {"unrated": 2}
    assert not [policy for _, policy in run.signals() if "missing" in policy]
