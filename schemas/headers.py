"""Headers of Kafka records: what a batch says about itself beside its bytes.

A record that carries an Arrow batch has `content-type: application/vnd.apache.arrow.stream` and the five `tokenmill-*`
headers of `BatchHeaders`. Numbers are ASCII decimals.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from schemas.errors import DecodeError

CONTENT_TYPE: Final = "content-type"
TYPE: Final = "tokenmill-type"
SOURCE: Final = "tokenmill-source"
EPOCH: Final = "tokenmill-epoch"
NUMBER: Final = "tokenmill-number"
NUMBERING: Final = "tokenmill-numbering"

ARROW_STREAM: Final = "application/vnd.apache.arrow.stream"
CLOUDEVENTS_JSON: Final = "application/cloudevents+json"
JSON: Final = "application/json"
REJECTED_JSON: Final = "application/vnd.tokenmill.rejected+json"
"""A row that its source could not read (a malformed line of a trace): JSON {"file", "line", "reason", "text"}."""

HeaderValue = bytes | str | None
RawHeaders = Mapping[str, HeaderValue] | Iterable[tuple[str, HeaderValue]] | None
"""Headers as any client hands them over: pairs (confluent-kafka, aiokafka), a mapping (Faust), or None."""
RecordHeaders = list[tuple[str, bytes]]

_MAX_NUMBER: Final = 2**63 - 1
_MAX_SOURCE: Final = 512


class Numbering(StrEnum):
    """What the numbers of a source mean.

    sequence: contiguous from 1 per source, epoch and partition, so a hole is a loss. offset: the offset of the source
    record that the batch derives from, so numbers grow and holes are normal.
    """

    SEQUENCE = "sequence"
    OFFSET = "offset"


@dataclass(frozen=True, slots=True)
class BatchHeaders:
    """Type and identity of an Arrow batch: (source, epoch, number) is unique in its partition."""

    type: str
    source: str
    epoch: int
    number: int
    numbering: Numbering = Numbering.SEQUENCE

    def encode(self) -> RecordHeaders:
        """The headers of the record, content type included."""
        return [
            (CONTENT_TYPE, ARROW_STREAM.encode()),
            (TYPE, self.type.encode()),
            (SOURCE, self.source.encode()),
            (EPOCH, b"%d" % self.epoch),
            (NUMBER, b"%d" % self.number),
            (NUMBERING, self.numbering.encode()),
        ]


def header_texts(headers: RawHeaders) -> dict[str, str]:
    """Headers as a dict of texts, names in lower case; the last of a repeated name wins, null values are dropped.

    DecodeError: a value that is not UTF-8.
    """
    if headers is None:
        return {}
    pairs = headers.items() if isinstance(headers, Mapping) else headers
    texts: dict[str, str] = {}
    for name, value in pairs:
        if value is None:
            continue
        try:
            texts[name.lower()] = value if isinstance(value, str) else bytes(value).decode()
        except UnicodeDecodeError:
            raise DecodeError(f"header {name} is not UTF-8", {"header": name}) from None
    return texts


def media_type(texts: Mapping[str, str]) -> str:
    """The content type of `header_texts` in lower case without parameters; "" where there is none."""
    return texts.get(CONTENT_TYPE, "").partition(";")[0].strip().lower()


def parse_batch_headers(texts: Mapping[str, str]) -> BatchHeaders:
    """The identity of an Arrow batch from `header_texts`. DecodeError: one is missing or not what it should be."""
    missing = [name for name in (TYPE, SOURCE, EPOCH, NUMBER) if not texts.get(name)]
    if missing:
        raise DecodeError(f"an Arrow batch needs the headers {', '.join(missing)}", {"missing": missing})
    if len(texts[SOURCE]) > _MAX_SOURCE:
        raise DecodeError(f"header {SOURCE} has more than {_MAX_SOURCE} characters", {"length": len(texts[SOURCE])})
    numbering = texts.get(NUMBERING, Numbering.SEQUENCE)
    if numbering not in tuple(Numbering):
        raise DecodeError(f"header {NUMBERING} is {numbering!r}, not sequence or offset", {"value": numbering})
    number = _number(texts, NUMBER)
    if numbering == Numbering.SEQUENCE and number < 1:
        raise DecodeError(f"header {NUMBER} is 0: a sequence starts at 1", {"value": number})
    return BatchHeaders(texts[TYPE], texts[SOURCE], _number(texts, EPOCH), number, Numbering(numbering))


def _number(texts: Mapping[str, str], name: str) -> int:
    text = texts[name]
    # isascii first: other scripts have digits too, and a length limit, because int() of a megabyte is slow.
    if not (len(text) <= 19 and text.isascii() and text.isdigit() and int(text) <= _MAX_NUMBER):
        raise DecodeError(f"header {name} is {text[:40]!r}, not a number from 0 to {_MAX_NUMBER}", {"header": name})
    return int(text)
