"""Trace replay: formats by content, exact formulas, and every malformed row named while the rest goes on."""

from __future__ import annotations

import csv
import hashlib
import json
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pytest
from hypothesis import given
from hypothesis import strategies as st

from infra.errors import ConfigurationError
from producers.trace import TraceError, TraceOptions, open_trace
from producers.trace_formats.rows import MalformedRow, token_count
from schemas.kinds import Kind
from schemas.source_rejects import SourceReject, decode_source_reject, encode_source_reject
from schemas.validation import validate

DATA = Path(__file__).parents[3] / "shared" / "data"
AZURE = "TIMESTAMP,ContextTokens,GeneratedTokens\n"
BURST = "Timestamp,Session ID,Elapsed time,Model,Request tokens,Response tokens,Total tokens,Log Type\n"


def replay(path: Path, options: TraceOptions | None = None) -> tuple[list[dict[str, object]], list[SourceReject]]:
    """The events as dicts and the rejections of a trace; every event is valid."""
    rows: list[dict[str, object]] = []
    rejected = []
    for item in open_trace(path, options):
        if isinstance(item, SourceReject):
            rejected.append(item)
        else:
            assert validate(Kind.TOKEN_USAGE, item).all_good
            rows += item.to_pylist()
    return rows, rejected


def written(tmp_path: Path, content: str | bytes, name: str = "trace") -> Path:
    path = tmp_path / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def formula(seed: int, n: int, what: str, choices: int) -> int:
    return int.from_bytes(hashlib.sha256(f"{seed}/{n}/{what}".encode()).digest()[:8], "big") % choices


def column(rows: list[dict[str, object]], name: str) -> list[object]:
    return [row[name] for row in rows]


# --- formulas ---------------------------------------------------------------------------------------------------------


def test_tenant_and_model_follow_the_formula_of_seed_and_row_number(tmp_path: Path) -> None:
    path = written(tmp_path, AZURE + "".join(f"2023-11-16 18:15:{i:02d}.5,{i},1\n" for i in range(50)))
    for seed, tenants, models in ((0, 8, 4), (7, 1, 1), (3, 12345, 150)):
        rows, _ = replay(path, TraceOptions(tenants=tenants, models=models, seed=seed))
        expected = [
            (f"tenant-{formula(seed, n, 'tenant', tenants):04d}", f"model-{formula(seed, n, 'model', models):02d}")
            for n in range(1, 51)
        ]
        assert [(row["tenant_id"], row["response_model"]) for row in rows] == expected


def test_known_values_of_the_formula(tmp_path: Path) -> None:
    # From coreutils: printf 0/1/tenant | sha256sum begins bd0d4689dca67c9d, 0/1/model 7124ca1cdaf1bbf9,
    # 0/2/tenant c65059aba80c40f4, 0/2/model 903d354added4021.
    path = written(tmp_path, AZURE + "2023-11-16 18:15:46.6805900,374,44\n2023-11-16 18:15:50.9951690,396,109\n")
    rows, _ = replay(path)
    assert [(row["tenant_id"], row["request_model"]) for row in rows] == [
        ("tenant-0005", "model-01"),
        ("tenant-0004", "model-01"),
    ]


def test_equal_rows_are_different_requests_and_a_copy_of_the_file_is_the_same_events(tmp_path: Path) -> None:
    content = AZURE + "2023-11-16 18:15:46.1,3,4\n" * 3
    rows, _ = replay(written(tmp_path, content, "one.csv"))
    copied, _ = replay(written(tmp_path, content, "two.txt"))
    assert len({(row["source"], row["id"]) for row in rows}) == 3
    assert rows == copied
    other, _ = replay(written(tmp_path, content + "\n", "three.csv"))
    assert {row["source"] for row in other}.isdisjoint({row["source"] for row in rows})


def test_the_instant_of_a_row_is_its_event_time_and_nothing_is_invented(tmp_path: Path) -> None:
    (row,), _ = replay(written(tmp_path, AZURE + "2023-11-16 18:15:46.6805909,374,44\n"))
    when = datetime(2023, 11, 16, 18, 15, 46, 680590, tzinfo=UTC)
    assert (row["started_at"], row["ended_at"], row["first_token_at"]) == (when, when, None)


