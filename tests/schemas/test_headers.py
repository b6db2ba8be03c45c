"""A batch's identity survives its headers, and headers that lie are refused."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.errors import DecodeError
from schemas.headers import (
    EPOCH,
    NUMBER,
    NUMBERING,
    SOURCE,
    TYPE,
    BatchHeaders,
    Numbering,
    header_texts,
    media_type,
    parse_batch_headers,
)
from schemas.kinds import Kind

GOOD = BatchHeaders(Kind.TOKEN_USAGE, "gateway/eu-1", 3, 17, Numbering.SEQUENCE)


@given(
    st.text(st.characters(codec="utf-8"), min_size=1, max_size=512),
    st.integers(0, 2**63 - 1),
    st.integers(1, 2**63 - 1),
    st.sampled_from(Numbering),
)
def test_headers_come_back(source: str, epoch: int, number: int, numbering: Numbering) -> None:
    headers = BatchHeaders(Kind.GPU_USAGE, source, epoch, number, numbering)
    assert parse_batch_headers(header_texts(headers.encode())) == headers


def test_headers_of_any_client_are_read() -> None:
    pairs = GOOD.encode()
    as_texts: Any = {name.upper(): value.decode() for name, value in pairs}
    assert parse_batch_headers(header_texts(dict(pairs))) == GOOD
    assert parse_batch_headers(header_texts(as_texts)) == GOOD
    assert header_texts(None) == {}
    assert header_texts([("a", None), ("b", b"1"), ("b", b"2")]) == {"b": "2"}
    assert media_type({"content-type": "Application/JSON; charset=UTF-8"}) == "application/json"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        (TYPE, b""),
        (SOURCE, b""),
        (SOURCE, b"s" * 513),
        (SOURCE, b"\xff"),
        (EPOCH, b"-1"),
        (EPOCH, b"1.0"),
        (EPOCH, b""),
        (NUMBER, b"0"),
        (NUMBER, "٣".encode()),
        (NUMBER, b"9223372036854775808"),
        (NUMBER, b"9" * 5_000),
        (NUMBERING, b"random"),
    ],
)
def test_a_header_that_is_not_what_it_should_be_is_refused(name: str, value: bytes) -> None:
    headers = dict(GOOD.encode()) | {name: value}
    with pytest.raises(DecodeError, match=name):
        parse_batch_headers(header_texts(headers))


def test_derived_batches_may_be_numbered_from_offset_zero() -> None:
    headers = BatchHeaders(Kind.GPU_USAGE, "gpu-meter", 1, 0, Numbering.OFFSET)
    assert parse_batch_headers(header_texts(headers.encode())) == headers