# --- formats ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2023-11-16 18:15:46", datetime(2023, 11, 16, 18, 15, 46, tzinfo=UTC)),
        ("2023-11-16T18:15:46.5Z", datetime(2023, 11, 16, 18, 15, 46, 500_000, tzinfo=UTC)),
        ("2024-05-10 00:00:00.009930+00:00", datetime(2024, 5, 10, 0, 0, 0, 9930, tzinfo=UTC)),
        ("2024-05-10 00:00:00.000001+02:00", datetime(2024, 5, 9, 22, 0, 0, 1, tzinfo=UTC)),
    ],
)
def test_azure_times_are_utc_unless_they_say_otherwise(tmp_path: Path, text: str, expected: datetime) -> None:
    (row,), _ = replay(written(tmp_path, f"{AZURE}{text},1,2\n"))
    assert row["ended_at"] == expected


def test_bom_crlf_quotes_blank_lines_column_order_and_a_missing_last_newline(tmp_path: Path) -> None:
    content = (
        b'\xef\xbb\xbf\r\nGeneratedTokens,"TIMESTAMP",Extra,contexttokens\r\n\r\n'
        b'44,"2023-11-16 18:15:46.5",x,374\r\n   \r\n'
        b' 9 , 2023-11-16 18:15:47 ,"a, b", "12"'
    )
    rows, rejected = replay(written(tmp_path, content))
    assert rejected == []
    assert [(row["input_tokens"], row["output_tokens"]) for row in rows] == [(374, 44), (12, 9)]
    # Blank lines have no row number.
    assert column(rows, "tenant_id") == [f"tenant-{formula(0, n, 'tenant', 8):04d}" for n in (1, 2)]


def test_mooncake_blocks_seen_before_are_cache_reads_up_to_the_input(tmp_path: Path) -> None:
    lines = [
        {"timestamp": 0, "input_length": 1500, "output_length": 5, "hash_ids": [1, 2, 3]},
        {"timestamp": 3000, "input_length": 1500, "output_length": 6, "hash_ids": [1, 2, 3]},
        {"timestamp": 3000.5, "input_length": 2000, "output_length": 0, "hash_ids": [1, 9, 2, 3]},
        {"timestamp": 6000, "input_length": 10, "output_length": 7, "hash_ids": []},
    ]
    path = written(tmp_path, "\n".join(json.dumps(line) for line in lines))
    start = datetime(2026, 3, 1, tzinfo=UTC)
    rows, rejected = replay(path, TraceOptions(start=start))
    assert rejected == []
    # Row 2 hits all three blocks but has only 1,500 tokens; row 3 hits only its first: the prefix ends at block 9.
    assert column(rows, "cache_read_input_tokens") == [0, 1500, 512, 0]
    assert column(rows, "output_tokens") == [5, 6, 0, 7]
    offsets = [row["ended_at"] - start for row in rows]  # type: ignore[operator]
    assert [offset.total_seconds() for offset in offsets] == [0, 3, 3.0005, 6]


def test_burstgpt_relative_seconds_failures_and_sessions(tmp_path: Path) -> None:
    content = BURST + (
        "5,s1,3.5,ChatGPT,472,18,490,Conversation log\n"
        "45.25,,0,GPT-4,1087,0,1087,API log\n"
        "118.0,s1,1,GPT-4,417.0,276,693,Conversation log\n"
    )
    rows, rejected = replay(written(tmp_path, content))
    assert rejected == []
    assert column(rows, "input_tokens") == [472, 1087, 417]
    assert column(rows, "output_tokens") == [18, 0, 276]
    assert column(rows, "status") == ["success", "error", "success"]
    assert column(rows, "session_id") == ["s1", None, "s1"]
    start = datetime(2026, 1, 1, tzinfo=UTC)
    assert [(row["ended_at"] - start).total_seconds() for row in rows] == [5, 45.25, 118]  # type: ignore[operator]
    short = "Timestamp,Model,Request tokens,Response tokens,Total tokens,Log Type\n5,ChatGPT,472,18,490,API log\n"
    (row,), _ = replay(written(tmp_path, short))
    assert (row["input_tokens"], row["session_id"]) == (472, None)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("", "is empty"),
        ("\n \n", "is empty"),
        ("a,b\n1,2\n", "no trace in a known format; it begins 'a,b'"),
        ('{"prompt": 1}\n', "no trace in a known format"),
        ("TIMESTAMP,ContextTokens\n", "no trace in a known format"),
    ],
)
def test_a_file_that_is_no_trace_is_an_error(tmp_path: Path, content: str, words: str) -> None:
    with pytest.raises(TraceError, match=words):
        open_trace(written(tmp_path, content))
    with pytest.raises(TraceError, match="cannot read the trace"):
        open_trace(tmp_path / "absent")


def test_a_header_alone_is_an_empty_trace(tmp_path: Path) -> None:
    assert replay(written(tmp_path, AZURE)) == ([], [])


# --- malformed rows ---------------------------------------------------------------------------------------------------

GOOD = "2023-11-16 18:15:46.5,3,4"
BAD_AZURE = {
    "2023-11-16 18:15:46.5,3": "2 fields where the header has 3",
    "2023-11-16 18:15:46.5,3,4,5": "4 fields where the header has 3",
    "2023-11-16 18:15:46.5,-3,4": "ContextTokens '-3' is negative",
    "2023-11-16 18:15:46.5,3,4.5": "GeneratedTokens '4.5' is not a whole number",
    "2023-11-16 18:15:46.5,,4": "ContextTokens is empty",
    "2023-11-16 18:15:46.5,NaN,4": "ContextTokens 'NaN' is not a whole number",
    "2023-11-16 18:15:46.5,1e3,4": "ContextTokens '1e3' is not a whole number",
    "2023-11-16 18:15:46.5,1_000,4": "ContextTokens '1_000' is not a whole number",
    "2023-11-16 18:15:46.5,٣,4": "ContextTokens '٣' is not a whole number",
    "2023-11-16 18:15:46.5,1000000000001,4": "ContextTokens '1000000000001' is above 1000000000000",
    "yesterday,3,4": "TIMESTAMP 'yesterday' is not a time like",
    "2023-13-16 18:15:46.5,3,4": "month must be in 1..12",
    "1969-12-31 23:59:59,3,4": "is before 1970",
    "2200-01-01 00:00:00,3,4": "its time is after the year 2199",
    '2023-11-16 18:15:46.5,"3,4': "broken quotes",
    "{}": "1 fields where the header has 3",
}


def test_every_malformed_azure_row_is_named_keeps_its_number_and_the_rest_goes_on(tmp_path: Path) -> None:
    lines = [line for bad in BAD_AZURE for line in (GOOD, bad)] + [GOOD]
    path = written(tmp_path, AZURE + "\n".join(lines))
    rows, rejected = replay(path)
    assert len(rows) == len(BAD_AZURE) + 1
    assert [each.line for each in rejected] == [3 + 2 * i for i in range(len(BAD_AZURE))]
    assert [each.text for each in rejected] == list(BAD_AZURE)
    assert {each.file for each in rejected} == {str(path)}
    for each, reason in zip(rejected, BAD_AZURE.values(), strict=True):
        assert reason in each.reason
    # Row numbers go on over malformed rows: good rows are 1, 3, 5, ...
    tenants = [f"tenant-{formula(0, n, 'tenant', 8):04d}" for n in range(1, 2 * len(rows), 2)]
    assert column(rows, "tenant_id") == tenants


BAD_MOONCAKE = [
    ('{"timestamp": 0, "input_length": 1', "not JSON"),
    ("[1]", "not a JSON object"),
    ('{"timestamp": 0, "input_length": 1, "output_length": 1}', "no hash_ids"),
    ('{"timestamp": null, "input_length": 1, "output_length": 1, "hash_ids": []}', "timestamp None is not a number"),
    ('{"timestamp": -1, "input_length": 1, "output_length": 1, "hash_ids": []}', "timestamp -1 is not a number"),
    ('{"timestamp": 0, "input_length": -1, "output_length": 1, "hash_ids": []}', "input_length -1 is negative"),
    ('{"timestamp": 0, "input_length": 1.5, "output_length": 1, "hash_ids": []}', "input_length 1.5 is not a whole"),
    ('{"timestamp": 0, "input_length": true, "output_length": 1, "hash_ids": []}', "input_length True is not a whole"),
    ('{"timestamp": 0, "input_length": "7", "output_length": 1, "hash_ids": []}', "input_length '7' is not a whole"),
    ('{"timestamp": 0, "input_length": 1, "output_length": NaN, "hash_ids": []}', "not JSON"),
    ('{"timestamp": 0, "input_length": 1, "output_length": 1, "hash_ids": ["a"]}', "is not a list of whole numbers"),
    ('{"timestamp": 0, "input_length": 1, "output_length": 1, "hash_ids": 5}', "is not a list of whole numbers"),
]


def test_every_malformed_mooncake_row_is_named_even_the_first_and_caches_nothing(tmp_path: Path) -> None:
    good = '{"timestamp": 1, "input_length": 600, "output_length": 2, "hash_ids": [5, 6], "round": 1}'
    lines = [bad for bad, _ in BAD_MOONCAKE] + [good, good]
    rows, rejected = replay(written(tmp_path, "\n".join(lines)))
    assert [each.line for each in rejected] == list(range(1, len(BAD_MOONCAKE) + 1))
    for each, (_, reason) in zip(rejected, BAD_MOONCAKE, strict=True):
        assert reason in each.reason
    assert column(rows, "cache_read_input_tokens") == [0, 600]
    n = len(BAD_MOONCAKE)
    assert column(rows, "tenant_id") == [f"tenant-{formula(0, n + i, 'tenant', 8):04d}" for i in (1, 2)]


def test_malformed_burstgpt_rows_are_named(tmp_path: Path) -> None:
    bad = {
        "soon,s,1,ChatGPT,1,2,3,API log": "Timestamp 'soon' is not a number",
        "-1,s,1,ChatGPT,1,2,3,API log": "Timestamp '-1' is not a number",
        "99999999999,s,1,ChatGPT,1,2,3,API log": "too far from the start",
        "5,s\x01,1,ChatGPT,1,2,3,API log": "Session ID is not text of 1 to 256 characters",
        "5,s,1,ChatGPT,x,2,3,API log": "Request tokens 'x' is not a whole number",
    }
    rows, rejected = replay(written(tmp_path, BURST + "\n".join(bad)))
    assert rows == []
    for each, reason in zip(rejected, bad.values(), strict=True):
        assert reason in each.reason


def test_bytes_that_are_no_text_and_endless_lines_are_rejected(tmp_path: Path) -> None:
    long = b"2023-11-16 18:15:46.5," + b"9" * (3 << 20) + b",4\n"
    content = AZURE.encode() + b"2023-11-16 18:15:46.5,\xff,4\n" + long + GOOD.encode() + b"\n"
    rows, rejected = replay(written(tmp_path, content))
    assert [(each.line, each.reason) for each in rejected] == [(2, "not UTF-8"), (3, "longer than 1048576 bytes")]
    assert column(rows, "tenant_id") == [f"tenant-{formula(0, 3, 'tenant', 8):04d}"]


def test_a_rejection_survives_its_record_whatever_its_file_is_called(tmp_path: Path) -> None:
    path = tmp_path / "a\udcff.csv"
    path.write_bytes(AZURE.encode() + b"2023-11-16 18:15:46.5," + b"9" * 20_000 + b",4\n")
    _, (rejected,) = replay(path)
    back = decode_source_reject(encode_source_reject(rejected)[0])
    assert (back.line, back.reason, len(back.text)) == (2, rejected.reason, 4_096)
    assert back.file.endswith("/a?.csv")


@given(st.text(max_size=12))
def test_a_count_is_read_exactly_or_refused(text: str) -> None:
    try:
        count = token_count(text, "c")
    except MalformedRow:
        assert not (text.isascii() and text.isdigit())
    else:
        assert text.partition(".")[0].isascii()
        assert count == int(text.partition(".")[0])
        assert set(text.partition(".")[2]) <= {"0"}


def test_options_that_make_no_sense_are_all_named() -> None:
    with pytest.raises(ConfigurationError) as e:
        TraceOptions(tenants=0, models=-1, start=datetime(2026, 1, 1))
    assert len(e.value.data["problems"]) == 3  # type: ignore[arg-type]


# --- the real files ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "requests", "inputs", "outputs"),
    [("conv", 19_366, 22_361_870, 4_088_665), ("code", 8_819, 18_059_974, 245_896)],
)
def test_the_azure_traces_come_out_exactly(name: str, requests: int, inputs: int, outputs: int) -> None:
    path = DATA / f"AzureLLMInferenceTrace_{name}.csv"
    if not path.exists():
        pytest.skip(f"{path.name} is not here")
    batches = [item for item in open_trace(path) if isinstance(item, pa.RecordBatch)]
    table = pa.Table.from_batches(batches)
    assert table.num_rows == requests
    assert pc.sum(table["input_tokens"]).as_py() == inputs
    assert pc.sum(table["output_tokens"]).as_py() == outputs
    assert pc.count_distinct(table["id"]).as_py() == requests
    with path.open(newline="") as file:
        for n, (row, event) in enumerate(zip(csv.DictReader(file), table.to_pylist(), strict=True), 1):
            assert event["tenant_id"] == f"tenant-{formula(0, n, 'tenant', 8):04d}"
            assert event["response_model"] == f"model-{formula(0, n, 'model', 4):02d}"
            assert event["input_tokens"] == int(row["ContextTokens"])
            assert event["ended_at"] == datetime.fromisoformat(row["TIMESTAMP"][:26] + "+00:00")
